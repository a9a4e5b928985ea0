--- The line to a child that is a foreign program: one JSON value per line, both ways, over a socket whose number the
--- program finds in BROOD_CHANNEL_FD. It stands where a Lua child has its channel, with the same promises: whole
--- messages in order, kept until somebody listens, and a sender that never waits. It starts and ends no process.
---
--- Two lines of the program are no messages: {"ready": true}, and an object whose only key is `failed`.
local core = require "brood.core"
local E = require "brood.error"
local emitter = require "brood.emitter"
local inbox = require "brood.inbox"
local json = require "brood.json"
local json_line = require "brood.json_line"
local log = require "brood.log"
local uv = require "luv"

local M = {}

local CHUNK = 65536
local WAITING_MAX = 1024 * 1024 -- bytes that may wait before `send` says false
local UNREAD_MAX = 256 * 1024 * 1024 -- beyond, the program is killed
local TURN = 256 * 1024 -- bytes after which the rest of the loop has its turn

---@class brood.ChildLines
---@field stream userdata
local Lines = {}
Lines.__index = Lines

-- ---- from the program ----

local function is_alone(value, key)
  return value[key] ~= nil and next(value, next(value)) == nil
end

-- What a line says of the start or the end: "ready" or "failed"; nil where it is a message.
local function control(value)
  if type(value) ~= "table" then
    return nil
  elseif is_alone(value, "ready") and value.ready == true then
    return "ready"
  end
  return is_alone(value, "failed") and "failed" or nil
end

local function take_line(self, text)
  if text:find "^%s*$" then
    return
  end
  local value = json.decode(text)
  if value == nil then
    return self:fault(("a line that is no JSON: %s"):format(json_line.quote(text)))
  end
  -- That does not wait for a listener of messages.
  local said = control(value)
  if said == "ready" then
    self.on_ready()
  elseif said == "failed" then
    self.on_failed(E.from(json_line.failure(value.failed)))
  else
    self.inbox:put { payload = text, value = value }
  end
end

local function stop_reading(self)
  self.reading = false
  if not self.stream:is_closing() then
    self.stream:read_stop()
  end
end

local function take(self, chunk)
  local ok, err = self.lines:feed(chunk, function(text)
    take_line(self, text)
  end)
  if not ok then
    self.deaf = true -- where the next line begins nobody knows
    stop_reading(self)
    self:fault(err.message)
  end
end

local function read(self)
  if self.reading or self.deaf or self.at_end or self.closed then
    return
  end
  self.reading = true
  self.stream:read_start(function(err, chunk)
    if chunk then
      return take(self, chunk)
    end
    stop_reading(self)
    self.at_end = true
    if err and err ~= "ECONNRESET" then
      log.warn(("%s: reading its messages: %s"):format(self.name, err))
    end
  end)
end

--- The program has ended: hear what it said before.
function Lines:read_now()
  local taken = 0
  while not (self.closed or self.deaf) and taken < TURN * 4 do
    local chunk = core.fd.read(self.fd, CHUNK)
    if not chunk or chunk == "" then
      break
    end
    taken = taken + #chunk
    take(self, chunk)
  end
  local last = self.lines:last() -- it may lack its end; but half a line is what somebody who was killed leaves
  if not self.deaf and last ~= "" and json.decode(last) ~= nil then
    take_line(self, last)
  end
  if self.inbox.draining then
    self.inbox:drain()
  end
end

---@private
---@param text string
function Lines:fault(text)
  emitter.emit(self.target, "error", E.new("protocol", "%s: %s", self.name, text))
end

--- A listener was added.
function Lines:listening()
  if emitter.has_listener(self.target, "message") or emitter.has_listener(self.target, "*") then
    self.inbox:heard()
  end
end

-- ---- to the program ----

local function stopped(self)
  return E.new("stopped", "%s is not running", self.name)
end

local function on_written(self, size)
  self.pending = self.pending - size
  if self.owes_drain and self.pending == 0 and not self.closed then
    self.owes_drain = false
    emitter.emit(self.target, "drain")
  end
end

--- Send a value as a line. Never suspends.
---@param value any what JSON can carry as it is
---@param fd? integer a mistake: raises
---@return boolean? sent false: taken, but more than 1 MB waits; `drain` tells when it is gone
---@return brood.Error? err code "stopped" where nobody runs, "json"
function Lines:send(value, fd)
  if fd ~= nil then
    error("send: a line of JSON carries no descriptor", 2)
  end
  local text, err = json_line.encode(value, "message")
  if not text then
    return nil, err
  elseif self.closed then
    return nil, stopped(self)
  end
  text = text .. "\n"
  self.pending = self.pending + #text
  local ok = self.stream:write(text, function()
    on_written(self, #text)
  end)
  if not ok then
    self.pending = self.pending - #text
    return nil, stopped(self)
  elseif self.pending > UNREAD_MAX then
    log.error(("%s has left %d MB of messages unread: it is killed"):format(self.name, UNREAD_MAX / 2 ^ 20))
    self.overflow()
    return nil, E.new("overflow", "%s has left more than 256 MB unread", self.name)
  elseif self.pending > WAITING_MAX then
    self.owes_drain = true
    return false
  end
  return true
end

--- Close now: what still waits to be sent is lost, and so is what nobody has listened to.
function Lines:close()
  self.closed = true
  if not self.stream:is_closing() then
    self.stream:close()
  end
end

--- Frames of brood's own have no meaning here.
function Lines:post() return nil, stopped(self) end
function Lines:handle() return self end

local function inbox_of(self)
  return inbox.new {
    name = self.name,
    is_heard = function()
      return emitter.has_listener(self.target, "message") or emitter.has_listener(self.target, "*")
    end,
    take = function(entry)
      local value = entry.value
      if value == json.null then
        value = nil
      end
      emitter.emit(self.target, "message", value)
    end,
    drop = function() end,
    -- Nobody there could be asked to hold back: the socket fills.
    hold = function(on)
      if on then
        stop_reading(self)
      else
        read(self)
      end
    end,
    pause = function() end,
    drained = function() end,
  }
end

--- The line of a run; its end of the socket is `run.our_channel`, which from then on belongs to it.
---@param process brood.Process
---@param run table
---@param target brood.Emitter of `message`, `drain` and `error`
---@param on_failed fun(err: brood.Error) the program says so
---@return true? ok, brood.Error? err
function M.attach(process, run, target, on_failed)
  local handle = uv.new_pipe(false)
  local ok, why, code = handle:open(run.our_channel)
  if not ok then
    handle:close()
    return nil, E.new(code, "opening its channel: %s", why)
  end
  core.fd.release(run.our_channel)
  local self = setmetatable({
    name = process.name, stream = handle, fd = run.our_channel, target = target, lines = json_line.lines(),
    pending = 0, closed = false, reading = false,
    overflow = function() process:kill_now() end,
    on_ready = function()
      if run.on_ready then
        run.on_ready()
      end
    end,
    on_failed = on_failed,
  }, Lines)
  self.inbox = inbox_of(self)
  run.our_channel, run.peer = nil, self
  -- What it says alone keeps nobody waiting: its end does.
  handle:unref()
  read(self)
  return true
end

return M
