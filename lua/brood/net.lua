--- Plain connections over TCP and Unix sockets: servers with a task per
--- connection, and connecting. Waiting is here; the bytes are the core's.
local core = require "brood.core"
local E = require "brood.error"
local log = require "brood.log"
local options = require "brood.options"
local server = require "brood.server"
local task = require "brood.task"

local M = {}

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

--- The next bytes that come, nil at the end.
---@async
---@param cb? fun(err: brood.Error?, bytes: string?)
---@return string? bytes, brood.Error? err
function Conn:read(cb)
  local raw = self.core
  local bytes, err = raw:read()
  if cb == nil and bytes then
    return bytes
  elseif cb == nil and bytes == nil then
    return nil, err
  end
  return task.run(cb, "conn:read", function(done)
    local function again()
      bytes, err = raw:read()
      if bytes ~= false then
        done(err, bytes)
      elseif not raw:wait_read(again) then
        done(closed())
      end
    end
    if bytes ~= false then
      done(err, bytes)
    else
      raw:wait_read(again)
    end
  end)
end

--- Send. Waits while the other side is slow.
---@async
---@param data string
---@param cb? fun(err: brood.Error?)
---@return true? ok, brood.Error? err
function Conn:write(data, cb)
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
    raw:wait_write(function()
      -- Writing nothing tells whether the connection is still there.
      local _, why = raw:write("")
      done(why)
    end)
  end)
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
    raw:wait_write(function()
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

---@class brood.net.Server: brood.Server
local Server = server.class(function(self)
  local handler = self.handler
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
  }
end)

--- A server that runs handler(conn) in a task per connection, and closes the connection when the handler returns.
---@param handler fun(conn: brood.Conn)
---@param given? table
---@return brood.net.Server
function M.server(handler, given)
  if type(handler) ~= "function" then
    error("net.server: the handler must be a function(conn), got " .. type(handler), 2)
  end
  options.check(2, given, {}, "net.server")
  return setmetatable({ handler = handler, listeners = {} }, Server)
end

--- Connect to "host:port", "[v6]:port", "unix:/path" or a port of this machine.
---@async
---@param address string|integer
---@param cb? fun(err: brood.Error?, conn: brood.Conn?)
---@return brood.Conn? conn, brood.Error? err
function M.connect(address, cb)
  if type(address) ~= "string" and type(address) ~= "number" then
    error("net.connect: the address must be a string or a port, got " .. type(address), 2)
  end
  return task.run(cb, "net.connect", function(done)
    local ok, err = core.net.connect(tostring(address), function(why, raw)
      done(why, raw and new_conn(raw))
    end)
    if not ok then
      done(err)
    end
  end)
end

return M
