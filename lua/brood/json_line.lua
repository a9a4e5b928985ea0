--- Lines of JSON between brood and foreign programs: what a pool's programs and a child's say and are told. Values are
--- made text here, and what cannot be carried as it is (bytes, NaN, a function) is refused with its path in place of
--- being bent; what comes is cut into lines. Nothing is read or written here, and what a line means is its owner's.
local E = require "brood.error"
local json = require "brood.json"
local utf8 = require "brood.rules.utf8"

local M = {}

local concat = table.concat
local null = json.null

M.LINE_MAX = 64 * 1024 * 1024 -- bytes of a line that a program writes

-- ---- out: a value as JSON, all digits of its numbers kept ----

local function segment(key)
  if type(key) == "string" then
    return key:match("^[%a_][%w_]*$") and "." .. key or ("[%q]"):format(key)
  end
  return ("[%s]"):format(tostring(key))
end

-- The path is put together only once something is wrong.
local function refuse(fmt, ...)
  error({ text = fmt:format(...), path = "" }, 0)
end

local function number(value)
  if value ~= value or value == math.huge or value == -math.huge then
    refuse("%s is %s, which JSON has no word for", "%s",
      value ~= value and "NaN" or value > 0 and "infinite" or "minus infinite")
  end
  return json.number(value)
end

local function text(value)
  local at = utf8.fault(value)
  if at then
    refuse("%s is no UTF-8 text (its byte %d), and JSON carries nothing else: encode bytes, in base64 say", "%s", at)
  end
  return (assert(json.encode(value)))
end

local scalars = {
  ["nil"] = function() return "null" end,
  boolean = tostring,
  number = number,
  string = text,
}

local write

local function is_list(t)
  local n = #t
  if n == 0 then
    return false
  end
  local count = 0
  for key in pairs(t) do
    if type(key) ~= "number" then
      return false
    end
    count = count + 1
  end
  return count == n
end

-- What is wrong below is wrong at this key as well: the path grows on the way up.
local function write_at(out, key, value, depth)
  local ok, why = pcall(write, out, value, depth)
  if not ok then
    if type(why) == "table" and why.path then
      why.path = segment(key) .. why.path
    end
    error(why, 0)
  end
end

local function name_of(t, key)
  if type(key) == "string" then
    return text(key)
  elseif type(key) ~= "number" then
    refuse("%s has a %s as a key, and JSON knows only names", "%s", type(key))
  end
  local name = number(key)
  if t[name] ~= nil then
    refuse('%s has both %s and "%s" as keys, which are one in JSON', "%s", name, name)
  end
  return '"' .. name .. '"'
end

local function write_table(out, t, depth)
  if depth > 100 then
    refuse("%s is nested too deep", "%s")
  elseif is_list(t) then
    for i = 1, #t do
      out[#out + 1] = i == 1 and "[" or ","
      write_at(out, i, t[i], depth + 1)
    end
    out[#out + 1] = "]"
    return
  end
  local opening = "{"
  for key, value in pairs(t) do
    out[#out + 1] = opening
    out[#out + 1] = name_of(t, key)
    out[#out + 1] = ":"
    write_at(out, key, value, depth + 1)
    opening = ","
  end
  out[#out + 1] = opening == "{" and "{}" or "}"
end

function write(out, value, depth)
  local kind = type(value)
  if kind == "table" then
    return write_table(out, value, depth)
  elseif value == null then
    out[#out + 1] = "null"
  elseif kind == "cdata" and tostring(value):find("^%-?%d+U?LL$") then
    out[#out + 1] = tostring(value):match("^%-?%d+")
  elseif scalars[kind] then
    out[#out + 1] = scalars[kind](value)
  else
    refuse("%s is a %s, which JSON cannot carry", "%s", kind)
  end
end

--- The JSON text of a value; or nil and an error (code "json") that names the part JSON cannot carry.
---@param value any
---@param name string what the error calls the value
---@return string? json, brood.Error? err
function M.encode(value, name)
  local out = {}
  local ok, why = pcall(write, out, value, 1)
  if ok then
    return concat(out)
  elseif type(why) == "table" and why.path then
    return nil, E.new("json", "%s", (why.text:gsub("%%s", function() return name .. why.path end, 1)))
  end
  return nil, E.new("json", "%s cannot be encoded as JSON: %s", name, E.describe(why))
end

-- ---- in ----

local SHOWN = 200 -- bytes of a wrong line that its error quotes

--- A wrong line as an error shows it.
---@param line string
---@return string
function M.quote(line)
  local shown = #line > SHOWN and line:sub(1, SHOWN) .. "..." or line
  return (("%q"):format(shown):gsub("\\\n", "\\n"):gsub("[^\32-\126]", function(c)
    return ("\\%d"):format(c:byte())
  end))
end

--- A failure that a program tells of is a text, or a table like an error's: its keys are kept.
---@param value any decoded
---@return table err message, code
function M.failure(value)
  if type(value) == "table" then
    local err = {}
    for key, field in pairs(value) do
      if field ~= null then
        err[key] = field
      end
    end
    err.message = err.message ~= nil and tostring(err.message) or "the program gave no reason"
    err.code = type(err.code) == "string" and err.code or "error"
    return err
  end
  return { message = value == null and "the program gave no reason" or tostring(value), code = "error" }
end

---@class brood.JsonLines pieces of text become lines
---@field rest string[] of the line that is not whole yet
---@field size integer
local Lines = {}
Lines.__index = Lines

--- A new one.
---@return brood.JsonLines
function M.lines()
  return setmetatable({ rest = {}, size = 0 }, Lines)
end

--- Take a piece, and call take(line) for each line that is whole now, without its end, until that returns false.
---@param piece string
---@param take fun(line: string): boolean?
---@return true? ok, brood.Error? err a line is longer than any may be
function Lines:feed(piece, take)
  local from = 1
  while true do
    local at = piece:find("\n", from, true)
    local part = piece:sub(from, (at or 0) - 1)
    self.size = self.size + #part
    if self.size > M.LINE_MAX then
      return nil, E.new("protocol", "a line of more than %d MB", M.LINE_MAX / 2 ^ 20)
    end
    self.rest[#self.rest + 1] = part
    if not at then
      return true
    end
    from = at + 1
    if take(self:last()) == false then
      return true
    end
  end
end

--- What there is of a line that has no end yet; it is forgotten here.
---@return string
function Lines:last()
  local whole = #self.rest == 1 and self.rest[1] or concat(self.rest)
  self.rest, self.size = {}, 0
  return whole
end

return M
