--- The shape of a Lua source text: its tokens, which brackets and blocks belong together, and what
--- surrounds each token. It knows no more of the grammar, and knows nothing about configs.
local lexer = require "brood.rules.lua_lexer"

local M = {}

-- What may close what opens: `for` and `while` bring their own `do`, and each branch of an `if` is a block.
local after_if = { ["end"] = true, ["else"] = true, ["elseif"] = true }
local closers = {
  ["function"] = { ["end"] = true }, ["do"] = { ["end"] = true }, ["repeat"] = { ["until"] = true },
  ["if"] = after_if, ["else"] = { ["end"] = true }, ["elseif"] = after_if,
  ["{"] = { ["}"] = true }, ["("] = { [")"] = true }, ["["] = { ["]"] = true },
}
local brackets = { ["{"] = true, ["("] = true, ["["] = true }
local closes = {}
for _, set in pairs(closers) do
  for op in pairs(set) do
    closes[op] = true
  end
end

---@class brood.LuaScan
---@field tokens brood.LuaToken[]
---@field partner table<integer, integer> where the bracket or block that opens at a token ends
---@field inside table<integer, integer> by token: the innermost bracket or block around it, 0 outside
---@field owner table<integer, integer> by token: where the innermost function around it begins, 0 outside
local Scan = {}
Scan.__index = Scan

--- Take a text apart.
---@param text string
---@return brood.LuaScan? scan nil when it is not understood to its end
function M.scan(text)
  local tokens, whole = lexer.tokens(text)
  local self = setmetatable({ tokens = tokens, partner = {}, inside = {}, owner = {} }, Scan)
  local stack = { { at = 0, owner = 0 } }
  for i, token in ipairs(tokens) do
    local op, top = token.kind == "op" and token.text, stack[#stack]
    if closes[op] then
      if not top.closers or not top.closers[op] then
        return nil
      end
      self.partner[top.at] = i
      stack[#stack] = nil
      top = stack[#stack]
    end
    self.inside[i], self.owner[i] = top.at, top.owner
    if closers[op] then
      stack[#stack + 1] = { at = i, owner = op == "function" and i or top.owner, closers = closers[op] }
    end
  end
  return whole and #stack == 1 and self or nil
end

--- Whether the token at i is this operator or keyword.
---@param i integer
---@param op string
---@return boolean
function Scan:is(i, op)
  local token = self.tokens[i]
  return token ~= nil and token.kind == "op" and token.text == op
end

--- Where the table field that begins at i ends: at a comma, a semicolon or the end of its table.
---@param i integer
---@param last integer where the table ends
---@return integer
function Scan:field_end(i, last)
  while i < last do
    if self:is(i, ",") or self:is(i, ";") then
      return i
    end
    i = (self.partner[i] or i) + 1
  end
  return last
end

--- Whether a plain value that ends before i is all there is: what follows is no operator.
---@param i integer
---@return boolean
function Scan:value_ends(i)
  local token = self.tokens[i]
  if token == nil or token.kind == "name" then
    return true
  end
  local word = token.kind == "op" and token.text
  return lexer.keywords[word] and word ~= "and" and word ~= "or"
    or word == ";" or word == "," or word == "(" or word == "::"
end

--- Whether a return ends before i, or goes on with values that do not matter.
---@param i integer
---@return boolean
function Scan:return_ends(i)
  local token = self.tokens[i]
  local op = token ~= nil and token.kind == "op" and token.text
  return token == nil or after_if[op] or op == "until" or op == ";" or op == ","
end

--- Whether a bracket is the innermost thing around the token.
---@param i integer
---@return boolean
function Scan:in_brackets(i)
  local around = self.tokens[self.inside[i]]
  return around ~= nil and brackets[around.text] ~= nil
end

--- The key in the brackets that open at i, when it is plain.
---@param i integer
---@return string|number|nil
function Scan:plain_key(i)
  local token = self.tokens[i + 1]
  if not self:is(i, "[") or self.partner[i] ~= i + 2 then
    return nil
  elseif token.kind == "string" then
    return token.text
  end
  return token.kind == "number" and tonumber(token.text) or nil
end

--- Where a name stands as a variable: not behind a dot or colon, and not as the key of a table.
---@param name string
---@return integer[]
function Scan:uses(name)
  local list = {}
  for i, token in ipairs(self.tokens) do
    if token.kind == "name" and token.text == name and not self:is(i - 1, ".") and not self:is(i - 1, ":") then
      local field = self:is(self.inside[i], "{") and self:is(i + 1, "=")
        and (self:is(i - 1, "{") or self:is(i - 1, ",") or self:is(i - 1, ";"))
      if not field then
        list[#list + 1] = i
      end
    end
  end
  return list
end

--- Whether the token at i can see a local variable.
---@param i integer
---@param first integer a token of its declaration
---@param last integer the last token of its declaration
---@return boolean
function Scan:sees(i, first, last)
  local block = self.inside[first]
  return i > last and (block == 0 or i < self.partner[block])
end

return M
