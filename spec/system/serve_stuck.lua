--- Workers whose event loop does not turn: `timeout` finds and replaces them, and nobody else.
local lu = require "luaunit"
local masters = require "spec.support.master"
local s = require "spec.support"
local uv = require "luv"

local APP = [[
local brood, posix = require "brood", require "brood.posix"
local uv = require "luv"
local function busy(seconds)
  local till = uv.hrtime() + seconds * 1e9
  while uv.hrtime() < till do end
end
local function begun()
  io.open("begun", "w"):close()
end
local ways = {
  ["/loop"] = function() while true do end end,
  ["/read"] = function() local r = posix.pipe() posix.read(r, 1) end,
  ["/execute"] = function() os.execute "sleep 60" end,
  ["/later"] = function() brood.sleep(0.3) while true do end end,
  ["/nap"] = function() brood.sleep(3) end,
  ["/spawned"] = function() brood.async(function() brood.sleep(0.01) while true do end end) brood.sleep(60) end,
  ["/busy"] = function() begun() busy(0.6) end,
}
return function(req, res)
  if ways[req.path] then begun() ways[req.path]() end
  res:finish(tostring(brood.worker.id))
end]]

local function start(config, workers)
  return masters.start { app = APP, workers = workers or 1, config = (config or "") .. [[,
    worker_exit = function(_, worker, code, signal) note("exit", worker.id, tostring(signal), worker.reason) end]] }
end

-- Send a request and do not wait for its answer.
local function ask(master, path)
  local socket = s.connect(master:address())
  socket:send(("GET %s HTTP/1.1\r\nHost: x\r\n\r\n"):format(path))
  return socket
end

local function count(text, pattern)
  return select(2, text:gsub(pattern, ""))
end

local function signal_all(pids, signal)
  for _, pid in ipairs(pids) do
    uv.kill(pid, signal)
  end
end

