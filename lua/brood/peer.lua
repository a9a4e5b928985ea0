--- The process at the other end of a channel: whole Lua values both ways, in
--- order, with descriptors; and the control frames that go with them. Workers,
--- Process' Lua children and `brood.worker` are built on it. It decides how much
--- may wait and when the other side is told to hold back; it starts and ends no process.
local core = require "brood.core"
local E = require "brood.error"
local emitter = require "brood.emitter"
local inbox = require "brood.inbox"
local log = require "brood.log"
local message = require "brood.message"
local protocol = require "brood.rules.protocol"
local task = require "brood.task"

--- Sent and not read by the other side: from here on it is ended.
local UNREAD_MAX = 256 * 1024 * 1024

local TYPES = protocol.types
local MESSAGE, MESSAGE_ROOM = TYPES.message.number, TYPES.message.room
local REMOTE = protocol.rooms.remote
local OTHER = { parent = "child", child = "parent" }

---@class brood.PeerOptions
---@field role brood.Role what this side is
---@field name? string what the log calls the other side
---@field target? table the emitter of `message`, `drain`, `disconnect` (the peer); its on_listen calls peer:listening()
---@field deliver? fun(value: any, fd: integer?, err: brood.Error?) gets every message in place of listeners
---@field disconnect? fun(err: brood.Error?) in place of the event
---@field doomed? fun(): boolean? the other side was told to end or killed: that it broke off is no news
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

-- What it sends makes no sense: nothing after it can be trusted.
local function fault(self, text)
  local chan = self.channel
  if chan then
    chan:close()
    self.inbox:clear()
    self:ended(E.new("protocol", "%s", text))
  end
end

local function lost_fd(self, fd_error)
  local err = E.new(fd_error, "the descriptor that came with a message was lost (%s): too many are open here", fd_error)
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
  local handler = self.handlers[entry.type.name]
  if not handler and entry.type.room == REMOTE and self.role == "parent" then
    require("brood.remote").serve(self) -- the first time that it asks for something
    handler = self.handlers[entry.type.name]
  end
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

local function inbox_of(self)
  return inbox.new {
    name = self.name,
    is_heard = function()
      return is_heard(self)
    end,
    take = function(entry)
      if entry.type then
        handle_control(self, entry)
      else
        deliver(self, entry)
      end
    end,
    drop = function(entry)
      close_fd(entry.fd)
    end,
    hold = function(on)
      self:post(on and "hold" or "go")
    end,
    pause = function(on)
      if self.channel then
        self.channel[on and "pause" or "resume"](self.channel)
      end
    end,
    drained = function() finish(self) end,
  }
end

local function on_frame(self, number, room, payload, fd, fd_error)
  if number == MESSAGE and room == MESSAGE_ROOM then
    return self.inbox:put { payload = payload, fd = fd, fd_error = fd_error }
  end
  local entry_type, why = protocol.check(number, room, self.other)
  if not entry_type then
    close_fd(fd)
    return fault(self, why)
  end
  local raw = entry_type.raw and self.handlers[entry_type.name]
  if raw then
    return raw(payload, fd)
  end
  local entry = { type = entry_type, payload = payload, fd = fd, fd_error = fd_error, ordered = entry_type.ordered }
  if entry.ordered then
    self.inbox:put(entry)
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
  if err and not (self.doomed and self.doomed()) then
    log.error(("%s: the channel is closed: %s"):format(self.name, err.message))
  end
  answer_flushes(self, stopped(self))
  if self.remote then
    self.remote:gone()
  end
  if not self.inbox.draining then
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

--- `Peer:send` as a function, for the objects that have a peer. A mistake raises at the line outside of brood.
---@param self brood.Peer
---@param value any
---@param fd? integer
---@return boolean? sent, brood.Error? err
function M.send(self, value, fd)
  if fd ~= nil and (type(fd) ~= "number" or fd < 0 or fd > 0x7fffffff or fd % 1 ~= 0) then
    local got = type(fd) == "number" and fd or type(fd)
    error(("send: the descriptor must be a number, got %s"):format(got), require("brood.blame").callers_level())
  end
  local payload, err = message.encode(value)
  if not payload then
    if err.code == "type" then
      error("send: " .. err.message, require("brood.blame").callers_level())
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

--- Send a frame of a raw type: bytes that are ready as they are.
---@param name string a type of rules/protocol
---@param payload string
---@param fd? integer
---@return boolean?, brood.Error?
function Peer:post_bytes(name, payload, fd)
  return transmit(self, TYPES[name], payload, fd)
end

--- Call fn(value, fd) for every control frame of the type; of a raw one, fn(bytes, fd). Without it they are dropped.
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
    if self.remote then
      self.remote:flush()
    end
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
  if self.remote then
    self.remote:flush()
  end
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
  if self.inbox.draining then
    self.inbox:drain()
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
  if is_heard(self) then
    self.inbox:heard()
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
    if self.remote then
      self.remote:gone()
    end
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
    doomed = options.doomed,
    keep_alive = options.keep_alive or false, held = false,
    handlers = {}, flushes = {}, closed = false, owes_drain = false,
  }, Peer)
  self.inbox = inbox_of(self)
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
