--- Values as Lua source that reads back as the same value, written as a user would write
--- them: durations and sizes with their units, what fits on one line on one line.
local duration = require "brood.rules.duration"
local kinds = require "brood.rules.kinds"
local lexer = require "brood.rules.lua_lexer"

local M = {}

local WIDTH = 100

--- A string in quotes.
---@param text string
---@return string
function M.quote(text)
  return (("%q"):format(text):gsub("\\\n", "\\n"))
end

--- A key of a table constructor.
---@param key string|number
---@return string
function M.key(key)
  if type(key) == "string" and key:match("^[%a_][%w_]*$") and not lexer.keywords[key] then
    return key
  end
  return ("[%s]"):format(type(key) == "string" and M.quote(key) or ("%.17g"):format(key))
end

-- Which function it is can only be told beside it.
local function a_function(fn)
  local info = debug.getinfo(fn, "S")
  local where = ("%s:%d"):format(info.source:gsub("^@", ""), info.linedefined):gsub("%]", "] ")
  return ("function(...) --[[ %s ]] end"):format(where)
end

local function number(value, spec)
  if spec and spec.type == "duration" and value > 0 then
    local text = duration.format_duration(value)
    if duration.parse_duration(text) == value then
      return M.quote(text)
    end
  elseif spec and spec.type == "size" and value >= 1024 then
    local text = duration.format_size(value)
    return text:match("%a$") and M.quote(text) or text
  end
  return value == math.floor(value) and ("%d"):format(value) or ("%.17g"):format(value)
end

-- What the spec of a table says about one of its parts.
local function part_of(spec, key)
  if not spec then
    return nil
  elseif spec.fields and type(key) == "string" then
    return spec.fields[key]
  end
  return spec.type == "limits" and { type = "limit" } or spec.of
end

local function one_line(value, spec)
  local parts, length = {}, #value
  for i = 1, length do
    parts[i] = M.value(value[i], part_of(spec, i))
  end
  for _, key in ipairs(kinds.sorted_keys(value)) do
    if type(key) ~= "number" or key < 1 or key > length or key % 1 ~= 0 then
      parts[#parts + 1] = ("%s = %s"):format(M.key(key), M.value(value[key], part_of(spec, key)))
    end
  end
  return parts
end

--- A value as Lua source.
---@param value any without cycles
---@param spec? brood.Spec what is known of it
---@param indent? string of the line it begins on; without it all is on one line
---@return string
function M.value(value, spec, indent)
  local kind = type(value)
  if kind == "string" then
    return M.quote(value)
  elseif kind == "number" then
    return number(value, spec)
  elseif kind == "function" then
    return a_function(value)
  elseif kind ~= "table" then
    return tostring(value)
  elseif spec and spec.type == "limit" and value.soft == value.hard then
    return M.value(value.soft)
  end
  local parts = one_line(value, spec)
  if not parts[1] then
    return "{}"
  end
  local text = ("{ %s }"):format(table.concat(parts, ", "))
  if not indent or #text + #indent <= WIDTH then
    return text
  end
  local inner = indent .. "  "
  return ("{\n%s%s,\n%s}"):format(inner, table.concat(parts, ",\n" .. inner), indent)
end

return M
