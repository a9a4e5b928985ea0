--- Timers: the one place where a luv timer is armed. The loop's clock stands
--- still while Lua runs, so it is brought up to date first; otherwise a timer
--- armed after 0.8 s of work fires 0.8 s early.
local clock = require "brood.clock"
local uv = require "luv"

local M = {}

local STEPS, LONGEST = 16, 2 -- in what steps patience is counted, and how many seconds one has at most

---@class brood.Timer
local Timer = {}
Timer.__index = Timer

local function close(self)
  local handle = self.handle
  self.handle = nil
  -- After a fork the parent's handles are closed already.
  if handle and not handle:is_closing() then
    handle:close()
  end
end

-- The loop's clock counts whole milliseconds: to be never early, those begun count as well.
local function milliseconds(seconds)
  if seconds <= 0 then
    return 0
  end
  return math.max(1, math.ceil(uv.hrtime() / 1e6 + seconds * 1000) - uv.now())
end

--- Call fn once, after so many seconds.
---@param seconds number
---@param fn fun()
---@return brood.Timer
function M.after(seconds, fn)
  local self = setmetatable({ handle = uv.new_timer() }, Timer)
  uv.update_time()
  self.handle:start(milliseconds(seconds), 0, function()
    close(self)
    fn()
  end)
  return self
end

--- Call fn every so many seconds until it is cancelled.
---@param seconds number
---@param fn fun()
---@return brood.Timer
function M.every(seconds, fn)
  local self = setmetatable({ handle = uv.new_timer() }, Timer)
  local ms = math.max(1, math.ceil(seconds * 1000))
  uv.update_time()
  self.handle:start(ms, ms, fn)
  return self
end

--- Call fn once, when another process has had so many seconds. The time in which this one stood still (stopped by a
--- signal, suspended with the machine, held up by Lua) does not count: the other may have stood still as well, and what
--- it has done since is yet to be heard.
---@param seconds number
---@param fn fun()
---@return brood.Timer
function M.patience(seconds, fn)
  local self = setmetatable({}, Timer)
  local left, step = seconds, math.min(seconds / STEPS, LONGEST)
  local function wait()
    local began, planned = clock.now(), math.max(0.001, math.min(step, left))
    self.handle = M.after(planned, function()
      self.handle = nil
      left = left - math.min(clock.now() - began, 2 * planned)
      if left <= 0 then
        return fn()
      end
      wait()
    end).handle
  end
  wait()
  return self
end

--- A deadline for `done`: what this returns is to be called in its place. Where that has not happened after so many
--- seconds, late() is called; what `done` still means then is its own business.
---@param seconds? number|false without it there is no limit
---@param late fun()
---@param done function
---@return function
function M.limit(seconds, late, done)
  local waiting = seconds and M.after(seconds, late)
  return waiting and function(...)
    waiting:cancel()
    return done(...)
  end or done
end

--- Cancelling twice, or after it has fired, does nothing.
function Timer:cancel()
  close(self)
end

--- Do not keep the process alive for this timer.
---@return brood.Timer
function Timer:unref()
  if self.handle then
    self.handle:unref()
  end
  return self
end

return M