return {
  ["a handler that loops, blocks in a read or in another program is warned about, killed and replaced"] = function()
    for _, path in ipairs { "/loop", "/read", "/execute", "/later" } do
      local master = start "timeout = 0.6"
      local pid = master:pids()[1]
      local socket = ask(master, path)
      local seconds = s.timed(socket.receive_all, socket)
      lu.assertTrue(seconds >= 0.55 and seconds < 0.6 + 2 * s.slow, path .. " " .. seconds)
      master:noted "exit 1 KILL (timeout)"
      local named = ("web: worker 1 %%(pid %d%%) has been stuck for [%%d.]+ s %%(its event loop does not turn, "
        .. "in GET %s, begun [%%d.]+ s ago%%): "):format(pid, path)
      lu.assertEquals(count(master:log(), "warn  [^\n]*" .. named .. "it is killed at 0.6 s\n"), 1, master:log())
      lu.assertEquals(count(master:log(), "error [^\n]*" .. named .. "timeout is 0.6 s: KILL\n"), 1, master:log())
      lu.assertStrContains(master:log(), "ended: killed by KILL (timeout)")
      lu.assertEquals(master:get().body, "2")
      lu.assertEquals(master:stop "QUIT", 0)
    end
  end,

  ["it names the request that goes on, not the one that came last"] = function()
    local master = start "timeout = 1.2"
    ask(master, "/later")
    s.wait(function() return s.exists(master.dir .. "/begun") end)
    lu.assertEquals(s.get(master:address(), "/other").body, "1")
    master:noted "exit 1 KILL (timeout)"
    lu.assertStrMatches(master:log(), ".*in GET /later, begun 1%.[3-9] s ago.*")
  end,

  ["a task that a handler started is its request's as well"] = function()
    local master = start "timeout = 0.4"
    ask(master, "/spawned")
    master:noted "exit 1 KILL (timeout)"
    lu.assertStrContains(master:log(), "in GET /spawned")
  end,

  ["what is stuck outside of any request is not blamed on one"] = function()
    local master = masters.start { workers = 1, config = "timeout = 0.4", app = [[
      local brood = require "brood"
      return { server = function(req, res) res:finish "it" end, start = function()
        brood.async(function() brood.sleep(0.3) while true do end end)
      end }]] }
    lu.assertEquals(master:get().body, "it")
    master.program:expect "worker 1 [^\n]*%(its event loop does not turn%): timeout"
  end,

  ["requests that wait, and turns shorter than the timeout, are left alone"] = function()
    local master = start("timeout = 1", 2)
    local nap = ask(master, "/nap")
    for _ = 1, 3 do
      lu.assertEquals(s.get(master:address(), "/busy").status, 200)
    end
    lu.assertEquals(nap:response().status, 200)
    lu.assertNotStrContains(master:notes(), "exit")
    lu.assertNotStrContains(master:log(), "KILL")
  end,

  ["timeout = false lets a worker be stuck"] = function()
    local master = start "timeout = false"
    local socket = ask(master, "/execute")
    s.remains(function() return not socket.eof end, 0.5)
    lu.assertNotStrContains(master:log(), "stuck")
  end,

  ["an idle worker that is stopped is found, and one that goes on in time is not killed"] = function()
    local master = start("timeout = 1", 1)
    local pid = master:pids()[1]
    uv.kill(pid, "sigstop")
    master.program:expect "it is stopped by a signal%): it is killed at 1 s"
    uv.kill(pid, "sigcont")
    lu.assertEquals(master:get().body, "1")
    s.remains(function() return s.alive(pid) end, 1.2, "the worker that went on")
    uv.kill(pid, "sigstop")
    local seconds = s.timed(master.noted, master, "exit 1 KILL (timeout)")
    lu.assertTrue(seconds >= 0.9 and seconds < 1.25 + 2 * s.slow, seconds)
    lu.assertEquals(master:get().body, "2")
  end,

  ["a worker that is told to go and is stuck is killed after timeout, whatever its graceful_timeout"] = function()
    local master = start "timeout = 0.4, graceful_timeout = false"
    ask(master, "/loop")
    s.wait(function() return s.exists(master.dir .. "/begun") end)
    local code, _, seconds = master:stop "QUIT"
    lu.assertEquals(code, 0)
    lu.assertTrue(seconds < 3 * s.slow, seconds)
    lu.assertEquals(master:notes(), "exit 1 KILL stop\n")
  end,

  ["a stop of all processes, and going on, kills nobody"] = function()
    local master = start("timeout = 1", 2)
    local pids = master:pids()
    table.insert(pids, 1, master.program.pid)
    local socket = ask(master, "/busy")
    s.wait(function() return s.exists(master.dir .. "/begun") end)
    signal_all(pids, "sigstop")
    s.remains(function() return s.alive(pids[2]) end, 2)
    signal_all(pids, "sigcont")
    lu.assertEquals(socket:response().status, 200)
    s.remains(function() return master:notes() == "" end, 1, "a life without exits")
    lu.assertNotStrContains(master:log(), "KILL")
  end,

  ["a master that comes late forgives the time, and kills what goes on being stuck"] = function()
    local master = start "timeout = 1"
    ask(master, "/loop")
    s.wait(function() return s.exists(master.dir .. "/begun") end)
    uv.kill(master.program.pid, "sigstop")
    s.remains(function() return master:notes() == "" end, 2)
    uv.kill(master.program.pid, "sigcont")
    local seconds = s.timed(master.noted, master, "exit 1 KILL (timeout)")
    lu.assertTrue(seconds > 0.4 and seconds < 1.5 + 2 * s.slow, seconds)
  end,

  ["a start that blocks is start_timeout's business"] = function()
    local master = masters.start { workers = 1, config = "timeout = 0.2, start_timeout = 0.5",
      app = "return { server = function() end, start = function() while true do end end }" }
    lu.assertEquals(master.program:wait(30), 1)
    lu.assertStrContains(master:log(), "was not ready within 0.5 s")
    lu.assertNotStrContains(master:log(), "stuck")
  end,

  ["an idle worker is never woken for it, and the master four times in a timeout"] = function()
    local master = start("timeout = 4", 2)
    local pids = master:pids()
    local function quiet() return s.alive(pids[1]) and s.alive(pids[2]) end
    s.remains(quiet, 0.5)
    local function sleeps(pid)
      return tonumber(s.status_field(pid, "voluntary_ctxt_switches"))
    end
    local before = { sleeps(master.program.pid), sleeps(pids[1]), sleeps(pids[2]) }
    s.remains(quiet, 2.2)
    lu.assertEquals({ sleeps(pids[1]), sleeps(pids[2]) }, { before[2], before[3] })
    local woken = sleeps(master.program.pid) - before[1]
    lu.assertTrue(woken >= 1 and woken <= 3, woken)
  end,
}
