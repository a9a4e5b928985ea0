--- What the end of a service's run means: how it is told, whether another one follows, and when. The rule is
--- rules/restart's; a service only hears what it says.
local clock = require "brood.clock"
local E = require "brood.error"
local restart = require "brood.rules.restart"

local M = {}

local ATTEMPTS = { delay = 0.1, max_delay = 5, factor = 2, jitter = 0, immediate = 0 }
-- One that is never faulted, however often it dies, must not take all of a cpu.
local NEVER_FAULTED = { delay = 0.1, max_delay = 30, immediate = 5, stable_after = 10 }

--- The wait after so many failed starts in a row.
---@param attempt integer
---@return number seconds
function M.attempt_delay(attempt)
  return restart.delay(ATTEMPTS, attempt)
end

--- What it says, where the name stands before it already.
---@param service brood.Service
---@param err brood.Error
---@return string
function M.without_name(service, err)
  local text, name = err.message, service.name
  if text:sub(1, #name + 2) == name .. ": " then
    return text:sub(#name + 3)
  end
  return text:sub(1, #name + 1) == name .. " " and "it" .. text:sub(#name + 1) or text
end

--- The same error with another message; a script's own may have fields of its own.
---@param err brood.Error
---@param message string
---@return brood.Error
function M.copy(err, message)
  local other = E.new(err.code, "%s", message)
  for name, value in pairs(err) do
    if rawget(other, name) == nil then
      other[name] = value
    end
  end
  local traceback, former = rawget(err, "traceback"), err.message
  if type(traceback) == "string" and traceback:sub(1, #former) == former then
    other.traceback = message .. traceback:sub(#former + 1)
  end
  return other
end

local function how(name, code, signal)
  if signal then
    return ("%s was killed by %s"):format(name, signal)
  end
  return ("%s ended with status %s"):format(name, tostring(code))
end

local function ended(service, code, signal)
  local err = E.new("exit", "%s", how(service.name, code, signal))
  err.exit_code, err.exit_signal = code, signal
  return err
end

--- What is kept of an end.
---@param service brood.Service
---@param run brood.ServiceRun
---@param err brood.Error?
---@return brood.LastExit? none where nothing ever ran
function M.last_exit(service, run, err)
  local process = run.process
  local code, signal = process and process.exit_code, process and process.exit_signal
  if not code and not signal then
    return nil
  end
  local why = run.why or service.asked or service.reason
  if not why then
    why = err and "start" or code == 0 and "end" or "crash"
  end
  return { code = code, signal = signal, at = clock.unix(), why = why }
end

--- Whether it has done what it was there for: it ended well, before it was ready, and no other is to follow.
---@param service brood.Service
---@param run brood.ServiceRun
---@return boolean
function M.is_done(service, run)
  return run.process ~= nil and run.began and run.process.exit_code == 0 and not run.misplaced
    and service.options.restart ~= "always"
end

--- What has been is forgotten: somebody wants it to run, or it is another one now.
---@param service brood.Service
function M.forgive(service)
  service.deaths = nil
end

--- It has died, or is as good as dead: "restart" or "faulted".
---@param service brood.Service
---@param err brood.Error
---@return "restart"|"faulted" what
---@return brood.Error|number fault_or_delay
function M.count_death(service, err)
  local tolerance, now = service.options.restart_tolerance, clock.now()
  if not service.deaths then
    service.deaths = restart.new(tolerance > 0 and { delay = 0, max_exits = 2, window = tolerance } or NEVER_FAULTED)
  end
  local uptime = service.ready_at and now - service.ready_at or 0
  local decision = restart.exited(service.deaths, now, uptime, math.random())
  if decision.action == "faulted" then
    return "faulted", M.copy(err, ("%s, for the second time within %g s: it is faulted"):format(err.message, tolerance))
  end
  return "restart", decision.delay
end

--- What follows a run that has died unasked.
---@param service brood.Service
---@param run brood.ServiceRun
---@return "stopped"|"faulted"|"restart" what
---@return brood.Error err
---@return number? delay
function M.of_death(service, run)
  local code, signal = run.process.exit_code, run.process.exit_signal
  local err, wanted = ended(service, code, signal), service.options.restart
  if wanted == "always" or wanted == "failure" and code ~= 0 then
    local what, more = M.count_death(service, err)
    if what == "faulted" then
      return what, more
    end
    return what, err, more
  elseif code == 0 then
    return "stopped", err
  end
  return "faulted", err
end

--- Why a faulted one is not started.
---@param service brood.Service
---@param left number seconds until it is tried again
---@return brood.Error
function M.refusal(service, left)
  local watched = service.monitor and ", or when its files change" or ""
  return E.new("faulted", "%s is faulted, and is tried again by a start in %.0f s%s: %s", service.name,
    math.max(1, math.ceil(left)), watched, M.without_name(service, service.error))
end

return M
