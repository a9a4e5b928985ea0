--- Waiting for something to become true, with a deadline and a reason. The one place in the specs that sleeps.
local uv = require "luv"
local brood = require "brood"

local M = {}
local slow = os.getenv("BROOD_SANITIZED") and 4 or 1

---Wait until fn() is true, and return what it returned; raises after `seconds` (10), saying what it waited for.
---@generic T
---@param fn fun(): T
---@param seconds? number
---@param what? string|fun(): string
---@return T
function M.wait(fn, seconds, what)
  local limit = (seconds or 10) * slow
  local start = uv.hrtime()
  local pause = 0.001
  while true do
    local value = fn()
    if value then
      return value
    end
    if (uv.hrtime() - start) / 1e9 >= limit then
      if type(what) == "function" then
        what = what()
      end
      error(("waited %g s for %s"):format(limit, what or "something that did not happen"), 2)
    end
    brood.sleep(pause)
    pause = math.min(pause * 1.5, 0.02)
  end
end

---Assert that fn() stays true for so long: for what must not happen.
---@param fn fun(): any
---@param seconds number
---@param what? string
function M.remains(fn, seconds, what)
  local start = uv.hrtime()
  while (uv.hrtime() - start) / 1e9 < seconds do
    if not fn() then
      error(("%s ended after %.3f s"):format(what or "a condition", (uv.hrtime() - start) / 1e9), 2)
    end
    brood.sleep(0.005)
  end
end

---Seconds that fn(...) took, then what it returned.
---@param fn function
---@return number seconds, any ...
function M.timed(fn, ...)
  local start = uv.hrtime()
  local function results(...)
    return (uv.hrtime() - start) / 1e9, ...
  end
  return results(fn(...))
end

return M
