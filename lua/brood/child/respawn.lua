--- What becomes of a child that has ended unasked: another one, after a delay that grows while they end in a row. The
--- rule is rules/restart's.
local clock = require "brood.clock"
local log = require "brood.log"
local restart = require "brood.rules.restart"
local supervised = require "brood.supervised"
local tail = require "brood.child.tail"
local timer = require "brood.timer"

local M = {}

local FIRST, LONGEST = 0.1, 30 -- seconds between ends in a row, where respawn_delay is 0; and at most

local function policy(delay)
  return restart.new {
    delay = math.max(delay, FIRST), max_delay = math.max(delay, LONGEST), immediate = delay == 0 and 1 or 0, jitter = 0,
  }
end

--- No other one is started; nobody waits for that any more.
---@param child brood.Child
function M.cancel(child)
  local waiting = child.waiting
  child.waiting = nil
  if waiting then
    waiting.timer:cancel()
    supervised.remove(waiting)
  end
end

--- Somebody starts it: what has been is forgotten.
---@param child brood.Child
function M.by_hand(child)
  M.cancel(child)
  restart.reset(child.restarts)
end

local again

local function start(child)
  child.waiting = nil
  child.process:start(function(err)
    if not err then
      return child:emit("respawn", child.pid)
    elseif child.current.run.stop_asked then
      return
    end
    if child.by_hand == 0 then
      child:emit("error", tail.explain(child, err)) -- else whoever has joined hears of it
    end
    again(child, 0)
  end)
end

local function describe(child)
  local process = child.process
  if process.exit_signal then
    return "was killed by " .. process.exit_signal
  elseif process.exit_code then
    return "ended with status " .. process.exit_code
  end
  return "could not be started"
end

function again(child, uptime)
  if child.waiting or child.process.state ~= "stopped" then
    return -- somebody has started it meanwhile
  end
  local delay = restart.exited(child.restarts, clock.now(), uptime).delay
  log.warn(("%s %s: it is started again in %g s"):format(child.name, describe(child), delay))
  local waiting = { timer = nil }
  function waiting:stop(done)
    M.cancel(child)
    done()
  end
  function waiting:destroy()
    self.timer:cancel()
  end
  function waiting:gone() return true end -- luacheck: ignore 212
  child.waiting = waiting
  supervised.add(waiting) -- when this process ends it must not begin another one
  waiting.timer = timer.after(delay, function()
    supervised.remove(waiting)
    start(child)
  end)
end

--- Watch over the child's ends.
---@param child brood.Child
function M.watch(child)
  child.restarts = policy(child.plan.respawn_delay or 0)
  local ready_at
  child.process:on("ready", function()
    ready_at = clock.now()
  end)
  child.process:on("exit", function()
    local uptime = ready_at and clock.now() - ready_at
    ready_at = nil
    local current = child.current
    local over = current.finished and current.begun and current.begun.once
    if child.plan.respawn and uptime and not current.run.stop_asked and not over then
      again(child, uptime)
    end
  end)
end

return M
