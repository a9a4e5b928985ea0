--- Clients that others wrote, against a master with two workers: curl, wrk, python and node, as people use them.
local lu = require "luaunit"
local masters = require "spec.support.master"
local s = require "spec.support"

local MB10 = 10 * 1024 ^ 2

local APP = [[
local http, posix = require "brood.http", require "brood.posix"
return http.server(function(req, res)
  if req.path == "/big" then
    local piece = ("0123456789abcdef"):rep(4096)
    for _ = 1, 160 do
      if not res:write(piece) then return end
    end
    return res:finish()
  elseif req.path == "/count" then
    local n = 0
    for chunk in function() return req:read() end do n = n + #chunk end
    return res:finish(n .. "\n")
  elseif req.path == "/echo" then
    local body = req:body()
    return body and res:header("content-type", "application/octet-stream"):finish(body)
  elseif req.path == "/headers" then
    for name, value in pairs(req.headers) do res:header("seen-" .. name, value) end
  elseif req.path == "/who" then
    return res:finish(posix.getpid() .. " " .. req.remote_address .. " " .. req.remote_port .. "\n")
  end
  res:header("content-type", "text/plain"):finish("hello " .. req.method .. " " .. req.path .. "\n")
end, { max_body = "20m"%s })
]]

local function serve(options, config)
  return masters.start { app = APP:format(options or ""), config = config or "limits = { nofile = 4096 }," }
end

-- Run a foreign program to its end; it must succeed and say nothing on stderr.
local function run(program, args, seconds)
  local path = s.path_of(program)
  lu.skipIf(not path, program .. " is not installed")
  local result = s.run({ path, unpack(args) }, { timeout = seconds or 30 })
  lu.assertEquals(result.stderr, "", program)
  lu.assertEquals(result.code, 0, program)
  return result.stdout
end

local function curl(...)
  return run("curl", { "-sS", "--max-time", "20", ... })
end

local function file_of(bytes)
  return s.write_file(s.temp_dir() .. "/data", bytes)
end

local function healthy(master)
  lu.assertEquals(master:get("/").body, "hello GET /\n")
  local log = master:log()
  lu.assertNil(log:match(" error ") or log:match(" warn "), log)
end

