--- Lua source as a list of tokens with their lines. It is exact about what hides other
--- text (strings, long brackets, comments) and knows no grammar; text that is no Lua ends the list early, and says so.
local M = {}

---@class brood.LuaToken
---@field kind "name"|"string"|"number"|"op"
---@field text string of a string its value where it has no escapes, else nil
---@field line integer

local keywords = {}
for word in ([[and break do else elseif end false for function goto if in local nil not or repeat return then true until
  while]]):gmatch("%l+") do
  keywords[word] = true
end
M.keywords = keywords

local function count_lines(text, from, to)
  local n = 0
  for at in text:gmatch("()\n") do
    if at >= from and at <= to then
      n = n + 1
    end
  end
  return n
end

-- The end of a long bracket that opens at `at`, and where its content is; nil when there is none.
local function long_bracket(text, at)
  local level, from = text:match("^%[(=*)%[()", at)
  if not level then
    return nil
  end
  local first, last = text:find("]" .. level .. "]", from, true)
  return last or #text, from, (first or #text + 1) - 1
end

local function short_string(text, at)
  local quote, i = text:sub(at, at), at + 1
  while true do
    local found = text:find("[\\\n" .. quote .. "]", i)
    if not found or text:sub(found, found) == "\n" then
      return nil
    elseif text:sub(found, found) == quote then
      return found
    end
    i = found + 2 -- an escaped newline goes on as well
    if text:sub(found + 1, found + 1) == "z" then
      i = text:match("^%s*()", found + 2)
    end
  end
end

-- One token or piece of blank text at `at`: the kind (nil for blanks), its text, where it ends.
local function next_token(text, at)
  local last = text:match("^%s+()", at)
  if last then
    return nil, nil, last - 1
  elseif text:find("^%-%-", at) then
    last = long_bracket(text, at + 2)
    return nil, nil, last or (text:find("\n", at, true) or #text + 1) - 1
  end
  local finish, from, to = long_bracket(text, at)
  if finish then
    return "string", (text:sub(from, to):gsub("^\r?\n", "")), finish
  elseif text:find("^[\"']", at) then
    finish = short_string(text, at)
    local value = finish and text:sub(at + 1, finish - 1)
    return finish and "string", value and not value:find("\\", 1, true) and value or nil, finish
  end
  last = text:match("^[%a_\128-\255][%w_\128-\255]*()", at)
  if last then
    return "name", text:sub(at, last - 1), last - 1
  end
  last = text:match("^%.?%d[%w.]*()", at)
  while last and text:find("^[eEpP]", last - 1) and text:find("^[+-]%d", last) do
    last = text:match("^[+-][%w.]*()", last)
  end
  if last then
    return "number", text:sub(at, last - 1), last - 1
  end
  local op = text:match("^%.%.%.", at) or text:match("^[=~<>]=", at) or text:match("^%.%.", at)
    or text:match("^::", at) or text:sub(at, at)
  return "op", op, at + #op - 1
end

--- The tokens of a source text.
---@param text string
---@return brood.LuaToken[] tokens
---@return boolean whole whether they are all, and their lines those that Lua counts
function M.tokens(text)
  local tokens, line = {}, 1
  text = text:gsub("^\239\187\191", ""):gsub("\r\n", "\n")
  if text:find("\r", 1, true) then
    return tokens, false -- to Lua a line ends here as well, to an editor perhaps not
  end
  local at = text:match("^#[^\n]*()") or 1
  while at <= #text do
    local kind, value, last = next_token(text, at)
    if not last then
      return tokens, false
    elseif kind then
      if kind == "name" and keywords[value] then
        kind = "op"
      end
      tokens[#tokens + 1] = { kind = kind, text = value, line = line }
    end
    if not kind or kind == "string" then
      line = line + count_lines(text:sub(at, last), 1, #text)
    end
    at = last + 1
  end
  return tokens, true
end

return M
