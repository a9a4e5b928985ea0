--- Processes that stand still together, as under a debugger, Ctrl-Z or a suspended machine, are not blamed for it;
--- one that stands still alone is.
local lu = require "luaunit"
local masters = require "spec.support.master"
local s = require "spec.support"
local uv = require "luv"

local APP = [[
local brood = require "brood"
local uv = require "luv"
local function begun()
  io.open("begun", "w"):close()
end
return function(req, res)
  local seconds = tonumber(req.path:match "^/sleep/(.*)")
  if seconds then
    begun()
    brood.sleep(seconds)
  elseif req.path == "/busy" then
    begun()
    local till = uv.hrtime() + 0.5e9
    while uv.hrtime() < till do end
  elseif req.path == "/loop" then
    begun()
    while true do end
  end
  res:finish "done"
end]]

local function start(config, app, workers)
  return masters.start { app = app or APP, workers = workers or 2, config = config .. [[,
    worker_exit = function(_, worker, code, signal) note("exit", worker.id, tostring(signal), worker.reason) end]] }
end

local function everybody(master)
  return { master.program.pid, unpack(s.child_pids(master.program.pid)) }
end

-- All of them at once, for so long; who goes on first differs.
local function stop_all(master, seconds, backwards)
  local pids = everybody(master)
  for _, pid in ipairs(pids) do
    uv.kill(pid, "sigstop")
  end
  s.remains(function() return s.alive(pids[1]) end, seconds)
  for i = 1, #pids do
    uv.kill(pids[backwards and #pids + 1 - i or i], "sigcont")
  end
  return pids
end

local function unharmed(master)
  lu.assertNotStrContains(master:log(), "KILL")
  lu.assertNotStrContains(master:log(), "was not ready within")
end

return {
  ["a stop of all while workers start is not counted in start_timeout"] = function()
    for _, backwards in ipairs { false, true } do
      local master = start("start_timeout = 0.8", "require('brood').sleep(0.4)\n" .. APP)
      s.wait(function() return #s.child_pids(master.program.pid) == 2 end)
      stop_all(master, 1.2, backwards)
      lu.assertEquals(master:get().body, "done")
      lu.assertEquals(master:notes(), "")
      unharmed(master)
    end
  end,

  ["nor is it in graceful_timeout, whether it is shorter or longer than that"] = function()
    for _, seconds in ipairs { 0.8, 2.5 } do
      local master = start "graceful_timeout = 1.5"
      local socket = master:begin("/sleep/0.9")
      master.program:kill "QUIT"
      master.program:expect "stopping gracefully"
      stop_all(master, seconds)
      lu.assertEquals(socket:response().body, "done")
      lu.assertEquals(master.program:wait(), 0)
      unharmed(master)
    end
  end,

  ["nor in the timeout of workers that are busy, idle or finishing after a reload"] = function()
    local master = start "timeout = 0.8, graceful_timeout = 20"
    local slow = master:begin("/sleep/2.5")
    master.program:kill "HUP"
    master.program:expect "reloaded in"
    os.remove(master.dir .. "/begun")
    local busy = master:begin("/busy")
    for _, backwards in ipairs { true, false } do
      local pids = stop_all(master, 1.2, backwards)
      s.remains(function() return s.alive(pids[1]) end, 0.3)
    end
    lu.assertEquals(busy:response().body, "done")
    lu.assertEquals(slow:response().body, "done")
    unharmed(master)
    lu.assertEquals(select(2, master:log():gsub("timeout", "")), 0, master:log())
  end,

  ["one worker that is stopped in a request is warned about at half, killed, and its request is named"] = function()
    local master = start("timeout = 1", nil, 1)
    local pid = master:pids()[1]
    master:begin("/busy")
    uv.kill(pid, "sigstop")
    local seconds = s.timed(master.noted, master, "exit 1 KILL (timeout)")
    lu.assertTrue(seconds >= 0.8 and seconds < 1.3 + 2 * s.slow, seconds)
    lu.assertStrMatches(master:log(), ".*warn  [^\n]*has been stuck for [%d.]+ s %(its event loop does not turn, "
      .. "in GET /busy, begun [%d.]+ s ago%): it is killed at 1 s\n.*")
    lu.assertStrMatches(master:log(), ".*error [^\n]*stuck for [%d.]+ s [^\n]*in GET /busy, begun [%d.]+ s ago%): "
      .. "timeout is 1 s: KILL\n.*")
    lu.assertEquals(master:get().body, "done")
  end,

  ["one that waits for something in a request is found stopped, and a sibling serves meanwhile"] = function()
    local master = start("timeout = 1", nil, 2)
    local pids = master:pids()
    uv.kill(pids[1], "sigstop")
    local seconds = s.timed(master.noted, master, "exit 1 KILL (timeout)")
    lu.assertTrue(seconds >= 0.9 and seconds < 1.3 + 2 * s.slow, seconds)
    lu.assertStrContains(master:log(), "it is stopped by a signal): timeout is 1 s: KILL")
    lu.assertNotStrContains(master:notes(), "exit 2")
    lu.assertEquals(master:get().body, "done")
  end,

  ["several that are stuck at once are all killed and replaced"] = function()
    local master = start("timeout = 0.8", nil, 3)
    for _, pid in ipairs(master:pids()) do
      uv.kill(pid, "sigstop")
    end
    for id = 1, 3 do
      master:noted("exit " .. id .. " KILL (timeout)")
    end
    master:ready(3)
    lu.assertEquals(master:get().body, "done")
  end,

  ["after the master is killed, those that linger or finish after a reload go as well, a stuck one too"] = function()
    local master = start "graceful_timeout = 1, timeout = 60"
    local idle = s.connect(master:address())
    idle:send "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    lu.assertEquals(idle:response().body, "done")
    master:begin("/loop")
    master.program:kill "HUP"
    master.program:expect "reloaded in"
    local pids = s.child_pids(master.program.pid)
    lu.assertTrue(#pids >= 3, #pids)
    local at = master.at
    master.program:kill "KILL"
    master.program:wait()
    local second = masters.start { config = ("listen = %q"):format(at) }
    lu.assertEquals(second:get().body, "hello\n")
    s.gone(pids, 4 * s.slow)
    lu.assertEquals(second:stop "TERM", 0)
    os.remove(master.control)
  end,
}
