--- Masters with a proxy for specs, and the programs behind it: written in Python, JavaScript and Lua, on a Unix socket
--- (SOCKET) or a port (PORT).
local brood = require "brood"
local masters = require "spec.support.master"
local s = require "spec.support"

local M = {}

---A WSGI app on wsgiref, one request at a time.
M.PYTHON = [[
import os, socket, socketserver, sys, time
from wsgiref.simple_server import WSGIServer, WSGIRequestHandler


class Handler(WSGIRequestHandler):
    def address_string(self):
        return "local"

    def log_message(self, *words):
        pass


class Server(WSGIServer):
    address_family = socket.AF_UNIX

    def server_bind(self):
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "local", 0
        self.setup_environ()

    def get_request(self):
        conn, _ = super().get_request()
        return conn, ("local", 0)


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path.endswith("/die"):
        os._exit(7)
    size = int(environ.get("CONTENT_LENGTH") or 0)
    body = environ["wsgi.input"].read(size) if size else b""
    text = ("python %d %s %d" % (os.getpid(), path, len(body))).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))])
    return [text]


server = Server(os.environ["SOCKET"], Handler)
server.set_app(app)
server.serve_forever()
]]

---A server on node's http: on the socket, or else on the port.
M.NODE = [[
const http = require('http')
const server = http.createServer((req, res) => {
  if (req.url.endsWith('/die')) process.exit(7)
  let size = 0
  req.on('data', (piece) => { size += piece.length })
  req.on('end', () => {
    const wait = req.url.endsWith('/slow') ? 300 : 0
    setTimeout(() => {
      res.end(`node ${process.pid} ${req.url} ${size} ${req.headers.host} ${req.headers['x-forwarded-host'] || ''}`)
    }, wait)
  })
})
server.listen(process.env.SOCKET || { port: +process.env.PORT, host: '127.0.0.1' })
]]

---The head of a Lua program; `serve(handler)` serves it where its environment says. `note` writes a line.
local LUA = [[
local brood, http, posix, uv = require "brood", require "brood.http", require "brood.posix", require "luv"
local function exists(path) return uv.fs_stat(path) ~= nil end
local function wait_for(path) while not exists(path) do brood.sleep(0.005) end end
local here = uv.cwd()
local function note(text)
  local fd = uv.fs_open(here .. "/notes", "a", 384)
  uv.fs_write(fd, text .. "\n")
  uv.fs_close(fd)
end
local function serve(handler)
  local port = os.getenv "PORT"
  local at = os.getenv "SOCKET" or port and (port:find "/" and port or "127.0.0.1:" .. port)
  assert(http.server(handler or function(req, res)
    res:finish(("%d %s"):format(posix.getpid(), req.path))
  end):listen(at:find "^/" and "unix:" .. at or at))
end
]]

---The text of such a program.
---@param text string
---@return string
function M.lua(text)
  return LUA .. text
end

---The command of a Lua program, as Lua source for a config.
---@param name string of its file
---@return string
function M.exec(name)
  return ("{ %q, 'exec', %q }"):format(s.binary, name)
end

---@class spec.ProxyMaster: spec.Master
local Proxy = setmetatable({}, { __index = masters.class })
Proxy.__index = Proxy

---A master with a proxy; options as for spec.support.master's, and `routes`, Lua source.
---@param options table proxy: more keys of the proxy, as Lua source
---@return spec.ProxyMaster
function M.start(options)
  return setmetatable(masters.start(M.complete(options)), Proxy)
end

---The same for a reload.
---@param options table
---@return table
function M.complete(options)
  local copy = {}
  for key, value in pairs(options) do
    copy[key] = value
  end
  copy.config = ("%s\nproxy = { listen = '127.0.0.1:0', routes = { %s }, %s },"):format(options.config or "",
    options.routes or "", options.proxy or "")
  return copy
end

---Where the proxy listens.
---@return string
function Proxy:front()
  if not self.proxy_at then
    self.proxy_at = self.program:expect("proxy: %d+ of %d+ workers serve ([^\n ]+)\n", 20)
  end
  return self.proxy_at
end

---A request on a connection of its own.
---@param path string
---@param options? { host: string?, method: string?, headers: string?, body: string? }
---@return { status: integer, headers: table, body: string }
function Proxy:ask(path, options)
  local socket = self:send(path, options)
  local response = socket:response(options and options.method == "HEAD")
  socket:close()
  return response
end

---The same without waiting for the answer: its connection.
---@param path string
---@param options? table
---@return spec.Socket
function Proxy:send(path, options)
  local o = options or {}
  local socket = s.connect(self:front())
  local length = o.body and ("Content-Length: %d\r\n"):format(#o.body) or ""
  socket:send(("%s %s HTTP/1.1\r\nHost: %s\r\n%s%sConnection: close\r\n\r\n%s"):format(o.method or "GET", path,
    o.host or "x", o.headers or "", length, o.body or ""))
  return socket
end

---What the status says of a backend.
---@param name string
---@return table
function Proxy:backend(name)
  local _, status = masters.class.ask(self, "/status")
  return status.backends[name]
end

---The same of everything.
---@return table
function Proxy:status()
  return (select(2, masters.class.ask(self, "/status")))
end

---Wait until a backend has n programs.
---@param name string
---@param n integer
---@return table[] processes
function Proxy:programs(name, n)
  local last
  s.wait(function()
    last = self:backend(name)
    return #last.processes == n
  end, 10 * s.slow, function()
    return ("%d programs of %s; there is %s\n%s"):format(n, name, brood.json.encode(last), self:log())
  end)
  return last.processes
end

---HUP with another config.
---@param options table
---@return boolean ok, string log
function Proxy:reload(options)
  return masters.class.hup(self, M.complete(options))
end

---The end: by that signal, with nothing left of what it ran.
---@param signal? string
---@return number seconds
function Proxy:finish(signal)
  local pids = s.child_pids(self.program.pid)
  self.program:kill(signal or "QUIT")
  local seconds, code = s.timed(function()
    return self.program:wait(20 * s.slow)
  end)
  if code ~= 0 then
    error(("it ended with status %s\n%s"):format(tostring(code), self:log()))
  end
  s.gone(pids, 1)
  return seconds
end

return M
