--- Lines for a descriptor of ours whose reader may stop (a terminal with Ctrl-S, a pager): they wait here, and beyond
--- a limit the newest are left out and counted. The descriptor is shared with the shell and our children, so its flags
--- are not ours to change: we write to one of our own that leads to the same place.
local fork = require "brood.fork"
local core = require "brood.core"
local uv = require "luv"

local M = {}

local O = uv.constants
local WAITING_MAX = 1024 * 1024 -- bytes
-- What a pipe or a terminal takes at once; one that cannot be opened again is blocked on for no more than this.
local PIECE = 4096

---@class brood.Terminal
---@field tty boolean
---@field private fd integer
---@field private waiting string[]
local Terminal = {}
Terminal.__index = Terminal

local open = {} -- one per descriptor

fork.on_child(function()
  open = {} -- the descriptors are owned, and so closed there
end)

local function put(self, text)
  local n, _, code = uv.fs_write(self.fd, text, -1)
  if n or code == "EAGAIN" then
    return n or 0
  end
  self.broken = true -- nobody reads any more
  return #text
end

local function drop_note(self)
  local n = self.left_out
  self.left_out = 0
  return ("[%d lines left out: nobody was reading]\n"):format(n)
end

local function flush(self)
  while self.waiting[self.from] do
    local text = self.waiting[self.from]
    local n = put(self, text:sub(1, PIECE))
    self.bytes = self.bytes - n
    if n < math.min(#text, PIECE) then
      self.waiting[self.from] = text:sub(n + 1)
      return false
    end
    if #text > n then
      self.waiting[self.from] = text:sub(n + 1)
    else
      self.waiting[self.from] = nil
      self.from = self.from + 1
    end
  end
  self.waiting, self.from, self.to, self.bytes = {}, 1, 0, 0
  if self.left_out > 0 and not self.broken then
    return self:write(drop_note(self))
  end
  return true
end

local function wait(self)
  if not self.poll then
    self.poll = uv.new_poll(self.fd)
  end
  if self.poll and not self.polling then
    self.polling = true
    self.poll:start("w", function()
      if flush(self) then
        self.polling = false
        self.poll:stop()
      end
    end)
  end
end

--- Write a line; it never waits, and never fails.
---@param text string with its newline
---@return boolean written nothing waits
function Terminal:write(text)
  if self.broken then
    return true
  elseif self.bytes + #text > WAITING_MAX then
    self.left_out = self.left_out + 1
    return false
  end
  self.to = self.to + 1
  self.waiting[self.to] = text
  self.bytes = self.bytes + #text
  if self.polling then
    return false
  elseif not flush(self) then
    wait(self)
    return false
  end
  return true
end

-- The same pipe or terminal, by an open of our own; anything else is written to as it is.
local function reopen(fd)
  local kind = uv.guess_handle(fd)
  if kind ~= "tty" and kind ~= "pipe" then
    return fd, kind
  end
  local own = uv.fs_open("/proc/self/fd/" .. fd, bit.bor(O.O_WRONLY, O.O_NONBLOCK, O.O_NOCTTY), 0)
  if own then
    core.fd.own(own)
  end
  return own or fd, kind
end

--- The terminal behind a descriptor, one for all who write to it.
---@param fd integer
---@return brood.Terminal
function M.at(fd)
  if not open[fd] then
    local own, kind = reopen(fd)
    open[fd] = setmetatable({
      fd = own, tty = kind == "tty", waiting = {}, from = 1, to = 0, bytes = 0, left_out = 0,
    }, Terminal)
  end
  return open[fd]
end

return M
