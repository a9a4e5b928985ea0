--- A proxy before servers that others wrote, and before clients that others wrote: python's http.server and wsgiref,
--- node's http, curl.
--- time limit: 120 s
local lu = require "luaunit"
local s = require "spec.support"
local r = require "spec.support.relay"

-- Start a foreign server, which prints its address, and a proxy of it, for as long as fn(front, proxy) runs.
local function before(program, args, fn)
  local path = s.path_of(program)
  lu.skipIf(not path, program .. " is not installed")
  local server = s.start { path, unpack(args) }
  local address = server:expect("at (%S+)\n", 20)
  local front, proxy = r.front(address, nil, "{ max_body = false }")
  fn(front, proxy)
  server:kill "KILL"
  server:wait()
  os.remove((address:gsub("^unix:", "")))
end

local function curl(front, path, ...)
  local program = s.path_of "curl"
  lu.skipIf(not program, "curl is not installed")
  local result = s.run({ program, "-sS", "--max-time", "20", "http://" .. front .. path, ... }, { timeout = 30 })
  lu.assertEquals(result.stderr, "")
  return result.stdout
end

local PYTHON = [==[
import http.server, sys, socketserver, os
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = sys.argv[1]
    def log_message(self, *args): pass
    def address_string(self): return "unix"
    def body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        data = b""
        while True:
            n = int(self.rfile.readline(), 16)
            data += self.rfile.read(n)
            self.rfile.readline()
            if n == 0:
                return data
    def answer(self):
        if self.path == "/early":
            self.send_response(413)
            self.send_header("Content-Length", "5")
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(b"early")
            self.close_connection = True
            return
        body = self.body()
        self.send_response(200)
        if self.path == "/chunks":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for i in range(5):
                self.wfile.write(b"3\r\nab%d\r\n" % i)
            self.wfile.write(b"0\r\n\r\n")
            return
        body = body or b"%s %s" % (self.command.encode(), self.headers["X-Forwarded-For"].encode())
        if self.path == "/big":
            body = b"0123456789abcdef" * 655360
        if self.path != "/until":
            self.send_header("Content-Length", str(len(body)))
        else:
            self.close_connection = True
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
    do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = answer
class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
server = Server(("127.0.0.1", 0), Handler)
print("at 127.0.0.1:%d" % server.server_port, flush=True)
server.serve_forever()
]==]

local WSGI = [==[
import socketserver, sys, os
from wsgiref.simple_server import WSGIServer, WSGIRequestHandler
class Handler(WSGIRequestHandler):
    def log_message(self, *args): pass
    def address_string(self): return "unix"
class Server(WSGIServer):
    address_family = __import__("socket").AF_UNIX
    def server_bind(self):
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "localhost", 0
        self.setup_environ()
    def get_request(self):
        request, _ = self.socket.accept()
        return request, ("unix", 0)
def app(environ, start):
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    start("200 OK", [("Content-Type", "text/plain")])
    return [b"%s %s %d\n" % (environ["REQUEST_METHOD"].encode(), environ["PATH_INFO"].encode(), len(body)),
            environ.get("HTTP_X_FORWARDED_FOR", "").encode(), b"\n"]
server = Server(sys.argv[1], Handler)
server.set_app(app)
print("at unix:" + sys.argv[1], flush=True)
server.serve_forever()
]==]

local NODE = [==[
const http = require("http");
const server = http.createServer((req, res) => {
  if (req.url === "/echo") return req.pipe(res);
  if (req.url === "/trailers") {
    res.writeHead(200, { Trailer: "X-Sum" });
    res.write("body");
    res.addTrailers({ "X-Sum": "7" });
    return res.end();
  }
  if (req.url === "/big") return res.end(Buffer.alloc(10 * 1024 * 1024, "0123456789abcdef"));
  if (req.url === "/slow") {
    let i = 0;
    const timer = setInterval(() => { res.write(`${i} `); if (++i == 5) { clearInterval(timer); res.end("end"); } }, 20);
    return;
  }
  if (req.url === "/hints") { res.writeEarlyHints({ link: "</x>; rel=preload" }); return res.end("hinted"); }
  if (req.url === "/cut") { res.writeHead(200, { "Content-Length": 100 }); res.write("half"); return setTimeout(() => res.destroy(), 50); }
  let n = 0;
  req.on("data", (d) => { n += d.length; });
  req.on("end", () => res.end(`${req.method} ${req.url} ${n} ${req.headers.host} ${req.headers["x-forwarded-for"]}`));
});
server.on("upgrade", (req, socket, head) => {
  socket.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n");
  socket.write(head);
  socket.pipe(socket);
});
server.listen(process.argv[1], () => console.log("at unix:" + process.argv[1]));
]==]

