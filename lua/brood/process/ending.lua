--- How a run ends: asked, killed, reaped, and waited for until its group is
--- empty and its pipes are read. Whether it should end is not decided here.
local clock = require "brood.clock"
local core = require "brood.core"
local join = require "brood.join"
local log = require "brood.log"
local signals = require "brood.signals"
local supervised = require "brood.supervised"
local timer = require "brood.timer"

local M = {}

local KILL, CONT = 9, 18
-- After a KILL the members of a group go within milliseconds; how often to look, in seconds.
local LOOK_FIRST, LOOK_LONGEST = 0.002, 0.1
local COMPLAIN = 5 -- seconds after which a group that is not empty is worth a line in the log

local TIMERS = { "start_timer", "stop_timer", "watchdog", "readers_timer" }
local HANDLES = { "peer", "notify", "stdin", "proc" }

local now = clock.now

--- Nothing that was to happen to this run later happens any more.
---@param run table
function M.cancel_timers(run)
  for i = 1, #TIMERS do
    local name = TIMERS[i]
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
  for i = 1, #HANDLES do
    local handle = run[HANDLES[i]]
    if handle then
      handle:close()
    end
  end
  run.stdin = nil
end

local function signal(run, number)
  if run.grouped then
    return run.proc:signal_group(number)
  end
  return run.proc:signal(number)
end

--- KILL it, and its group.
---@param run table
function M.kill(run)
  run.killed = true
  local ok, err = signal(run, KILL)
  if not ok and err.code ~= "ESRCH" then
    log.error(("KILL: %s"):format(err)) -- a program that has changed its user, and we are not root
  end
end

--- A Lua child is dead: what it looked after is killed, whatever its own end has left of that. Only where it died
--- unasked its own Lua children are left to hear of that, and to end in their own way and time.
---@param run table proc
---@param all boolean
function M.end_wards(run, all)
  run.wards = core.process.end_wards(run.proc:pid(), all)
end

-- Whether nothing is left of its group and of what it looked after. Whoever of those dies leaves us what it looked
-- after itself.
local function is_empty(run)
  local left
  if run.wards and next(run.wards) then
    left = {}
    for group in pairs(run.wards) do
      core.process.ward_left(group, left)
    end
    run.wards = left
  end
  return not (left and next(left)) and not (run.grouped and run.proc:group_alive())
end

--- Whether nothing is left of a killed run; reaps what it can. For a process that is ending itself.
---@param run table
---@return boolean
function M.is_gone(run)
  if not run.reaped then
    local _, _, err = run.proc:reap()
    run.reaped = not err
    if run.reaped then
      M.end_wards(run, true)
    end
  end
  return run.reaped and is_empty(run)
end

-- Whose patience is over.
local function limit_text(options)
  return options.hurried or ("%s is %g s"):format(options.limit_name or "stop_timeout", options.stop_timeout)
end

local function busy_text(options)
  local text = options.busy and options.busy()
  return text and ", " .. text or ""
end

-- KILL after so many seconds, if it is still there.
local function arm_kill(process, run, patience)
  if run.stop_timer then
    run.stop_timer:cancel()
  end
  run.deadline = now() + patience
  run.stop_timer = timer.patience(patience, function()
    local seconds = now() - run.asked_at
    log.warn(("%s: still there %.1f s after %s (%s)%s: KILL"):format(process.name, seconds, signals.name(run.asked),
      limit_text(process.options), busy_text(process.options)))
    M.kill(run)
  end)
end

--- It asks for more time to stop.
---@param process brood.Process
---@param run table
---@param seconds number from now on
function M.extend(process, run, seconds)
  if run.stop_timer and now() + seconds > run.deadline then
    arm_kill(process, run, seconds)
  end
end

--- stop_timeout has changed while it stops: it counts from now on.
---@param process brood.Process
---@param run table
function M.limit(process, run)
  local patience = process.options.stop_timeout
  if run.killed or not run.asked then
    return
  elseif patience == 0 then
    M.kill(run)
  elseif patience then
    arm_kill(process, run, patience)
  elseif run.stop_timer then
    run.stop_timer:cancel()
    run.stop_timer = nil
  end
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
  run.asked, run.asked_at, run.deadline = number, now(), nil
  if process.options.leader_alone then
    run.proc:signal(number) -- what the others do may be what it has to finish
  else
    signal(run, number)
  end
  signal(run, CONT) -- one that is stopped would not see it otherwise
  if patience then
    arm_kill(process, run, patience)
  end
end

--- It was told to end and has ended, but a reader has not taken all its output: that may take as long as the
--- end itself, and no longer.
---@param process brood.Process
---@param run table
function M.limit_readers(process, run)
  local patience = process.options.stop_timeout
  if run.reaped and run.outputs and patience and not run.readers_timer then
    run.readers_timer = timer.after(patience, function()
      for _, output in ipairs(run.outputs or {}) do
        output:excuse(true)
      end
    end)
  end
end

local function close_outputs(run, done)
  local all = join.new(done)
  for _, output in ipairs(run.outputs or {}) do
    output:close(all:branch())
  end
  all.all_begun()
end

--- Call empty() once nobody is left of it: looked at whenever a child of ours ends, and now and then.
---@param process {name: string}
---@param run table proc, killed, grouped, wards
---@param empty fun()
function M.await_group(process, run, empty)
  if is_empty(run) then
    return empty()
  end
  local wait, since = LOOK_FIRST, now()
  local waiting, look
  local function look_later()
    waiting = timer.after(wait, look)
    wait = math.min(LOOK_LONGEST, wait * 2)
  end
  function look()
    waiting:cancel()
    if is_empty(run) then
      supervised.unwatch_children(look)
      return empty()
    end
    if run.killed and now() - since > COMPLAIN then
      since = now()
      log.warn(("%s: its process group %d is not empty %d s after KILL"):format(process.name, run.proc:pid(), COMPLAIN))
    end
    look_later()
  end
  supervised.watch_children(look)
  look_later()
end

--- The leader has exited: take its status, end what is left of its group, read
--- what is left in its pipes. gone(process, run, code, signum) when there is nothing more.
---@param process brood.Process
---@param run table
---@param gone fun(process: brood.Process, run: table, code: integer?, signum: integer?)
function M.reap(process, run, gone)
  -- Where its turn is over already, or the others were never asked, the rest of its group goes with it.
  local asked = run.asked and not run.killed and not process.options.leader_alone
  M.cancel_timers(run)
  if run.grouped and not asked then
    -- The zombie still holds the number, so this cannot hit a stranger.
    M.kill(run)
  end
  if process.options.main then
    M.end_wards(run, run.stop_asked or run.asked ~= nil)
  end
  local code, signum, err = run.proc:reap()
  run.reaped = true
  if err then
    log.error(("%s: %s"):format(process.name, err))
  end
  local empty_already = is_empty(run)
  if empty_already and not run.outputs then
    return gone(process, run, code, signum)
  end
  local function empty()
    if run.stop_asked then
      M.limit_readers(process, run)
    end
    close_outputs(run, function()
      gone(process, run, code, signum)
    end)
  end
  if empty_already then
    return empty()
  end
  if asked and run.deadline and run.grouped then
    -- The rest of the group was asked as well, and has what is left of the same patience.
    arm_kill(process, run, math.max(0, run.deadline - now()))
  end
  M.await_group(process, run, empty)
end

return M
