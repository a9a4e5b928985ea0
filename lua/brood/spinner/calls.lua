--- What can be asked of a service: start, stop, restart, touch; and what comes of itself: a changed file, too much
--- memory, the end of a fault. What each means in which state says rules/service_states; each call is answered once.
local clock = require "brood.clock"
local E = require "brood.error"
local lazy = require "brood.lazy"
local log = require "brood.log"
local outcome = require "brood.spinner.outcome"
local answer = require("brood.spinner.life").answer
local task = require "brood.task"

local care = lazy.room "brood.spinner.care"
local tandem = lazy.room "brood.spinner.tandem"

---@class brood.Service
local Calls = {}

local function add(self, list, done)
  if done then
    self[list] = self[list] or {}
    table.insert(self[list], done)
  end
end

--- It is used now.
function Calls:use()
  self.touched = clock.now()
end

--- Somebody wants it to run. done(err, port).
---@param done? fun(err: brood.Error?, port: integer|string|true?)
---@param soon? boolean not before the caller could say what it listens to
function Calls:begin_start(done, soon)
  local action = self:to("start")
  self:use()
  if action == "answer" then
    return done and done(nil, self:value())
  elseif action == "try" then
    local left = self.fault_until - clock.now()
    -- (Where another one before it was at fault, that one says whether it is to be tried again.)
    local own_fault = rawget(self.error, "waits_for") == nil
    if left > 0 and own_fault and not (self.spinner.inner.supervised and self.options.autostart ~= false) then
      return done and done(outcome.refusal(self, left))
    end
    self:set_state("starting")
    action = "launch"
  end
  add(self, "starters", done)
  if action == "later" then
    self.later = self.later or "started"
  elseif action == "launch" then
    outcome.forgive(self)
    self:launch("started", soon)
  end
end

--- Somebody wants it to end: why is for last_exit. done().
---@param done? fun(err: brood.Error?)
---@param why? string
function Calls:begin_stop(done, why)
  local action = self:to(why == "idle" and "idle" or "stop")
  if action == "ignored" then
    return done and done()
  elseif action == "answer" then
    self.error = nil
    care.leave(self)
    if self.fault_until then
      self.fault_until = nil
      self:emit "stopped"
    end
    return done and done()
  end
  add(self, "stoppers", done)
  self.asked = self.asked or why or "stop"
  care.leave(self)
  local early = self:take("starters")
  if action == "join" then
    self.later = nil
    return early[1] and answer(early, E.new("stopped", "%s was stopped", self.name))
  end
  self.later, self.stale, self.doom, self.reason = nil, nil, nil, nil
  self.cancelled = early
  self.port, self.listening = nil, nil
  self:cancel_wait()
  self:each_run(function(run) run:stop() end)
  if self.asked then
    self:settle_when_empty()
  end
end

-- Another run in place of this one, for that reason; what it means in this state says the table.
local function renew(self, event, why)
  local action = self:to(event)
  if action == "launch" then
    self:launch(event == "restart" and "started" or "restarted")
  elseif action == "later" then
    self.later = "restarted"
  elseif action == "anew" then
    self.attempt, self.reason = 0, why
    if self.run then
      self.stale = true
      self.run:stop()
    else
      self:cancel_wait()
      self:launch(self.kind)
    end
  elseif action == "renew" and self.options.tandem then
    self.reason = why
    tandem.begin(self)
  elseif action == "renew" then
    self.later = "restarted"
    self:wind_down(why)
  end
  return action
end

--- Somebody wants another run. done(err, port).
---@param done? fun(err: brood.Error?, port: integer|string|true?)
function Calls:begin_restart(done)
  outcome.forgive(self)
  self:use()
  add(self, "starters", done)
  renew(self, "restart", "restart")
end

--- done(err): code "stopped" where it does not run.
---@param done? fun(err: brood.Error?)
function Calls:begin_touch(done)
  if self:to("touch") == "refuse" then
    return done and done(E.new("stopped", "%s does not run: it is %s", self.name, self.state))
  end
  self:use()
  return done and done()
end

--- A file that it depends on has changed.
---@param path string
function Calls:changed(path)
  outcome.forgive(self)
  if not self.spinner.inner.quiet then
    local what = path == self.name and "" or ": " .. path
    log.info(("%s%s has changed: it is started again"):format(self.name, what))
  end
  renew(self, "change", "change")
end

--- It takes too much, or does not answer: another run, as far as there is one now.
---@param why "memory"|"health"
---@param err brood.Error
function Calls:due(why, err)
  if self.state ~= "ready" or self.successor then
    return -- another one is on its way
  end
  if why == "health" then
    local what, fault = outcome.count_death(self, err)
    if what == "faulted" then
      self.doom = fault
      return self:wind_down(why)
    end
  end
  log.warn(err.message .. ": it is restarted")
  renew(self, "due", why)
end

--- It was faulted for long enough, and is to run.
function Calls:retry()
  if self:to("retry") == "launch" then
    self:launch("restarted")
  end
end

--- Start it, as spinner:start does.
---@async
---@param cb? fun(err: brood.Error?, port: integer|string|true?)
---@return integer|string|true? port, brood.Error? err
function Calls:start(cb)
  return task.run(cb, "service:start", function(done) self:begin_start(done) end)
end

--- Stop it, as spinner:stop does.
---@async
---@param cb? fun(err: brood.Error?)
---@return true? ok, brood.Error? err
function Calls:stop(cb)
  return task.run(cb, "service:stop", function(done) self:begin_stop(done) end)
end

--- Another run in place of this one, or the first.
---@async
---@param cb? fun(err: brood.Error?, port: integer|string|true?)
---@return integer|string|true? port, brood.Error? err
function Calls:restart(cb)
  return task.run(cb, "service:restart", function(done) self:begin_restart(done) end)
end

--- It is used: `idle` counts from now.
---@async
---@param cb? fun(err: brood.Error?)
---@return true? ok, brood.Error? err
function Calls:touch(cb)
  return task.run(cb, "service:touch", function(done) self:begin_touch(done) end)
end

-- ---- what is said to its process ------------------------------------------------------------------------------------

local function process_of(self)
  local run = self.run
  local process = run and run.process
  if process and process.pid then
    return process
  end
  return nil, E.new("stopped", "%s does not run", self.name)
end

--- Send a signal to its process.
---@param signal string|integer
---@return true? ok, brood.Error? err code "stopped" where it does not run
function Calls:signal(signal)
  local process, err = process_of(self)
  if not process then
    return nil, err
  end
  return process:signal(signal)
end

--- Send a message to one with ready = "channel".
---@param value any
---@param fd? integer
---@return boolean? sent, brood.Error? err
function Calls:send(value, fd)
  local process, err = process_of(self)
  if not process then
    return nil, err
  end
  return process:send(value, fd)
end

--- Write to its stdin (stdin = "pipe").
---@async
---@param data string
---@param cb? fun(err: brood.Error?)
---@return true? ok, brood.Error? err
function Calls:write(data, cb)
  return task.run(cb, "service:write", function(done)
    local process, err = process_of(self)
    if not process then
      return done(err)
    end
    process:write(data, done)
  end)
end

--- It reads the end of file from its stdin.
---@async
---@param cb? fun(err: brood.Error?)
---@return true? ok, brood.Error? err
function Calls:close_stdin(cb)
  return task.run(cb, "service:close_stdin", function(done)
    local process, err = process_of(self)
    if not process then
      return done(err)
    end
    process:close_stdin(done)
  end)
end

return Calls
