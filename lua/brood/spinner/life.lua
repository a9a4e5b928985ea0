--- The life of a service between its calls: what follows when a run of it is ready, dies, or is gone. The table is
--- rules/service_states, the rule after a death spinner.outcome's; who calls, and why, is spinner.calls' business.
local clock = require "brood.clock"
local E = require "brood.error"
local emitter = require "brood.emitter"
local lazy = require "brood.lazy"
local log = require "brood.log"
local outcome = require "brood.spinner.outcome"
local runs = require "brood.spinner.run"
local states = require "brood.rules.service_states"
local timer = require "brood.timer"

local care = lazy.room "brood.spinner.care"
local tandem = lazy.room "brood.spinner.tandem"

---@class brood.Service
local Life = {}

local M = { methods = Life }

--- It is in that state now; whoever wants to hear of it does.
---@param new brood.ServiceState
function Life:set_state(new)
  local old = self.state
  self.state = new
  if new ~= old then
    self:emit("state", new, old)
  end
end

--- What the event means, by the table: the state changes, the action is the caller's.
---@param event string
---@return brood.ServiceAction
function Life:to(event)
  local new, action = states.next(self.state, event)
  self:set_state(new)
  return action
end

local NOBODY = {}

--- Those who wait in a list wait no longer; a listener may well let others wait there.
---@param list "starters"|"stoppers"|"cancelled"
---@return function[] not to be changed
function Life:take(list)
  local waiting = self[list]
  if not waiting then
    return NOBODY
  end
  self[list] = nil
  return waiting
end

--- All of them hear this.
---@param waiting function[]
function M.answer(waiting, ...)
  for _, done in ipairs(waiting) do
    done(...)
  end
end
local answer = M.answer

-- The log has it already.
local function tell_error(self, err)
  if emitter.has_listener(self, "error") or emitter.has_listener(self, "*") then
    self:emit("error", err)
  end
end

local function stopped_early(self)
  return E.new("stopped", "%s was stopped before it was ready", self.name)
end

--- What was to happen to it in a while does not.
function Life:cancel_wait()
  timer.drop(self, "waiting")
end

local function is_empty(self)
  return not self.run and not self.successor and not (self.leaving and next(self.leaving))
end

--- Its run is to end, and it is not to be used any more.
---@param why string
function Life:wind_down(why)
  care.pause(self)
  self:set_state("stopping")
  self.port, self.listening, self.reason = nil, nil, why
  self.run:stop()
end

-- ---- the ends of a life ---------------------------------------------------------------------------------------------

-- Nothing is left of it, and nothing follows by itself.
local function rest(self, finished)
  local asked = self.asked
  self.asked, self.finished = nil, finished
  if asked or not finished then
    care.leave(self)
  else
    care.rest(self) -- a change starts it again
  end
  local cancelled, stoppers = self:take("cancelled"), self:take("stoppers")
  local starters = finished and self:take("starters") or NOBODY
  self:set_state("stopped")
  self:emit "stopped"
  if cancelled[1] then
    answer(cancelled, stopped_early(self))
  end
  answer(starters, nil, true)
  answer(stoppers)
end

--- It keeps failing, and is not started again until somebody asks, its files change, or so much time has gone by.
---@param err brood.Error
---@param final? boolean it was to run once: only who asks starts it again, at any time
function Life:fault(err, final)
  self.error, self.asked = err, nil
  self.final, self.fault_until = final, clock.now() + (final and 0 or self.options.fault_timeout)
  care.faulted(self)
  if not (self.spinner.inner.quiet or self.spinner.inner.tells_faults or self.starters) then
    log.warn(err.message) -- nobody waits who would hear of it
  end
  local starters, stoppers = self:take("starters"), self:take("stoppers")
  self:set_state("faulted")
  self:emit("faulted", err)
  answer(starters, err)
  answer(stoppers)
end

-- ---- starting -------------------------------------------------------------------------------------------------------

local function begin_run(self)
  if self.next_options then
    self.options, self.next_options, self.plan = self.next_options, nil, nil
  end
  local run = runs.new(self)
  self.run = run
  run:begin()
end

--- The first attempt of a start.
---@param kind "started"|"restarted"
---@param soon? boolean not before the caller could say what it listens to
function Life:launch(kind, soon)
  self.kind, self.later, self.attempt = kind, nil, 0
  self.finished, self.doom, self.stale, self.bad_port = nil, nil, nil, nil
  care.watch_files(self)
  if soon then
    self.waiting = timer.after(0, function()
      self.waiting = nil
      self:launch(kind)
    end)
    return
  elseif kind == "restarted" or not (self.options.after or {})[1] then
    return begin_run(self)
  end
  local turn = {}
  self.waiting = { cancel = function() turn.over = true end }
  self.spinner:await_before(self, function(err)
    if turn.over then
      return
    end
    self.waiting = nil
    if err then
      return self:fault(err)
    end
    begin_run(self)
  end)
end

--- What a start returns, while it is ready.
---@return integer|string|true
function Life:value()
  return self.port or true
end

--- The run is ready (or another one beside it).
---@param run brood.ServiceRun
function Life:up(run)
  if run == self.successor then
    tandem.up(self, run)
  elseif self:to("up") == "announce" then
    self:announce(run)
  end
