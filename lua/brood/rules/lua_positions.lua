--- Where the keys of a config are written: from the text of a Lua file to a tree of its keys, each
--- with the line it is written on and what stands there, as far as that is plain.
---
--- It follows what such files usually do: `return { ... }`, in a function or not, or a local variable that is
--- made from a constructor and assigned to. A wrong line is worse than none: whatever it does not know to be
--- harmless (another use of the variable, a return of something else, a key that is written twice or
--- computed) makes it unsure. It runs nothing and never guesses.
local scan = require "brood.rules.lua_scan"

local M = {}

---@class brood.LuaNode a key of the config, or the config itself
---@field keys table<any, brood.LuaNode>
---@field line? integer|false where it is written; false: more than once
---@field unsure? boolean what is in it cannot be seen
---@field touched? boolean what is in it may have been changed later on
---@field literal? brood.LuaLiteral

---@class brood.LuaLiteral what is written there, where it is plain
---@field type string
---@field value? any of a string (nil with escapes), a number or a boolean
---@field from? integer of a function: the lines its beginning is on
---@field to? integer

local function child(node, key)
  node.keys[key] = node.keys[key] or { keys = {} }
  return node.keys[key]
end

local function descend(node, path)
  for _, key in ipairs(path) do
    node = child(node, key)
  end
  return node
end

local function note(node, line)
  node.line = node.line == nil and line
end

-- ---- values -------------------------------------------------------------------------------------------------------

local constants = { ["true"] = true, ["false"] = false }

-- The plain value at i, and its last token.
local function plain(self, i)
  local token = self.tokens[i]
  local op = token and token.kind == "op" and token.text
  if not token or token.kind == "name" then
    return nil
  elseif token.kind == "string" then
    return { type = "string", value = token.text }, i
  elseif token.kind == "number" then
    return tonumber(token.text) and { type = "number", value = tonumber(token.text) }, i
  elseif op == "{" then
    return { type = "table" }, self.partner[i]
  elseif op == "function" then
    local first = i + 1
    while not self:is(first, "(") do
      first = first + 1
    end
    return { type = "function", from = token.line, to = self.tokens[first].line }, self.partner[i]
  elseif op == "-" and self.tokens[i + 1].kind == "number" and tonumber(self.tokens[i + 1].text) then
    return { type = "number", value = -tonumber(self.tokens[i + 1].text) }, i + 1
  elseif constants[op] ~= nil then
    return { type = "boolean", value = constants[op] }, i
  end
  return op == "nil" and { type = "nil" } or nil, i
end

local constructor

-- What is written at i becomes the node's; `stop` is where a table field ends.
local function write(self, node, i, stop)
  local literal, last = plain(self, i)
  if not literal or (stop and last + 1 ~= stop) or (not stop and not self:value_ends(last + 1)) then
    node.unsure = true
    return
  end
  node.literal = literal
  if literal.type == "table" then
    constructor(self, node, i)
  end
end

function constructor(self, node, first)
  local last, i, index, numbered = self.partner[first], first + 1, 0, false
  while i < last do
    local token, stop = self.tokens[i], self:field_end(i, last)
    local line, from = token.line, i
    local key
    if self:is(i, "[") then
      key, from = self:plain_key(i), self.partner[i] + 2
      line, numbered = self.tokens[i + 1].line, numbered or type(key) == "number"
    elseif self:is(i + 1, "=") then
      key, from = token.kind == "name" and token.text or nil, i + 2
    else
      index = index + 1
      key = index
    end
    if key == nil then
      node.unsure = true
    else
      note(child(node, key), line)
      write(self, child(node, key), from, stop)
    end
    i = stop + 1
  end
  node.unsure = node.unsure or numbered and index > 0 or nil -- which of them counts depends on their order
end

-- ---- variables ----------------------------------------------------------------------------------------------------