return {
  ["curl: a request, several on one connection, HEAD, compressed, a Unix socket"] = function()
    local master = serve(nil, 'listen = { "127.0.0.1:0", "unix:web.sock" },')
    local base = "http://" .. master:address()
    lu.assertEquals(curl(base .. "/x?y"), "hello GET /x\n")
    lu.assertEquals(curl("-w", "%{num_connects} ", base .. "/a", "--next", "-w", "%{num_connects}\n", base .. "/b"),
      "hello GET /a\n1 hello GET /b\n0\n")
    lu.assertEquals(curl("-w", "%{num_connects}%{http_code} ", "-d", "abc", base .. "/echo", "--next", "-w",
      "%{num_connects}%{http_code}", "-X", "DELETE", base .. "/b"), "abc1200 hello DELETE /b\n0200")
    lu.assertStrMatches(curl("-I", base .. "/"), "HTTP/1.1 200 OK\r\n.*[Cc]ontent%-[Ll]ength: 13\r\n.*\r\n\r\n")
    lu.assertEquals(curl("--compressed", base .. "/"), "hello GET /\n")
    lu.assertEquals(curl("--http1.0", base .. "/"), "hello GET /\n")
    lu.assertEquals(curl("--unix-socket", master.dir .. "/web.sock", "http://x/sock"), "hello GET /sock\n")
    lu.assertEquals(curl("--path-as-is", base .. "/a/../b"), "hello GET /a/../b\n")
    healthy(master)
  end,

  ["curl: an upgrade to HTTP/2 is passed over, HTTP/2 at once is refused and hurts nobody"] = function()
    local master = serve()
    local base = "http://" .. master:address()
    lu.assertEquals(curl("--http2", "-w", "%{http_version}", base .. "/up"), "hello GET /up\n1.1")
    local path = s.path_of "curl"
    local refused = s.run({ path, "-sS", "--max-time", "10", "--http2-prior-knowledge", base .. "/" })
    lu.assertTrue(refused.code ~= 0 and refused.code ~= 28, refused.stderr) -- 28: it had to wait for its timeout
    healthy(master)
  end,

  ["curl: 10 MB both ways, by -T, by chunks, and where 100 Continue is waited for"] = function()
    local master = serve()
    local base = "http://" .. master:address()
    local bytes = ("0123456789abcdef"):rep(MB10 / 16)
    local sent, got = file_of(bytes), s.temp_dir() .. "/got"
    curl("-T", sent, "-o", got, base .. "/echo")
    lu.assertTrue(s.read_file(got) == bytes)
    lu.assertEquals(curl("-T", sent, base .. "/count"), MB10 .. "\n")
    lu.assertEquals(curl("-T", sent, "-H", "Transfer-Encoding: chunked", base .. "/count"), MB10 .. "\n")
    lu.assertEquals(curl("--data-binary", "@" .. sent, "-H", "Expect: 100-continue", base .. "/count"), MB10 .. "\n")
    curl("-o", got, base .. "/big")
    lu.assertTrue(s.read_file(got) == bytes)
    -- What is too large is refused before it is sent.
    local huge = file_of(("x"):rep(21 * 1024 ^ 2))
    lu.assertEquals(curl("-T", huge, "-o", "/dev/null", "-w", "%{http_code}", base .. "/echo"), "413")
    healthy(master)
  end,

  ["wrk: every answer is right, however many connections"] = function()
    local master = serve()
    local text = run("wrk", { "-t2", "-c64", "-d1s", "--latency", "http://" .. master:address() .. "/" })
    lu.assertTrue(tonumber(text:match("Requests/sec:%s*([%d.]+)")) > 100, text)
    lu.assertNil(text:match("Socket errors"), text)
    lu.assertNil(text:match("Non%-2xx"), text)
    healthy(master)
  end,

  ["python: http.client on one connection, with bodies both ways"] = function()
    local master = serve()
    lu.assertEquals(run("python3", { "-c", [==[
import http.client, sys
c = http.client.HTTPConnection(sys.argv[1], timeout=20)
big = b"0123456789abcdef" * 655360
ports = set()
for i in range(50):
    c.request("GET", "/who")
    ports.add(c.getresponse().read())
c.request("PUT", "/echo", body=big)
print(c.getresponse().read() == big)
c.request("POST", "/count", body=iter([big[:100000]] * 100), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
print(c.getresponse().read())
c.request("GET", "/big")
print(c.getresponse().read() == big)
c.request("HEAD", "/")
r = c.getresponse()
print(r.status, r.read(), r.getheader("content-length"))
c.request("GET", "/who")
ports.add(c.getresponse().read())
print(len(ports))
]==], master:address() }), "True\nb'10000000\\n'\nTrue\n200 b'' 13\n1\n")
    healthy(master)
  end,

  ["python: a thousand connections at once, each with three requests"] = function()
    local master = serve()
    local out = run("python3", { "-c", [==[
import resource, selectors, socket, sys
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
host, port = sys.argv[1].split(":")
N = 1000
request = b"GET /who HTTP/1.1\r\nHost: x\r\n\r\n"
socks = []
for i in range(N):
    s = socket.create_connection((host, int(port)), timeout=20)
    socks.append(s)
workers = {}
for round in range(3):
    for s in socks:
        s.sendall(request)
    for s in socks:
        data = b""
        while b"\r\n\r\n" not in data or not data.endswith(b"\n"):
            more = s.recv(65536)
            assert more, "closed"
            data += more
        assert data.startswith(b"HTTP/1.1 200 OK\r\n"), data
        pid = data.rsplit(b"\r\n\r\n", 1)[1].split()[0]
        if round == 0:
            workers[pid] = workers.get(pid, 0) + 1
for s in socks:
    s.close()
print(sum(workers.values()), len(workers))
]==], master:address() }, 60)
    lu.assertEquals(out, "1000 2\n")
    healthy(master)
  end,

  ["node: http and fetch with connections that are kept, also where the server closes them first"] = function()
    local master, hasty = serve(), serve(", idle_timeout = 0.05")
    local script = s.write_file(s.temp_dir() .. "/client.js", [==[
const http = require('http')
let [host, port] = process.argv[2].split(':')
let base = `http://${host}:${port}`
const big = Buffer.alloc(10 * 1024 * 1024, '0123456789abcdef')
const sleep = ms => new Promise(ok => setTimeout(ok, ms))
function ask(agent, path, method, body) {
  return new Promise((ok, fail) => {
    const req = http.request({ host, port, path, method: method || 'GET', agent }, res => {
      const parts = []
      res.on('data', d => parts.push(d))
      res.on('end', () => ok({ status: res.statusCode, body: Buffer.concat(parts), reused: req.reusedSocket }))
      res.on('error', fail)
    })
    req.on('error', e => {
      // Closed just as it was used again: node's documents tell its users to send it again.
      if (req.reusedSocket && e.code === 'ECONNRESET') { resets++; ok(ask(agent, path, method, body)) } else fail(e)
    })
    req.end(body)
  })
}
let resets = 0
async function main() {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 20 })
  let all = []
  for (let i = 0; i < 500; i++) all.push(ask(agent, '/who'))
  console.log('kept', new Set((await Promise.all(all)).map(a => a.body.toString())).size)
  const echo = await ask(agent, '/echo', 'POST', big)
  console.log('echo', echo.status, echo.body.equals(big))
  const down = await ask(agent, '/big')
  console.log('big', down.body.equals(big))
  agent.destroy()
  all = []
  for (let i = 0; i < 300; i++) all.push(fetch(base + '/f' + i).then(r => r.text()))
  const texts = await Promise.all(all)
  console.log('fetch', texts.every((t, i) => t === `hello GET /f${i}\n`))
  const up = await fetch(base + '/echo', { method: 'PUT', body: big })
  console.log('up', Buffer.from(await up.arrayBuffer()).equals(big))
  const stream = new ReadableStream({ start(c) { for (let i = 0; i < 100; i++) c.enqueue(new Uint8Array(1000)); c.close() } })
  const counted = await fetch(base + '/count', { method: 'POST', body: stream, duplex: 'half' })
  console.log('chunks', await counted.text() === '100000\n')
  console.log('head', (await fetch(base + '/', { method: 'HEAD' })).headers.get('content-length'))
  // This one lets go of idle connections after 50 ms; many of the pauses end just then.
  ;[host, port] = process.argv[3].split(':')
  base = `http://${host}:${port}`
  const again = new http.Agent({ keepAlive: true })
  for (let i = 0; i < 40; i++) {
    const a = await ask(again, '/again')
    if (a.status !== 200) throw new Error('status ' + a.status)
    await sleep(30 + i)
  }
  console.log('idle', resets < 10)
  // fetch sends nothing again; what was closed well before is no error for it.
  for (let i = 0; i < 4; i++) {
    await (await fetch(base + '/pause')).text()
    await sleep(400)
  }
  console.log('paused')
}
main().then(() => process.exit(0), e => { console.error(e); process.exit(1) })
]==])
    lu.assertEquals(run("node", { script, master:address(), hasty:address() }, 60), "kept 20\necho 200 true\nbig true\n"
      .. "fetch true\nup true\nchunks true\nhead 13\nidle true\npaused\n")
    healthy(master)
    healthy(hasty)
  end,
}