end

--- This run is what the service is now.
---@param run brood.ServiceRun
function Life:announce(run)
  self.port, self.listening = run.port, run.listening
  self.started_at, self.ready_at = clock.unix(), clock.now()
  self.error, self.attempt, self.stale, self.reason = nil, 0, nil, nil
  if self.kind == "restarted" then
    self.restarts = self.restarts + 1
  end
  self:use()
  care.ready(self)
  local starters, port = self:take("starters"), self:value()
  self:emit(self.kind, port)
  answer(starters, nil, port)
end

local function attempts_text(self)
  local n = self.options.attempts
  return n == 1 and "its start has failed" or ("faulted after %d failed starts"):format(n)
end

-- Another attempt would be in vain. What is to run is tried again later; what is on demand, when it is asked for.
local function give_up(self, err, why)
  local on_demand = not self.spinner.inner.supervised or self.options.autostart == false
  if not on_demand or why == "ever" then
    return self:fault(err, on_demand)
  elseif not (self.starters or self.spinner.inner.quiet) then
    log.warn(err.message)
  end
  self.error, self.asked = err, nil
  care.leave(self)
  local starters, stoppers = self:take("starters"), self:take("stoppers")
  self:set_state("stopped")
  self:emit "stopped"
  answer(starters, err)
  answer(stoppers)
end

-- An attempt has failed.
local function again(self, err, run)
  if run.hopeless then
    return give_up(self, err, run.hopeless)
  end
  self.attempt = self.attempt + 1
  if self.attempt >= self.options.attempts then
    return self:fault(outcome.copy(err, ("%s: %s: %s"):format(self.name, attempts_text(self),
      outcome.without_name(self, err))))
  end
  self.error = err
  log.debug(("%s: attempt %d of %d: %s"):format(self.name, self.attempt, self.options.attempts, err.message))
  self.waiting = timer.after(outcome.attempt_delay(self.attempt), function()
    self.waiting = nil
    begin_run(self)
  end)
end

-- ---- ends of runs ---------------------------------------------------------------------------------------------------

-- What comes after a run that has died unasked.
local function after_death(self, run)
  local what, err, delay = outcome.of_death(self, run)
  if what == "stopped" then
    return rest(self, true)
  elseif what == "faulted" then
    return self:fault(err, self.options.restart == false)
  end
  if not self.spinner.inner.quiet then
    log.warn(("%s: it is started again%s"):format(err.message, delay > 0 and (" in %.2g s"):format(delay) or ""))
  end
  tell_error(self, err)
  if self.state ~= "stopping" then
    return -- a listener has seen to it
  end
  self:set_state("starting")
  if delay <= 0 then
    return self:launch("restarted")
  end
  self.kind = "restarted"
  self.waiting = timer.after(delay, function()
    self.waiting = nil
    self:launch("restarted")
  end)
end

-- Nothing is left of what was to end.
local function settle(self, run)
  local later = self.later
  run, self.died = self.died or run, nil
  if self.asked then
    rest(self)
    if later and self.state == "stopped" then
      self:set_state("starting")
      self:launch(later)
    end
  elseif later then
    self:set_state("starting")
    self:launch(later)
  elseif self.doom then
    self:fault(self.doom)
  else
    after_death(self, run)
  end
end

--- Its run begins to end, unasked.
---@param run brood.ServiceRun
function Life:dying(run)
  if run ~= self.run then
    return
  end
  care.pause(self)
  self:cancel_wait()
  if self.successor and self.state == "ready" then
    return tandem.promote(self) -- the other one is on its way already
  end
  self:to("dying")
  self.port, self.listening = nil, nil
end

--- Nothing is left of a run.
---@param run brood.ServiceRun
---@param err brood.Error? why it could not become ready
function Life:down(run, err)
  self.last_exit = outcome.last_exit(self, run, err) or self.last_exit
  if run.began then
    self:emit("exit", run.process.exit_code, run.process.exit_signal)
  end
  if run == self.successor then
    return tandem.down(self, run, err)
  elseif self.leaving and self.leaving[run] then
    self.leaving[run] = nil
    return self:settle_when_empty(run)
  elseif run ~= self.run then
    return
  end
  self.run, self.port, self.listening = nil, nil, nil
  if self.state == "starting" then
    if self.stale then
      return self:launch(self.kind)
    elseif outcome.is_done(self, run) then
      self:to("done")
      return rest(self, true)
    end
    self:to("failed")
    return again(self, err, run)
  end
  self:to("ended")
  self.died = run
  self:settle_when_empty(run)
end

--- One that ends does what follows, once nothing of it is left.
---@param run? brood.ServiceRun the last
function Life:settle_when_empty(run)
  if self.state == "stopping" and is_empty(self) then
    settle(self, run)
  end
end

--- Those who wait for another run hear that there is none.
---@param err brood.Error
function Life:refuse_starters(err)
  self.reason = nil
  local starters = self:take("starters")
  tell_error(self, err)
  answer(starters, err)
end

--- Its run is one that is not ready yet.
---@param stale boolean? and not what is wanted any more
function Life:begin_again(stale)
  self.port, self.listening, self.kind, self.attempt, self.stale = nil, nil, "restarted", 0, stale
  self:set_state("starting")
end

return M
