--- Where the keys of a config are written: from the text of a Lua file to lines by key path, as
--- the mistakes of a config name them ("listen[2].mode", "clusters.admin.workers").
---
--- It follows what such files usually do: `return { ... }`, in a function or not, or a variable
--- that is made from a constructor and assigned to. Where it cannot be sure (a key that is written
--- twice, a computed one, a table that is handed to a function) it says so, and never guesses.
local kinds = require "brood.rules.kinds"
local lexer = require "brood.rules.lua_lexer"

local M = {}

-- What opens a block that `end` closes; `for` and `while` bring their own `do`.
local opens = { ["function"] = true, ["do"] = true, ["if"] = true, ["repeat"] = true }
local closes = { ["end"] = true, ["until"] = true }
local brackets = { ["{"] = "}", ["("] = ")", ["["] = "]" }

---@class brood.LuaScan
---@field tokens brood.LuaToken[]
---@field partner table<integer, integer> where the bracket or block that opens at a token ends
---@field owner table<integer, integer> by token: where the innermost function around it begins, 0 outside
local Scan = {}
Scan.__index = Scan

local function scan(text)
  local self = setmetatable({ tokens = lexer.tokens(text), partner = {}, owner = {} }, Scan)
  local stack, functions = {}, { 0 }
  for i, token in ipairs(self.tokens) do
    local op = token.kind == "op" and token.text
    self.owner[i] = functions[#functions]
    if opens[op] or brackets[op] then
      stack[#stack + 1] = i
      if op == "function" then
        functions[#functions + 1] = i
      end
    elseif closes[op] or op == "}" or op == ")" or op == "]" then
      local first = table.remove(stack)
      if not first then
        return self
      end
      self.partner[first] = i
      if self.tokens[first].text == "function" then
        functions[#functions] = nil
      end
    end
  end
  return self
end

function Scan:is(i, op)
  local token = self.tokens[i]
  return token ~= nil and token.kind == "op" and token.text == op
end

-- Where the expression that begins at i ends: before a comma, a semicolon or the closing bracket of its table.
function Scan:skip(i, last)
  while i < last do
    if self:is(i, ",") or self:is(i, ";") then
      return i
    end
    i = (self.partner[i] or i) + 1
  end
  return last
end

-- ---- what is found ------------------------------------------------------------------------------------------------

---@class brood.LuaFound
---@field lines table<string, integer|false> false: written more than once
---@field unsure table<string, boolean> tables that have keys which cannot be seen

local function note(found, path, line)
  if found.lines[path] == nil then
    found.lines[path] = line
  else
    found.lines[path] = false
  end
end

local constructor

-- The value of a key: its parts, when it is a constructor and nothing more.
local function value(self, found, path, i, stop)
  if self:is(i, "{") and self.partner[i] and self.partner[i] < stop then
    constructor(self, found, path, i)
    if self.partner[i] + 1 < stop then
      found.unsure[path] = true
    end
  end
end

-- The key in brackets at i, when it is plain.
local function plain_key(self, i)
  local token = self.tokens[i + 1]
  if self:is(i, "[") and token and self.partner[i] == i + 2 then
    return token.kind == "string" and token.text or token.kind == "number" and tonumber(token.text) or nil
  end
  return nil
end

function constructor(self, found, path, first)
  local last, i, index = self.partner[first], first + 1, 0
  while i < last do
    local token, stop = self.tokens[i], self:skip(i, last)
    local key, from = nil, i
    if self:is(i, "[") then
      key, from = plain_key(self, i), (self.partner[i] or i) + 2
      found.unsure[path] = found.unsure[path] or key == nil
    elseif token.kind == "name" and self:is(i + 1, "=") then
      key, from = token.text, i + 2
    elseif stop > i then
      index = index + 1
      key = index
    end
    if key ~= nil then
      local where = kinds.join(path, key)
      note(found, where, token.line)
      value(self, found, where, from, stop)
    end
    i = stop + 1
  end
end

-- ---- which tables are the config ------------------------------------------------------------------------------------

-- Follow `.name` and `["name"]` behind a variable: the path, and the token behind it.
local function suffixes(self, i)
  local path = ""
  while true do
    local token = self.tokens[i + 1]
    if self:is(i, ".") and token and token.kind == "name" then
      path, i = kinds.join(path, token.text), i + 2
    elseif self:is(i, "[") then
      local key = plain_key(self, i)
      if key == nil then
        return path, i, true
      end
      path, i = kinds.join(path, key), i + 3
    else
      return path, i, false
    end
  end
end

-- The expression of an assignment or return ends where no operator can follow.
local function ends_at(self, i)
  local stop = i
  if self.partner[i] then
    stop = self.partner[i] + 1
  end
  local token = self.tokens[stop]
  local word = token and lexer.keywords[token.text] and token.text ~= "and" and token.text ~= "or"
  local goes_on = token ~= nil and token.kind == "op" and not word and token.text ~= ";" and token.text ~= ","
  return goes_on and #self.tokens + 2 or stop, goes_on
end

local function assigned(self, found, path, i, line)
  if path ~= "" then
    note(found, path, line)
  end
  local stop, goes_on = ends_at(self, i)
  if self:is(i, "{") and self.partner[i] then
    constructor(self, found, path, i)
    found.unsure[path] = found.unsure[path] or goes_on or nil
  elseif path == "" then
    found.unsure[path] = true -- the variable is something else
  end
  return stop
end

local function variable(self, found, name)
  for i, token in ipairs(self.tokens) do
    local before = self.tokens[i - 1]
    local member = before and before.kind == "op" and (before.text == "." or before.text == ":")
    if token.kind == "name" and token.text == name and not member then
      local path, after, computed = suffixes(self, i + 1)
      if computed then
        found.unsure[path] = true
      elseif self:is(after, "=") and not (path == "" and self:is(i - 1, ",")) then
        -- Inside a constructor this is a key of that name, not the variable.
        if path ~= "" or not self:in_table(i) then
          assigned(self, found, path, after + 1, token.line)
        end
      elseif (self:is(i - 1, "(") or self:is(i - 1, ",")) and (self:is(after, ",") or self:is(after, ")")) then
        found.unsure[path] = true -- handed to a function, which may change it
      end
    end
  end
end

function Scan:in_table(i)
  for first, last in pairs(self.partner) do
    if first < i and i < last and self:is(first, "{") and self.owner[first] == self.owner[i] then
      return true
    end
  end
  return false
end

-- The function that a name stands for, when there is one definition of it.
local function function_named(self, name)
  local found
  for i, token in ipairs(self.tokens) do
    if token.text == name and token.kind == "name" then
      local first = self:is(i - 1, "function") and i - 1
        or self:is(i + 1, "=") and self:is(i + 2, "function") and i + 2 or nil
      if first and found then
        return nil
      end
      found = first or found
    end
  end
  return found
end

-- What the function (0: the file) returns.
local function returned(self, found, owner, depth)
  local seen = {}
  for i, token in ipairs(self.tokens) do
    if self.owner[i] == owner and self:is(i, "return") then
      local following = self.tokens[i + 1]
      if self:is(i + 1, "{") then
        assigned(self, found, "", i + 1, token.line)
      elseif self:is(i + 1, "function") and depth == 0 then
        returned(self, found, i + 1, 1)
      elseif following and following.kind == "name" and not seen[following.text] then
        seen[following.text] = true
        local _, goes_on = ends_at(self, i + 1)
        local body = depth == 0 and function_named(self, following.text)
        local token_after = self.tokens[i + 2]
        if token_after and (token_after.kind == "string" or goes_on or self:is(i + 2, "(")
          or self:is(i + 2, "{") or self:is(i + 2, ".")) then
          found.unsure[""] = true
        elseif body then
          returned(self, found, body, 1)
        else
          variable(self, found, following.text)
        end
      end
    end
  end
end

--- The lines of a config's keys.
---@param text string Lua source
---@return table<string, integer|false> lines by key path; false: written, but it is not certain where it counts
function M.find(text)
  local self, found = scan(text), { lines = {}, unsure = {} }
  returned(self, found, 0, 0)
  for path in pairs(found.lines) do
    local above = path
    while above do
      above = above:match("^(.*)%[[^%[%]]*%]$") or above:match("^(.*)%.[^.]*$") or above ~= "" and "" or nil
      if above and found.unsure[above] then
        found.lines[path] = false
      end
    end
  end
  return found.lines
end

return M
