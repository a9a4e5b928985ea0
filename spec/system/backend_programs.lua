--- Backends that are foreign programs: Python, node and Ruby on a socket, or on a port, behind backend:proxy.
-- time limit: 180 s
local lu = require "luaunit"
local b = require "spec.support.backend"
local brood = require "brood"
local posix = require "brood.posix"
local s = require "spec.support"

local PYTHON = [=[
import os, socket, socketserver, sys, time
from wsgiref.simple_server import WSGIServer, WSGIRequestHandler
class Server(WSGIServer):
    address_family = socket.AF_UNIX
    def server_bind(self):
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "localhost", 0
        self.setup_environ()
    def get_request(self):
        return self.socket.accept()[0], ("local", 0)
class Handler(WSGIRequestHandler):
    def log_message(self, *args): pass
def app(env, start):
    size = int(env.get("CONTENT_LENGTH") or 0)
    body = env["wsgi.input"].read(size)
    if env["PATH_INFO"] == "/exit": os._exit(9)
    start("200 OK", [("Content-Type", "text/plain")])
    if env["PATH_INFO"] == "/big": return [b"0123456789abcdef" * 6554] * 10
    return [("python %d %s %s %d" % (os.getpid(), env["REQUEST_METHOD"], env["PATH_INFO"], len(body))).encode()]
server = Server(os.environ["SOCKET"], Handler)
server.set_app(app)
server.serve_forever()
]=]

local NODE = [=[
const http = require('http')
http.createServer((req, res) => {
  let size = 0
  if (req.url === '/exit') process.exit(9)
  req.on('data', data => { size += data.length })
  req.on('end', () => {
    if (req.url === '/big') return res.end(Buffer.alloc(1048640, '0123456789abcdef'))
    res.end(`node ${process.pid} ${req.method} ${req.url} ${size}`)
  })
}).listen(process.env.SOCKET || process.env.PORT)
]=]

local RUBY = [=[
require "webrick"
require "socket"
quiet = WEBrick::Log.new($stderr, WEBrick::Log::FATAL)
server = WEBrick::HTTPServer.new(DoNotListen: true, AccessLog: [], Logger: quiet)
server.mount_proc("/") do |req, res|
  exit!(9) if req.path == "/exit"
  size = %w[POST PUT].include?(req.request_method) ? req.body.to_s.bytesize : 0
  res.body = req.path == "/big" ? "0123456789abcdef" * 65540 : "ruby #{$$} #{req.request_method} #{req.path} #{size}"
end
server.listeners << UNIXServer.new(ENV["SOCKET"])
trap("QUIT") { server.shutdown }
server.start
]=]

-- What runs Python, and not a wrapper that looks for it each time.
local function python()
  return s.run({ "python3", "-c", "import sys; print(sys.executable)" }).stdout:match "^[^\n]+"
end

local function program(name, text, options)
  local path = name == "python" and python() or assert(s.path_of(name), name .. " is not installed")
  local all = { command = { path, s.write_file("app", text) }, name = name }
  for key, value in pairs(options or {}) do
    all[key] = value
  end
  return b.new(all)
end

-- A server whose every request the backend answers; what fails is 502 and the reason.
local function front(backend, answered)
  local _, address = b.front(function(req, res)
    local ok, err = backend:proxy(req, res)
    table.insert(answered or {}, tonumber(req.path:match "%d+"))
    if not ok and not err.began then
      res:status(502):finish(err.code .. ": " .. err.message)
    end
  end)
  return address
end

local function post(address, path, size)
  local socket = s.connect(address)
  socket:send(("POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"):format(path, size) .. ("x"):rep(size))
  local answer = socket:response()
  socket:close()
  return answer
end

