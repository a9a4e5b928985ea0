--- One supervised process: a program, or a Lua function in a forked child. It
--- knows how to start, watch, talk to and end it. Whether and when to start it
--- again is the business of those above (group and what composes groups).
---
--- One incarnation is a *run*: its child, pipes, channel and timers. They belong
--- to the run, so that a late event never hits the successor.
local clock = require "brood.clock"
local E = require "brood.error"
local emitter = require "brood.emitter"
local ending = require "brood.process.ending"
local signals = require "brood.signals"
local spawn = require "brood.process.spawn"
local states = require "brood.rules.states"
local supervised = require "brood.supervised"
local task = require "brood.task"
local timer = require "brood.timer"

---@class brood.Process: brood.Emitter
---@field name string
---@field pid integer? while it runs
---@field state "stopped"|"starting"|"ready"|"busy"|"stopping"|"faulted"
---@field exit_code integer? of the last run
---@field exit_signal string? of the last run, as "KILL"
---@field started_at number? when the last run began, in seconds since 1970
local Process = emitter.mixin {}
Process.__index = Process

local M = { class = Process }

local last_id = 0

--- Describe a process; nothing is started yet.
---@param given brood.ProcessOptions
---@param inner? table what only brood's own rooms pass: keep (descriptors for a forked child), prepare (fn in it),
--- raw_output (pieces in place of lines), level (of the stack to blame for a mistake)
---@return brood.Process
function M.new(given, inner)
  local checked = spawn.check(given, inner and inner.level or 2)
  for name, value in pairs(inner or {}) do
    checked[name] = value
  end
  last_id = last_id + 1
  return setmetatable({
    options = checked,
    name = checked.name or (checked.command and checked.command[1]:match("[^/]*$")) or "process" .. last_id,
    state = "stopped",
    starters = {}, stoppers = {}, waiters = {}, next_starters = {},
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

local function answer(list, ...)
  for _, done in ipairs(list) do
    done(...)
  end
end

local launch

-- The end of a run, whatever ended it: the one place that leaves it.
local function finish(self, run, code, signum)
  local started, old_state = #self.starters > 0, self.state
  ending.close(run)
  supervised.remove(self)
  self.run, self.pid = nil, nil
  self.exit_code, self.exit_signal = code, signum and signals.name(signum) or nil
  -- Taken first: a listener may well start it again at once.
  local starters, stoppers, waiters = self.starters, self.stoppers, self.waiters
  self.starters, self.stoppers, self.waiters = {}, {}, {}
  to(self, "ended")
  if started then
    answer(starters, run.failure or spawn.early_end(self, old_state == "stopping" and run.stop_asked))
  end
  if run.proc then
    self:emit("exit", self.exit_code, self.exit_signal)
    answer(waiters, nil, self.exit_code, self.exit_signal)
  else
    answer(waiters, run.failure)
  end
  answer(stoppers)
  if #self.next_starters > 0 and self.state == "stopped" then
    self.starters, self.next_starters = self.next_starters, {}
    launch(self)
  end
end

-- The leader has exited: see to its group, its channel and its pipes, then finish.
local function on_exit(self, run)
  if run.peer then
    run.peer:read_now()
  end
  to(self, "exited")
  ending.reap(self, run, function(code, signum)
    finish(self, run, code, signum)
  end)
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
  spawn.arm_watchdog(self, run)
  to(self, "ready")
  local starters = self.starters
  self.starters = {}
  answer(starters)
end

-- Nothing runs (yet): the start ends with err.
local function never_started(self, run, err)
  run.failure = err
  run.outputs = run.outputs or {}
  finish(self, run)
end

function launch(self)
  -- The run is there before anybody hears of it: a listener may stop it at once.
  local run = { outputs = {} }
  self.run = run
  self.started_at = clock.unix()
  self.exit_code, self.exit_signal = nil, nil
  to(self, "start")
  task.spawn(function()
    spawn.before(self, run, function(err)
      if run.stop_asked then
        return never_started(self, run, E.new("stopped", "%s was stopped before it had started", self.name))
      elseif err then
        return never_started(self, run, err)
      end
      local ok
      ok, err = spawn.start(self, run)
      if not ok then
        return never_started(self, run, err)
      end
      self.pid = run.proc:pid()
      supervised.add(self)
      if to(self, "spawned") == "terminate" then
        ending.terminate(self, run)
      end
      run.proc:watch(function()
        on_exit(self, run)
      end)
      spawn.await_ready(self, run, function(why)
        if why then
          fail_start(self, run, why)
        else
          became_ready(self, run)
        end
      end)
      local patience = self.options.start_timeout
      if patience and self.state == "starting" and self.run == run then
        run.extend = function(seconds)
          if run.start_timer then
            run.start_timer:cancel()
          end
          run.start_timer = timer.after(seconds, function()
            fail_start(self, run, E.new("timeout", "%s was not ready within %s s", self.name, patience))
          end)
        end
        run.extend(patience)
      end
    end)
  end)
end

--- Start it; returns true once it is ready. While it starts this joins, while it stops it starts afterwards.
---@async
---@param cb? fun(err: brood.Error?)
function Process:start(cb)
  return task.run(cb, "process:start", function(done)
    local _, action = states.next(self.state, "start")
    if action == "answer" then
      return done()
    end
    table.insert(action == "later" and self.next_starters or self.starters, done)
    if action == "launch" then
      launch(self)
    end
  end)
end

--- Stop it: stop_signal to the whole group, KILL after stop_timeout. Returns true once nothing of it is left.
---@async
---@param cb? fun(err: brood.Error?)
function Process:stop(cb)
  return task.run(cb, "process:stop", function(done)
    local later = self.next_starters
    self.next_starters = {}
    answer(later, E.new("stopped", "%s was stopped", self.name))
    local _, action = states.next(self.state, "stop")
    if action == "answer" then
      to(self, "stop")
      return done()
    end
    table.insert(self.stoppers, done)
    local run = self.run
    run.stop_asked = true
    to(self, "stop")
    if action == "terminate" then
      ending.terminate(self, run)
    end
  end)
end

--- Stop it if it runs, then start it.
---@async
---@param cb? fun(err: brood.Error?)
function Process:restart(cb)
  return task.run(cb, "process:restart", function(done)
    self:stop(function()
      self:start(done)
    end)
  end)
end

--- Wait until it has ended: its code and signal. When it does not run, those of the last run at once.
---@async
---@param cb? fun(err: brood.Error?, code: integer?, signal: string?)
---@return integer? code, string|brood.Error? signal
function Process:wait(cb)
  return task.run(cb, "process:wait", function(done)
    if self.run then
      table.insert(self.waiters, done)
    elseif self.exit_code or self.exit_signal then
      done(nil, self.exit_code, self.exit_signal)
    else
      done(E.new("stopped", "%s has not been started", self.name))
    end
  end)
end

--- Send a signal to the process itself, not to its group.
---@param signal string|number
---@return true? ok, brood.Error? err
function Process:signal(signal)
  local number = signals.check(signal, 2)
  local run = self.run
  if not run or not run.proc then
    return nil, E.new("stopped", "%s does not run", self.name)
  end
  return run.proc:signal(number)
end

--- From now on it ends sooner: another signal, and KILL after so many seconds, also when it is stopping already.
---@param signal integer
---@param patience number
function Process:hurry(signal, patience)
  self.options.stop_signal, self.options.stop_timeout = signal, patience
  local run = self.run
  if self.state == "stopping" and run and run.proc and not run.killed then
    ending.terminate(self, run)
  end
end

--- KILL it and its group at once; the exit is reported as ever.
function Process:kill_now()
  local run = self.run
  if run and run.proc then
    run.stop_asked = true
    ending.kill(run)
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

--- Send a message to a child that has a channel.
---@param value any
---@param fd? integer
---@return boolean? sent, brood.Error? err
function Process:send(value, fd)
  local run = self.run
  if not run or not run.peer then
    return nil, E.new("stopped", "%s has no channel or does not run", self.name)
  end
  return run.peer:send(value, fd)
end

--- Write to its stdin (`stdin = "pipe"`); returns when the pipe has taken it.
---@async
---@param data string
---@param cb? fun(err: brood.Error?)
function Process:write(data, cb)
  if type(data) ~= "string" then
    error("process:write: the data must be a string, got " .. type(data), 2)
  end
  return task.run(cb, "process:write", function(done)
    local stdin = self.run and self.run.stdin
    if not stdin or stdin:is_closing() then
      return done(E.new("closed", "the stdin of %s is closed", self.name))
    end
    local ok, why, code = stdin:write(data, function(err)
      done(err and E.new(err:match("^%u+") or err, "writing to %s: %s", self.name, err))
    end)
    if not ok then
      done(E.new(code, "writing to %s: %s", self.name, why))
    end
  end)
end

--- Close its stdin, once all that was written is out: it reads the end of file.
---@async
---@param cb? fun(err: brood.Error?)
function Process:close_stdin(cb)
  return task.run(cb, "process:close_stdin", function(done)
    local run = self.run
    local stdin = run and run.stdin
    if not stdin or stdin:is_closing() then
      return done()
    end
    run.stdin = nil
    stdin:shutdown(function()
      stdin:close()
      done()
    end)
  end)
end

-- A listener of `message` may be what its channel has been keeping messages for.
function Process:on_listen()
  if self.run and self.run.peer then
    self.run.peer:listening()
  end
end

M.run = function(...)
  return require("brood.process.run")(...)
end


return M
