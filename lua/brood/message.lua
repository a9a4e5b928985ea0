--- Lua values as messages: encoding, decoding, and a clear word about what
--- cannot be sent. What arrives is checked before LuaJIT decodes it, because its
--- decoder believes every count it reads. Nothing here sends or receives.
local buffer_encode = require("string.buffer").encode
local core = require "brood.core"
local E = require "brood.error"

local M = {}

local encode, decode = core.value.encode, core.value.decode
local type, pairs = type, pairs

--- Tables in tables.
M.MAX_DEPTH = 90
--- Bytes of content; the encoding of 64 MB of text is a few bytes longer.
M.MAX_SIZE = 64 * 1024 * 1024
local ENCODED_MAX = M.MAX_SIZE + 1024

local sendable = { ["nil"] = true, boolean = true, number = true, string = true, table = true }

-- ---- what is wrong with a value: only looked for once something is ----

local function segment(key)
  if type(key) == "string" then
    return key:match("^[%a_][%w_]*$") and "." .. key or ("[%q]"):format(key)
  elseif type(key) == "number" or type(key) == "boolean" then
    return "[" .. tostring(key) .. "]"
  end
  return "[a " .. type(key) .. "]"
end

-- A path of ninety steps helps nobody: its ends do.
local function describe(path)
  local n = #path
  if n <= 12 then
    return table.concat(path)
  end
  return table.concat(path, "", 1, 7) .. "..." .. table.concat(path, "", n - 3)
end

local function encodable(value)
  return sendable[type(value)] or encode(value) ~= nil -- 64-bit integers, json.null
end

local walk

local function walk_table(state, t)
  local path, height = state.path, 0
  for key, value in pairs(t) do
    if not encodable(key) then
      return nil, "type", ("%s has a %s as a key"):format(describe(path), type(key))
    end
    path[#path + 1] = segment(key)
    for _, part in ipairs { key, value } do
      local h, code, text = walk(state, part)
      if not h then
        return nil, code, text
      end
      height = math.max(height, h)
    end
    path[#path] = nil
  end
  return height + 1
end

-- The value's height in tables; or nil, a code and a text. Every table is walked once, however often it is there.
function walk(state, value)
  if not encodable(value) then
    return nil, "type", ("%s is a %s"):format(describe(state.path), type(value))
  elseif type(value) ~= "table" then
    return 0
  end
  local known = state.known[value]
  if known == "open" then
    return nil, "cycle", ("%s is a cycle: it is one of the tables that hold it"):format(describe(state.path))
  end
  if not known then
    if state.depth >= state.limit then
      return nil, "too_deep", ("%s is nested too deep: a message has at most %d tables in tables")
        :format(describe(state.path), M.MAX_DEPTH)
    end
    state.known[value] = "open"
    state.depth = state.depth + 1
    local height, code, text = walk_table(state, value)
    state.depth = state.depth - 1
    if not height then
      return nil, code, text
    end
    state.known[value] = height
    known = height
  end
  if state.depth + known > state.limit then
    return nil, "too_deep", ("%s is nested too deep: a message has at most %d tables in tables")
      :format(describe(state.path), M.MAX_DEPTH)
  end
  return known
end

local function find_fault(value, name, limit)
  local _, code, text = walk({ path = { name }, known = {}, depth = 0, limit = limit }, value)
  return code, text
end

-- A cycle is also too deep, and is the better word for it: so first without a limit of depth that a cycle could meet.
local function explain(value, name, fallback)
  local code, text = find_fault(value, name, M.MAX_DEPTH * 2)
  if not code then
    code, text = find_fault(value, name, M.MAX_DEPTH)
  end
  return E.new(code or "invalid", "%s", text or ("%s cannot be sent: %s"):format(name, fallback))
end

local function too_large(name, size)
  return E.new("too_large", "%s has %.1f MB, the limit is 64 MB", name, size / 1048576)
end

--- The value as bytes; or nil and an error: "type" (a function, userdata, thread: the
--- path names it), "cycle", "too_deep", "too_large".
---@param value any
---@param name? string what the error calls the value
---@return string?, brood.Error?
function M.encode(value, name)
  name = name or "message"
  local payload, err = encode(value)
  if not payload then
    if err.code == "too_large" then
      return nil, E.new("too_large", "%s holds too many tables: it would take more than 1 GB to decode", name)
    end
    return nil, explain(value, name, err.message)
  elseif #payload > ENCODED_MAX then
    return nil, too_large(name, #payload)
  end
  return payload
end

-- An error object's metatable stays behind: what it says goes along.
local function with_message(err)
  local meta = getmetatable(err)
  if rawget(err, "message") ~= nil or type(meta) ~= "table" or rawget(meta, "__tostring") == nil then
    return err
  end
  local copy = { message = E.describe(err) }
  for key, value in next, err do
    copy[key] = value
  end
  return copy
end

--- An error table as bytes, always: what cannot be sent of it is left out.
---@param err any
---@return string
function M.encode_error(err)
  if type(err) ~= "table" then
    err = E.from(err)
  end
  err = with_message(err)
  local payload = M.encode(err)
  if payload then
    return payload
  end
  local rest = { message = tostring(err.message or err), code = "error" }
  for key, value in pairs(err) do
    if type(key) == "string" and M.encode(value) and key ~= "message" then
      rest[key] = value
    end
  end
  return M.encode(rest) or buffer_encode { message = rest.message, code = "error" }
end

--- true and the value; or false and an error: the bytes are not a sound value.
---@param payload string
---@return boolean, any
function M.decode(payload)
  local ok, value = decode(payload)
  if ok then
    return true, value
  end
  return false, value
end

--- An error that came as bytes, always: one that says so where they are none.
---@param payload string
---@return brood.Error
function M.decode_error(payload)
  local ok, value = M.decode(payload)
  return E.from(ok and value or "an error that cannot be decoded")
end

return M
