--- What a worker notes about itself where its master can read it, also when it is stuck or
--- dead: how far its start has come, and which signal it obeys. One number in its
--- place on the scoreboard; nobody is woken for it.
local signals = require "brood.signals"

local M = {}

local SIGNALS = 16 -- the number is a stage, and so many times the number of a signal

local stages = { "after_fork", "load", "start", "ready" }
local numbers = {}
for number, name in ipairs(stages) do
  numbers[name] = number
end

local texts = {
  after_fork = "after_fork has not returned",
  load = "%s is still being loaded",
  start = "the start function of %s has neither returned nor called done",
}

---@class brood.Note
---@field board userdata
---@field place integer?
---@field value integer
local Note = {}
Note.__index = Note

local function write(self)
  if self.place then
    self.board:set(self.place, "state", self.value)
  end
end

--- In the worker, which has just taken its place.
---@param board userdata
---@param place integer? without one nothing is noted
---@return brood.Note
function M.new(board, place)
  return setmetatable({ board = board, place = place, value = 0 }, Note)
end

--- How far the start has come.
---@param name "after_fork"|"load"|"start"|"ready"
function Note:stage(name)
  self.value = self.value - self.value % SIGNALS + numbers[name]
  write(self)
end

--- It goes because of this signal.
---@param name string
function Note:told(name)
  self.value = self.value % SIGNALS + SIGNALS * signals.number(name)
  write(self)
end

--- In the master: which signal a worker has obeyed.
---@param value number what stands in its place
---@return string? name
function M.signal(value)
  local number = math.floor(value / SIGNALS)
  return number > 0 and signals.name(number) or nil
end

--- In the master: whether a worker accepts connections, though its word of that may still be on its way.
---@param value number
---@return boolean
function M.serves(value)
  return stages[value % SIGNALS] == "ready"
end

--- In the master: what the start of a worker has not come beyond.
---@param value number
---@param app string
---@return string? text
function M.where(value, app)
  local text = texts[stages[value % SIGNALS]]
  return text and text:format(app)
end

return M
