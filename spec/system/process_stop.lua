--- How a process ends: asked first, killed then, and its whole group with it.
local lu = require "luaunit"
local s = require "spec.support"
local p = require "spec.support.process"

local LOOP = "while :; do sleep 0.02; done"

-- Start it, and wait for the pids that it prints, one a line.
local function started(text, options, count)
  local lines = p.lines()
  options = options or {}
  options.stdout = lines.add
  local process = p.sh(text, options)
  lu.assertTrue(process:start())
  s.wait(function() return #lines >= (count or 1) end, 10, "the first lines")
  local pids = {}
  for i = 1, count or 1 do
    pids[i] = tonumber(lines[i])
  end
  return process, pids, lines
end

local function timed_stop(process)
  local seconds, ok = s.timed(process.stop, process)
  lu.assertTrue(ok)
  return seconds
end

local function none_alive(pids)
  for _, pid in ipairs(pids) do
    lu.assertFalse(s.alive(pid), "still alive: " .. pid)
  end
end

return {
  teardown = p.cleanup,

  ["stop sends TERM, and the program may finish its work"] = function()
    local process, _, lines = started('trap "echo bye; exit 3" TERM; echo 1; ' .. LOOP)
    timed_stop(process)
    lu.assertEquals({ process.exit_code, process.exit_signal, lines[2] }, { 3, nil, "bye" })
  end,

  ["stop_signal is another signal, by name or number"] = function()
    for _, signal in ipairs { "INT", "SIGINT", 2 } do
      local process = started('trap "exit 4" INT; echo 1; ' .. LOOP, { stop_signal = signal })
      timed_stop(process)
      lu.assertEquals(process.exit_code, 4)
    end
  end,

  ["one that ignores it is killed after stop_timeout, not before"] = function()
    local process = started('trap "" TERM; echo 1; ' .. LOOP, { stop_timeout = "300ms" })
    local seconds = timed_stop(process)
    lu.assertEquals(process.exit_signal, "KILL")
    lu.assertTrue(seconds >= 0.3 and seconds < 5)
  end,

  ["stop_timeout = 0 kills at once"] = function()
    local process = started('trap "exit 3" TERM; echo 1; ' .. LOOP, { stop_timeout = 0 })
    lu.assertTrue(timed_stop(process) < 1 * s.slow)
    lu.assertEquals(process.exit_signal, "KILL")
  end,

  ["stop_timeout = false never kills"] = function()
    local process, pids = started('trap "" TERM; echo $$; ' .. LOOP, { stop_timeout = false })
    local stop = p.call(process, "stop")
    s.remains(function() return stop.answers == 0 and s.alive(pids[1]) end, 0.3)
    process:kill_now()
    p.answered(stop)
    lu.assertEquals(process.exit_signal, "KILL")
  end,

  ["a stopped program gets the signal all the same"] = function()
    local process = started('trap "exit 5" TERM; echo 1; ' .. LOOP)
    process:signal "STOP"
    s.wait(function() return s.stat(process.pid).state == "T" end)
    timed_stop(process)
    lu.assertEquals(process.exit_code, 5)
  end,

  ["the whole group is asked, and stop waits for all of it"] = function()
    local process, pids = started([[
      sh -c 'trap "sleep 0.3; exit 0" TERM; echo $$; while :; do sleep 0.02; done' &
      sh -c 'echo $$; exec sleep 60' &
      wait
    ]], nil, 2)
    timed_stop(process)
    none_alive(pids)
    lu.assertEquals(process.exit_signal, "TERM")
  end,

  ["a grandchild that ignores TERM is killed when the patience is over"] = function()
    local process, pids = started([[
      sh -c 'trap "" TERM; echo $$; while :; do sleep 0.02; done' &
      wait
    ]], { stop_timeout = 0.3 })
    local seconds = timed_stop(process)
    none_alive(pids)
    lu.assertTrue(seconds >= 0.3 and seconds < 5)
    lu.assertEquals(process.exit_signal, "TERM")
  end,

  ["what a program leaves of its group when it ends by itself is killed"] = function()
    local left = [[(trap "" TERM HUP; echo $(exec sh -c "echo \$PPID"); sleep 60) & sleep 0.05; exit 2]]
    local process, pids = started(left)
    lu.assertEquals({ process:wait() }, { 2 })
    none_alive(pids)
  end,

  ["a child that has left the group with setsid is not the process's any more"] = function()
    local process, pids = started 'setsid sh -c "echo \\$\\$; exec sleep 60" & wait'
    lu.assertTrue(timed_stop(process) < 2 * s.slow)
    lu.assertTrue(s.alive(pids[1]))
    require("brood.posix").kill(pids[1], "KILL")
    s.wait(function() return not s.stat(pids[1]) end, 5, "the orphan to be reaped")
  end,

  ["kill_group = false leaves the rest of its family alone"] = function()
    local process, pids = started("sleep 60 & echo $!; wait", { kill_group = false })
    lu.assertEquals(s.stat(process.pid).group, s.stat(s.child_pids()[1]).group)
    timed_stop(process)
    lu.assertTrue(s.alive(pids[1]))
    require("brood.posix").kill(pids[1], "KILL")
    s.wait(function() return not s.alive(pids[1]) end)
    -- It was of our own process group, where popen's and others' children are: only its parent may reap it.
    require("brood.posix").waitpid(pids[1])
  end,

  ["a process leads a group of its own"] = function()
    local process = started "echo 1; sleep 60"
    lu.assertEquals(s.stat(process.pid).group, process.pid)
  end,

  ["stdin = 'inherit' leaves it in ours"] = function()
    local process = started("echo 1; sleep 60", { stdin = "inherit" })
    lu.assertEquals(s.stat(process.pid).group, s.stat(require("luv").os_getpid()).group)
    process:kill_now()
    process:wait()
    for pid in pairs(s.children()) do
      require("brood.posix").kill(pid, "KILL")
      require("brood.posix").waitpid(pid)
    end
  end,

  ["all who ask for a stop are answered, once"] = function()
    local process = started('trap "sleep 0.1; exit 0" TERM; echo 1; ' .. LOOP)
    local first, second, wait = p.call(process, "stop"), p.call(process, "stop"), p.call(process, "wait")
    p.answered(first, second, wait)
    lu.assertEquals({ first.err, second.err, wait.values }, { nil, nil, { 0 } })
  end,

  ["hurry shortens the patience of a stop that is under way"] = function()
    local process = started('trap "" TERM; trap "exit 7" INT; echo 1; ' .. LOOP, { stop_timeout = 60 })
    local stop = p.call(process, "stop")
    process:hurry(2, 5)
    p.answered(stop)
    lu.assertEquals(process.exit_code, 7)
  end,

  ["a timed out stop of many processes ends them all"] = function()
    local calls, pids = {}, {}
    for i = 1, 20 do
      local process = p.sh('trap "" TERM; ' .. LOOP, { stop_timeout = 0.2 })
      process:start()
      pids[i] = process.pid
      calls[i] = p.call(process, "stop")
    end
    p.answered(unpack(calls))
    none_alive(pids)
  end,
}
