--- Masters for specs whose workers are programs: servers in Python and JavaScript that answer the load client on the
--- sockets that are passed to them, end gracefully by TERM, and say when they serve; and what starts a master with one.
local load_client = require "spec.support.load_client"
local master = require "spec.support.master"
local s = require "spec.support"

local M = {}

---Plain sockets and a thread for each connection. Its arguments: how it says that it serves ("notify", "line" or "no").
M.PYTHON = [[
import os, select, signal, socket, sys, threading, time

BIG = 5 << 20
stopping, threads = threading.Event(), set()
wake_r, wake_w = os.pipe()


def note(*words):
    with open(os.environ.get("NOTES", "/dev/null"), "a") as file:
        file.write(" ".join(str(word) for word in words) + "\n")


def say_ready(how):
    if how == "notify":
        path = os.environ["NOTIFY_SOCKET"]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
            to.connect("\0" + path[1:] if path[0] == "@" else path)
            to.send(b"READY=1\nSTATUS=serving")
    elif how == "line":
        os.write(int(os.environ["BROOD_CHANNEL_FD"]), b'{"ready": true}\n')


def body_of(path):
    _, kind, token = path.split("/", 2) if path.count("/") > 1 else ("", "pid", "")
    if kind == "slow":
        time.sleep(0.3)
    if kind == "pid":
        return "%d" % os.getpid()
    if kind == "env":
        return os.environ.get(token, "none")
    if kind == "big":
        return token + "x" * (BIG - len(token))
    return token


def serve(conn):
    conn.setblocking(True)
    if conn.family != socket.AF_UNIX:
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    data, closing = b"", False
    try:
        while not closing:
            while b"\r\n\r\n" not in data:
                got = conn.recv(65536)
                if not got:
                    return
                data += got
            head, data = data.split(b"\r\n\r\n", 1)
            path = head.split(b" ", 2)[1].decode()
            body = body_of(path).encode()
            closing = stopping.is_set() or b"connection: close" in head.lower()
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n%s" % (
                len(body), b"Connection: close\r\n" if closing else b"", body))
    except OSError:
        pass
    finally:
        conn.close()
        threads.discard(threading.current_thread())


def stop(signum, _frame):
    note("told", signum, os.getpid())
    stopping.set()
    os.write(wake_w, b"x")


if "slow-start" in sys.argv:
    time.sleep(0.2)
sockets = [socket.socket(fileno=3 + i) for i in range(int(os.environ["LISTEN_FDS"]))]
for sock in sockets:
    sock.setblocking(False)
if "deaf" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
note("started", os.getpid(), os.environ["LISTEN_FDS"], os.environ["LISTEN_FDNAMES"], os.environ["LISTEN_PID"])
say_ready(sys.argv[1] if len(sys.argv) > 1 else "no")
while not stopping.is_set():
    readable, _, _ = select.select(sockets + [wake_r], [], [])
    for sock in readable:
        if sock is wake_r:
            continue
        try:
            conn, _ = sock.accept()
        except BlockingIOError:
            continue  # another worker was faster
        thread = threading.Thread(target=serve, args=(conn,), daemon=True)
        threads.add(thread)
        thread.start()
for sock in sockets:
    sock.close()
end = time.monotonic() + 5
for thread in list(threads):
    thread.join(max(0, end - time.monotonic()))
note("stopped", os.getpid())
]]

---The http server of node. Kept connections are answered once more when it stops, and then closed.
M.NODE = [[
const fs = require('fs'), http = require('http'), net = require('net')
const { execFile } = require('child_process')

const BIG = 5 << 20
let stopping = false

const kinds = {
  echo: (res, token) => res.end(token),
  slow: (res, token) => setTimeout(() => res.end(token), 300),
  big: (res, token) => res.end(token + 'x'.repeat(BIG - token.length)),
  env: (res, name) => res.end(process.env[name] || 'none'),
}

const servers = []
for (let i = 0; i < Number(process.env.LISTEN_FDS); i++) {
  const server = http.createServer((req, res) => {
    if (stopping) res.setHeader('Connection', 'close')
    const [, kind, token] = req.url.split('/')
    kinds[kind] ? kinds[kind](res, token) : res.end(String(process.pid))
  })
  server.keepAliveTimeout = 0
  servers.push(new Promise(resolve => server.listen({ fd: 3 + i }, () => resolve(server))))
}

const PYTHON = `import os, socket
path = os.environ["NOTIFY_SOCKET"]
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.connect("\\0" + path[1:] if path[0] == "@" else path)
s.send(b"READY=1")`

Promise.all(servers).then(list => {
  process.on('SIGTERM', () => {
    stopping = true
    for (const server of list) {
      net.Server.prototype.close.call(server) // http's own would cut kept connections that just are asked again
    }
    setTimeout(() => process.exit(0), 5000).unref()
  })
  const how = process.argv[2]
  if (how === 'notify') execFile('python3', ['-c', PYTHON])
  if (how === 'line') fs.writeSync(Number(process.env.BROOD_CHANNEL_FD), '{"ready": true}\n')
})
]]

