--- What a program prints: its last part is kept, for the error of a start that goes wrong, and all of it goes where it
--- was to go. It opens nothing.
local terminal = require("brood.lazy").room "brood.spinner.terminal"

local M = {}

local KEPT = 8 * 1024 -- bytes

---@class brood.BackendTail
---@field lines { fd: integer, text: string }[] of both streams, in the order in which they came
---@field size integer
---@field cut boolean whether anything was left out
local Tail = {}
Tail.__index = Tail

---@return brood.BackendTail
function M.new()
  return setmetatable({ lines = {}, size = 0, cut = false }, Tail)
end

-- Only the newest lines stay. Each stream has a half for itself, and what the other one leaves: which of two pipes is
-- read first is chance, and much of one must not push out the reason that is in the other.
local function shorten(self)
  local printed = { 0, 0 }
  for _, line in ipairs(self.lines) do
    printed[line.fd] = printed[line.fd] + #line.text
  end
  local room = { math.max(KEPT / 2, KEPT - printed[2]), math.max(KEPT / 2, KEPT - printed[1]) }
  local newest, none_yet = {}, { true, true }
  self.size = 0
  for i = #self.lines, 1, -1 do
    local fd, text = self.lines[i].fd, self.lines[i].text
    if #text > room[fd] then
      self.cut = true
      text = none_yet[fd] and text:sub(-room[fd]) or ""
      room[fd] = 0 -- what is older goes too
    end
    if text ~= "" then
      newest[#newest + 1] = { fd = fd, text = text }
      none_yet[fd], room[fd], self.size = false, math.max(0, room[fd] - #text), self.size + #text
    end
  end
  self.lines = {}
  for i = #newest, 1, -1 do
    self.lines[#self.lines + 1] = newest[i]
  end
end

---@param fd integer 1 or 2
---@param text string a line, with its end
function Tail:add(fd, text)
  self.lines[#self.lines + 1] = { fd = fd, text = text }
  self.size = self.size + #text
  if self.size > 3 * KEPT then
    shorten(self)
  end
end

--- What it printed last, without the line breaks around it; nil where that is nothing. Of more than fits lines are
--- left out at the beginning, and "..." stands for them.
---@return string?
function Tail:text()
  if self.size > KEPT then
    shorten(self)
  end
  local texts = {}
  for i, line in ipairs(self.lines) do
    texts[i] = line.text
  end
  local text = table.concat(texts):gsub("^%s*\n", ""):gsub("%s+$", "")
  if self.cut then
    text = "...\n" .. text
  end
  return text ~= "" and text or nil
end

--- What a stream of Process is to be: a function that keeps each line and passes it on; or what was wanted, where that
--- is a file.
---@param tail brood.BackendTail
---@param fd integer 1 or 2
---@param wanted? string|integer|false|fun(line: string)
---@return string|integer|fun(line: string)
function M.stream(tail, fd, wanted)
  if type(wanted) == "string" or type(wanted) == "number" then
    return wanted
  end
  local out = wanted == nil and terminal.at(fd)
  return function(line)
    tail:add(fd, line .. "\n")
    if wanted then
      return wanted(line)
    elseif out then
      out:write(line .. "\n") -- which never waits: whoever reads our output may be slow
    end
  end
end

return M
