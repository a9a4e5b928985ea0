--- How things go wrong in a script's cluster and how it ends: starts that fail, workers that die, stops at every
--- moment, and what becomes of the workers when the script itself ends, however it does.
local brood = require "brood"
local c = require "spec.support.script_cluster"
local clock = require "brood.clock"
local lu = require "luaunit"
local p = require "spec.support.process"
local s = require "spec.support"
local uv = require "luv"

local FAILS = [[
return {
  server = function() end,
  start = function() error { message = "no database", code = "EDB", hint = "start it" } end,
}]]

-- Fails while there is no such file; dies at once where the file says so.
local function moody(path)
  return ([[
    local f = io.open(%q)
    local text = f and f:read "*a"
    if f then f:close() end
    if not text then error { message = "no file", code = "ENOFILE" } end
    return { server = function(_, res) res:finish "x" end, start = function()
      if text == "die" then require("brood.timer").after(0.02, function() posix.kill(posix.getpid(), "KILL") end) end
    end }
  ]]):format(path)
end

local SCRIPT = [[
local brood, Cluster, posix = require "brood", require "brood.cluster", require "brood.posix"
local f = io.open("app.lua", "w") f:write(%q) f:close()
local cluster = Cluster.new("app.lua", { listen = { "127.0.0.1:0", "unix:" .. arg[1] }, count = 2, stop_timeout = 5 })
assert(cluster:start())
local list = {}
cluster:each(function(w) list[#list + 1] = w.pid end)
print((cluster:address()) .. " " .. table.concat(list, " ") .. " ready")
io.stdout:flush()
]]

local APP = [[
local brood = require "brood"
return { server = function(req, res)
  if req.path == "/slow" then brood.sleep(0.5) end
  res:finish "done"
end, stop = function() local f = io.open("stopped", "a") f:write "x" f:close() end }
]]

-- A script with a cluster, in a folder of its own: the program, its address, its workers' pids and the folder.
local function script(more)
  local dir = s.temp_dir()
  local program = s.script(SCRIPT:format(APP) .. (more or ""), { dir .. "/app.sock" }, { cwd = dir })
  local address, first, second = program:expect "(%S+) (%d+) (%d+) ready\n"
  return program, address, { tonumber(first), tonumber(second) }, dir
end

-- A request that is under way.
local function slow(address)
  local socket = s.connect(address)
  socket:send "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"
  brood.sleep(0.1)
  return socket
end

return {
  teardown = c.cleanup,

  ["what the app's start failed with reaches start whole, and nothing is left"] = function()
    local cluster = c.new(c.write(FAILS), { listen = "127.0.0.1:0", backoff = { delay = 0.01 } })
    local events = c.events(cluster)
    local ok, err = cluster:start()
    lu.assertNil(ok)
    lu.assertEquals({ err.message, err.code, err.hint, cluster.state, #cluster.workers, cluster:address() },
      { "no database", "EDB", "start it", "stopped", 0 })
    lu.assertStrContains(err.traceback, "app.lua:4")
    lu.assertEquals({ c.count(events, "error"), c.count(events, "online"), c.count(events, "stopped") }, { 0, 0, 1 })
  end,

  ["a file that is missing, or is no Lua, or returns no app, fails at once"] = function()
    for text, expected in pairs {
      ["return 7"] = "must return a handler function", ["return {"] = "app.lua:2: unexpected symbol",
    } do
      local cluster = c.new(c.write(text), { listen = "127.0.0.1:0" })
      local began = clock.now()
      local _, err = cluster:start()
      lu.assertStrContains(tostring(err), expected)
      lu.assertEquals(err.code, "app")
      lu.assertTrue(clock.now() - began < 2 * s.slow)
    end
    lu.assertStrContains(tostring(select(2, c.new("/nowhere/app.lua", { listen = "127.0.0.1:0" }):start())),
      "cannot open /nowhere/app.lua")
  end,

  ["an app that is not ready within start_timeout fails with code timeout"] = function()
    local cluster = c.new(c.write "return { server = function() end, start = function(_, done) end }",
      { listen = "127.0.0.1:0", start_timeout = 0.1, count = 1, respawn = false })
    local _, err = cluster:start()
    lu.assertEquals(err.code, "timeout")
    lu.assertStrContains(err.message, "app.lua has neither returned nor called done")
  end,

  ["a user that it may not become is the error of start"] = function()
    local cluster = c.new(c.write(c.APP), { listen = "127.0.0.1:0", user = "nobody-of-this-name" })
    local ok, err = cluster:start()
    lu.assertEquals({ ok, cluster.state }, { nil, "stopped" })
    lu.assertStrContains(tostring(err), "nobody-of-this-name")
  end,

  ["one that dies is replaced: exit of the old one, respawn with the new one and how the old one ended"] = function()
    local cluster = c.serve(c.APP, { count = 1 })
    local events = c.events(cluster)
    cluster.workers[1]:kill "KILL"
    s.wait(function() return c.count(events, "respawn") == 1 end)
    lu.assertEquals(events, { { "exit", 1, nil, "KILL" }, { "online", 2 }, { "respawn", 2, nil, "KILL" } })
    lu.assertEquals(cluster.workers[1].id, 2)
  end,

  ["so is one that was told to go by a QUIT of its own: the new one may be there first"] = function()
    local cluster = c.serve(c.APP, { count = 1 })
    local events = c.events(cluster, { respawn = true })
    cluster.workers[1]:kill "QUIT"
    s.wait(function() return #events == 1 end)
    lu.assertEquals(events[1], { "respawn", 2, 0 })
  end,

  ["respawn_delay is the wait before that, each time"] = function()
    local cluster = c.serve(c.APP, { count = 1, respawn_delay = 0.2 })
    local exits, respawns = {}, {}
    cluster:on("exit", function() table.insert(exits, clock.now()) end)
    cluster:on("respawn", function() table.insert(respawns, clock.now()) end)
    for i = 1, 3 do
      cluster:kill "KILL"
      s.wait(function() return respawns[i] end)
      lu.assertTrue(respawns[i] - exits[i] >= 0.2)
      lu.assertTrue(respawns[i] - exits[i] < 0.2 + 0.6 * s.slow)
    end
  end,

  ["respawn = false: nobody comes after one that ended, and with the last one the cluster has stopped"] = function()
    local cluster, address = c.serve(c.APP, { respawn = false })
    local events = c.events(cluster)
    cluster.workers[1]:kill "KILL"
    s.wait(function() return #cluster.workers == 1 end)
    s.remains(function() return #cluster.workers == 1 and cluster.state == "ready" end, 0.2)
    lu.assertEquals(select(2, c.ask(address)), 200)
    cluster.workers[1]:kill "KILL"
    s.wait(function() return cluster.state == "stopped" end)
    lu.assertEquals({ events[#events], c.count(events, "respawn"), cluster:address() }, { { "stopped" }, 0 })
    lu.assertTrue(cluster:start())
    lu.assertEquals(#cluster.workers, 2)
  end,

  ["a script whose workers have ended of themselves, and are not respawned, ends as well"] = function()
    local result = s.script([[
      local Cluster = require "brood.cluster"
      local f = io.open("app.lua", "w")
      f:write 'require("brood").sleep(0.1) require("brood").worker:send(arg[1])' f:close()
      local cluster = Cluster.new("app.lua", { count = 2, respawn = false, args = { "x" } })
      cluster:on("message", function(w, v) print(v) w:kill() end)
      cluster:on("stopped", function() print "stopped" end)
      assert(cluster:start())
    ]], {}, { cwd = s.temp_dir() }):finish(10)
    lu.assertEquals({ result.stdout, result.code }, { "x\nx\nstopped\n", 0 })
  end,

  ["replacements that do not start are error events, and tried again with backoff until one does"] = function()
    local path = s.write_file("state", "good")
    local cluster = c.serve(moody(path), { count = 1, backoff = { delay = 0.05, factor = 1, jitter = 0 } })
    local errors, events = {}, c.events(cluster, { respawn = true })
    cluster:on("error", function(err, worker) table.insert(errors, { err.message, err.code, worker.slot }) end)
    os.remove(path)
    cluster:kill "KILL"
    s.wait(function() return #errors >= 3 end)
    lu.assertEquals({ errors[1], errors[3], #events, cluster.state }, { { "no file", "ENOFILE", 1 },
      { "no file", "ENOFILE", 1 }, 0, "ready" })
    s.write_file(path, "good")
    s.wait(function() return #events == 1 end)
    lu.assertEquals({ events[1][3], events[1][4] }, { nil, "KILL" })
  end,

  ["where one worker starts and another does not, start is well, and the failure an error event"] = function()
    local cluster = c.new(c.write [[
      if brood.worker.slot == 2 then error { message = "unlucky", code = "ELUCK" } end
      return function() end
    ]], { listen = "127.0.0.1:0", backoff = { delay = 0.01, max_delay = 10, factor = 100 } })
    local errors = {}
    cluster:on("error", function(err) table.insert(errors, err.code) end)
    lu.assertTrue(cluster:start())
    lu.assertEquals({ errors[1], #cluster.workers, cluster.state }, { "ELUCK", 1, "ready" })
  end,

  ["an error that nobody listens to is logged"] = function()
    local dir = s.temp_dir()
    local result = s.script(([[
      local brood, Cluster = require "brood", require "brood.cluster"
      local path = %q .. "/state"
      local function write(text) local f = io.open(path, "w") f:write(text) f:close() end
      write "good"
      local f = io.open("app.lua", "w") f:write("local posix = require 'brood.posix' " .. %q) f:close()
      local cluster = Cluster.new("app.lua", { listen = "127.0.0.1:0", count = 1, backoff = { delay = 60 } })
      assert(cluster:start())
      os.remove(path)
      cluster:on("exit", function(_, _, signal) if not signal then brood.sleep(0.05) os.exit(0) end end)
      cluster:kill "KILL"
    ]]):format(dir, moody(dir .. "/state")), {}, { cwd = dir }):finish(10)
    lu.assertStrContains(result.stderr, "app: no file")
  end,

  ["backoff.max_exits: faulted with an error, the sockets closed, until the next start"] = function()
    local path = s.write_file("state", "die")
    local cluster = c.new(c.write(moody(path)), { listen = "127.0.0.1:0", count = 1,
      backoff = { delay = 0.01, max_exits = 3, window = 60 } })
    local errors, events = {}, c.events(cluster)
    cluster:on("error", function(err) table.insert(errors, err.code) end)
    cluster:start()
    s.wait(function() return cluster.state == "faulted" end)
    lu.assertEquals({ errors, c.count(events, "exit"), cluster:address() }, { { "faulted" }, 3 })
    s.write_file(path, "good")
    lu.assertTrue(cluster:start())
    lu.assertEquals(cluster.state, "ready")
  end,

  ["start while it starts joins, while it is ready starts nothing, while it stops starts afterwards"] = function()
    local cluster = c.new(c.write(c.APP), { listen = "127.0.0.1:0", count = 1 })
    local events = c.events(cluster, { online = true })
    local first, second = p.call(cluster, "start"), p.call(cluster, "start")
    lu.assertEquals(cluster.state, "starting")
    p.answered(first, second)
    lu.assertEquals({ first.err, second.err, #events, cluster:start() }, { nil, nil, 1, true })
    local stop, again, more = p.call(cluster, "stop"), p.call(cluster, "start"), p.call(cluster, "start")
    lu.assertEquals(cluster.state, "stopping")
    p.answered(stop, again, more)
    lu.assertEquals({ stop.err, again.err, more.err, #events, cluster.state }, { nil, nil, nil, 2, "ready" })
  end,

  ["stop while it starts ends the start with code stopped, at whatever step"] = function()
    local taken = uv.new_tcp()
    taken:bind("127.0.0.1", 0)
    taken:listen(1, function() end)
    local port = taken:getsockname().port
    for _, options in ipairs {
      { listen = "127.0.0.1:" .. port }, -- waiting for its address
      { preload = true }, {}, { before_fork = function() brood.sleep(1) end },
    } do
      options.listen = options.listen or "127.0.0.1:0"
      local cluster = c.new(c.write "brood.sleep(1)", options)
      local start = p.call(cluster, "start")
      brood.sleep(0.05)
      lu.assertTrue(cluster:stop())
      p.answered(start)
      lu.assertEquals({ start.err.code, cluster.state, #cluster.workers, cluster:address() },
        { "stopped", "stopped", 0 })
    end
    taken:close()
  end,

  ["stop while it waits for a start that was asked for during a stop calls that off too"] = function()
    local cluster, address = c.serve(c.APP, { count = 1 })
    local socket = s.connect(address)
    socket:send "GET /slow?0.3 HTTP/1.1\r\nHost: x\r\n\r\n"
    s.wait(function() return cluster.workers[1].requests == 1 end)
    local first, again, last = p.call(cluster, "stop"), p.call(cluster, "start"), p.call(cluster, "stop")
    p.answered(first, again, last)
    lu.assertEquals({ first.err, again.err.code, last.err, cluster.state }, { nil, "stopped", nil, "stopped" })
    socket:close()
  end,

  ["stop waits for requests, refuses new ones, and after stop_timeout kills"] = function()
    local cluster, address = c.serve(c.APP, { count = 1, stop_timeout = 0.3 })
    local fast, stuck = s.connect(address), s.connect(address)
    fast:send "GET /slow?0.15 HTTP/1.1\r\nHost: x\r\n\r\n"
    stuck:send "GET /slow?60 HTTP/1.1\r\nHost: x\r\n\r\n"
    s.wait(function() return cluster.workers[1].requests == 2 end)
    local events = c.events(cluster, { exit = true })
    local stop = p.call(cluster, "stop")
    s.wait(function() return not pcall(s.get, address, "/") end)
    lu.assertEquals(fast:response().status, 200)
    p.answered(stop)
    lu.assertEquals(events, { { "exit", 1, nil, "KILL" } })
    fast:close()
    stuck:close()
  end,

  ["terminate does not wait for requests"] = function()
    local cluster, address = c.serve(c.APP, { count = 1 })
    local socket = s.connect(address)
    socket:send "GET /slow?60 HTTP/1.1\r\nHost: x\r\n\r\n"
    s.wait(function() return cluster.workers[1].requests == 1 end)
    local began = clock.now()
    lu.assertTrue(cluster:terminate())
    lu.assertTrue(clock.now() - began < 2 * s.slow)
    socket:close()
  end,

  ["TERM or INT to the script: requests finish, the app's stop runs, then it ends by that signal"] = function()
    for _, name in ipairs { "TERM", "INT" } do
      local program, address, pids, dir = script()
      local socket = slow(address)
      program:kill(name)
      lu.assertEquals(socket:response().body, "done")
      lu.assertEquals({ program:wait() }, { nil, name == "TERM" and 15 or 2 })
      s.gone(pids)
      lu.assertEquals({ s.read_file(dir .. "/stopped"), s.exists(dir .. "/app.sock") }, { "xx", false })
      socket:close()
    end
  end,

  ["a second one ends it at once, and nothing is left"] = function()
    local program, address, pids, dir = script()
    local socket = slow(address)
    program:kill "TERM"
    s.wait(function() return not s.exists(dir .. "/app.sock") end) -- the first is under way
    program:kill "TERM"
    lu.assertEquals({ program:wait() }, { nil, 15 })
    s.gone(pids)
    socket:close()
  end,

  ["os.exit and an uncaught error of the script leave nothing"] = function()
    for _, last in ipairs { "os.exit(3)", "error 'boom'" } do
      local program, _, pids, dir = script(last)
      lu.assertEquals({ program:wait() }, { last:find "3" and 3 or 1 })
      s.gone(pids)
      lu.assertFalse(s.exists(dir .. "/app.sock"))
    end
  end,

  ["the script is SIGKILLed: its workers finish what they serve, run their stop and go"] = function()
    local program, address, pids, dir = script()
    local socket = slow(address)
    program:kill "KILL"
    program:wait()
    lu.assertEquals(socket:response().body, "done")
    s.gone(pids)
    lu.assertEquals(s.read_file(dir .. "/stopped"), "xx")
    socket:close()
    os.remove(dir .. "/app.sock") -- nobody is left who could
  end,

  ["another cluster finds the socket file of one that was SIGKILLed, and takes its place"] = function()
    local program, _, pids, dir = script()
    program:kill "KILL"
    program:wait()
    s.gone(pids)
    local cluster = c.new(c.write(c.APP), { listen = "unix:" .. dir .. "/app.sock", count = 1 })
    lu.assertTrue(cluster:start())
    lu.assertEquals(select(2, c.ask("unix:" .. dir .. "/app.sock")), 200)
    cluster:stop()
  end,

  ["two clusters in one script are each their own"] = function()
    local one, first = c.serve "return function(_, res) res:finish 'one' end"
    local two, second = c.serve "return function(_, res) res:finish 'two' end"
    lu.assertEquals({ (c.ask(first)), (c.ask(second)) }, { "one", "two" })
    one:stop()
    lu.assertEquals({ one.state, two.state, (c.ask(second)) }, { "stopped", "ready", "two" })
  end,

  ["a worker may have a cluster of its own, which goes with it"] = function()
    local inner = s.write_file("inner.lua", "return function(_, res) res:finish 'inner' end")
    local cluster = c.new(c.write(([[
      local inner = require("brood.cluster").new(%q, { listen = "127.0.0.1:0", count = 1 })
      assert(inner:start())
      brood.worker:send { (inner:address()), inner.workers[1].pid }
    ]]):format(inner)), { count = 1 })
    local heard
    cluster:on("message", function(_, value) heard = value end)
    assert(cluster:start())
    s.wait(function() return heard end)
    lu.assertEquals((c.ask(heard[1])), "inner")
    cluster:stop()
    s.gone { heard[2] }
  end,
}
