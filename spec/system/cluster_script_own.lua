--- Apps that listen themselves, in a script's cluster without `listen`: the cluster opens what they ask for, once, and
--- its workers share it, those to come as well. And apps that do not listen at all.
local c = require "spec.support.script_cluster"
local lu = require "luaunit"
local s = require "spec.support"
local uv = require "luv"

local SCRIPT = [[
local http = require "brood.http"
local server = http.server(function(req, res)
  if req.path == "/slow" then brood.sleep(0.3) end
  res:finish(tostring(posix.getpid()))
end)
]]

local function started(text, options)
  local cluster = c.new(c.write(text), options)
  assert(cluster:start())
  return cluster, (cluster:address())
end

return {
  teardown = c.cleanup,

  ["workers of a script that calls server:listen share one socket, port 0 included"] = function()
    local cluster, heard = c.new(c.write(SCRIPT .. [[
      assert(server:listen "127.0.0.1:0")
      brood.worker:send((server:address()))
    ]])), {}
    cluster:on("message", function(_, value) table.insert(heard, value) end)
    assert(cluster:start())
    local address = cluster:address()
    lu.assertStrMatches(address, "127%.0%.0%.1:%d+")
    c.answering(address, 2)
    s.wait(function() return #heard == 2 end)
    lu.assertEquals(heard, { address, address })
    cluster:stop()
    lu.assertFalse(pcall(s.get, address, "/"))
  end,

  ["who comes later gets the same socket: a replacement, a restart, a scale"] = function()
    local cluster, address = started(SCRIPT .. 'assert(server:listen "127.0.0.1:0")')
    local events = c.events(cluster, { respawn = true })
    cluster:kill "KILL"
    s.wait(function() return #events == 2 end)
    lu.assertEquals({ cluster:address() }, { address })
    lu.assertTrue(cluster:restart())
    lu.assertTrue(cluster:scale(3))
    lu.assertEquals({ cluster:address() }, { address })
    c.answering(address, 3)
  end,

  ["several servers: each port 0 is one of its own, and a Unix socket has its mode and goes with a stop"] = function()
    local path = s.temp_dir() .. "/own.sock"
    local cluster = started((SCRIPT .. [[
      local other = http.server(function(_, res) res:finish "other" end)
      assert(server:listen { "127.0.0.1:0", { address = "unix:%s", mode = "0600" } })
      assert(other:listen "127.0.0.1:0")
      assert(other:address() ~= server:address())
    ]]):format(path))
    local list = { cluster:address() }
    lu.assertEquals(#list, 3)
    lu.assertEquals(bit.band(uv.fs_stat(path).mode, 511), 384)
    local bodies = {}
    for i, address in ipairs(list) do
      bodies[i] = c.ask(address) == "other" and "other" or "server"
    end
    table.sort(bodies)
    lu.assertEquals(bodies, { "other", "server", "server" })
    cluster:stop()
    lu.assertFalse(s.exists(path))
  end,

  ["it may listen in its start, in a module, in a listener, and late"] = function()
    local dir = s.temp_dir()
    s.write_file(dir .. "/serves.lua", [[
      local server = require("brood.http").server(function(_, res) res:finish "module" end)
      assert(server:listen "unix:module.sock")
      return true
    ]])
    s.write_file(dir .. "/app.lua", [[
      local http, brood = require "brood.http", require "brood"
      require "serves"
      local server = http.server(function(_, res) res:finish "start" end)
      local late = http.server(function(_, res) res:finish "late" end)
      brood.worker:on("message", function()
        assert(late:listen "unix:late.sock")
        brood.worker:send "done"
      end)
      return { server = server, start = function() assert(server:listen "unix:start.sock") end }
    ]])
    local cluster = c.new(dir .. "/app.lua", { working_directory = dir })
    assert(cluster:start())
    local done = {}
    cluster:on("message", function() table.insert(done, 1) end)
    cluster:send "go"
    s.wait(function() return #done == 2 end)
    for _, name in ipairs { "module", "start", "late" } do
      lu.assertEquals(c.ask(("unix:%s/%s.sock"):format(dir, name)), name)
    end
    cluster:stop()
    lu.assertFalse(s.exists(dir .. "/late.sock"))
  end,

  ["an address in use is what server:listen returns, and what it raises is the error of start"] = function()
    local taken = uv.new_tcp()
    taken:bind("127.0.0.1", 0)
    taken:listen(1, function() end)
    local port = taken:getsockname().port
    local cluster = c.new(c.write(SCRIPT .. ([[
      local ok, err = server:listen "127.0.0.1:%d"
      if not ok then error { code = err.code, message = "mine: " .. err } end
    ]]):format(port)), { count = 1, backoff = { delay = 0.01 } })
    local ok, err = cluster:start()
    lu.assertEquals({ ok, err.code }, { nil, "EADDRINUSE" })
    lu.assertStrContains(err.message, "mine: cannot listen on 127.0.0.1:" .. port)
    taken:close()
    lu.assertTrue(cluster:start())
  end,

  ["what it serves finishes when it is told to go, as with listen"] = function()
    local cluster, address = started(SCRIPT .. 'assert(server:listen "127.0.0.1:0")', { count = 1 })
    local socket = s.connect(address)
    socket:send "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"
    s.wait(function() return cluster.workers[1].requests == 1 end)
    lu.assertTrue(cluster:stop())
    lu.assertEquals(socket:response().status, 200)
    socket:close()
  end,

  ["a server that it closes is its own to close, and can listen again"] = function()
    local cluster, address = started(SCRIPT .. [[
      assert(server:listen "127.0.0.1:0")
      local at = server:address()
      brood.worker:on("message", function(what)
        if what == "close" then server:close() else assert(server:listen(at)) end
        brood.worker:send(what)
      end)
    ]], { count = 1 })
    local heard = {}
    cluster:on("message", function(_, value) table.insert(heard, value) end)
    cluster:send "close"
    s.wait(function() return heard[1] end)
    cluster:send "listen"
    s.wait(function() return heard[2] end)
    lu.assertEquals(c.ask(address), tostring(cluster.workers[1].pid))
  end,

  ["a net server too"] = function()
    local cluster, address = started [[
      local server = require("brood.net").server(function(conn) conn:write(conn:read()) conn:close() end)
      assert(server:listen "127.0.0.1:0")
    ]]
    lu.assertEquals(#cluster.workers, 2)
    local socket = s.connect(address)
    socket:send "echo"
    lu.assertEquals(socket:receive_all(), "echo")
    socket:close()
  end,

  ["beside listen, server:listen asks the cluster as well"] = function()
    local cluster, address = c.serve([[
      local http = require "brood.http"
      local admin = http.server(function(_, res) res:finish "admin" end)
      return { server = function(_, res) res:finish "app" end, start = function() assert(admin:listen "127.0.0.1:0") end }
    ]])
    local list = { cluster:address() }
    lu.assertEquals({ #list, (c.ask(address)), (c.ask(list[2])) }, { 2, "app", "admin" })
  end,

  ["a script that does not listen works for messages alone, and a table without a server starts and stops"] = function()
    local cluster = started 'brood.worker:on("message", function(v) brood.worker:send(v * 2) end)'
    local heard = {}
    cluster:on("message", function(_, value) table.insert(heard, value) end)
    cluster:send(21)
    s.wait(function() return #heard == 2 end)
    lu.assertEquals(heard, { 42, 42 })
    cluster:stop()
    local journal = s.write_file("journal", "")
    local other = started(([[
      local function note(text) local f = io.open(%q, "a") f:write(text) f:close() end
      return { start = function() note "a" end, stop = function(_, done) brood.sleep(0.02) note "z" done() end }
    ]]):format(journal), { count = 1 })
    other:stop()
    lu.assertEquals(s.read_file(journal), "az")
  end,

  ["a handler without anywhere to serve it is an error that says so"] = function()
    local cluster = c.new(c.write "return function() end")
    local ok, err = cluster:start()
    lu.assertEquals({ ok, err.code }, { nil, "app" })
    lu.assertStrContains(err.message, "app.lua has a handler or a server, but the cluster has no `listen`, and it "
      .. "does not call server:listen itself")
    local other = c.new(c.write "return { serve = 1, start = function() end }")
    lu.assertStrContains(select(2, other:start()).message, "unknown key 'serve' (did you mean 'server'?)")
  end,

  ["what a worker forks has nothing to do with the cluster: there server:listen opens its own"] = function()
    local cluster = started([[
      local Worker = require "brood.worker"
      local w = Worker.fork()
      if w:is_child() then
        local server = require("brood.http").server(function() end)
        assert(server:listen "127.0.0.1:0")
        w:send((server:address()))
        w:exit(0)
      end
      w:on("message", function(v) brood.worker:send(v) end)
    ]], { count = 1 })
    local heard = {}
    cluster:on("message", function(_, value) table.insert(heard, value) end)
    s.wait(function() return heard[1] end)
    lu.assertStrMatches(heard[1], "127%.0%.0%.1:%d+")
    lu.assertEquals({ cluster:address() }, {})
  end,
}
