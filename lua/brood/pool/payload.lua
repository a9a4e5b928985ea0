--- The bytes of a job as the store keeps them and as a worker gets them: the encoded data, and before it the id that
--- the job was given, if it was given one. It encodes and decodes no values.
local M = {}

-- No encoded value begins with it (string.buffer's tags leave it out).
local MARK = 31
local MARKED = string.char(MARK)
local byte, char, floor, sub = string.byte, string.char, math.floor, string.sub

--- With an id of its own.
---@param encoded string
---@param id? string
---@return string payload
function M.pack(encoded, id)
  if not id then
    return encoded
  end
  local n = #id
  return MARKED .. char(n % 256, floor(n / 256) % 256, floor(n / 65536) % 256, floor(n / 16777216)) .. id .. encoded
end

--- The two again.
---@param payload string
---@return string encoded, string? id
function M.unpack(payload)
  if byte(payload, 1) ~= MARK then
    return payload, nil
  end
  local a, b, c, d = byte(payload, 2, 5)
  local n = a + b * 256 + c * 65536 + d * 16777216
  return sub(payload, 6 + n), sub(payload, 6, 5 + n)
end

return M
