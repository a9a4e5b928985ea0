--- A user's function for the lines of a service. It may wait, and the service waits with it; but one that takes nothing
--- for long does not hold the service up for good: lines are left out then, and the log says how many.
local core = require "brood.core"
local E = require "brood.error"
local log = require "brood.log"
local task = require "brood.task"
local timer = require "brood.timer"

local M = {}

local MAX = 1024 * 1024 -- bytes that wait for the function
local PATIENCE = 5 -- seconds that the service waits for it, once there are so many

---@class brood.LineReader
---@field name string
---@field fn fun(line: string)
---@field queue string[] from `first` to `last`
---@field bytes integer in the queue
---@field moved boolean it has taken something since it was looked at
---@field stuck boolean it has taken nothing for so long
---@field left_out integer lines since then
local Reader = {}
Reader.__index = Reader

local function tell_left_out(self)
  if self.left_out > 0 then
    log.warn(("%s: its output function took nothing for long: %d lines are left out"):format(self.name, self.left_out))
    self.left_out = 0
  end
end

local function drain(self)
  while self.first <= self.last do
    local line = self.queue[self.first]
    self.queue[self.first] = nil
    self.first, self.bytes = self.first + 1, self.bytes - #line
    local ok, err = task.call(self.fn, line)
    if not ok then
      core.uncaught(("%s: output function: %s"):format(self.name, E.text(err)))
    end
    self.stuck, self.moved = false, true
    tell_left_out(self)
    if self.waiting and self.bytes <= MAX / 2 then
      self.waiting()
    end
  end
  self.busy = false
end

-- Wait until there is room, but not for one that takes nothing.
local function await_room(self)
  task.run(nil, "output", function(done)
    self.moved = false
    local limit
    function self.waiting()
      self.waiting = nil
      limit:cancel()
      done()
    end
    limit = timer.every(PATIENCE, function()
      if self.moved then
        self.moved = false
        return
      end
      self.stuck = true
      log.warn(("%s: its output function has taken nothing for %d s: lines are left out"):format(self.name, PATIENCE))
      self.waiting()
    end)
  end)
end

local function take(self, line)
  if self.bytes + #line > MAX and not self.stuck then
    await_room(self)
  end
  if self.bytes + #line > MAX then
    self.left_out = self.left_out + 1
    return
  end
  self.last = self.last + 1
  self.queue[self.last], self.bytes = line, self.bytes + #line
  if not self.busy then
    self.busy = true
    task.spawn(drain, self)
  end
end

--- A function for `stdout` or `stderr` of a process.
---@param name string of the service
---@param fn fun(line: string)
---@return fun(line: string)
function M.new(name, fn)
  local self = setmetatable({
    name = name, fn = fn, queue = {}, first = 1, last = 0, bytes = 0, left_out = 0,
    busy = false, moved = false, stuck = false,
  }, Reader)
  return function(line)
    take(self, line)
  end
end

return M
