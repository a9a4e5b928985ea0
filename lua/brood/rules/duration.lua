--- Durations, sizes and modes: from what a user writes to numbers, and back to
--- what a user reads. Whether `false` (off) is allowed is the caller's business.
local M = {}

local seconds_of = { ms = 0.001, s = 1, m = 60, h = 3600 }
local bytes_of = { [""] = 1, k = 1024, m = 1024 ^ 2, g = 1024 ^ 3 }

M.DURATION = 'a duration (a number of seconds or a string like "5s")'
M.SIZE = 'a size (a number of bytes or a string like "10m")'
M.MODE = 'a mode (a string of octal digits like "0666")'

-- NaN and the infinities are numbers too, but no amount of anything.
local function is_amount(n)
  return n >= 0 and n < math.huge
end

-- What keeps text from being a number and a unit, where that can be told.
local function oddity(text, units)
  if text:find("^%s*[%d.]+%s+%a+%s*$") then
    return "no blank belongs between number and unit"
  elseif text:find("^%s*%-") then
    return "it cannot be negative"
  elseif text:find("^[%d.]+$") then
    return ("the unit is missing (%s); a plain number needs no quotes"):format(units)
  end
  return ("not a number followed by %s"):format(units)
end

--- The seconds of a duration: 5, 0.25, "250ms", "5s", "2m", "1h", "1.5s".
---@param value any
---@return number? seconds, string? why
function M.parse_duration(value)
  if type(value) == "number" then
    if is_amount(value) then
      return value
    end
    return nil, "a duration cannot be negative or endless"
  elseif type(value) ~= "string" then
    return nil, "not a number of seconds or a string"
  end
  local digits, unit = value:match("^(%d*%.?%d+)(%l+)$")
  local amount, factor = tonumber(digits), seconds_of[unit]
  if not amount or not factor then
    return nil, oddity(value, "ms, s, m or h")
  end
  -- Dividing keeps "100ms" the same number as 0.1.
  return unit == "ms" and amount / 1000 or amount * factor
end

--- The bytes of a size: 65536, "64k", "10m", "1g", "1.5g".
---@param value any
---@return integer? bytes, string? why
function M.parse_size(value)
  if type(value) == "number" then
    if is_amount(value) and value == math.floor(value) then
      return value
    end
    return nil, "not a whole number of bytes"
  elseif type(value) ~= "string" then
    return nil, "not a number of bytes or a string"
  end
  local digits, unit = value:match("^(%d*%.?%d+)(%a)$")
  local amount, factor = tonumber(digits), unit and bytes_of[unit:lower()]
  if not amount or not factor then
    return nil, oddity(value, "k, m or g")
  end
  return math.floor(amount * factor)
end

--- The number that a string of octal digits stands for: "0666", "022", "1777".
---@param value any
---@return integer? mode, string? why
function M.parse_mode(value)
  if type(value) == "number" then
    return nil, ('a number does not say whether it is octal: write "0%s" in quotes'):format(tostring(value))
  elseif type(value) ~= "string" then
    return nil, "not a string"
  elseif not value:match("^0?[0-7][0-7]?[0-7]?[0-7]?$") then
    return nil, "not one to four octal digits"
  end
  return tonumber(value, 8)
end

-- The shortest form that reads back as the same number.
local function plain(n)
  for digits = 6, 17 do
    local text = ("%." .. digits .. "g"):format(n)
    if tonumber(text) == n and not text:find("e", 1, true) then
      return text
    end
  end
  return ("%.3f"):format(n)
end

--- A duration as a user would write it: 300 is "5m", 0.25 is "250ms". false is "off".
---@param seconds number|false
---@return string
function M.format_duration(seconds)
  if not seconds then
    return "off"
  elseif seconds > 0 and seconds < 1 then
    return plain(seconds * 1000) .. "ms"
  elseif seconds >= 3600 and seconds % 3600 == 0 then
    return plain(seconds / 3600) .. "h"
  elseif seconds >= 60 and seconds % 60 == 0 then
    return plain(seconds / 60) .. "m"
  end
  return plain(seconds) .. "s"
end

--- A size as a user would write it: 65536 is "64k". false is "off".
---@param bytes integer|false
---@return string
function M.format_size(bytes)
  if not bytes then
    return "off"
  end
  for _, unit in ipairs { "g", "m", "k" } do
    if bytes >= bytes_of[unit] and bytes % bytes_of[unit] == 0 then
      return plain(bytes / bytes_of[unit]) .. unit
    end
  end
  return plain(bytes)
end

return M
