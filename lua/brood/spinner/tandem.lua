--- Two runs side by side: the next one is started on a port of its own while the old one serves, and takes over when it
--- is ready. One that fails leaves the old one serving.
local log = require "brood.log"
local outcome = require "brood.spinner.outcome"
local runs = require "brood.spinner.run"
local timer = require "brood.timer"

local M = {}

local LINGER = 0.25 -- seconds that the old one goes on: who has just asked for its port still gets there

local function begin(service)
  if service.next_options then
    service.options, service.next_options, service.plan = service.next_options, nil, nil
  end
  local run = runs.new(service)
  service.successor = run
  run:begin()
end

--- Another run beside the one that serves; one that is on its way already is begun anew.
---@param service brood.Service
function M.begin(service)
  service.tandem_attempt = 0
  service:cancel_wait()
  if service.successor then
    service.successor.stale = true
    service.successor:stop(service.reason)
    return
  end
  begin(service)
end

-- The old one ends, when nobody needs it any more.
local function leave(service, run, address)
  service.leaving = service.leaving or {}
  service.leaving[run] = true
  local function go()
    if service.leaving[run] then
      run:stop()
    end
  end
  local ask = service.spinner.inner.leave
  if ask then
    return ask(service, address, go)
  end
  timer.after(LINGER, go)
end

--- The other one is ready: it is the service from now on.
---@param service brood.Service
---@param run brood.ServiceRun
function M.up(service, run)
  local old, address = service.run, service.listening
  if run.stale then
    return -- it ends already
  end
  service.run, service.successor = run, nil
  old.why = service.reason or "restart"
  service.kind = "restarted"
  leave(service, old, address)
  service:announce(run)
end

--- Nothing is left of the other one; the one that serves goes on.
---@param service brood.Service
---@param run brood.ServiceRun
---@param err brood.Error?
function M.down(service, run, err)
  service.successor = nil
  if service.state == "stopping" then
    return service:settle_when_empty(run)
  elseif run.stale then
    return begin(service)
  end
  service.tandem_attempt = service.tandem_attempt + 1
  if service.tandem_attempt < service.options.attempts and not run.hopeless then
    service.waiting = timer.after(outcome.attempt_delay(service.tandem_attempt), function()
      service.waiting = nil
      begin(service)
    end)
    return
  end
  err = outcome.copy(err, ("%s: the one that is to follow does not start, the old one goes on: %s"):format(
    service.name, outcome.without_name(service, err)))
  log.warn(err.message)
  service:refuse_starters(err)
end

--- The one that served is dying: the other one is all there is.
---@param service brood.Service
function M.promote(service)
  local old = service.run
  service.leaving = service.leaving or {}
  service.leaving[old] = true
  service.run, service.successor = service.successor, nil
  service:begin_again(service.run.stale)
end

return M
