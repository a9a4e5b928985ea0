--- Watching over a service that runs, or is to run again: its files, its health, what memory it takes, whether anybody
--- uses it, and when a faulted one is tried again. What is seen is told to the service, which decides.
local clock = require "brood.clock"
local E = require "brood.error"
local lazy = require "brood.lazy"
local log = require "brood.log"
local restart = require "brood.rules.restart"
local uv = require "luv"

local health = lazy.room "brood.spinner.health"
local listening = lazy.room "brood.spinner.listening"
local memory = lazy.room "brood.cluster.memory"
local monitor = lazy.room "brood.spinner.monitor"
local rounds = lazy.room "brood.spinner.rounds"

local M = {}

local MOMENT = 0.1 -- seconds: so much later than another one
local LOOK = 2 -- seconds between two looks at what memory they take, all at the same time
local MB = 1024 * 1024
-- A limit that every run soon exceeds must not have it restarted without end.
local AFTER_MEMORY = { immediate = 2, delay = 5, max_delay = 300, stable_after = 60 }

local function close(service, field)
  if service[field] then
    service[field]:close()
    service[field] = nil
  end
end

-- ---- files ----------------------------------------------------------------------------------------------------------

--- A change of its files is a change of it, from now on.
---@param service brood.Service
function M.watch_files(service)
  local paths = service.options.monitor
  if service.monitored ~= paths then
    close(service, "monitor")
  end
  service.monitored = paths
  if not paths or service.monitor then
    return
  end
  local list = {}
  for i, path in ipairs(paths) do
    list[i] = service.spinner:absolute(path)
  end
  local err
  service.monitor, err = monitor.watch(list, {}, function(path)
    if service.monitor then
      service:changed(path)
    end
  end)
  if err then
    service:emit("error", E.new(err.code, "%s: monitor: %s", service.name, err.message))
  end
end

-- One that only a change can start again is something that this process waits for.
local function hold(service, on)
  if on and service.monitor and not service.holding then
    service.holding = uv.new_timer()
    service.holding:start(0x7fffffff, 0x7fffffff, function() end)
  elseif not on and service.holding then
    if not service.holding:is_closing() then
      service.holding:close()
    end
    service.holding = nil
  end
end

-- ---- memory ---------------------------------------------------------------------------------------------------------

local function next_look_at_memory(now)
  return (math.floor(now / LOOK) + 1) * LOOK
end

local function beyond(service, bytes)
  service.memory_row = service.memory_row or restart.new(AFTER_MEMORY)
  local now = clock.now()
  service.memory_due = service.memory_due
    or now + restart.exited(service.memory_row, now, now - service.ready_at, math.random()).delay
  if now >= service.memory_due then
    service.memory_due = nil
    service:due("memory", E.new("max_memory", "%s takes %.1f MB, its max_memory is %.1f MB",
      service.name, bytes / MB, service.options.max_memory / MB))
  end
end

local function look_at_memory(service)
  local pid, run = service.pid, service.run
  if not pid or service.measuring then
    return
  end
  service.measuring = true
  memory.all_exceed(listening.group(pid), service.options.max_memory, function(exceeds, bytes)
    service.measuring = nil
    if exceeds and service.run == run and service.state == "ready" then
      beyond(service, bytes)
    end
  end)
end

-- ---- the rounds -----------------------------------------------------------------------------------------------------

local function comes_after(service, name)
  for _, before in ipairs(service.options.after or {}) do
    if before == name then
      return true
    end
  end
  return false
end

-- When it will have been left alone for too long. Those that come after it use it: it is stopped after them.
local function idle_at(service)
  local idle = service.options.idle
  if not idle then
    return nil
  end
  local used, ask = service.touched, service.spinner.inner.last_used
  local told = ask and ask(service)
  local at = math.max(used, told or used) + idle
  for _, other in pairs(service.spinner.services) do
    if other.state ~= "stopped" and other.state ~= "faulted" and comes_after(other, service.name) then
      at = math.max(at, (idle_at(other) or math.huge) + MOMENT, clock.now() + MOMENT)
    end
  end
  return at
end

local function first(a, b)
  return a and b and math.min(a, b) or a or b
end

-- In use there is no time at which it would be idle: look again when it would be, were it left now.
local function soon(at, now, idle)
  return at == math.huge and now + idle or at
end

local function look(service, now)
  if service.state == "faulted" then
    if now >= service.fault_until then
      service:retry()
      return nil
    end
    return service.fault_until
  elseif service.state ~= "ready" then
    return nil -- it says when it is
  end
  local o = service.options
  local at = idle_at(service)
  if at and at <= now then
    if not service.spinner.inner.quiet then
      log.info(("%s: nobody has used it for %g s: it is stopped"):format(service.name, o.idle))
    end
    service:begin_stop(nil, "idle")
    return nil
  end
  local next_look
  if o.max_memory then
    if now >= service.memory_look then
      service.memory_look = next_look_at_memory(now)
      look_at_memory(service)
    end
    next_look = service.memory_look
  end
  return first(at and soon(at, now, o.idle), next_look)
end

local function looked_at(service)
  return service.looked
end

local function look_later(service, at)
  service.looked = looked_at(service) or { look = function(_, now) return look(service, now) end }
  rounds.at(service.looked, at)
end

local function look_no_more(service)
  if service.looked then
    rounds.forget(service.looked)
    service.looked = nil
  end
end

-- ---- what becomes of it ---------------------------------------------------------------------------------------------

--- It is ready.
---@param service brood.Service
function M.ready(service)
  hold(service, false)
  local o, now = service.options, clock.now()
  service.memory_look = o.max_memory and next_look_at_memory(now) or nil
  local at = first(o.idle and now + o.idle, service.memory_look)
  if at then
    look_later(service, at)
  end
  if o.health and not service.health then
    service.health = health.watch(service, o.health, function(err)
      if service.health then
        service:due("health", E.new(err.code, "%s: %s", service.name, err.message))
      end
    end)
  end
end

--- It is not ready now.
---@param service brood.Service
function M.pause(service)
  look_no_more(service)
  close(service, "health")
end

--- It has ended by itself, and only a change of its files starts it again.
---@param service brood.Service
function M.rest(service)
  M.pause(service)
end

--- It is faulted.
---@param service brood.Service
function M.faulted(service)
  M.pause(service)
  hold(service, true)
  if service.spinner.inner.supervised and service.options.autostart ~= false and not service.final then
    look_later(service, service.fault_until)
  end
end

--- Nobody wants it to run.
---@param service brood.Service
function M.leave(service)
  M.pause(service)
  hold(service, false)
  close(service, "monitor")
end

return M
