--- Plain connections over TCP and Unix sockets: servers with a task per
--- connection, and connecting. Waiting is here; the bytes are the core's.
local core = require "brood.core"
local E = require "brood.error"
local log = require "brood.log"
local options = require "brood.options"
local ours = require "brood.ours"
local server = require "brood.server"
local task = require "brood.task"

local M = {}

--- Both sides end by themselves: `read` returns nil once the peer has ended its own, and
--- writing goes on until `close`, or until the peer takes no more.
---@class brood.Conn
---@field remote_address string without the port; "unix:" on a Unix socket
---@field remote_port integer
local Conn = {}
Conn.__index = Conn

local function new_conn(raw)
  local address, port = raw:remote_address()
  return setmetatable({ core = raw, remote_address = address, remote_port = port }, Conn)
end

local function closed()
  return server.closed("the connection")
end

local function wait_read(self, done)
  local raw = self.core
  self.reading = true
  local function answer(err, bytes)
    self.reading = nil
    done(err, bytes)
  end
  local function again()
    local bytes, err = raw:read()
    if bytes ~= false then
      answer(err, bytes)
    elseif not raw:wait_read(again) then
      answer(closed())
    end
  end
  if not raw:wait_read(again) then
    answer(closed())
  end
end

--- The next bytes that come (at most 64k), nil at the end. One task at a time.
---@async
---@param cb? fun(err: brood.Error?, bytes: string?)
---@return string? bytes, brood.Error? err
function Conn:read(cb)
  if self.reading then
    error("conn:read: another task is already reading this connection", 2)
  end
  local bytes, err = self.core:read()
  if cb == nil and bytes then
    return bytes
  elseif cb == nil and bytes == nil then
    return nil, err
  end
  return task.run(cb, "conn:read", function(done)
    if bytes ~= false then
      done(err, bytes)
    else
      wait_read(self, done)
    end
  end)
end

-- Several tasks may write; what each of them writes stays whole.
local function wait_write(self, done)
  local raw, waiting = self.core, self.writing
  if waiting then
    waiting[#waiting + 1] = done
    return
  end
  waiting = { done }
  self.writing = waiting
  local function again()
    self.writing = nil
    for _, each in ipairs(waiting) do
      each()
    end
  end
  if not raw:wait_write(again) then
    again()
  end
end

--- Send. Waits while more than 64 kB are on their way; nil and an error with
--- code "closed" once the peer takes no more.
---@async
---@param data string
---@param cb? fun(err: brood.Error?)
---@return true? ok, brood.Error? err
function Conn:write(data, cb)
  if type(data) ~= "string" and type(data) ~= "number" then
    error("conn:write: the data must be a string, got " .. type(data), 2)
  end
  local raw = self.core
  local sent, err = raw:write(data)
  if cb == nil and sent then
    return true
  elseif cb == nil and sent == nil then
    return nil, err
  end
  return task.run(cb, "conn:write", function(done)
    if sent ~= false then
      return done(err)
    end
    wait_write(self, function()
      -- Writing nothing tells whether the connection is still there.
      local _, why = raw:write("")
      done(why)
    end)
  end)
end

--- End our side behind what still waits to be sent: the peer reads its end, and may go on sending.
---@return true? ok, brood.Error? err
function Conn:shutdown()
  return self.core:finish()
end

--- Send what still waits, then close. Closing twice is legal.
---@async
---@param cb? fun(err: brood.Error?)
---@return true? ok, brood.Error? err
function Conn:close(cb)
  local raw = self.core
  if raw:close() and cb == nil then
    return true
  end
  return task.run(cb, "conn:close", function(done)
    if raw:close_done() then
      return done(nil)
    end
    wait_write(self, function()
      done(nil)
    end)
  end)
end

--- For `for chunk in conn:chunks() do`: until the end, or until the connection fails.
---@return fun(): string?
function Conn:chunks()
  return function()
    return (self:read())
  end
end

--- Do not keep the process alive for this connection.
---@return brood.Conn
function Conn:unref()
  self.core:keep(false)
  return self
end

--- Keep the process alive for it again.
---@return brood.Conn
function Conn:ref()
  self.core:keep(true)
  return self
end

ours.guard(Conn, "conn", { "read", "write", "shutdown", "close", "chunks", "unref", "ref" }, function(self)
  return getmetatable(self) == Conn
end)

---@class brood.net.Options
---@field idle_timeout? number|string|false close a connection on which nothing moved for so long; none by default

local server_spec = {
  idle_timeout = { type = "duration", off = true, doc = "for something to come or go, on each connection" },
}

---@class brood.net.Server: brood.Server
local Server = server.class(function(self)
  local handler, idle = self.handler, self.options.idle_timeout
  local function run(raw)
    local conn = new_conn(raw)
    local ok, err = task.call(handler, conn)
    if not ok then
      log.error("connection handler: " .. E.text(err))
    end
    raw:close()
  end
  return core.net.server {
    connection = function(raw)
      return task.spawn(run, raw)
    end,
    idle_timeout = idle and math.max(1, math.ceil(idle * 1000)) or nil,
  }
end)

--- How many connections are open.
---@return integer
function Server:connections()
  return self.core and self.core:counts() or 0
end

--- A server that runs handler(conn) in a task per connection, and closes the connection when the handler returns.
--- `server:close` waits for the handlers; in a worker they learn of it from the event `stopping` of `brood.worker`.
---@param handler fun(conn: brood.Conn)
---@param given? brood.net.Options
---@return brood.net.Server
function M.server(handler, given)
  if type(handler) ~= "function" then
    error("net.server: the handler must be a function(conn), got " .. type(handler), 2)
  end
  local checked = options.check(2, given, server_spec, "net.server")
  return setmetatable({ handler = handler, options = checked }, Server)
end

local connect_spec = {
  timeout = { type = "duration", off = true, doc = "for the connection to be there; else what the system has" },
}

--- Begin to connect; done(err, conn) is called once, unless it is called off.
---@param address string
---@param done fun(err: brood.Error?, conn: brood.Conn?)
---@return { cancel: fun(self) }? attempt nil where it has failed already
function M.begin_connect(address, done)
  local attempt, err = core.net.connect(address, function(why, raw)
    done(why, raw and new_conn(raw))
  end)
  if not attempt then
    done(err)
  end
  return attempt
end

--- Connect to "host:port", "[v6]:port", "unix:/path" or a port of this machine. The addresses of a name are tried
--- in turn.
---@async
---@param address string|integer
---@param given? { timeout?: number|string|false }
---@param cb? fun(err: brood.Error?, conn: brood.Conn?)
---@return brood.Conn? conn, brood.Error? err
---@overload fun(address: string|integer, cb: fun(err: brood.Error?, conn: brood.Conn?))
function M.connect(address, given, cb)
  if type(address) ~= "string" and type(address) ~= "number" then
    error("net.connect: the address must be a string or a port, got " .. type(address), 2)
  elseif type(given) == "function" then
    given, cb = nil, given
  end
  local seconds = given and options.check(2, given, connect_spec, "net.connect").timeout
  address = tostring(address)
  if address:match("^%.?%.?/") then
    address = "unix:" .. address
  end
  return task.run(cb, "net.connect", function(done)
    local attempt
    attempt = M.begin_connect(address, seconds and require("brood.timer").limit(seconds, function()
      attempt:cancel()
      done(E.new("timeout", "connect to %s: no connection within %g s", address, seconds))
    end, done) or done)
  end)
end

return M
