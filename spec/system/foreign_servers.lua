--- http.request against servers that others wrote: python's http.server and node's http.
local lu = require "luaunit"
local s = require "spec.support"

local HEAD = [[
local brood, http, net = require "brood", require "brood.http", require "brood.net"
local client = require "brood.http_client"
io.stdout:setvbuf "line"
local base = "http://127.0.0.1:" .. arg[1]
]]

-- Start a foreign server that prints its port, and run a script of ours against it.
local function against(program, args, text, expected)
  local path = s.path_of(program)
  lu.skipIf(not path, program .. " is not installed")
  local server = s.start { path, unpack(args) }
  local port = server:expect("port (%d+)\n", 20)
  local result = s.script(HEAD .. text, { port }):finish(40)
  lu.assertEquals(result.stderr, "")
  lu.assertEquals(result.stdout, expected)
  lu.assertEquals(result.code, 0)
end

local PYTHON = [==[
import http.server, sys, socketserver
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = sys.argv[1]
    def log_message(self, *args): pass
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
        body = self.body()
        if self.path == "/close":
            self.close_connection = True
            return
        self.send_response(404 if self.path == "/missing" else 200)
        if self.path == "/chunks":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for i in range(5):
                self.wfile.write(b"3\r\nab%d\r\n" % i)
            self.wfile.write(b"0\r\nX-Trailer: yes\r\n\r\n")
            return
        body = body or b"%s %d" % (self.command.encode(), self.client_address[1])
        if self.path == "/big":
            body = b"0123456789abcdef" * 655360
        if self.path != "/until":
            self.send_header("Content-Length", str(len(body)))
        else:
            self.close_connection = True
        self.send_header("Set-Cookie", "a=b")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = answer
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
print("port %d" % server.server_address[1], flush=True)
server.serve_forever()
]==]

local NODE = [==[
const http = require('http')
const server = http.createServer((req, res) => {
  if (req.url === '/echo') { res.writeHead(200); return req.pipe(res) }
  if (req.url === '/big') return res.end(Buffer.alloc(10 * 1024 * 1024, '0123456789abcdef'))
  if (req.url === '/early') { res.writeHead(413, { Connection: 'close' }); return res.end('no') }
  if (req.url === '/cut') { res.writeHead(200, { 'Content-Length': 100 }); res.write('abc'); return setTimeout(() => res.destroy(), 20) }
  if (req.url === '/hints') { res.writeEarlyHints({ link: '</a>; rel=preload' }); return res.end('hinted') }
  if (req.url === '/none') { res.writeHead(204); return res.end() }
  if (req.url === '/trailers') { res.writeHead(200, { Trailer: 'X-T' }); res.write('body'); res.addTrailers({ 'X-T': '1' }); return res.end() }
  res.end(`${req.method} ${req.socket.remotePort}`)
})
server.keepAliveTimeout = Number(process.argv[2])
server.listen(0, '127.0.0.1', () => console.log(`port ${server.address().port}`))
]==]

return {
  ["python's HTTP/1.1: kept connections, bodies both ways, chunks, HEAD, answers up to the end"] = function()
    against("python3", { "-c", PYTHON, "HTTP/1.1" }, [[
      local ports = {}
      local n = 0
      local function note(answer)
        local port = answer.body:match("%d+")
        if not ports[port] then ports[port] = true n = n + 1 end
      end
      for _ = 1, 30 do note(http.get(base)) end
      print(n, http.get(base .. "/chunks").body, http.get(base .. "/missing").status)
      print(http.request({ url = base, method = "HEAD" }).headers["content-length"] ~= nil)
      print(http.get(base).headers["set-cookie"][1], http.get(base .. "/until").body:match("^GET"))
      local big = ("0123456789abcdef"):rep(655360)
      print(http.get(base .. "/big").body == big, http.request { url = base, body = big, method = "PUT" }.body == big)
      local i = 0
      print(http.request { url = base, body = function() i = i + 1 return i <= 160 and big:sub(1, 65536) or nil end }.body == big)
      note(http.get(base))
      print(n, client.close_idle())
    ]], "1\tab0ab1ab2ab3ab4\t404\ntrue\na=b\tGET\ntrue\ttrue\ntrue\n2\n")
  end,

  ["python's HTTP/1.0: a connection for each request"] = function()
    against("python3", { "-c", PYTHON, "HTTP/1.0" }, [[
      local seen = {}
      for i = 1, 10 do seen[http.get(base).body] = true end
      local n = 0
      for _ in pairs(seen) do n = n + 1 end
      print(n > 5, require("brood.http_client.pool").count())
      print(#http.get(base .. "/big").body, http.get(base .. "/until").body:match("^GET"))
      print(select(2, http.get(base .. "/close")).code)
    ]], "true\t0\n10485760\tGET\nclosed\n")
  end,

  ["python's file server, as `python3 -m http.server` runs it"] = function()
    local dir = s.temp_dir()
    s.write_file(dir .. "/index.html", "<h1>it</h1>\n")
    local port = s.free_port()
    local path = s.path_of "python3"
    lu.skipIf(not path, "python3 is not installed")
    local server = s.start({ path, "-u", "-m", "http.server", "--bind", "127.0.0.1", "-d", dir, tostring(port) })
    server:expect "Serving HTTP"
    local result = s.script(HEAD .. [[
      local answer = assert(http.get(base .. "/"))
      print(answer.status, answer.headers["content-type"], answer.body)
      print(http.get(base .. "/none.html").status, http.request({ url = base, method = "HEAD" }).body == "")
    ]], { tostring(port) }):finish(20)
    lu.assertEquals({ result.stdout, result.code }, { "200\ttext/html\t<h1>it</h1>\n\n404\ttrue\n", 0 })
  end,

  ["node: kept connections, streams both ways, interim answers, trailers, early and cut answers"] = function()
    against("node", { "-e", NODE, "5000" }, [[
      local first = http.get(base).body
      local same = true
      for _ = 1, 30 do same = same and http.get(base).body == first end
      print(same, http.get(base .. "/hints").body, http.get(base .. "/none").status, http.get(base .. "/trailers").body)
      local big = ("0123456789abcdef"):rep(655360)
      print(http.get(base .. "/big").body == big, http.request { url = base .. "/echo", body = big }.body == big)
      local i, got = 0, 0
      local answer = http.request { url = base .. "/echo", stream = true,
        body = function() i = i + 1 return i <= 160 and big:sub(1, 65536) or nil end }
      for piece in answer:chunks() do got = got + #piece end
      print(got)
      print(http.request { url = base .. "/early", body = big }.status)
      local none, err = http.get(base .. "/cut")
      print(none, err.code, err.message:match("after 3 of 100 bytes"))
      print(http.request { url = base, method = "DELETE" }.body:match("%a+"))
    ]], "true\thinted\t204\tbody\ntrue\ttrue\n10485760\n413\nnil\tclosed\tafter 3 of 100 bytes\nDELETE\n")
  end,

  ["node: a server that closes its idle connections soon makes no request fail"] = function()
    against("node", { "-e", NODE, "40" }, [[
      for i = 1, 40 do
        assert(http.get(base).status == 200)
        brood.sleep(0.02 + i / 1000)
      end
      local tasks = {}
      for i = 1, 200 do tasks[i] = brood.async(http.get, base) end
      for i = 1, 200 do assert(tasks[i]:wait()) end
      print("all answered")
    ]], "all answered\n")
  end,
}
