--- Timers: the one place where a luv timer is armed. The loop's clock stands
--- still while Lua runs, so it is brought up to date first; otherwise a timer
--- armed after 0.8 s of work fires 0.8 s early.
local uv = require "luv"

local M = {}

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

--- Call fn once, after so many seconds.
---@param seconds number
---@param fn fun()
---@return brood.Timer
function M.after(seconds, fn)
  local self = setmetatable({ handle = uv.new_timer() }, Timer)
  uv.update_time()
  self.handle:start(math.ceil(math.max(0, seconds) * 1000), 0, function()
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
