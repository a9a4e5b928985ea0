--- One supervised process: a program, or a Lua function in a forked child. It
--- knows how to start, watch, talk to and end it. Whether and when to start it
--- again is the business of those above (group and what composes groups).
---
--- One incarnation is a *run*: its child, pipes, channel and timers. They belong
--- to the run, so that a late event never hits the successor.
local clock = require "brood.clock"
local core = require "brood.core"
local E = require "brood.error"
local emitter = require "brood.emitter"
local ending = require "brood.process.ending"
local fork = require "brood.fork"
local lazy = require "brood.lazy"
local ours = require "brood.ours"
local signals = require "brood.signals"
local spawn = require "brood.process.spawn"
local states = require "brood.rules.states"
local supervised = require "brood.supervised"
local task = require "brood.task"
local timer = require "brood.timer"

local by_template = lazy.room "brood.process.by_template"
local notify = lazy.room "brood.process.notify"

---@class brood.Process: brood.Emitter
---@field name string
---@field pid integer? while it runs
---@field state "stopped"|"starting"|"ready"|"busy"|"stopping"|"faulted"
---@field exit_code integer? of the last run
---@field exit_signal string? of the last run, as "KILL"
---@field status_text string? what it last said of itself (sd_notify's STATUS)
---@field started_at number? when the last run began, in seconds since 1970
local Process = emitter.mixin {}
Process.__index = Process
for _, methods in ipairs { require "brood.process.talk", require "brood.process.sooner" } do
  for name, method in pairs(methods) do
    Process[name] = method
  end
end

local M = { class = Process }

local last_id = 0

--- Describe a process; nothing is started yet.
---@param given brood.ProcessOptions
---@param inner? table what only brood's own rooms pass: keep (descriptors for a forked child), prepare (fn in it),
--- raw (streams whose function gets pieces in place of lines), leader_alone (it alone is asked to end, its group is
--- killed behind it), level (of the stack to blame for a mistake), what (is to blame, for the message), more (options),
--- where (fn that may tell what a start has not come beyond), busy (fn that may tell what it is doing when it is killed
--- at the end of its patience), limit_name (what whoever set that patience calls it), sockets (passed to a program as
--- LISTEN_FDS: fd and name), program (what is executed, in place of the command's first word), environ (in place of our
--- own environment), frames (what to do with frames of brood's own, by name), target (the emitter of its messages;
--- the process), lua (a program that is a script of ours, and may supervise others), attach (fn(process, run) makes
--- `peer` of `our_channel`, where a program's channel speaks no frames), talks (it has a channel, whatever makes it
--- ready), guard (how many seconds a Lua child may go on
--- when we are gone; stop_timeout)
---@return brood.Process
function M.new(given, inner)
  inner = inner or {}
  local checked = spawn.check(given, inner.level or 2, inner.what or "Process.new", inner.more)
  for name, value in pairs(inner) do
    checked[name] = value
  end
  return M.make(checked)
end

--- The same of options that are checked already (process.spawn's check), `inner` among them.
---@param checked table
---@return brood.Process
function M.make(checked)
  last_id = last_id + 1
  return setmetatable({
    options = checked,
    name = checked.name or (checked.command and checked.command[1]:match("[^/]*$")) or "process" .. last_id,
    state = "stopped",
  }, Process)
end

-- Every change of state comes through here: the table says what the event means.
local function to(self, event)
  local old = self.state
  local new, action = states.next(old, event)
  self.state = new
  if new ~= old then
    self:emit(new)
    self:emit("state", new, old)
  end
  return action
end

-- Those who wait for something are in lists, which are there only while somebody waits: there may be thousands of
-- processes.
local function wait_in(self, list, done)
  local waiting = self[list]
  if waiting then
    waiting[#waiting + 1] = done
  else
    self[list] = { done }
  end
end

local function take(self, list)
  local waiting = self[list]
  if waiting then
    self[list] = nil
  end
  return waiting
end

local function answer(list, ...)
  if list then
    for i = 1, #list do
      list[i](...)
    end
  end
end

local begin_start

local function stopped_early(self)
  return E.new("stopped", "%s was stopped before it was ready", self.name)
end

-- The end of a run, whatever ended it: the one place that leaves it.
local function finish(self, run, code, signum)
  local signal = signum and signals.name(signum) or nil
  ending.close(run)
  supervised.remove(self)
  self.run, self.pid = nil, nil
  if code then
    self.exit_code = code
  elseif signal then
    self.exit_signal = signal
  end
  -- Taken first: a listener may well start it again at once.
  local starters, stoppers = take(self, "starters"), take(self, "stoppers")
  local waiters, next_starters = take(self, "waiters"), take(self, "next_starters")
  to(self, "ended")
  if starters then
    answer(starters, run.failure or run.stop_asked and stopped_early(self) or spawn.early_end(self.name, code, signal))
  elseif run.failure then
    self:emit("error", run.failure) -- nobody else would hear of it
  end
  if run.proc then
    self:emit("exit", code, signal)
    answer(waiters, nil, code, signal)
  elseif waiters then
    answer(waiters, run.failure or stopped_early(self))
  end
  answer(stoppers)
  for _, done in ipairs(next_starters or {}) do
    begin_start(self, done)
  end
end

-- The leader has exited: see to its group, its channel and its pipes, then finish.
local function on_exit(run)
  local self = run.process
  if run.peer then
    run.peer:read_now()
  end
  to(self, "exited")
  ending.reap(self, run, finish)
end

local function fail_start(self, run, err)
  if self.run ~= run or self.state ~= "starting" then
    return
  end
  run.failure = run.failure or err
  to(self, "start_failed")
  ending.terminate(self, run)
end

local function became_ready(self, run)
  if self.run ~= run or self.state ~= "starting" then
    return
  end
  ending.cancel_timers(run)
  if run.notify then
    notify.arm_watchdog(self, run)
  end
  to(self, "ready")
  answer(take(self, "starters"))
end

-- start_timeout, which the child may put off while it starts, as stop_timeout while it stops.
local function arm_start_timeout(self, run)
  local patience = self.options.start_timeout
  local deadline
  local function arm(seconds)
    if run.start_timer then
      run.start_timer:cancel()
    end
    deadline = clock.now() + seconds
    run.start_timer = timer.patience(seconds, function()
      fail_start(self, run, E.new("timeout", "%s was not ready within %s s%s", self.name, patience, spawn.where(self)))
    end)
  end
  if patience then
    arm(patience)
  end
  run.extend = function(seconds)
    if self.state == "stopping" then
      ending.extend(self, run, seconds)
    elseif self.state == "starting" and deadline and clock.now() + seconds > deadline then
      arm(seconds)
    end
  end
end

local make

-- Nothing runs (yet): the start ends with err.
local function never_started(self, run, err)
  run.failure = err
  finish(self, run)
end

local function spawned(self, run)
  self.pid = run.proc:pid()
  supervised.add(self)
  local called_off = to(self, "spawned") == "terminate"
  local watched, err = run.proc:watch(on_exit, run)
  if not watched then
    -- Nobody would hear of its end: it ends now.
    run.failure = run.failure or E.of(self.name, err)
    ending.kill(run)
    fork.wait_for_end(self.pid)
    return on_exit(run)
  elseif called_off then
    return ending.kill(run) -- it has not begun with anything
  elseif self.options.spawned then
    self.options.spawned()
  end
  if spawn.is_ready(self) then
    return became_ready(self, run)
  end
  arm_start_timeout(self, run)
  spawn.await_ready(self, run, function(why)
    if why then
      fail_start(self, run, why)
    else
      became_ready(self, run)
    end
  end)
end

-- Whoever waits for the start must hear of it, whatever goes wrong in there.
function make(self, run)
  local starter = self.options.template and by_template or spawn
  local whole, ok, why = xpcall(starter.start, task.on_raise, self, run, function(err, vain)
    if err then
      return never_started(self, run, err)
    elseif not vain then
      return spawned(self, run)
    elseif run.stop_asked then
      return never_started(self, run, stopped_early(self))
    end
    by_template.start_over(run)
    run.direct = true
    make(self, run)
  end)
  if not whole or not ok then
    return never_started(self, run, whole and why or ok)
  elseif ok ~= "later" then
    spawned(self, run)
  end
end

local function launch(self)
  -- The run is there before anybody hears of it: a listener may stop it at once.
  local run = { process = self, born = core.generation() }
  self.run = run
  self.started_at = clock.unix()
  -- (What was never there is not set either: that would take its place in the table.)
  if self.exit_code or self.exit_signal then
    self.exit_code, self.exit_signal = nil, nil
  end
  if self.status_text then
    self.status_text = nil
  end
  to(self, "start")
  task.spawn(function()
    spawn.before(self, run, function(err)
      if run.stop_asked then
        return never_started(self, run, stopped_early(self))
      elseif err then
        return never_started(self, run, err)
      end
      make(self, run)
    end)
  end)
end

function begin_start(self, done)
  local _, action = states.next(self.state, "start")
  if action == "answer" then
    return done()
  end
  wait_in(self, action == "later" and "next_starters" or "starters", done)
  if action == "launch" then
    launch(self)
  end
end

-- What is under way ends; who waits for its end is the caller's business. Returns false where nothing is.
local function begin_stop(self)
  local _, action = states.next(self.state, "stop")
  local run = self.run
  if action ~= "answer" then
    run.stop_asked = true
  end
  to(self, "stop")
  if action == "terminate" then
    ending.terminate(self, run)
  elseif action == "join" then
    ending.limit_readers(self, run)
  end
  return action ~= "answer"
end

--- A task that waits for the end, for want of a callback, must not be what the end waits for.
---@param cb? function
function Process:excuse_reader(cb)
  if not cb and self.run then
    for _, output in ipairs(self.run.outputs or {}) do
      output:excuse()
    end
  end
end

--- Start it; returns true once it is ready. While it starts this joins, while it stops it starts afterwards.
---@async
---@param cb? fun(err: brood.Error?)
function Process:start(cb)
  return task.run(cb, "process:start", function(done)
    if self.state == "stopping" then
      self:excuse_reader(cb)
    end
    begin_start(self, done)
  end)
end

--- `stop` for those who hear of its end otherwise.
function Process:begin_stop()
  local later = take(self, "next_starters")
  begin_stop(self)
  if later then
    answer(later, E.new("stopped", "%s was stopped", self.name))
  end
end

--- Stop it: stop_signal to the whole group, KILL after stop_timeout. Returns true once nothing of it is left.
---@async
---@param cb? fun(err: brood.Error?)
function Process:stop(cb)
  return task.run(cb, "process:stop", function(done)
    local later = take(self, "next_starters")
    if self.run then
      wait_in(self, "stoppers", done)
      self:excuse_reader(cb)
    end
    if not begin_stop(self) then
      done()
    end
    if later then
      answer(later, E.new("stopped", "%s was stopped", self.name))
    end
  end)
end

--- Stop it if it runs, then start it.
---@async
---@param cb? fun(err: brood.Error?)
function Process:restart(cb)
  return task.run(cb, "process:restart", function(done)
    if self.run then
      wait_in(self, "next_starters", done)
      self:excuse_reader(cb)
    end
    if not begin_stop(self) then
      begin_start(self, done)
    end
  end)
end

--- Wait until it has ended: its code and signal. When it does not run, those of the last run at once.
---@async
---@param cb? fun(err: brood.Error?, code: integer?, signal: string?)
---@return integer? code, string|brood.Error? signal
function Process:wait(cb)
  return task.run(cb, "process:wait", function(done)
    if self.run then
      wait_in(self, "waiters", done)
      self:excuse_reader(cb)
    elseif self.exit_code or self.exit_signal then
      done(nil, self.exit_code, self.exit_signal)
    else
      done(E.new("stopped", "%s has not been started", self.name))
    end
  end)
end

--- Its start has failed, as it says itself: it is ended.
---@param err brood.Error
function Process:fail(err)
  if self.run then
    fail_start(self, self.run, err)
  end
end

--- KILL it and its group at once; the exit is reported as ever.
function Process:kill_now()
  local run = self.run
  if run then
    run.stop_asked = true
    to(self, "kill")
    if run.proc then
      ending.kill(run)
    end
  end
end

--- Mark it busy (it works on something) or ready again. Only the two of them change into each other.
---@param busy boolean
function Process:set_busy(busy)
  to(self, busy and "work" or "rest")
end

--- Mark it faulted: it keeps failing, and whoever looks after it has given up.
---@param err brood.Error
function Process:fault(err)
  if to(self, "fault") == "report" then
    self:emit("error", err)
  end
end

-- One that runs is a child of the process that has started it; a fork of that may start another one that does not.
ours.guard(Process, "process", { "start", "stop", "restart", "wait", "signal", "send", "write", "close_stdin" },
  function(self) return type(self) == "table" and self.start == Process.start end,
  function(self) return self.run and self.run.born ~= core.generation() end)

function M.run(...) return require("brood.process.run")(...) end

return M
