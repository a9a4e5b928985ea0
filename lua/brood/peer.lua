--- The process at the other end of a channel: whole Lua values both ways, in
--- order, with descriptors; and the control frames that go with them. Workers,
--- Process' Lua children and `brood.worker` are built on it. It decides how much
--- may wait and when the other side is told to hold back; it starts and ends no process.
local core = require "brood.core"
local E = require "brood.error"
local emitter = require "brood.emitter"
local log = require "brood.log"
local message = require "brood.message"
local protocol = require "brood.rules.protocol"
local task = require "brood.task"
local timer = require "brood.timer"

--- Sent and not read by the other side: from here on it is ended.
local UNREAD_MAX = 256 * 1024 * 1024
--- Received before somebody listens: from HOLD on the other side is asked to wait with messages, from PAUSE on nothing is read.
local INBOX_HOLD = 1024 * 1024
local INBOX_PAUSE = 16 * 1024 * 1024
--- What a kept message costs beside its bytes.
local ENTRY_COST = 100
--- How long an `exit` waits behind messages to which nobody listens.
local ORDERED_GRACE = 1

local TYPES = protocol.types
local MESSAGE, MESSAGE_ROOM = TYPES.message.number, TYPES.message.room
local OTHER = { parent = "child", child = "parent" }

---@class brood.PeerOptions
---@field role brood.Role what this side is
---@field name? string what the log calls the other side
---@field target? table the emitter that gets `message`, `drain`, `disconnect`; its on_listen calls peer:listening(). Default: the peer
---@field deliver? fun(value: any, fd: integer?, err: brood.Error?) gets every message in place of listeners; nothing is kept then
---@field disconnect? fun(err: brood.Error?) in place of the event
---@field overflow? fun(bytes: integer) the other side leaves too much unread and must be killed
---@field keep_alive? boolean a listener of `message` keeps this process running

---@class brood.Peer: brood.Emitter
---@field closed boolean
local Peer = emitter.mixin {}
Peer.__index = Peer

local M = {}

-- ---- receiving ----

local function close_fd(fd)
  if fd then
    core.posix.close(fd)
  end
end

local function is_heard(self)
  return self.deliver or emitter.has_listener(self.target, "message") or emitter.has_listener(self.target, "*")
end

local function forget_inbox(self)
  for i = self.first, self.last do
    close_fd(self.inbox[i].fd)
  end
  self.inbox, self.first, self.last, self.inbox_bytes = {}, 1, 0, 0
end

-- What it sends makes no sense: nothing after it can be trusted.
local function fault(self, text)
  local chan = self.channel
  if chan then
    chan:close()
    forget_inbox(self)
    self:ended(E.new("protocol", "%s", text))
  end
end

local function lost_fd(self, fd_error)
  local err = E.new(fd_error, "the descriptor that came with a message was lost: this process has too many open files (%s)",
    fd_error)
  log.error(("%s: %s"):format(self.name, err.message))
  return err
end

local function deliver(self, entry)
  local ok, value = message.decode(entry.payload)
  if not ok then
    close_fd(entry.fd)
    return fault(self, "a message that cannot be decoded: " .. tostring(value))
  end
  local err = entry.fd_error and lost_fd(self, entry.fd_error) or nil
  if self.deliver then
    return self.deliver(value, entry.fd, err)
  end
  emitter.emit(self.target, "message", value, entry.fd, err)
  -- It was a `once`: what kept the process running is gone.
  if self.keep_alive and not is_heard(self) then
    self:hold_loop(self.held)
  end
end

local function handle_control(self, entry)
  entry.handled = true
  local handler = self.handlers[entry.type.name]
  if not handler then
    return close_fd(entry.fd)
  end
  local ok, value = message.decode(entry.payload)
  if not ok then
    close_fd(entry.fd)
    return fault(self, ("a '%s' frame that cannot be decoded: %s"):format(entry.type.name, tostring(value)))
  end
  if entry.type.carries == "error" then
    value = E.from(value)
  end
  if entry.fd_error then
    lost_fd(self, entry.fd_error)
  end
  handler(value, entry.fd)
end

local function is_due(self, entry)
  return entry.type or is_heard(self)
end

-- Somebody listens again, or nothing is left: the other side may go on.
local function reopen(self)
  if self.holding then
    self.holding = false
    self:post("go")
  end
  if self.paused and self.channel then
    self.paused = false
    self.channel:resume()
  end
end

local function finish(self)
  if self.over and not self.reported then
    self.reported = true
    if self.on_disconnect then
      self.on_disconnect(self.over.err)
    else
      emitter.emit(self.target, "disconnect", self.over.err)
    end
  end
end

