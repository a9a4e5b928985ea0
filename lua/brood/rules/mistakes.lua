--- How the mistakes of a config read: one line each, with file and line where they are known, the
--- key, what was expected and what was found instead. Loaded only where there are any.
local kinds = require "brood.rules.kinds"

local M = {}

--- The sentence of a mistake, without where it is.
---@param mistake brood.Mistake
---@return string
function M.sentence(mistake)
  if mistake.key == "" then
    return ("the config must be a table, or a function that returns one; got %s"):format(mistake.got)
  elseif mistake.kind == "type" then
    local text = ("%s: expected %s, got %s"):format(mistake.key, mistake.expected, mistake.got)
    return mistake.why and ("%s: %s"):format(text, mistake.why) or text
  elseif mistake.kind == "unknown" then
    return (kinds.sentence(mistake, "key '%s'", "'%s'"))
  end
  return (("'%s' %s"):format(mistake.key, mistake.problem))
end

-- The line of a key, or of what surrounds it where it is not written itself.
local function line_of_key(line_of, key)
  while key and key ~= "" do
    local line = line_of(key)
    if line then
      return line or nil
    elseif line == false then
      return nil
    end
    key = key:match("^(.*)%[[^%[%]]*%]$") or key:match("^(.*)%.[^.]*$")
  end
  return nil
end

--- Fill in `line` and `message` of each mistake, and put them in the order in which they stand in the file.
---@param mistakes brood.Mistake[] sorted and completed
---@param file? string the config, as it is shown
---@param line_of? fun(key: string): integer|false|nil where a key is written; false: not certain, nil: nowhere
function M.locate(mistakes, file, line_of)
  local position = {}
  for i, mistake in ipairs(mistakes) do
    local where = mistake.source or file
    if not mistake.source then
      mistake.line = mistake.line or line_of and line_of_key(line_of, mistake.key)
    end
    if mistake.line and file then
      where = ("%s:%d"):format(file, mistake.line)
    end
    mistake.message = where and ("%s: %s"):format(where, M.sentence(mistake)) or M.sentence(mistake)
    position[mistake] = i
  end
  table.sort(mistakes, function(a, b)
    local first, second = a.line or math.huge, b.line or math.huge
    if first ~= second then
      return first < second
    end
    return position[a] < position[b]
  end)
end

--- All mistakes of a config as text: one line each, below a line that counts them.
---@param mistakes brood.Mistake[]
---@param file? string the config, as it is shown
---@param line_of? fun(key: string): integer|false|nil
---@return string
function M.format(mistakes, file, line_of)
  M.locate(mistakes, file, line_of)
  if #mistakes == 1 then
    return mistakes[1].message
  end
  local lines = { ("%s has %d mistakes:"):format(file or "the config", #mistakes) }
  for _, mistake in ipairs(mistakes) do
    lines[#lines + 1] = "  " .. mistake.message
  end
  return table.concat(lines, "\n")
end

return M
