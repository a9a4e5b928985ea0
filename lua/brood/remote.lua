--- What a process asks of the master that has started it, and what it is told by it unasked: requests with
--- answers, orders without one, and events, over the channel that is there anyway. Rooms (pools, services) say what
--- can be asked; this one only carries it, and answers for a master that is gone.
local brood = require "brood"
local core = require "brood.core"
local E = require "brood.error"
local log = require "brood.log"
local message = require "brood.message"
local task = require "brood.task"

local unpack, select = unpack, select

local M = {}

-- ---- in the master --------------------------------------------------------------------------------------------------

---@class brood.RemoteRoom
---@field methods table<string, function> what can be asked: fn(caller, ...); nil and an error is a failure
---@field gone? fun(caller: brood.Caller) a process that has asked for something is no more

---@type table<string, brood.RemoteRoom>
local rooms = {}

---@class brood.Caller one process that asks
---@field peer brood.Peer
---@field number integer never reused
---@field closed boolean
local Caller = {}
Caller.__index = Caller

local last_caller = 0

--- What can be asked in a room from now on. nil: nothing any more.
---@param name string
---@param room brood.RemoteRoom?
function M.room(name, room)
  rooms[name] = room
end

--- Tell the process something that it has not asked for.
---@param room string
---@param what string
---@param value any
---@return boolean? sent false: taken, but more than 1 MB waits; nil where it is gone, or the value cannot be sent
---@return brood.Error? err
function Caller:tell(room, what, value)
  return self.peer:post("event", { room, what, value })
end

---@private
function Caller:flush() end -- luacheck: ignore 212 (what is told at the end of a turn can wait until then)

--- The process has ended, or its channel has.
---@private
function Caller:gone()
  if self.closed then
    return
  end
  self.closed = true
  for _, room in pairs(rooms) do
    if room.gone then
      room.gone(self)
    end
  end
end

local function answer(caller, id, ok, ...)
  local sent, err
  if ok then
    sent, err = caller.peer:post("answer", { id, true, select("#", ...), ... })
  end
  if not ok or sent == nil and err.code ~= "stopped" then
    caller.peer:post("answer", { id, false, message.encode_error(ok and err or (...)) })
  end
end

local function find(room, method)
  local found = rooms[room]
  local fn = found and found.methods[method]
  if not fn then
    return nil, E.new("unknown", "the master knows of no '%s' of '%s'", tostring(method), tostring(room))
  end
  return fn
end

local function finish(caller, id, whole, ...)
  if not whole then
    return answer(caller, id, false, (...))
  elseif select("#", ...) >= 2 and (...) == nil and select(2, ...) ~= nil then
    return answer(caller, id, false, (select(2, ...)))
  end
  answer(caller, id, true, ...)
end

-- { id, room, method, n, ... }
local function hear_call(caller, asked)
  local id, room, method, n = asked[1], asked[2], asked[3], asked[4]
  local fn, err = find(room, method)
  if not fn then
    return answer(caller, id, false, err)
  end
  task.spawn(function()
    finish(caller, id, task.call(fn, caller, unpack(asked, 5, 4 + n)))
  end)
end

-- { room, method, n, ... }
local function hear_order(caller, told)
  local fn, err = find(told[1], told[2])
  if not fn then
    return log.debug(err)
  end
  local ok, why = task.call(fn, caller, unpack(told, 4, 3 + told[3]))
  if not ok then
    core.uncaught(E.text(why))
  end
end

-- Whoever is at the other end may be of any make.
local function sound(value, numbers)
  if type(value) ~= "table" then
    return false
  end
  local n = value[numbers]
  return type(n) == "number" and n >= 0 and n <= 250 and n % 1 == 0
end

--- From now on what comes from that process is heard here. Called when it first asks for something.
---@param peer brood.Peer
function M.serve(peer)
  last_caller = last_caller + 1
  local caller = setmetatable({ peer = peer, number = last_caller, closed = false }, Caller)
  peer.remote = caller
  local function heard(name, count_at, hear)
    peer:handle(name, function(value, fd)
      if fd then
        core.fd.close(fd)
      end
      if sound(value, count_at) then
        hear(caller, value)
      end
    end)
  end
  heard("call", 4, hear_call)
  heard("order", 3, hear_order)
