--- What is UTF-8 and what is only bytes: JSON carries the first alone. Pure.
local M = {}

local byte, find = string.byte, string.find

-- How many bytes follow the first one, and what the second may be: overlong forms, surrogates and
-- what is beyond U+10FFFF are excluded there.
local function shape(first)
  if first >= 0xC2 and first <= 0xDF then
    return 1, 0x80, 0xBF
  elseif first >= 0xE0 and first <= 0xEF then
    return 2, first == 0xE0 and 0xA0 or 0x80, first == 0xED and 0x9F or 0xBF
  elseif first >= 0xF0 and first <= 0xF4 then
    return 3, first == 0xF0 and 0x90 or 0x80, first == 0xF4 and 0x8F or 0xBF
  end
end

--- Where the first byte stands that is no UTF-8; nil where all is.
---@param text string
---@return integer?
function M.fault(text)
  local at = find(text, "[\128-\255]")
  while at do
    local more, least, most = shape(byte(text, at))
    local second = byte(text, at + 1)
    if not more or not second or second < least or second > most then
      return at
    end
    for i = 2, more do
      local next_byte = byte(text, at + i)
      if not next_byte or next_byte < 0x80 or next_byte > 0xBF then
        return at
      end
    end
    at = at + more + 1
    local following = byte(text, at)
    if not following or following < 0x80 then
      at = find(text, "[\128-\255]", at)
    end
  end
end

return M
