--- How the workers of a script's cluster are replaced: by a restart, which drops no request, and by recycling, for
--- their requests, their memory or their age.
-- time limit: 180 s
local brood = require "brood"
local c = require "spec.support.script_cluster"
local clock = require "brood.clock"
local load_client = require "spec.support.load_client"
local lu = require "luaunit"
local p = require "spec.support.process"
local s = require "spec.support"

local VERSION = "return function(_, res) res:finish '%s' end"

local function all_new(cluster, former)
  local old = {}
  for _, pid in ipairs(former) do
    old[pid] = true
  end
  s.wait(function()
    for _, pid in ipairs(c.pids(cluster)) do
      if old[pid] then return false end
    end
    return true
  end, 10, "the end of the former workers")
end

-- A kept connection that has had an answer.
local function kept(address)
  local socket = s.connect(address)
  socket:send "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
  socket:response()
  return socket
end

return {
  teardown = c.cleanup,

  ["20 restarts under load drop no request, on TCP, reuseport and Unix sockets"] = function()
    local path = s.temp_dir() .. "/load.sock"
    local cluster = c.new(c.write(load_client.APP), {
      listen = { "127.0.0.1:0", { address = "127.0.0.1:0", reuseport = true }, "unix:" .. path },
    })
    assert(cluster:start())
    local client = load_client.start({ cluster:address() }, load_client.QUICK)
    for _ = 1, 20 do
      local former = c.pids(cluster)
      lu.assertTrue(cluster:restart())
      lu.assertNotEquals(c.pids(cluster), former)
    end
    load_client.whole(client:stop())
  end,

  ["restarts under long answers, big ones and streams drop none either"] = function()
    local cluster, address = c.serve(load_client.APP)
    local client = load_client.start(address, load_client.LANES)
    for _ = 1, 5 do
      lu.assertTrue(cluster:restart())
      brood.sleep(0.4)
    end
    load_client.whole(client:stop())
  end,

  ["an app that listens itself is restarted without a drop as well"] = function()
    local app = load_client.APP:gsub("return function%(req, res%)", "local server = require('brood.http').server("
      .. "function(req, res)", 1) .. ")\nassert(server:listen '127.0.0.1:0')"
    local cluster = c.new(c.write(app))
    assert(cluster:start())
    local client = load_client.start((cluster:address()), load_client.QUICK)
    for _ = 1, 10 do
      lu.assertTrue(cluster:restart())
    end
    load_client.whole(client:stop())
  end,

  ["a restart loads the app again; one that cannot start leaves the old workers serving"] = function()
    local path = c.write(VERSION:format "one")
    local cluster = c.new(path, { listen = "127.0.0.1:0" })
    assert(cluster:start())
    local address = cluster:address()
    s.write_file(path, VERSION:format "two")
    lu.assertTrue(cluster:restart())
    lu.assertEquals((c.ask(address)), "two")
    s.write_file(path, "error { message = 'no', code = 'ENO' }")
    s.wait(function() return #cluster.workers == 2 end, 10, "the end of the former workers")
    local errors, former = c.events(cluster, { error = true }), c.pids(cluster)
    local ok, err = cluster:restart()
    lu.assertEquals({ ok, err.message, err.code, #errors, (c.ask(address)), cluster.state },
      { nil, "no", "ENO", 0, "two", "ready" })
    lu.assertEquals(c.pids(cluster), former)
  end,

  ["with preload too, and with the modules that it has brought along; the script's own stay"] = function()
    local dir = s.temp_dir()
    local function write(version)
      s.write_file(dir .. "/beside.lua", ("return '%s'"):format(version))
    end
    s.write_file(dir .. "/app.lua", "local v = require 'beside' return function(_, res) res:finish(v) end")
    write "one"
    local cluster = c.new(dir .. "/app.lua", { listen = "127.0.0.1:0", preload = true })
    assert(cluster:start())
    local address, own = cluster:address(), package.loaded["spec.support"]
    write "two"
    lu.assertTrue(cluster:restart())
    lu.assertEquals((c.ask(address)), "two")
    s.write_file(dir .. "/beside.lua", "error 'broken'")
    lu.assertNil((cluster:restart()))
    lu.assertEquals({ (c.ask(address)), package.loaded.beside }, { "two", "two" })
    lu.assertIs(package.loaded["spec.support"], own)
    package.loaded.beside = nil
  end,

  ["a restart keeps what scale has set, and the slots"] = function()
    local cluster = c.serve(c.APP)
    cluster:scale(3)
    local former = c.pids(cluster)
    lu.assertTrue(cluster:restart())
    all_new(cluster, former)
    local slots = {}
    cluster:each(function(worker) slots[worker.slot] = true end)
    lu.assertEquals({ #cluster.workers, slots }, { 3, { true, true, true } })
  end,

  ["restarts follow each other: those asked for meanwhile share the next one"] = function()
    local cluster = c.serve(c.APP, { count = 1 })
    local events = c.events(cluster, { online = true })
    local calls = {}
    for i = 1, 4 do
      calls[i] = p.call(cluster, "restart")
    end
    p.answered(unpack(calls))
    lu.assertEquals({ calls[1].err, calls[4].err, #events }, { nil, nil, 2 })
    lu.assertTrue(cluster:restart())
    lu.assertEquals(#events, 3)
  end,

  ["a restart of a cluster that does not run starts it"] = function()
    local cluster = c.new(c.write(c.APP), { listen = "127.0.0.1:0", count = 1 })
    local events = c.events(cluster, { online = true })
    lu.assertTrue(cluster:restart())
    lu.assertEquals({ cluster.state, #events }, { "ready", 1 })
  end,

  ["a stop ends a restart with code stopped"] = function()
    local path = c.write(c.APP)
    local cluster = c.new(path, { listen = "127.0.0.1:0" })
    assert(cluster:start())
    s.write_file(path, "require('brood').sleep(1)")
    local restart, following = p.call(cluster, "restart"), p.call(cluster, "restart")
    brood.sleep(0.05)
    lu.assertTrue(cluster:stop())
    p.answered(restart, following)
    lu.assertEquals({ restart.err.code, following.err.code, cluster.state }, { "stopped", "stopped", "stopped" })
    s.write_file(path, "return function() end")
    lu.assertTrue(cluster:start())
    lu.assertTrue(cluster:restart())
  end,

  ["rollout.surge replaces several at once"] = function()
    local cluster = c.serve("brood.sleep(0.2) return function() end", { count = 4, rollout = { surge = 4 } })
    local began = clock.now()
    lu.assertTrue(cluster:restart())
    lu.assertTrue(clock.now() - began < 0.75 + (s.slow - 1) * 2) -- the first one, then the others together
  end,

  ["an idle kept connection has one more answer after a restart, from the old worker"] = function()
    local cluster, address = c.serve(c.APP, { count = 1 })
    local old = tostring(cluster.workers[1].pid)
    local socket = kept(address)
    lu.assertTrue(cluster:restart())
    socket:send "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    local answer = socket:response()
    lu.assertEquals({ answer.body, answer.headers.connection }, { old, "close" })
    socket:close()
    all_new(cluster, { tonumber(old) })
  end,

  ["max_requests: recycle with the worker and its requests, the replacement first"] = function()
    local cluster, address = c.serve(c.APP, { count = 1, max_requests = 5 })
    local events = c.events(cluster)
    for _ = 1, 5 do
      lu.assertEquals(select(2, c.ask(address)), 200)
    end
    s.wait(function() return c.count(events, "exit") == 1 end)
    lu.assertEquals(events, { { "recycle", 1, 5 }, { "online", 2 }, { "exit", 1, 0 } })
    lu.assertEquals(cluster.workers[1].id, 2)
  end,

  ["max_requests under load drops no request"] = function()
    local cluster, address = c.serve(load_client.APP, { max_requests = 200, max_requests_jitter = 50 })
    local events = c.events(cluster, { recycle = true })
    local client = load_client.start(address, load_client.QUICK)
    s.wait(function() return #events >= 8 end, 60)
    load_client.whole(client:stop())
  end,

  ["recycle_timeout: a request of a recycled worker that takes longer is answered with 503, no other one"] = function()
    local cluster, address = c.serve(c.APP, { count = 1, max_requests = 3, recycle_timeout = 0.4, stop_timeout = 30 })
    local long, short = s.connect(address), s.connect(address)
    local exits = c.events(cluster, { exit = true })
    long:send "GET /slow?60 HTTP/1.1\r\nHost: x\r\n\r\n"
    short:send "GET /slow?0.2 HTTP/1.1\r\nHost: x\r\n\r\n"
    s.wait(function() return cluster.workers[1].requests == 2 end)
    local began = clock.now()
    c.ask(address)
    lu.assertEquals(short:response().status, 200)
    lu.assertEquals(long:response().status, 503)
    lu.assertTrue(clock.now() - began >= 0.35)
    s.wait(function() return #exits == 1 end)
    lu.assertTrue(clock.now() - began < 5 * s.slow)
    lu.assertEquals(exits[1], { "exit", 1, 0 })
    long:close()
    short:close()
  end,

  ["idle kept connections of a recycled worker outlive recycle_timeout, and what they ask has its own"] = function()
    local cluster, address = c.serve(c.APP, { count = 1, max_requests = 3, recycle_timeout = 0.3, stop_timeout = 30 })
    local first, second = kept(address), kept(address)
    local old = cluster.workers[1]
    c.ask(address)
    s.wait(function() return old.state == "stopping" end)
    brood.sleep(0.5)
    first:send "GET /slow?0.1 HTTP/1.1\r\nHost: x\r\n\r\n"
    lu.assertEquals(first:response().body, tostring(old.pid))
    second:send "GET /slow?60 HTTP/1.1\r\nHost: x\r\n\r\n"
    lu.assertEquals(second:response().status, 503)
    s.gone { old.pid }
    first:close()
    second:close()
  end,

  ["an answer of a recycled worker that has begun is cut at recycle_timeout, by a restart it is not"] = function()
    local app = [[
      return function(req, res)
        if req.path == "/long" then
          res:write "begun"
          brood.sleep(tonumber(req.query))
        end
        res:finish "end"
      end
    ]]
    local cluster, address = c.serve(app, { count = 1, max_requests = 2, recycle_timeout = 0.3 })
    local socket = s.connect(address)
    socket:send "GET /long?60 HTTP/1.1\r\nHost: x\r\n\r\n"
    socket:receive "begun"
    c.ask(address)
    lu.assertNotStrContains(socket:receive_all(), "end")
    socket:close()
    local other, where = c.serve(app, { count = 1, recycle_timeout = 0.3 })
    socket = s.connect(where)
    socket:send "GET /long?0.8 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    socket:receive "begun"
    lu.assertTrue(other:restart())
    lu.assertStrContains(socket:receive_all(), "end")
    socket:close()
    cluster:stop()
  end,

  ["max_memory_gain: a worker that takes so many times what it took when it was ready is recycled"] = function()
    local cluster, address = c.serve([[
      local kept = {}
      return function(req, res)
        if req.path == "/grow" then
          for i = 1, 64 do kept[#kept + 1] = ("x"):rep(2 ^ 20) .. i end
        end
        res:finish(tostring(posix.getpid()))
      end
    ]], { max_memory_gain = 5 })
    local events = c.events(cluster, { recycle = true })
    local pid = c.ask(address, "/grow")
    s.wait(function() return #events == 1 end, 20)
    s.gone { tonumber(pid) }
    s.remains(function() return #events == 1 end, 2.5)
  end,

  ["max_lifetime recycles by age"] = function()
    local cluster = c.serve(c.APP, { count = 1, max_lifetime = 0.3 })
    local events = c.events(cluster, { recycle = true })
    s.wait(function() return #events == 2 end)
    lu.assertEquals({ events[1][2], events[2][2] }, { 1, 2 })
    cluster:stop()
  end,
}
