--- A raw client for TCP and Unix sockets, on plain luv: specs say byte for byte what they send, and see what comes
--- back.
local uv = require "luv"
local waiting = require "spec.support.wait"

local M = {}
local open = {}

---@class spec.Socket
---@field received string all that came so far and was not taken
---@field eof boolean the other side closed
---@field err? string
local Socket = {}
Socket.__index = Socket

---Connect to "host:port", "[v6]:port", "unix:/path" or "/path"; raises when that fails.
---@param address string
---@return spec.Socket
function M.connect(address)
  local self = setmetatable({ received = "", eof = false }, Socket)
  local path = address:match("^unix:(.*)") or address:match("^/.*")
  local state, why
  local function connected(err)
    state, why = err and "failed" or "open", err
  end
  self.handle = path and uv.new_pipe(false) or uv.new_tcp()
  table.insert(open, self)
  if path then
    self.handle:connect(path, connected)
  else
    local host, port = address:match("^%[(.*)%]:(%d+)$")
    if not host then
      host, port = address:match("^(.*):(%d+)$")
    end
    assert(self.handle:connect(host == "" and "127.0.0.1" or host, tonumber(port), connected))
  end
  waiting.wait(function() return state end, 5, "a connection to " .. address)
  if why then
    self:close()
    error("connect " .. address .. ": " .. why, 2)
  end
  self:resume()
  return self
end

---A server to be played by hand, on a Unix socket or, for "127.0.0.1:0", on a port. `accept` waits for the next
---connection.
---@class spec.Listener
---@field address string as for connect
---@field accept fun(self: spec.Listener, seconds?: number): spec.Socket
---@field waiting spec.Socket[] accepted, and not taken yet
---@field close fun(self: spec.Listener)

local Listener = {}

function Listener:accept(seconds)
  waiting.wait(function() return self.waiting[1] end, seconds, "a connection to " .. self.address)
  return table.remove(self.waiting, 1)
end

---@param address string "/path", or "127.0.0.1:0"
---@return spec.Listener
function M.listen(address)
  local path = address:match("^unix:(.*)") or address:match("^/.*")
  local self = { handle = path and uv.new_pipe(false) or uv.new_tcp(), waiting = {}, address = address }
  if path then
    assert(self.handle:bind(path))
    self.address = "unix:" .. path
  else
    local host, port = address:match("^(.*):(%d+)$")
    assert(self.handle:bind(host, tonumber(port)))
    self.address = host .. ":" .. self.handle:getsockname().port
  end
  assert(self.handle:listen(128, function()
    local socket = setmetatable({ received = "", eof = false }, Socket)
    socket.handle = path and uv.new_pipe(false) or uv.new_tcp()
    self.handle:accept(socket.handle)
    table.insert(open, socket)
    table.insert(self.waiting, socket)
    socket:resume()
  end))
  self.accept = Listener.accept
  self.close = Socket.close
  table.insert(open, self)
  return self
end

---Take in nothing more, until resume().
function Socket:pause()
  self.handle:read_stop()
end

function Socket:resume()
  self.handle:read_start(function(err, data)
    if data then
      self.received = self.received .. data
    else
      self.eof, self.err = true, err
    end
  end)
end

---@param data string
function Socket:send(data)
  local done, why = false, nil
  self.handle:write(data, function(err)
    done, why = true, err
  end)
  waiting.wait(function() return done end, 10, "a write of " .. #data .. " bytes")
  return not why, why
end

---Wait until what came matches a Lua pattern, and take everything up to its end.
---@param pattern string
---@param seconds? number
---@return string taken
function Socket:receive(pattern, seconds)
  local stop
  waiting.wait(function()
    stop = select(2, self.received:find(pattern))
    return stop or self.eof
  end, seconds, function()
    return ("'%s'; there came %q"):format(pattern, self.received:sub(1, 2000))
  end)
  if not stop then
    error(("closed without '%s'; there came %q"):format(pattern, self.received:sub(1, 2000)), 2)
  end
  local taken = self.received:sub(1, stop)
  self.received = self.received:sub(stop + 1)
  return taken
end

---Wait for the end of the connection, and take all that came.
---@param seconds? number
---@return string
function Socket:receive_all(seconds)
  waiting.wait(function() return self.eof end, seconds, function()
    return ("the end of a connection; there came %q"):format(self.received:sub(1, 2000))
  end)
  local all = self.received
  self.received = ""
  return all
end

---One HTTP response with a Content-Length or chunked body (or up to the end): status, headers, body.
---@param no_body? boolean for an answer to HEAD
---@return { status: integer, headers: table<string, string>, body: string }
function Socket:response(no_body)
  local head = self:receive("\r\n\r\n")
  local status = tonumber(head:match("^HTTP/1%.[01] (%d%d%d)"))
  local headers = {}
  for name, value in head:gmatch("\r\n([^:\r\n]+):%s*([^\r\n]*)") do
    name = name:lower()
    headers[name] = headers[name] and headers[name] .. ", " .. value or value
  end
  local body = ""
  if no_body or status == 204 or status == 304 or (status and status < 200) then
    body = ""
  elseif (headers["transfer-encoding"] or ""):find("chunked", 1, true) then
    repeat
      local size = tonumber(self:receive("\r\n"):match("^%x+"), 16)
      waiting.wait(function() return #self.received >= size + 2 or self.eof end, 10, "a chunk")
      body = body .. self.received:sub(1, size)
      self.received = self.received:sub(size + 3)
    until size == 0
  elseif headers["content-length"] then
    local size = tonumber(headers["content-length"])
    waiting.wait(function() return #self.received >= size or self.eof end, 10, "a body of " .. size .. " bytes")
    body = self.received:sub(1, size)
    self.received = self.received:sub(size + 1)
  else
    body = self:receive_all()
  end
  return { status = status, headers = headers, body = body, head = head }
end

---Send our FIN; what the other side still sends can be read.
function Socket:shutdown()
  self.handle:shutdown()
end

function Socket:close()
  if not self.handle:is_closing() then
    self.handle:close()
  end
end

---One GET on a connection of its own.
---@param address string
---@param path? string
---@return { status: integer, headers: table<string, string>, body: string }
function M.get(address, path)
  local socket = M.connect(address)
  socket:send(("GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"):format(path or "/"))
  local response = socket:response()
  socket:close()
  return response
end

---A TCP port that nobody listened on a moment ago.
---@return integer
function M.free_port()
  local tcp = uv.new_tcp()
  assert(tcp:bind("127.0.0.1", 0))
  local port = tcp:getsockname().port
  tcp:close()
  return port
end

function M.cleanup()
  for i = #open, 1, -1 do
    open[i]:close()
    open[i] = nil
  end
end

return M
