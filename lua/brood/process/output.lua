--- What a child writes: read from its pipe and given on line by line, or as it
--- comes. The reader may wait; then the pipe is left to fill, and the child waits too.
local core = require "brood.core"
local E = require "brood.error"
local log = require "brood.log"
local task = require "brood.task"
local uv = require "luv"

local M = {}

local CHUNK = 65536
M.LINE_MAX = 65536 -- a longer line comes in pieces of this size

---@class brood.Output
---@field fd integer
---@field ended boolean
local Output = {}
Output.__index = Output

local function deliver(self, piece)
  local ok, err = xpcall(self.reader, task.on_raise, piece)
  if not ok then
    core.uncaught(("%s: output function: %s"):format(self.name, E.text(err)))
  end
end

-- Cut what is complete off the front: whole lines, or full pieces of one that is too long.
local function next_line(self)
  local at = self.rest:find("\n", self.from, true)
  if at and at - self.from <= M.LINE_MAX then
    local line = self.rest:sub(self.from, at - 1)
    self.from = at + 1
    return line
  elseif #self.rest - self.from + 1 >= M.LINE_MAX then
    local piece = self.rest:sub(self.from, self.from + M.LINE_MAX - 1)
    self.from = self.from + M.LINE_MAX
    return piece
  end
end

local function consume(self, chunk)
  if self.raw then
    return deliver(self, chunk)
  end
  self.rest = self.rest:sub(self.from) .. chunk
  self.from = 1
  for line in next_line, self do
    deliver(self, line)
  end
end

local function finish(self)
  if self.ended then
    return
  end
  local last = self.rest:sub(self.from)
  self.rest, self.from = "", 1
  if last ~= "" then
    deliver(self, last)
  end
  self.ended = true
  if self.poll and not self.poll:is_closing() then
    self.poll:close()
  end
  core.fd.close(self.fd)
  self.fd = -1
  local waiters = self.waiters
  self.waiters = {}
  for _, fn in ipairs(waiters) do
    fn()
  end
end

-- One task reads at a time, so that lines come in order even when the reader waits.
local function drain(self)
  if self.reading or self.ended then
    return
  end
  self.reading = true
  self.poll:stop()
  task.spawn(function()
    local over = false
    repeat
      local chunk, err = core.fd.read(self.fd, CHUNK)
      if chunk and chunk ~= "" then
        consume(self, chunk)
      else
        over = chunk == "" or err.code ~= "EAGAIN"
        if over and chunk ~= "" then
          log.warn(("%s: reading its output: %s"):format(self.name, err))
        end
      end
    until over or not chunk
    self.reading = false
    if over or self.last_call then
      finish(self)
    else
      self:watch()
    end
  end)
end

function Output:watch()
  if not self.poll:is_closing() then
    self.poll:start("r", function()
      drain(self)
    end)
  end
end

--- The child has ended: read what is left, then call fn. A pipe that a stray process still holds is not waited for.
---@param fn fun()
function Output:close(fn)
  if self.ended then
    return fn()
  end
  self.waiters[#self.waiters + 1] = fn
  self.last_call = true
  drain(self)
end

--- Read from a non-blocking descriptor, which from now on belongs to the output.
---@param name string for messages
---@param fd integer
---@param reader fun(piece: string) called in a task, one piece after the other
---@param raw? boolean pieces as they come, in place of lines
---@return brood.Output
function M.new(name, fd, reader, raw)
  local self = setmetatable({
    name = name, fd = fd, reader = reader, raw = raw,
    rest = "", from = 1, ended = false, waiters = {}, poll = assert(uv.new_poll(fd)),
  }, Output)
  self:watch()
  return self
end

return M