-- Hand on what was kept, as long as somebody listens: `once` takes one.
local function drain_inbox(self)
  self.draining = false
  while self.first <= self.last do
    local entry = self.inbox[self.first]
    if not is_due(self, entry) then
      break
    end
    self.inbox[self.first] = nil
    self.first = self.first + 1
    self.inbox_bytes = self.inbox_bytes - #entry.payload - ENTRY_COST
    if entry.type then
      handle_control(self, entry)
    else
      deliver(self, entry)
    end
  end
  if self.first > self.last then
    self.first, self.last, self.inbox_bytes = 1, 0, 0
    reopen(self)
  end
  finish(self)
end

-- In a turn of its own: whoever adds a listener has not finished yet.
local function schedule_drain(self)
  if not self.draining then
    self.draining = true
    timer.after(0, function()
      drain_inbox(self)
    end)
  end
end

local function keep(self, entry)
  self.last = self.last + 1
  self.inbox[self.last] = entry
  self.inbox_bytes = self.inbox_bytes + #entry.payload + ENTRY_COST
  if self.inbox_bytes > INBOX_HOLD and not self.holding then
    self.holding = true
    self:post("hold")
  end
  if self.inbox_bytes > INBOX_PAUSE and not self.paused and self.channel then
    self.paused = true
    self.channel:pause()
  end
end

-- An `exit` comes after the messages before it. Where nobody ever listens to those, it comes all the same.
local function keep_ordered(self, entry)
  keep(self, entry)
  timer.after(ORDERED_GRACE, function()
    if not entry.handled and not is_heard(self) then
      log.debug(("%s: %d messages were never listened to"):format(self.name, self.last - self.first))
      forget_inbox(self)
      handle_control(self, entry)
    end
  end):unref()
end

local function on_message(self, payload, fd, fd_error)
  local entry = { payload = payload, fd = fd, fd_error = fd_error }
  if self.first <= self.last or not is_heard(self) then
    keep(self, entry)
  else
    deliver(self, entry)
  end
end

local function on_frame(self, number, room, payload, fd, fd_error)
  if number == MESSAGE and room == MESSAGE_ROOM then
    return on_message(self, payload, fd, fd_error)
  end
  local entry_type, why = protocol.check(number, room, self.other)
  if not entry_type then
    close_fd(fd)
    return fault(self, why)
  end
  local entry = { type = entry_type, payload = payload, fd = fd, fd_error = fd_error }
  if entry_type.ordered and self.first <= self.last then
    keep_ordered(self, entry)
  else
    handle_control(self, entry)
  end
end

-- ---- the other end is gone ----

local function answer_flushes(self, err)
  local waiting = self.flushes
  self.flushes = {}
  for _, done in ipairs(waiting) do
    done(err)
  end
end

local function stopped(self)
  return E.new("stopped", "%s is not running", self.name)
end

--- The channel has closed; err tells why where it is not simply the end.
---@private
---@param err brood.Error?
function Peer:ended(err)
  self.channel = nil
  self.closed = true
  self.over = { err = err }
  if err then
    log.error(("%s: the channel is closed: %s"):format(self.name, err.message))
  end
  answer_flushes(self, stopped(self))
  if not self.draining then
    finish(self)
  end
end

-- ---- sending ----

local function overflow(self, bytes)
  log.error(("%s has left %d MB of messages unread: it is killed"):format(self.name, math.floor(bytes / 1048576)))
  local chan = self.channel
  if self.on_overflow then
    self.on_overflow(bytes)
  end
  if self.channel == chan then
    chan:close()
    self:ended(nil)
  end
  return nil, E.new("overflow", "%s has left more than 256 MB unread", self.name)
end

local function transmit(self, entry_type, payload, fd)
  local chan = self.channel
  if not chan then
    return nil, stopped(self)
  end
  local ok, err = chan:send(entry_type.number, entry_type.room, payload, fd)
  if ok then
    return true
  elseif ok == nil then
    return nil, err.code == "stopped" and stopped(self) or err
  end
  self.owes_drain = true
  local bytes = chan:pending()
  if bytes > UNREAD_MAX then
    return overflow(self, bytes)
  end
  return false
end

local function on_drain(self)
  answer_flushes(self, nil)
  if self.owes_drain then
    self.owes_drain = false
    emitter.emit(self.target, "drain")
  end
end

--- Send any Lua value without functions or userdata, up to 64 MB and 90 tables
--- deep, and a descriptor with it (duplicated: ours may be closed at once). Never suspends.
---@param value any
---@param fd? integer
---@return boolean? sent false: taken, but more than 1 MB waits; `drain` tells when it is gone
---@return brood.Error? err code "stopped" where nobody runs, "too_large", "too_deep", "cycle"
function Peer:send(value, fd)
  return M.send(self, value, fd)
end

-- The first line outside of brood: methods of several objects wrap `send`, some as tail calls.
local function callers_level()
  local level = 3
  local info = debug.getinfo(level, "S")
  while info and (info.what == "C" or info.source:find("lua/brood/", 1, true)) do
    level = level + 1
    info = debug.getinfo(level, "S")
  end
  return info and level - 1 or 2
end