end

-- ---- in a process of the master -------------------------------------------------------------------------------------

---@class brood.LineListener
---@field event fun(what: string, value: any) the master tells something
---@field gone? fun(err: brood.Error) it is no more
---@field flush? fun() what waits to be said must be said now: this process may end

---@class brood.Line a process's own line to its master
---@field peer brood.Peer
---@field closed boolean
---@field waiting table<integer, fun(err: brood.Error?, ...: any)> by id
---@field listeners table<string, brood.LineListener> by room
local Line = {}
Line.__index = Line

local current -- of this process; another one's after a fork

local function stopped()
  return E.new("stopped", "the master is gone")
end

-- While something is waited for, this process runs on.
function Line:hold()
  self.holds = self.holds + 1
  if self.holds == 1 and not self.peer.held then
    self.held = true
    self.peer:hold_loop(true)
  end
end

function Line:release()
  self.holds = self.holds - 1
  if self.holds == 0 and self.held then
    self.held = false
    self.peer:hold_loop(false)
  end
end

local function take(self, id)
  local done = self.waiting[id]
  self.waiting[id] = nil
  if done then
    self:release()
  end
  return done
end

local function hear_answer(self, told)
  local done = take(self, told[1])
  if not done then
    return
  elseif told[2] then
    return done(nil, unpack(told, 4, 3 + told[3]))
  end
  done(message.decode_error(told[3]))
end

---@private
function Line:gone()
  if self.closed then
    return
  end
  self.closed = true
  local ids = {}
  for id in pairs(self.waiting) do
    ids[#ids + 1] = id
  end
  table.sort(ids)
  for _, id in ipairs(ids) do
    take(self, id)(stopped())
  end
  for _, listener in pairs(self.listeners) do
    if listener.gone then
      listener.gone(stopped())
    end
  end
end

--- Ask for something. done(err, ...) once; code "stopped" when the master is gone, or goes before it has answered.
---@param done fun(err: brood.Error?, ...: any)
---@param room string
---@param method string
function Line:call(done, room, method, ...)
  if self.closed then
    return done(stopped())
  end
  local id = self.last_id + 1
  self.last_id = id
  self.waiting[id] = done
  self:hold()
  local sent, err = self.peer:post("call", { id, room, method, select("#", ...), ... })
  if sent == nil and take(self, id) then
    done(err)
  end
end

--- Say something that is not answered.
---@param room string
---@param method string
---@return boolean? sent false: taken, but more than 1 MB waits
---@return brood.Error? err
function Line:order(room, method, ...)
  if self.closed then
    return nil, stopped()
  end
  return self.peer:post("order", { room, method, select("#", ...), ... })
end

--- What the master tells in a room is heard like this.
---@param room string
---@param listener brood.LineListener
function Line:listen(room, listener)
  self.listeners[room] = listener
end

--- Say what waits to be said.
---@private
function Line:flush()
  for _, listener in pairs(self.listeners) do
    if listener.flush then
      listener.flush()
    end
  end
end

local function new_line(peer)
  local self = setmetatable({
    peer = peer, closed = peer.closed, last_id = 0, waiting = {}, listeners = {}, holds = 0, held = false,
  }, Line)
  peer.remote = self
  peer:handle("answer", function(told)
    hear_answer(self, told)
  end)
  peer:handle("event", function(told)
    local listener = self.listeners[told[1]]
    if listener then
      listener.event(told[2], told[3])
    end
  end)
  return self
end

--- This process's line to the process that has started it.
---@return brood.Line? line nil where that has left none, or this one is a copy of a process that has one
function M.line()
  local child = package.loaded["brood.process.child"]
  local worker = brood.worker or child and child.worker
  if not worker or worker.pid ~= core.posix.getpid() then
    return nil
  end
  if not current or current.peer ~= worker.peer then
    current = new_line(worker.peer)
  end
  return current
end

--- This process ends at once: what was to be said at the end of the turn is said before.
function M.leave()
  local line = M.line()
  if line and line == current and not line.closed then
    line.peer:flush_blocking(1)
  end
end

return M
