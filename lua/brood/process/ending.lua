--- How a run ends: asked, killed, reaped, and waited for until its group is
--- empty and its pipes are read. Whether it should end is not decided here.
local clock = require "brood.clock"
local log = require "brood.log"
local signals = require "brood.signals"
local supervised = require "brood.supervised"
local timer = require "brood.timer"

local M = {}

local KILL, CONT = 9, 18
-- After a KILL the members of a group go within milliseconds; how often to look, in seconds.
local LOOK_FIRST, LOOK_LONGEST = 0.002, 0.1
local COMPLAIN = 5 -- seconds after which a group that is not empty is worth a line in the log

local now = clock.now

--- Nothing that was to happen to this run later happens any more.
---@param run table
function M.cancel_timers(run)
  for _, name in ipairs { "start_timer", "stop_timer", "watchdog" } do
    if run[name] then
      run[name]:cancel()
      run[name] = nil
    end
  end
  if run.give_up_waiting then
    run.give_up_waiting()
    run.give_up_waiting = nil
  end
end

--- Let go of what we hold of the child.
---@param run table
function M.close(run)
  M.cancel_timers(run)
  for _, name in ipairs { "peer", "notify", "stdin", "proc" } do
    if run[name] then
      run[name]:close()
    end
  end
  run.stdin = nil
end

local function signal(run, number)
  if run.grouped then
    run.proc:signal_group(number)
  else
    run.proc:signal(number)
  end
end

--- KILL it, and its group.
---@param run table
function M.kill(run)
  run.killed = true
  signal(run, KILL)
end

--- Ask the child to end, and KILL it when it has not after stop_timeout.
---@param process brood.Process
---@param run table
function M.terminate(process, run)
  local patience, number = process.options.stop_timeout, process.options.stop_signal
  if not run.proc then
    return -- still on its way to being started: the start sees that it was called off
  end
  M.cancel_timers(run)
  if patience == 0 then
    return M.kill(run)
  end
  run.asked = true
  signal(run, number)
  signal(run, CONT) -- one that is stopped would not see it otherwise
  if patience then
    run.deadline = now() + patience
    run.stop_timer = timer.after(patience, function()
      log.warn(("%s: still running %s s after %s: KILL"):format(process.name, patience, signals.name(number)))
      M.kill(run)
    end)
  end
end

local function close_outputs(run, done)
  local waiting = #run.outputs + 1
  local function one_less()
    waiting = waiting - 1
    if waiting == 0 then
      done()
    end
  end
  for _, output in ipairs(run.outputs) do
    output:close(one_less)
  end
  one_less()
end

-- Call empty() once nobody is left in the group: looked at whenever a child of ours ends, and now and then.
local function await_group(process, run, empty)
  local wait, waiting, since = LOOK_FIRST, nil, now()
  local function look()
    if waiting then
      waiting:cancel()
      waiting = nil
    end
    if not run.proc:group_alive() then
      supervised.unwatch_children(look)
      return empty()
    end
    if run.killed and now() - since > COMPLAIN then
      since = now()
      log.warn(("%s: its process group %d is not empty %d s after KILL"):format(process.name, run.proc:pid(), COMPLAIN))
    end
    waiting = timer.after(wait, look)
    wait = math.min(LOOK_LONGEST, wait * 2)
  end
  supervised.watch_children(look)
  look()
end

--- The leader has exited: take its status, end what is left of its group, read
--- what is left in its pipes. gone(code, signum) when there is nothing more.
---@param process brood.Process
---@param run table
---@param gone fun(code: integer?, signum: integer?)
function M.reap(process, run, gone)
  local asked = run.asked and not run.killed
  M.cancel_timers(run)
  if run.grouped and not asked then
    -- The zombie still holds the number, so this cannot hit a stranger.
    M.kill(run)
  end
  local code, signum, err = run.proc:reap()
  if err then
    log.error(("%s: %s"):format(process.name, err))
  end
  local function empty()
    close_outputs(run, function()
      gone(code, signum)
    end)
  end
  if not run.grouped then
    return empty()
  end
  if asked and run.deadline then
    -- The rest of the group was asked as well, and has what is left of the same patience.
    run.stop_timer = timer.after(run.deadline - now(), function()
      M.kill(run)
    end)
  end
  await_group(process, run, empty)
end

return M
