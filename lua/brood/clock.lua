--- The two clocks: one for durations, one for dates.
local uv = require "luv"

local M = {}

--- Monotonic seconds, with fractions: for how long something takes.
---@return number
function M.now()
  return uv.hrtime() / 1e9
end

--- Seconds since 1970, with fractions: for when something happened.
---@return number
function M.unix()
  local seconds, microseconds = uv.gettimeofday()
  return seconds + microseconds / 1e6
end

return M