local FILES = { ["server.py"] = M.PYTHON, ["server.js"] = M.NODE }

local CONFIG = [[
local here = %q
local function note(...)
  local file, list = io.open(here .. "/notes", "a"), { ... }
  for i = 1, select("#", ...) do
    list[i] = tostring(list[i])
  end
  file:write(table.concat(list, " "), "\n")
  file:close()
end
return {
  listen = "127.0.0.1:0", workers = 2, control = "unix:control.sock", pidfile = "run.pid",
  env = { NOTES = here .. "/said" },
%s
}
]]

---@class spec.CommandMaster: spec.Master
local CommandMaster = setmetatable({}, { __index = master.class })
CommandMaster.__index = CommandMaster

---@param options { config?: string, files?: table<string, string> } config: keys, as Lua source; note(...) is there
function CommandMaster:write(options)
  s.write_file(self.dir .. "/brood.lua", CONFIG:format(self.dir, options.config or ""))
  for _, files in ipairs { FILES, options.files or {} } do
    for name, text in pairs(files) do
      s.write_file(self.dir .. "/" .. name, text, name:find "%.sh$" and 493 or nil)
    end
  end
end

---Start a master.
---@param options { config?: string, files?: table<string, string>, args?: string[], env?: table, open?: boolean,
---  through?: string[] } open: everybody may enter its folder; through: a program that executes the rest of its words
---@return spec.CommandMaster
function M.start(options)
  local dir = options.open and s.open_temp_dir() or s.temp_dir()
  local self = setmetatable({ dir = dir, control = dir .. "/control.sock" }, CommandMaster)
  self:write(options)
  local argv = {}
  for _, list in ipairs { options.through or {}, { s.binary, "run", dir .. "/brood.lua" }, options.args or {} } do
    for _, word in ipairs(list) do
      argv[#argv + 1] = word
    end
  end
  argv[1] = argv[1]:find "/" and argv[1] or s.path_of(argv[1])
  self.program = s.start(argv, { env = options.env, cwd = dir })
  return self
end

---The pid of the master that is in charge.
---@return integer
function CommandMaster:pid()
  return tonumber(s.read_file(self.dir .. "/run.pid")) or error("there is no pidfile\n" .. self:log(), 2)
end

---Wait until the log says it so often.
---@param pattern string
---@param times? integer 1
function CommandMaster:logged(pattern, times)
  s.wait(function()
    return select(2, self:log():gsub(pattern, "")) >= (times or 1)
  end, 15 * s.slow, function()
    return ("'%s' in the log:\n%s\n%s"):format(pattern, self:log(), self:notes())
  end)
end

---Wait until what its servers said so far matches; returns the captures.
---@param pattern string
---@return string ...
function CommandMaster:said(pattern)
  local found
  s.wait(function()
    found = { (s.read_file(self.dir .. "/said") or ""):match(pattern) }
    return found[1]
  end, 10 * s.slow, function()
    return ("'%s' in:\n%s\n%s"):format(pattern, tostring(s.read_file(self.dir .. "/said")), self:log())
  end)
  return unpack(found)
end

---What path answers, on a connection of its own.
---@param path? string
---@return string
function CommandMaster:body(path)
  return self:get(path or "/pid").body
end

---QUIT, and the end: with status 0, and nothing left.
function CommandMaster:over()
  local code = self:stop "QUIT"
  if code ~= 0 then
    error("the master ended with " .. tostring(code) .. "\n" .. self:log(), 2)
  end
end

local LANES = { "3:keep:echo:5", "3:short:echo:5", "4:keep:echo:150", "1:keep:slow:0", "1:short:slow:0",
  "1:short:big:50" }

---HUP, until all new workers serve.
---@param self spec.CommandMaster
function M.reload(self)
  assert(self:hup())
end

---A master under a constant load on TCP and a Unix socket: act(master) so often, and every request has its answer.
---@param config string keys, as Lua source
---@param n integer
---@param act fun(master: spec.CommandMaster, i: integer)
---@return spec.CommandMaster
function M.under_load(config, n, act)
  local self = M.start { config = 'listen = { "127.0.0.1:0", "unix:web.sock" }, graceful_timeout = 10, ' .. config }
  self:ready(2)
  local pid = self:pid()
  local fds = s.fd_count(pid)
  local load = load_client.start({ self:address(), "unix:" .. self.dir .. "/web.sock" }, LANES)
  for i = 1, n do
    act(self, i)
    s.wait(function() return #s.child_pids(pid) <= 4 end, 20 * s.slow, "older workers to go")
  end
  load_client.whole(load:stop(), self:log() .. self:notes())
  if act == M.reload then
    s.wait(function() return s.fd_count(pid) <= fds end, 10 * s.slow, "the descriptors to be what they were")
  end
  return self
end

return M
