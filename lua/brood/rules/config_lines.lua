--- On which line of a config file a mistake stands: what the text says about its keys, held against the
--- value that came out of it. Where the two do not agree, or the key is none that is surely written there,
--- there is no line. Loaded only where there are mistakes.
local positions = require "brood.rules.lua_positions"

local M = {}

-- A quoted key as `show` writes it, and what follows it; nil where it was shortened.
local function quoted(key, at)
  local first = at
  while key:find('^[^"]', at) do
    at = at + (key:sub(at, at) == "\\" and 2 or 1)
  end
  local text = key:sub(first, at - 1):gsub("\\(%d%d%d)", function(code)
    return string.char(tonumber(code))
  end):gsub("\\(.)", "%1")
  local shortened = #text >= 60 and text:sub(-3) == "..."
  return not shortened and key:match('^"%]()', at) and text or nil, at + 2
end

-- "listen[2].mode" as a list of keys; nil where it is not surely one.
local function split(key)
  local first, at = key:match("^([%a_][%w_]*)()")
  if not first then
    return nil
  end
  local path = { first }
  while at <= #key do
    local name, after = key:match("^%.([%a_][%w_]*)()", at)
    if not name then
      name, after = key:match("^%[(%-?[%w.+-]+)%]()", at)
      name = tonumber(name)
    end
    if not name and key:find('^%["', at) then
      name, after = quoted(key, at + 2)
    end
    if not name then
      return nil
    end
    path[#path + 1], at = name, after
  end
  return path
end

-- What a table has itself; a metatable's part in it cannot be seen.
local function field(value, key)
  if type(value) ~= "table" then
    return nil
  end
  local found = rawget(value, key)
  return found, found == nil and getmetatable(value) ~= nil
end

local function agrees(literal, value)
  if not literal then
    return true
  elseif literal.type ~= type(value) then
    return false
  elseif literal.type == "function" then
    local line = debug.getinfo(value, "S").linedefined
    return line >= literal.from and line <= literal.to
  end
  return literal.value == nil or literal.value == value
end

-- The line of a node that is certainly what gave the value.
local function line_of_node(node, value)
  return node.line and agrees(node.literal, value) and node.line or false
end

-- What is in the one element of a list may go without its number: "listen.mode".
local function only_element(node, value, key)
  local first = field(value, 1)
  if type(key) == "string" and field(first, key) ~= nil and next(value) == 1 and next(value, 1) == nil then
    return node.keys[1], first
  end
  return node, value
end

-- Walk down as long as there are values: the last node and value, and whether the path goes on below them. No node
-- where something on the way cannot be seen.
local function walk(root, config, path)
  local node, value = root, config
  for i, key in ipairs(path) do
    if i > 1 and node and not node.unsure then
      node, value = only_element(node, value, key)
    end
    local inner, hidden = field(value, key)
    if node and inner == nil and not hidden then
      return node, value, true
    elseif not node or node.unsure or hidden then
      return nil
    end
    node, value = node.keys[key], inner
  end
  return node, value, false
end

--- What finds the lines of a config's mistakes.
---@param text string of the file
---@param config any what the file gave
---@return fun(key: string): integer|false line by the key of a mistake; false: not certain
function M.finder(text, config)
  local root = positions.find(text)
  return function(key)
    local path = split(key)
    local other = not key:match("^[%a_][%w_]*$") and field(config, key) ~= nil -- a name that reads like a path
    if not path and tonumber(key) then
      path = { tonumber(key) }
    end
    if not path or other then
      return false
    end
    local node, value, missing = walk(root, config, path)
    if not node or node == root or (not missing and type(value) == "table" and node.touched) then
      return false -- what is wrong with a table may have come in later
    end
    return line_of_node(node, value)
  end
end

return M
