--- Clusters of a script: what they are told, what they serve on, what their workers find, and what they can be asked.
local brood = require "brood"
local c = require "spec.support.script_cluster"
local Cluster = require "brood.cluster"
local core = require "brood.core"
local lu = require "luaunit"
local s = require "spec.support"
local uv = require "luv"

local function mistake(expected, ...)
  local ok, err = pcall(Cluster.new, ...)
  lu.assertFalse(ok)
  lu.assertEquals(tostring(err):gsub("^%S+:%d+: ", ""), expected)
end

local SERVER = [[
import json, os, select, socket
server = socket.socket(fileno=3)
channel = socket.socket(fileno=int(os.environ["BROOD_CHANNEL_FD"]))
lines, line = channel.makefile("r"), channel.makefile("w")
line.write('{"ready": true}\n'); line.flush()
while True:
    if channel in select.select([server, channel], [], [])[0]:
        text = lines.readline()
        line.write(json.dumps({"you_said": json.loads(text)["word"]}) + "\n"); line.flush()
        continue
    try:
        conn, _ = server.accept()
    except BlockingIOError:
        continue
    conn.recv(65536)
    body = str(os.getpid()).encode()
    conn.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    conn.close()
]]

return {
  teardown = c.cleanup,

  ["the workers of one cluster serve an app on one address, and stop leaves nothing"] = function()
    local cluster = c.new(c.write(c.APP), { listen = "127.0.0.1:0" })
    lu.assertEquals({ cluster.state, cluster.name, #cluster.workers, cluster:address() }, { "stopped", "app", 0 })
    lu.assertTrue(cluster:start())
    lu.assertEquals({ cluster.state, #cluster.workers }, { "ready", 2 })
    local address = cluster:address()
    c.answering(address, 2)
    local pids = c.pids(cluster)
    lu.assertTrue(cluster:stop())
    lu.assertEquals({ cluster.state, #cluster.workers, cluster:address() }, { "stopped", 0 })
    s.gone(pids)
    lu.assertFalse(pcall(s.get, address, "/"))
  end,

  ["a worker has pid, id, slot, cluster, state, requests, started_at"] = function()
    local cluster, address = c.serve(c.APP, { count = 1, name = "front" })
    c.ask(address)
    local worker = cluster.workers[1]
    lu.assertEquals({ worker.id, worker.slot, worker.cluster, worker.state, worker.requests, type(worker.pid) },
      { 1, 1, "front", "ready", 1, "number" })
    lu.assertAlmostEquals(worker.started_at, os.time(), 10)
    lu.assertStrContains(s.read_file(("/proc/%d/cmdline"):format(worker.pid)), "brood: front worker 1")
    lu.assertEquals(cluster:status().processes[1].pid, worker.pid)
  end,

  ["count is the number of cpus without a word, and workers is another name of it"] = function()
    lu.assertEquals(Cluster.new("app.lua", { listen = 0 }):status().workers, core.cpus())
    lu.assertEquals(Cluster.new("app.lua", { workers = 3 }):status().workers, 3)
    lu.assertEquals(Cluster.new("app.lua", { count = 3 }):status().workers, 3)
  end,

  ["it listens at several addresses, with the mode of a Unix socket, whose file goes with a stop"] = function()
    local path = s.temp_dir() .. "/app.sock"
    local cluster, tcp = c.serve(c.APP, { listen = { "127.0.0.1:0", { address = "unix:" .. path, mode = "0600" } } })
    lu.assertEquals(select(2, cluster:address()), "unix:" .. path)
    lu.assertEquals(bit.band(uv.fs_stat(path).mode, 511), 384)
    lu.assertEquals({ select(2, c.ask(tcp)), select(2, c.ask("unix:" .. path)) }, { 200, 200 })
    cluster:stop()
    lu.assertFalse(s.exists(path))
  end,

  ["reuseport gives each worker a socket of its own, and none is left without a worker"] = function()
    local cluster, address = c.serve(c.APP, { listen = { address = "127.0.0.1:0", reuseport = true } })
    c.answering(address, 2)
    lu.assertTrue(cluster:scale(1))
    for _ = 1, 20 do
      lu.assertEquals(c.ask(address), tostring(cluster.workers[1].pid))
    end
    lu.assertTrue(cluster:scale(3))
    for _ = 1, 20 do
      lu.assertEquals(select(2, c.ask(address)), 200)
    end
  end,

  ["an address in use is the error of start, and nothing is left"] = function()
    local first = c.new(c.write(c.APP), { listen = "127.0.0.1:0", count = 1 })
    first:start()
    local path = s.temp_dir() .. "/other.sock"
    local second = c.new(c.write(c.APP), { listen = { "unix:" .. path, (first:address()) }, count = 1 })
    local events = c.events(second)
    local ok, err = second:start()
    lu.assertEquals({ ok, err.code, second.state, #events }, { nil, "EADDRINUSE", "stopped", 0 })
    lu.assertFalse(s.exists(path))
    first:stop()
    lu.assertTrue(second:start())
  end,

  ["args are arg and ... of the app, env its environment, working_directory its folder"] = function()
    local cluster, address = c.serve([[
      local given = table.concat({ arg[0]:match "[^/]*$", #arg, arg[1], arg[2], ... }, " ")
      return function(_, res)
        res:finish(("%s %s %s %s"):format(given, arg[2], os.getenv "MODE", require("luv").cwd()))
      end
    ]], { args = { "a", 7 }, env = { MODE = "fast", HOME = false }, working_directory = "/usr", count = 1 })
    lu.assertEquals(c.ask(address), "app.lua 2 a 7 a 7 7 fast /usr")
    lu.assertEquals(_G.arg[1], arg[1])
    cluster:stop()
  end,

  ["the folder of the app comes first in package.path, and it is found from where the script is"] = function()
    local dir = s.temp_dir()
    s.write_file(dir .. "/app.lua", "local x = require 'beside' return function(_, res) res:finish(x) end")
    s.write_file(dir .. "/beside.lua", "return 'beside'")
    local cluster = c.new(dir .. "/app.lua", { listen = "127.0.0.1:0", count = 1 })
    assert(cluster:start())
    lu.assertEquals(c.ask((cluster:address())), "beside")
  end,

  ["an app with start and stop, which may wait: ready after the one, gone after the other"] = function()
    local journal = s.write_file("journal", "")
    local cluster = c.serve(([[
      local function note(text) local f = io.open(%q, "a") f:write(text, "\n") f:close() end
      return {
        server = function(_, res) res:finish "x" end,
        start = function(worker, done) brood.sleep(0.05) note("start " .. worker.id) done() end,
        stop = function(worker) brood.sleep(0.05) note("stop " .. worker.id) end,
      }
    ]]):format(journal), { count = 1 })
    lu.assertEquals(s.read_file(journal), "start 1\n")
    cluster:stop()
    lu.assertEquals(s.read_file(journal), "start 1\nstop 1\n")
  end,

  ["with preload the app is loaded once, in the script, whose arg stays what it was"] = function()
    local journal = s.write_file("journal", "")
    local former = _G.arg
    local cluster, address = c.serve(([[
      local f = io.open(%q, "a") f:write "x" f:close()
      local loaded_by = posix.getpid()
      return function(_, res) res:finish(loaded_by .. " " .. arg[1]) end
    ]]):format(journal), { preload = true, args = { "one" } })
    lu.assertEquals(s.read_file(journal), "x")
    lu.assertEquals(c.ask(address), uv.os_getpid() .. " one")
    lu.assertIs(_G.arg, former)
    cluster:stop()
    assert(cluster:start())
    lu.assertEquals(s.read_file(journal), "xx")
  end,

  ["the fork hooks get the cluster and the worker, and what they raise is the error of start"] = function()
    local seen = {}
    local cluster, address = c.serve("return function(_, res) res:finish(AFTER) end", {
      count = 1,
      before_fork = function(self, worker) table.insert(seen, { self.name, worker.id, worker.pid }) end,
      after_fork = function(self, worker) _G.AFTER = ("%s %d %s"):format(self.name, worker.id, worker.pid ~= nil) end,
    })
    lu.assertEquals(seen, { { "app", 1 } })
    lu.assertEquals(c.ask(address), "app 1 true")
    cluster:stop()
    local other = c.new(c.write(c.APP), { listen = "127.0.0.1:0", before_fork = function() error "not today" end })
    local ok, err = other:start()
    lu.assertNil(ok)
    lu.assertStrContains(tostring(err), "not today")
  end,

  ["messages both ways: to one worker, to all, and from each"] = function()
    local cluster = c.serve [[
      brood.worker:on("message", function(value)
        brood.worker:send { brood.worker.id, brood.worker.slot, brood.worker.cluster, value }
      end)
      return function() end
    ]]
    local got = {}
    cluster:on("message", function(worker, value)
      table.insert(got, worker.id .. ": " .. table.concat(value, " "))
    end)
    cluster:send "all"
    s.wait(function() return #got == 2 end)
    cluster.workers[2]:send "one"
    s.wait(function() return #got == 3 end)
    table.sort(got)
    lu.assertEquals(got, { "1: 1 1 app all", "2: 2 2 app all", "2: 2 2 app one" })
  end,

  ["scale: up at once, down gracefully, to nobody and back, and what it was told while stopped"] = function()
    local cluster, address = c.serve(c.APP)
    lu.assertTrue(cluster:scale(4))
    lu.assertEquals(#cluster.workers, 4)
    c.answering(address, 4)
    lu.assertTrue(cluster:scale(1))
    lu.assertEquals(#cluster.workers, 1)
    lu.assertTrue(cluster:scale(0))
    lu.assertEquals({ #cluster.workers, cluster.state }, { 0, "ready" })
    lu.assertTrue(cluster:scale(2))
    lu.assertEquals(select(2, c.ask(address)), 200)
    cluster:stop()
    lu.assertTrue(cluster:scale(3))
    lu.assertEquals(#cluster.workers, 0)
    cluster:start()
    lu.assertEquals(#cluster.workers, 3)
  end,

  ["kill sends TERM, or what it is told, to every worker; others come in their place"] = function()
    local cluster = c.serve(c.APP)
    local events, pids = c.events(cluster, { exit = true, respawn = true }), c.pids(cluster)
    cluster:kill()
    s.wait(function() return c.count(events, "respawn") == 2 end)
    lu.assertNotEquals(c.pids(cluster)[1], pids[1])
    for _, event in ipairs(events) do
      lu.assertEquals({ event[3], event[4] }, { 0 }) -- TERM is a quick end
    end
    cluster:kill "KILL"
    s.wait(function() return c.count(events, "respawn") == 4 end)
    lu.assertEquals({ events[#events][3], events[#events][4] }, { nil, "KILL" })
    lu.assertEquals(select(2, pcall(cluster.kill, cluster, "NONE")):match "unknown signal.*", "unknown signal 'NONE'")
  end,

  ["the events of a life: online, started, exit, stopping, stopped"] = function()
    local cluster = c.new(c.write(c.APP), { listen = "127.0.0.1:0", count = 1 })
    local events = c.events(cluster)
    cluster:start()
    cluster:stop()
    lu.assertEquals(events, { { "online", 1 }, { "started" }, { "stopping" }, { "exit", 1, 0 }, { "stopped" } })
    cluster:start()
    lu.assertEquals(events[6], { "online", 2 })
  end,

  ["every async method takes a callback"] = function()
    local cluster = c.new(c.write(c.APP), { listen = "127.0.0.1:0", count = 1 })
    for _, call in ipairs { { "start" }, { "restart" }, { "scale", 2 }, { "stop" } } do
      local answered
      local function cb(err) answered = { err } end
      lu.assertNil((cluster[call[1]](cluster, call[2] or cb, call[2] and cb)))
      s.wait(function() return answered end, 10, call[1])
      lu.assertEquals(answered, {})
    end
  end,

  ["access_log gets a line for each request, and USR1 to a worker opens it anew"] = function()
    local path = s.temp_dir() .. "/access.log"
    local cluster, address = c.serve(c.APP, { access_log = path, count = 1 })
    c.ask(address, "/one")
    s.wait(function() return s.exists(path) and s.read_file(path):find "GET /one HTTP/1.1\" 200" end)
    os.rename(path, path .. ".1")
    cluster.workers[1]:kill "USR1"
    s.wait(function() return s.exists(path) end)
    s.wait(function()
      c.ask(address, "/two")
      return s.read_file(path):find "GET /two"
    end)
    cluster:stop()
  end,

  ["a worker that is stuck is killed after timeout, and replaced"] = function()
    local cluster, address = c.serve([[
      return function(req, res) if req.path == "/stuck" then while true do end end res:finish "x" end
    ]], { timeout = 0.3, count = 1 })
    local events = c.events(cluster, { respawn = true })
    brood.async(pcall, s.get, address, "/stuck")
    s.wait(function() return #events == 1 end)
    lu.assertEquals({ events[1][3], events[1][4] }, { nil, "KILL" })
  end,

  ["a command in place of an app: programs on the same sockets, restarted, scaled and stopped as apps are"] = function()
    local cluster = c.new {
      command = { "python3", "-c", SERVER }, listen = "127.0.0.1:0", count = 2, ready = "line", name = "python",
    }
    assert(cluster:start())
    local address = cluster:address()
    c.answering(address, 2)
    local former, heard = c.pids(cluster), {}
    cluster:on("message", function(worker, value) table.insert(heard, { worker.pid, value.you_said }) end)
    cluster.workers[1]:send { word = "hello" }
    s.wait(function() return heard[1] end)
    lu.assertEquals(heard[1], { cluster.workers[1].pid, "hello" })
    lu.assertTrue(cluster:restart())
    s.gone(former)
    lu.assertTrue(cluster:scale(3))
    c.answering(address, 3)
    local pids = c.pids(cluster)
    lu.assertTrue(cluster:stop())
    s.gone(pids)
    local _, err = c.new({ command = { "no-such-program" }, listen = "127.0.0.1:0" }):start()
    lu.assertEquals(err.code, "ENOENT")
    mistake("Cluster.new: option 'args' is for workers with an app", { command = { "x" }, args = { "a" } })
    mistake("Cluster.new: option 'ready' is for workers that are programs", "app.lua", { ready = "line" })
    mistake("Cluster.new: option 'ready' cannot be used: `http` is a path, so `port` or `socket` is needed beside it",
      { command = { "x" }, ready = { http = "/up" } })
    mistake("Cluster.new: option 'watchdog' needs ready = \"notify\": the program says WATCHDOG=1 where it says "
      .. "READY=1", { command = { "x" }, watchdog = 5 })
    mistake("Cluster.new: option 'listen' can have reuseport only with an 'app': programs share one socket",
      { command = { "x" }, listen = { address = 81, reuseport = true } })
    c.new { command = { "x" }, preload = false, timeout = false }
  end,

  ["mistakes raise at the caller's line, with what may be meant"] = function()
    mistake("Cluster.new: unknown option 'lisen' (did you mean 'listen'?)", "app.lua", { lisen = 80 })
    mistake("Cluster.new: unknown option 'processes' (did you mean 'count'?)", "app.lua", { processes = 4 })
    mistake("Cluster.new: unknown option 'respwan' (did you mean 'respawn'?)", "app.lua", { respwan = true })
    mistake("Cluster.new: unknown option 'worker_exit': it is an event here, cluster:on(\"exit\", fn)", "app.lua",
      { worker_exit = print })
    mistake("Cluster.new: unknown option 'pidfile'", "app.lua", { pidfile = "x" })
    mistake('Cluster.new: option \'count\' must be a whole number from 1 to 65535, got "four"', "app.lua",
      { count = "four" })
    mistake("Cluster.new: option 'workers' is 'count' by another name: one of them", "app.lua",
      { count = 1, workers = 2 })
    mistake("Cluster.new: unknown option 'backoff.max_dely' (did you mean 'max_delay'?)", "app.lua",
      { backoff = { max_dely = 1 } })
    mistake("Cluster.new: option 'listen[2]' is the same address as 'listen[1]'", "app.lua",
      { listen = { "127.0.0.1:1", "127.0.0.1:1" } })
    mistake("Cluster.new: option 'preload' needs 'listen': an app that listens itself does so in each worker",
      "app.lua", { preload = true })
    mistake("Cluster.new: option 'max_memory_gain' must be a number of at least 1, or false, got 0.5", "app.lua",
      { max_memory_gain = 0.5 })
    mistake("Cluster.new: the path of an app is needed, or a table of options with `app`, got nil")
    mistake("Cluster.new: the options must be a table, got string", "app.lua", "x")
    mistake("Cluster.new: option 'app' is missing: it must be the path of a Lua file", {})
    local at = debug.getinfo(1, "l").currentline + 1
    local _, err = pcall(function() Cluster.new("app.lua", { count = 0 }) end)
    lu.assertStrContains(err, "cluster_script.lua:" .. at .. ": Cluster.new: option 'count'")
    local cluster = Cluster.new("app.lua")
    lu.assertStrContains(select(2, pcall(function() cluster:scale(-1) end)), "cluster_script.lua:")
    lu.assertStrContains(select(2, pcall(function() cluster:each(1) end)), "cluster_script.lua:")
  end,

  ["a script that has made a cluster carries neither the master nor the rules of its config"] = function()
    local result = s.script([[
      local Cluster = require "brood.cluster"
      local f = io.open("app.lua", "w") f:write "return function(_, res) res:finish 'x' end" f:close()
      local cluster = Cluster.new("app.lua", { listen = "127.0.0.1:0", count = 1 })
      assert(cluster:start())
      for name in pairs(package.loaded) do
        if name:find "^brood%.master" or name:find "^brood%.rules%.schema" or name:find "^brood%.cli%.run" then
          print(name)
        end
      end
      cluster:stop()
    ]], {}, { cwd = s.temp_dir() }):finish(10)
    lu.assertEquals({ result.stdout, result.stderr, result.code }, { "", "", 0 })
  end,
}
