--- What a child printed last to its stderr, where that is a function of the user's: for the error of a start that went
--- wrong. It neither opens nor reads anything.
local M = {}

local LINES = 10

---@class brood.ChildTail
---@field lines string[]
local Tail = {}
Tail.__index = Tail

--- Listen in to what the options of a process read.
---@param given table its options; changed
---@return brood.ChildTail
function M.new(given)
  local self = setmetatable({ lines = {} }, Tail)
  local reader = given.stderr
  if type(reader) ~= "function" then
    return self
  end
  local function heard(line)
    table.insert(self.lines, line)
    if #self.lines > LINES then
      table.remove(self.lines, 1)
    end
    return reader(line)
  end
  given.stderr = heard
  if given.stdout == reader then
    given.stdout = heard -- the same function is one pipe for both
  end
  return self
end

--- Another one is started.
function Tail:clear()
  self.lines = {}
end

--- The error of a start that ended or took too long, with what was printed. What the child has told stays as it is.
---@param child brood.Child
---@param err brood.Error
---@return brood.Error
function M.explain(child, err)
  local lines = child.tail.lines
  local ours = err.code == "timeout" or rawget(err, "exit_code") or rawget(err, "exit_signal")
  if ours and lines[1] and not rawget(err, "stderr") then
    err.stderr = table.concat(lines, "\n")
    err.message = ("%s:\n%s"):format(err.message, err.stderr)
  end
  return err
end

return M
