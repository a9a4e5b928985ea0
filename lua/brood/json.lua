--- JSON by lua-cjson: encode and decode return nil and an error where they cannot; null is `json.null`. Numbers keep
--- all their digits, of which lua-cjson writes fourteen: what has more is put together here. What brood says to foreign
--- programs is not: that is stricter (json_line).
local cjson = require("cjson.safe").new()
local E = require "brood.error"

cjson.decode_max_depth(200)
cjson.encode_sparse_array(true)

local M = { null = cjson.null }

local concat, next, tonumber, type = table.concat, next, tonumber, type

local DEPTH_MAX = 1000 -- lua-cjson's
local SPARSE, SAFE = 2, 10 -- a list with more holes than that is written as an object, unless it is short: lua-cjson's

--- A number in as few digits as bring it back, and a whole one as such. NaN and the infinities are the caller's.
---@param value number
---@return string
function M.number(value)
  if value % 1 == 0 and value > -2 ^ 53 and value < 2 ^ 53 then
    return ("%.0f"):format(value)
  end
  local text
  for digits = 14, 17 do
    text = ("%%.%dg"):format(digits):format(value)
    if tonumber(text) == value then
      break
    end
  end
  return text
end
local number = M.number

-- Whether there is a number that lua-cjson would bend. Nested too deep it looks no further: nobody writes that.
local function has_long(value, depth)
  local kind = type(value)
  if kind == "number" then
    if value % 1 == 0 and value > -1e14 and value < 1e14 then
      return false
    end
    return value - value == 0 and ("%.14g"):format(value) ~= number(value)
  elseif kind ~= "table" then
    return false
  elseif depth > DEPTH_MAX then
    return true
  end
  for key, item in next, value do
    if has_long(item, depth + 1) or type(key) == "number" and has_long(key, depth) then
      return true
    end
  end
  return false
end

-- The length of what lua-cjson writes as a list; nil of an object.
local function length(t)
  local last, count = 0, 0
  for key in next, t do
    if type(key) ~= "number" or key < 1 or key % 1 ~= 0 then
      return nil
    end
    last, count = key > last and key or last, count + 1
  end
  return count > 0 and (last <= SAFE or last <= count * SPARSE) and last or nil
end

local write

local function write_table(t)
  local out, n = {}, length(t)
  for i = 1, n or 0 do
    out[i] = write(rawget(t, i))
  end
  if n then
    return "[" .. concat(out, ",") .. "]"
  end
  for key, item in next, t do
    out[#out + 1] = (type(key) == "number" and '"' .. number(key) .. '"' or cjson.encode(key)) .. ":" .. write(item)
  end
  return "{" .. concat(out, ",") .. "}"
end

-- What lua-cjson has written as well, so that nothing is wrong with it.
function write(value)
  if not has_long(value, 1) then
    return (cjson.encode(value))
  end
  return type(value) == "number" and number(value) or write_table(value)
end

--- The JSON text of a value.
---@param value any
---@return string? text, brood.Error? err
function M.encode(value)
  local text, why = cjson.encode(value)
  if text == nil then
    return nil, E.new("json", "cannot encode as JSON: %s", why)
  end
  local kind = type(value)
  if (kind == "table" or kind == "number") and has_long(value, 1) then
    text = write(value)
  end
  if text:find("\\/", 1, true) then
    text = text:gsub("\\(.)", { ["/"] = "/" }) -- it may be escaped, and nobody expects it
  end
  return text
end

--- The value of a JSON text.
---@param text string
---@return any value, brood.Error? err
function M.decode(text)
  local value, why = cjson.decode(text)
  if value == nil then
    return nil, E.new("json", "cannot decode JSON: %s", why)
  end
  return value
end

return M
