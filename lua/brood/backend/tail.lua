--- What a program prints: its last part is kept, for the error of a start that goes wrong, and all of it goes where it
--- was to go. It opens nothing.
local terminal = require("brood.lazy").room "brood.spinner.terminal"

local M = {}

local KEPT = 8 * 1024 -- bytes

---@class brood.BackendTail
---@field pieces string[]
---@field size integer
local Tail = {}
Tail.__index = Tail

---@return brood.BackendTail
function M.new()
  return setmetatable({ pieces = {}, size = 0 }, Tail)
end

---@param piece string
function Tail:add(piece)
  self.pieces[#self.pieces + 1] = piece
  self.size = self.size + #piece
  if self.size > 3 * KEPT then
    local rest = table.concat(self.pieces):sub(-KEPT - 1)
    self.pieces, self.size = { rest }, #rest
  end
end

--- What it printed last, without the line breaks around it; nil where that is nothing. Of more than fits whole lines
--- are left out at the beginning, and "..." stands for them.
---@return string?
function Tail:text()
  local text = table.concat(self.pieces)
  if #text > KEPT then
    text = text:sub(-KEPT)
    text = "...\n" .. (text:match "^[^\n]*\n(.+)$" or text)
  end
  text = text:gsub("^%s*\n", ""):gsub("%s+$", "")
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
    tail:add(line .. "\n")
    if wanted then
      return wanted(line)
    elseif out then
      out:write(line .. "\n") -- which never waits: whoever reads our output may be slow
    end
  end
end

return M