return {
  ["python's http.server, HTTP/1.1 and HTTP/1.0"] = function()
    for _, version in ipairs { "HTTP/1.1", "HTTP/1.0" } do
      before("python3", { "-c", PYTHON, version }, function(front)
        lu.assertEquals(curl(front, "/"), "GET 127.0.0.1")
        lu.assertEquals(curl(front, "/", "-d", "some body"), "some body")
        lu.assertEquals(curl(front, "/", "-T", s.write_file("up", ("x"):rep(3000000))), ("x"):rep(3000000))
        lu.assertEquals(curl(front, "/", "-H", "Transfer-Encoding: chunked", "-d", "in chunks"), "in chunks")
        lu.assertEquals(curl(front, "/until", "-d", "up to the end"), "up to the end")
        lu.assertEquals(#curl(front, "/big"), 10485760)
        lu.assertEquals(curl(front, "/", "-I", "-o", "/dev/null", "-w", "%{http_code}"), "200")
        lu.assertEquals(curl(front, "/", "-X", "DELETE"), "DELETE 127.0.0.1")
        if version == "HTTP/1.1" then
          lu.assertEquals(curl(front, "/chunks"), "ab0ab1ab2ab3ab4")
          local early = curl(front, "/early", "-H", "Expect:", "-T", s.write_file("large", ("x"):rep(20000000)), "-w",
            " %{http_code}")
          lu.assertEquals(early, "early 413")
        end
      end)
    end
  end,

  ["wsgiref on a Unix socket"] = function()
    before("python3", { "-c", WSGI, s.temp_dir() .. "/wsgi" }, function(front)
      for _ = 1, 3 do
        lu.assertEquals(curl(front, "/a", "-H", "X_Forwarded_For: evil"), "GET /a 0\n127.0.0.1\n")
        lu.assertEquals(curl(front, "/b", "-d", ("x"):rep(100000)), "POST /b 100000\n127.0.0.1\n")
      end
    end)
  end,

  ["node's http on a Unix socket: streams, trailers, hints, and an answer that it cuts"] = function()
    before("node", { "-e", NODE, s.temp_dir() .. "/node" }, function(front, proxy)
      lu.assertEquals(curl(front, "/a?b", "-H", "Host: name"), "GET /a?b 0 name 127.0.0.1")
      lu.assertEquals(curl(front, "/p", "-d", "12345", "-H", "Host: name"), "POST /p 5 name 127.0.0.1")
      lu.assertEquals(#curl(front, "/echo", "-T", s.write_file("up", ("x"):rep(5000000))), 5000000)
      lu.assertEquals(#curl(front, "/big"), 10485760)
      lu.assertEquals(curl(front, "/slow"), "0 1 2 3 4 end")
      lu.assertEquals(curl(front, "/hints"), "hinted")
      lu.assertStrContains(curl(front, "/trailers", "--raw"), "body\r\n0\r\nX-Sum: 7\r\n\r\n")
      lu.assertEquals(curl(front, "/x", "--http1.0", "-H", "Host: name"), "GET /x 0 name 127.0.0.1")
      local cut = s.run { s.path_of "curl", "-s", "http://" .. front .. "/cut" }
      lu.assertEquals({ cut.code, cut.stdout }, { 18, "half" }) -- a partial file
      proxy:expect "failed /cut: closed sent came began"
    end)
  end,

  ["an upgrade with node behind"] = function()
    before("node", { "-e", NODE, s.temp_dir() .. "/node" }, function(front)
      local client = s.connect(front)
      client:send(r.head("GET", "/", "Connection: Upgrade\r\nUpgrade: echo\r\n"))
      client:receive "101 .-\r\n\r\n"
      for i = 1, 10 do
        client:send("message " .. i)
        client:receive("message " .. i)
      end
      client:shutdown()
      client:receive_all()
    end)
  end,

  ["a server that closes what is kept every few milliseconds loses no request"] = function()
    local script = NODE .. "setInterval(() => server.closeIdleConnections(), 3);"
    before("node", { "-e", script, s.temp_dir() .. "/node" }, function(front)
      local socket = s.connect(front)
      for i = 1, 500 do
        socket:send(r.head("GET", "/" .. i))
        lu.assertEquals(socket:response().status, 200, i)
      end
    end)
  end,
}
