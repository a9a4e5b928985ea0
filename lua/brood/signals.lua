--- Signals: names and numbers, and handlers on the loop. A forked child starts with none of its parent's.
local uv = require "luv"

local M = {}

local numbers, names = {}, {}
for key, value in pairs(uv.constants) do
  local name = key:match("^SIG(%u+%d*)$")
  if name then
    numbers[name] = value
    if not names[value] or name < names[value] then
      names[value] = name
    end
  end
end
-- Where a number has two names the field's usual one wins.
for _, name in ipairs { "ABRT", "CHLD", "IO" } do
  if numbers[name] then
    names[numbers[name]] = name
  end
end

--- The number of a signal given as "TERM", "SIGTERM" or a number; nil when there is none such.
---@param signal string|number
---@return integer?
function M.number(signal)
  if type(signal) == "number" then
    return signal == math.floor(signal) and signal >= 0 and signal <= 64 and signal or nil
  elseif type(signal) == "string" then
    return numbers[(signal:upper():gsub("^SIG", ""))]
  end
end

--- The number of a signal; raises at the caller's caller for anything that is none.
---@param signal string|number
---@param level? integer
---@return integer
function M.check(signal, level)
  local number = M.number(signal)
  if not number then
    error(("unknown signal '%s'"):format(tostring(signal)), (level or 2) + 1)
  end
  return number
end

--- The name without SIG; a number without a name stays a number in text.
---@param number integer
---@return string
function M.name(number)
  return names[number] or tostring(number)
end

---@class brood.SignalWatch
local Watch = {}
Watch.__index = Watch

--- Call fn at each arrival of the signal. The watch does not keep the process alive.
---@param signal string|number
---@param fn fun()
---@return brood.SignalWatch
function M.on(signal, fn)
  local handle = assert(uv.new_signal())
  assert(handle:start(M.check(signal), fn))
  handle:unref()
  return setmetatable({ handle = handle }, Watch)
end

function Watch:close()
  local handle = self.handle
  self.handle = nil
  if handle and not handle:is_closing() then
    handle:close()
  end
end

return M
