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
  elseif mistake.kind == "type" and mistake.source == "PORT in the environment" then
    return ("PORT in the environment must be a port (or the path of a Unix socket), got %s"):format(mistake.got)
  elseif mistake.kind == "type" then
    local text = ("%s: expected %s, got %s"):format(mistake.key, mistake.expected, mistake.got)
    return mistake.why and ("%s: %s"):format(text, mistake.why) or text
  elseif mistake.belongs then
    return ("unknown key '%s' (%s)"):format(mistake.key, mistake.belongs)
  elseif mistake.kind == "unknown" then
    return (kinds.sentence(mistake, "key '%s'", "'%s'"))
  end
  return (("%s'%s' %s"):format(mistake.note and "note: " or "", mistake.key, mistake.problem))
end

-- The line of a key, or of what surrounds it where it is not written itself.
local function line_of_key(line_of, key)
  while key and key ~= "" do
    local line = line_of(key)
    if line ~= nil then
      return line or nil
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
    local where = mistake.source ~= "PORT in the environment" and mistake.source or not mistake.source and file or nil
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

--- All mistakes of a config as text: one line each, below a line that counts them. Notes come after them.
---@param mistakes brood.Mistake[]
---@param file? string the config, as it is shown
---@param line_of? fun(key: string): integer|false|nil
---@param more? boolean whether some have been told already
---@return string
function M.format(mistakes, file, line_of, more)
  M.locate(mistakes, file, line_of)
  local lines, notes = {}, {}
  for _, mistake in ipairs(mistakes) do
    local list = mistake.note and notes or lines
    list[#list + 1] = mistake.message
  end
  if #lines > 1 then
    lines = { ("%s has %d %smistakes:\n  %s"):format(file or "the config", #lines, more and "more " or "",
      table.concat(lines, "\n  ")) }
  end
  for _, note in ipairs(notes) do
    lines[#lines + 1] = note
  end
  return table.concat(lines, "\n")
end

return M
