--- What a child says in the sd_notify protocol, and what becomes of one that
--- falls silent. It changes no state: readiness and more time are the run's own functions.
local log = require "brood.log"
local signals = require "brood.signals"
local timer = require "brood.timer"

local M = {}

local ABORT_PATIENCE = 5 -- seconds after a watchdog's ABRT

-- ABRT, so that it leaves a core dump to look at; and KILL, if it does not go.
local function abort(self, run)
  if run.watchdog then
    run.watchdog:cancel()
  end
  run.aborted = true
  run.proc:signal(signals.number("ABRT"))
  run.watchdog = timer.after(ABORT_PATIENCE, function()
    self:kill_now()
  end)
end

local function arm(self, run)
  if run.watchdog then
    run.watchdog:cancel()
  end
  run.watchdog = timer.patience(run.watchdog_seconds, function()
    log.error(("%s: no WATCHDOG=1 for %s s: ABRT"):format(self.name, run.watchdog_seconds))
    abort(self, run)
  end)
end

--- From readiness on the child must be heard of regularly, if it was asked to be.
function M.arm_watchdog(self, run)
  run.watchdog_seconds = run.watchdog_seconds or (self.options.ready == "notify" and self.options.watchdog or nil)
  if run.watchdog_seconds then
    arm(self, run)
  end
end

local function seconds_of(usec)
  local seconds = usec:find("^%d+$") and tonumber(usec) / 1e6
  return seconds and seconds > 0 and seconds < 1e9 and seconds or nil
end

local words = {}

function words.STATUS(self, _, value)
  self.status_text = value
end

function words.WATCHDOG(self, run, value)
  if value == "1" and run.watchdog and not run.aborted then
    arm(self, run)
  elseif value == "trigger" and not run.aborted then
    log.error(("%s: reports that it is broken (WATCHDOG=trigger): ABRT"):format(self.name))
    abort(self, run)
  end
end

function words.WATCHDOG_USEC(self, run, value)
  local seconds = seconds_of(value)
  if seconds then
    run.watchdog_seconds = seconds
    if run.watchdog and not run.aborted then
      arm(self, run)
    end
  end
end

function words.EXTEND_TIMEOUT_USEC(_, run, value)
  local seconds = seconds_of(value)
  if seconds and run.extend then
    run.extend(seconds)
  end
end

--- One datagram. Words that we do not know are no mistake.
---@param self brood.Process
---@param run table
---@param text string
function M.hear(self, run, text)
  local ready
  for line in text:gmatch("[^\n]+") do
    local key, value = line:match("^([%w_]+)=(.*)$")
    if key == "READY" then
      ready = value == "1"
    elseif words[key] and run.proc then
      words[key](self, run, value)
    end
  end
  -- Last: who waits for it sees what else was said.
  if ready and run.on_ready then
    run.on_ready()
  end
end

return M