--- `Peer:send` as a function, for the objects that have a peer. A mistake raises at the line outside of brood.
---@param self brood.Peer
---@param value any
---@param fd? integer
---@return boolean? sent, brood.Error? err
function M.send(self, value, fd)
  if fd ~= nil and (type(fd) ~= "number" or fd < 0 or fd % 1 ~= 0) then
    error(("send: the descriptor must be a number, got %s"):format(type(fd) == "number" and fd or type(fd)), callers_level())
  end
  local payload, err = message.encode(value)
  if not payload then
    if err.code == "type" then
      error("send: " .. err.message, callers_level())
    end
    return nil, err
  end
  return transmit(self, TYPES.message, payload, fd)
end

--- Send a control frame.
---@param name string a type of rules/protocol
---@param value? any
---@param fd? integer
---@return boolean?, brood.Error?
function Peer:post(name, value, fd)
  local entry_type = protocol.by_name(name)
  if not protocol.may_send(entry_type, self.role) then
    error(("a %s does not send '%s'"):format(self.role, name), 2)
  end
  if entry_type.carries == "error" then
    return transmit(self, entry_type, message.encode_error(value), fd)
  end
  local payload, err = message.encode(value, name)
  if not payload then
    return nil, err
  end
  return transmit(self, entry_type, payload, fd)
end

--- Call fn(value, fd) for every control frame of the type. Without a handler they are dropped.
---@param name string a type of rules/protocol
---@param fn fun(value: any, fd: integer?)
---@return brood.Peer
function Peer:handle(name, fn)
  protocol.by_name(name)
  self.handlers[name] = fn
  return self
end

--- Wait until the kernel has all that was sent.
---@async
---@param cb? fun(err: brood.Error?)
function Peer:flush(cb)
  return task.run(cb, "flush", function(done)
    if not self.channel then
      done(stopped(self))
    elseif self.channel:pending() == 0 then
      done(nil)
    else
      self.flushes[#self.flushes + 1] = done
    end
  end)
end

--- The same, with the whole process standing still: before it exits.
---@param seconds number
---@return boolean?, brood.Error?
function Peer:flush_blocking(seconds)
  if not self.channel then
    return nil, stopped(self)
  end
  return self.channel:flush_blocking(math.ceil(seconds * 1000))
end

---@return integer bytes that the kernel has not taken yet
function Peer:pending()
  return self.channel and self.channel:pending() or 0
end

--- Read what has arrived, and hand it to those who listen: before an exit is reported, since a grandchild may hold
--- the other end open.
function Peer:read_now()
  if self.channel then
    self.channel:read_now()
  end
  if self.draining then
    drain_inbox(self)
  end
end

--- Whether this channel keeps the process running, a listener aside.
---@param keep_running boolean
function Peer:hold_loop(keep_running)
  self.held = keep_running
  if self.channel then
    if keep_running or self.keep_alive and is_heard(self) then
      self.channel:ref()
    else
      self.channel:unref()
    end
  end
end

--- A listener was added to the target, or taken from it.
function Peer:listening()
  self:hold_loop(self.held)
  if self.first <= self.last and is_heard(self) then
    schedule_drain(self)
  end
end

function Peer:on_listen()
  self:listening()
end

--- Like the emitter's; a listener less may mean that nothing keeps the process running.
function Peer:off(event, fn)
  emitter.off(self, event, fn)
  self:listening()
  return self
end

--- Close now. What still waits to be sent is lost, and no event follows; what has been
--- received and not listened to is still there for a listener that comes.
function Peer:close()
  local chan = self.channel
  if chan then
    chan:close()
    self.channel = nil
    self.closed = true
    answer_flushes(self, stopped(self))
  end
end

--- A peer on our end of a channel. It takes the descriptor.
---@param fd integer
---@param options brood.PeerOptions
---@return brood.Peer?, brood.Error?
function M.new(fd, options)
  local self = setmetatable({
    role = options.role, other = OTHER[options.role], name = options.name or "the " .. OTHER[options.role],
    deliver = options.deliver, on_disconnect = options.disconnect, on_overflow = options.overflow,
    keep_alive = options.keep_alive or false, held = false,
    handlers = {}, flushes = {}, inbox = {}, first = 1, last = 0, inbox_bytes = 0,
    closed = false, holding = false, paused = false, owes_drain = false, draining = false,
  }, Peer)
  self.target = options.target or self
  local chan, err = core.channel.new(fd, {
    frame = function(...)
      on_frame(self, ...)
    end,
    close = function(reason)
      self:ended(reason)
    end,
    drain = function()
      on_drain(self)
    end,
  })
  if not chan then
    return nil, err
  end
  self.channel = chan
  self.handlers.hold = function()
    chan:hold(true)
  end
  self.handlers.go = function()
    chan:hold(false)
  end
  if self.role == "child" then
    self.handlers.ping = function(value)
      self:post("pong", value)
    end
  end
  self:hold_loop(false)
  return self
end

return M