-- What every one of them must do.
local function serves(backend, name)
  local address = front(backend)
  local body = s.get(address, "/a?b=c").body
  lu.assertStrMatches(body, name .. " " .. backend.pid .. " GET /a%S* 0")
  lu.assertEquals(post(address, "/post", 100000).body, ("%s %d POST /post 100000"):format(name, backend.pid))
  lu.assertEquals(s.get(address, "/big").body, ("0123456789abcdef"):rep(65540))
  local tasks = {}
  for i = 1, 30 do
    tasks[i] = brood.async(function()
      return s.get(address, "/" .. i).body
    end)
  end
  for i = 1, 30 do
    lu.assertEquals(tasks[i]:wait(), ("%s %d GET /%d 0"):format(name, backend.pid, i))
  end
  local errors = {}
  backend:on("error", function(err) table.insert(errors, err) end)
  local ended = post(address, "/exit", 1)
  lu.assertEquals({ ended.status, ended.body }, { 502, ("exit: %s ended with status 9"):format(name) })
  lu.assertEquals(#errors, 1)
  local pid = backend.pid
  posix.kill(s.get(address, "/pid").body:match "%d+", 9)
  lu.assertEquals(post(address, "/after", 3).body, ("%s %d POST /after 3"):format(name, backend.pid))
  lu.assertNotEquals(backend.pid, pid)
  lu.assertTrue(backend:quit())
  lu.assertStrMatches(s.get(address, "/again").body, name .. " %d+ GET /again 0")
  lu.assertTrue(backend:restart())
  lu.assertTrue(backend:terminate())
end

return {
  teardown = b.cleanup,

  ["a client that is slow with a short body keeps the program from nobody, nor does one that goes"] = function()
    local backend = b.lua "serve(function(req, res) res:finish(tostring(#req:body())) end)"
    local address = front(backend)
    local slow, gone = s.connect(address), s.connect(address)
    for _, socket in ipairs { slow, gone } do
      socket:send "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\na"
    end
    lu.assertEquals(s.get(address, "/").body, "0")
    lu.assertEquals(backend.state, "ready")
    gone:close()
    slow:send "bc"
    lu.assertEquals(slow:response().body, "3")
    lu.assertEquals(backend.served, 2)
  end,

  ["proxy for a request that its handler has answered or read raises there, and keeps no program"] = function()
    local backend, said = b.lua "serve()", {}
    local _, address = b.front(function(req, res)
      if req.path == "/half" then
        res:write "x"
      elseif req.path == "/read" then
        req:body()
      elseif req.path == "/over" then
        res:finish()
      end
      local ok, err = pcall(backend.proxy, backend, req, req.path ~= "/none" and res or nil)
      said[req.path] = not ok and tostring(err)
      if not ok and req.path ~= "/over" then
        res:finish()
      end
    end)
    for _, path in ipairs { "/half", "/over", "/none" } do
      s.get(address, path)
    end
    lu.assertStrContains(said["/half"], "the head of an answer has already been sent")
    lu.assertStrContains(said["/over"], "the response is already finished")
    lu.assertStrContains(said["/none"], "the req and res")
    post(address, "/read", 3)
    lu.assertStrContains(said["/read"], "body has been read")
    lu.assertEquals({ backend.state, backend.served }, { "stopped", 0 })
    lu.assertStrContains(s.get(address, "/fine").body, " /fine")
  end,

  ["Python's wsgiref on a Unix socket"] = function()
    serves(program("python", PYTHON, { stderr = false }), "python")
  end,

  ["node on a Unix socket"] = function()
    serves(program("node", NODE), "node")
  end,

  ["node on PORT"] = function()
    local backend = program("node", NODE, { port = true })
    serves(backend, "node")
    backend:spawn()
    lu.assertStrMatches(backend:status().programs[1].address, "127.0.0.1:7%d%d%d")
  end,

  ["Ruby's webrick on a Unix socket"] = function()
    serves(program("ruby", RUBY, { stderr = false }), "ruby")
  end,

  ["two programs that want a port have two, which are free again afterwards"] = function()
    local backend = program("node", NODE, { port = true, size = 2 })
    local function ports()
      assert(backend:spawn())
      local list = {}
      for i, one in ipairs(backend:status().programs) do
        list[i] = one.address
      end
      backend:kill()
      return list
    end
    local first = ports()
    lu.assertNotEquals(first[1], first[2])
    -- The lowest that are free are taken, and other specs' programs have some of them for a while: those that were not
    -- given back would never come again.
    local had = { [first[1]] = true, [first[2]] = true }
    s.wait(function()
      local again = ports()
      local known = had[again[1]] and had[again[2]]
      had[again[1]], had[again[2]] = true, true
      return known
    end, 20 * s.slow, "two ports that it has had before")
  end,

  ["a port of its own, which somebody else has: the error says so"] = function()
    local port = s.free_port()
    local backend = program("node", NODE, { port = port })
    lu.assertTrue(backend:spawn())
    lu.assertEquals(backend:status().programs[1].address, "127.0.0.1:" .. port)
    local ok, err = program("node", NODE, { port = port }):connect()
    lu.assertNil(ok)
    lu.assertEquals(err.code, "EADDRINUSE")
    lu.assertStrContains(tostring(err), tostring(port))
  end,

  ["a start that takes its time holds those who ask, in order, and answers them"] = function()
    local backend = program("python", "import time; time.sleep(1)\n" .. PYTHON, { stderr = false })
    local order, tasks = {}, {}
    local address = front(backend, order)
    for i = 1, 10 do
      tasks[i] = brood.async(function()
        lu.assertStrMatches(s.get(address, "/" .. i).body, "python %d+ GET /" .. i .. " 0")
      end)
      s.wait(function() return backend:status().waiting == i end)
    end
    for i = 1, 10 do
      tasks[i]:wait()
    end
    lu.assertEquals(order, { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 })
  end,

  ["a program that does not start: the answer is what it printed"] = function()
    local backend = program("python", "import no_such_module", { stderr = function() end })
    local answer = s.get(front(backend), "/")
    lu.assertEquals(answer.status, 502)
    lu.assertStrContains(answer.body, "exit: Traceback (most recent call last):")
    lu.assertStrContains(answer.body, "ModuleNotFoundError: No module named 'no_such_module'")
  end,

  ["a client that goes away while it waits is not served"] = function()
    local backend, dir = b.lua [[
      serve(function(req, res) note(req.path) wait_for(arg[1] .. "/go") res:finish "done" end)
    ]]
    local address = front(backend)
    local one, two, three = s.connect(address), s.connect(address), s.connect(address)
    for i, socket in ipairs { one, two, three } do
      socket:send(("GET /%d HTTP/1.1\r\nHost: x\r\n\r\n"):format(i))
      s.wait(function() return backend:status().waiting == i - 1 and #b.notes(dir) == 1 end)
    end
    two:close()
    s.wait(function() return backend:status().waiting == 1 end)
    s.write_file(dir .. "/go", "")
    lu.assertEquals({ one:response().body, three:response().body }, { "done", "done" })
    lu.assertEquals(b.notes(dir), { "/1", "/3" })
  end,

  ["asked once more where it does no harm: nothing came back of a GET, but not of a POST, and not twice"] = function()
    local backend, dir = b.lua([[
      local net = require "brood.net"
      local server = net.server(function(conn) note(conn:read():match "^%S+") os.exit(7) end)
      server:listen("unix:" .. SOCKET)
    ]], { stderr = false })
    backend:on("error", function() end)
    local address = front(backend)
    local answer = s.get(address, "/")
    lu.assertEquals({ answer.status, answer.body, b.notes(dir) }, {
      502, "exit: app ended with status 7", { "GET", "GET" },
    })
    answer = post(address, "/", 2)
    lu.assertEquals({ answer.status, answer.body, b.notes(dir) }, {
      502, "exit: app ended with status 7", { "GET", "GET", "POST" },
    })
  end,

  ["an answer that has begun is cut, and nobody else sees anything of it"] = function()
    local backend = b.lua([[
      serve(function(req, res)
        if req.path == "/die" then
          res:header("content-length", 100)
          res:write "half"
          brood.sleep(0.05)
          os.exit(3)
        end
        res:finish "whole"
      end)
    ]], { stderr = false })
    backend:on("error", function() end)
    local address = front(backend)
    local socket = s.connect(address)
    socket:send "GET /die HTTP/1.1\r\nHost: x\r\n\r\n"
    local other
    brood.async(function() other = s.get(address, "/").body end)
    local text = socket:receive_all()
    lu.assertStrMatches(text, "HTTP/1.1 200 OK\r\n.*half")
    s.wait(function() return other end)
    lu.assertEquals(other, "whole")
  end,
}
