--- What a child writes: read from its pipe and given on line by line, or as it
--- comes. The reader may wait; then the pipe is left to fill, and the child waits too.
local core = require "brood.core"
local E = require "brood.error"
local log = require "brood.log"
local task = require "brood.task"
local uv = require "luv"

local M = {}

local CHUNK = 65536
local TURN = 256 * 1024 -- bytes after which the rest of the loop has its turn: a child may write without end
local LAST = 1024 * 1024 -- no pipe holds more: what comes after so much was written by a stray process
M.LINE_MAX = 65536 -- a longer line comes in pieces of this size

---@class brood.Output
---@field fd integer
---@field ended boolean
local Output = {}
Output.__index = Output

local function deliver(self, piece, reader)
  local ok, err = task.call(reader or self.reader, piece)
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
  elseif #self.rest - self.from + 1 > M.LINE_MAX then
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

local function release(self)
  local waiters = self.waiters
  self.waiters = {}
  for _, fn in ipairs(waiters) do
    fn()
  end
end

local function finish(self)
  local last = self.rest:sub(self.from)
  self.rest, self.from = "", 1
  if last ~= "" then
    deliver(self, last)
  end
  if type(self.raw) == "function" then
    deliver(self, nil, self.raw)
  end
  self.ended = true
  self.poll:close()
  core.fd.close(self.fd)
  self.fd = -1
  release(self)
end

-- Read and give on until there is nothing, or enough for now. Returns whether that was all there will ever be.
local function read_on(self)
  local taken = 0
  while true do
    local chunk, err = core.fd.read(self.fd, CHUNK)
    if not chunk and err.code == "EAGAIN" then
      return self.closing
    elseif not chunk then
      log.warn(("%s: reading its output: %s"):format(self.name, err))
      return true
    elseif chunk == "" then
      return true
    end
    consume(self, chunk)
    taken = taken + #chunk
    if self.closing then
      self.left = self.left - #chunk
      if self.left <= 0 then
        return true
      end
    elseif taken >= TURN then
      return false
    end
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
    self.task = coroutine.running()
    local over = read_on(self)
    if over then
      finish(self)
    end
    self.reading, self.task = false, nil
    if not over then
      self:watch()
    end
  end)
end

function Output:watch()
  self.poll:start("r", function()
    drain(self)
  end)
end

--- Read what is there now, unless that is under way.
function Output:look()
  drain(self)
end

--- The child has ended: read what is left, then call fn. A pipe that a stray process still holds is not waited for.
---@param fn fun()
function Output:close(fn)
  if self.ended or self.excused then
    fn()
  else
    self.waiters[#self.waiters + 1] = fn
  end
  if not self.closing then
    self.closing, self.left = true, LAST
    drain(self)
  end
end

--- The child's end does not wait for the reader: what is still to be read comes after it. So it must be where the
--- reader itself, in whose task we are then, is about to wait for the end; otherwise only if `in_any_case`.
---@param in_any_case? boolean
function Output:excuse(in_any_case)
  if in_any_case or self.task and self.task == coroutine.running() then
    self.excused = true
    release(self)
  end
end

--- There never was a child: let go of the pipe.
function Output:discard()
  self.ended = true
  self.poll:close()
  core.fd.close(self.fd)
end

--- Read from a non-blocking descriptor, which from now on belongs to the output.
---@param name string for messages
---@param fd integer
---@param reader fun(piece: string) called in a task, one piece after the other
---@param raw? boolean|fun() pieces as they come, in place of lines; a function is called at the end of them
---@return brood.Output?, brood.Error? err the descriptor is then still the caller's
function M.new(name, fd, reader, raw)
  local poll, why, code = uv.new_poll(fd)
  if not poll then
    return nil, E.new(code, "watching its output: %s", why)
  end
  local self = setmetatable({
    name = name, fd = fd, reader = reader, raw = raw,
    rest = "", from = 1, reading = false, closing = false, ended = false, waiters = {}, poll = poll,
  }, Output)
  self:watch()
  return self
end

return M