-- Follow `.name` and `["name"]` from i: the path, the token behind it, the line of its last key.
local function suffixes(self, i)
  local path, line = {}, nil
  while true do
    local token = self.tokens[i + 1]
    if self:is(i, ".") and token.kind == "name" then
      path[#path + 1], line, i = token.text, token.line, i + 2
    elseif self:is(i, "[") then
      local key = self:plain_key(i)
      if key == nil then
        return path, nil
      end
      path[#path + 1], line, i = key, token.line, i + 3
    else
      return path, i, line
    end
  end
end

local function touch(root, path)
  local node = root
  for i = 1, #path do
    node.touched = true
    node = child(node, path[i])
  end
  return node
end

-- Whether the assignment or the read around a path may be one of several targets.
local function among_others(self, i, after)
  return self:is(i - 1, ",") and self:is(after, "=") or not self:in_brackets(i)
    and (self:is(i - 1, ",") or self:is(after, ","))
end

-- One use of the variable other than its declaration.
local function use(self, root, i)
  local path, after, line = suffixes(self, i + 1)
  if not after or not path[1] then
    descend(root, path).unsure = true -- a computed key, or the table itself goes elsewhere
  elseif self:is(i - 1, "function") then
    local node = touch(root, path)
    note(node, line)
    if self:is(after, "(") then
      write(self, node, i - 1)
    else
      root.unsure = true
    end
  elseif among_others(self, i, after) then
    local node = touch(root, path)
    node.line, node.unsure = false, true
  elseif self:is(after, "=") then
    local node = touch(root, path)
    note(node, line)
    write(self, node, after + 1)
  else
    local node = descend(root, path)
    node.unsure, node.touched = true, true -- whoever reads a table can change it
  end
end

-- With the debug library a variable can be changed unseen.
local function mentions_debug(self)
  for _, token in ipairs(self.tokens) do
    if token.text == "debug" then
      return true
    end
  end
  return false
end

-- Where `local NAME = { ... }` begins and ends; the first one, any other is a use that is not understood.
local function declaration(self, uses)
  for _, i in ipairs(uses) do
    if self:is(i - 1, "local") and self:is(i + 1, "=") and self:is(i + 2, "{") then
      local last = self.partner[i + 2]
      return self:value_ends(last + 1) and not self:is(last + 1, ",") and i or nil, last
    end
  end
  return nil
end

local function variable(self, root, name)
  local uses = self:uses(name)
  local first, last = declaration(self, uses)
  if not first or mentions_debug(self) then
    root.unsure = true
    return
  end
  constructor(self, root, first + 2)
  for _, i in ipairs(uses) do
    if i ~= first and not self:sees(i, first, last) then
      root.unsure = true
    elseif i ~= first and not (self.returns[i - 1] and self:return_ends(i + 1)) then
      use(self, root, i)
    end
  end
end

-- ---- what the file returns ----------------------------------------------------------------------------------------

-- The function of that name, when there is one and nothing but returns of the file names it.
local function named_function(self, name)
  local uses, found = self:uses(name), nil
  for _, i in ipairs(uses) do
    if not found and self:is(i - 1, "function") and self:is(i - 2, "local") then
      found = i - 1
    elseif not found or not self:is(i - 1, "return") or self.owner[i] ~= 0 or not self:return_ends(i + 1)
      or not self:sees(i, found, self.partner[found]) then
      return nil
    end
  end
  return found
end

-- The function that the return at i gives away.
local function function_at(self, i)
  local following = self.tokens[i + 1]
  if self:is(i + 1, "function") then
    return self:return_ends(self.partner[i + 1] + 1) and i + 1 or nil
  end
  return following and following.kind == "name" and named_function(self, following.text) or nil
end

-- All returns that can give the config: of the file, and of the functions that the file returns.
local function find_returns(self)
  local owners, list = { [0] = true }, {}
  for i in ipairs(self.tokens) do
    local body = self.owner[i] == 0 and self:is(i, "return") and function_at(self, i)
    if body then
      owners[body] = true
    end
  end
  self.returns = {}
  for i in ipairs(self.tokens) do
    if self:is(i, "return") and owners[self.owner[i]] then
      self.returns[i] = true
      list[#list + 1] = i
    end
  end
  return list
end

local function returned(self, root, i, seen)
  local following = self.tokens[i + 1]
  if self:return_ends(i + 1) or self.owner[i] == 0 and function_at(self, i) then
    return -- nothing, or a function whose returns are looked at as well
  elseif self:is(i + 1, "{") and self:return_ends(self.partner[i + 1] + 1) then
    constructor(self, root, i + 1)
  elseif following.kind == "name" and self:return_ends(i + 2) then
    if not seen[following.text] then
      seen[following.text] = true
      variable(self, root, following.text)
    end
  else
    root.unsure = true
  end
end

--- The keys of the config that a file returns.
---@param text string Lua source
---@return brood.LuaNode root
function M.find(text)
  local self, root, seen = scan.scan(text), { keys = {} }, {}
  if not self then
    root.unsure = true
    return root
  end
  for _, i in ipairs(find_returns(self)) do
    returned(self, root, i, seen)
  end
  return root
end

return M
