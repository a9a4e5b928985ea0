--- Listening sockets: the forms of an address, stale and live socket files, who may remove one.
local lu = require "luaunit"
local core = require "brood.core"
local posix = require "brood.posix"
local s = require "spec.support"

local open = {}

local function listen(address, options)
  local o = { address = address, backlog = 16 }
  for name, value in pairs(options or {}) do
    o[name] = value
  end
  local l, err = core.listener.open(o)
  open[#open + 1] = l
  return l, err
end

local T = {}

function T.setup()
  open = {}
end

function T.teardown()
  for _, l in ipairs(open) do
    l:close()
  end
end

T["an address tells the real port"] = function()
  local port = assert(listen "127.0.0.1:0"):address():match "^127%.0%.0%.1:(%d+)$"
  lu.assertTrue(tonumber(port) > 0)
  lu.assertStrMatches(assert(listen "localhost:0"):address(), "127%.0%.0%.1:%d+")
end

T["a bare port, :port and *:port listen on all interfaces, v4 and v6"] = function()
  for _, address in ipairs { "0", ":0", "*:0" } do
    local l = assert(listen(address))
    local port = l:address():match ":(%d+)$"
    if l:address():find("[::]", 1, true) then
      -- Dual stack: the v4 port is taken as well.
      local other, err = listen("127.0.0.1:" .. port)
      lu.assertNil(other)
      lu.assertEquals(err.code, "EADDRINUSE")
    end
  end
end

T["a port in use is told with the way to find out by whom"] = function()
  local address = assert(listen "127.0.0.1:0"):address()
  local _, err = listen(address)
  lu.assertEquals(err.message, ("cannot listen on %s: Address already in use (ss -ltnp 'sport = :%s' shows by whom)")
    :format(address, address:match ":(%d+)$"))
end

T["a Unix socket in use is told with who has it, or with the way to find out where that has gone"] = function()
  local path = s.temp_dir() .. "/sock"
  local first = assert(listen("unix:" .. path))
  local _, err = listen("unix:" .. path)
  lu.assertStrMatches(err.message, ("cannot listen on unix:%s: Address already in use by [^()]+ %%(pid %d%%)"):format(
    path:gsub("%p", "%%%0"), require("luv").os_getpid()))
  first:close()
  -- Listened to by one that has passed it on and gone.
  local script = s.write_file("pass.py", [[
import os, socket, sys
sock = socket.socket(socket.AF_UNIX)
sock.bind(sys.argv[1])
sock.listen(8)
pid = os.fork()
if pid == 0:
    os.close(1)
    while True:
        sock.accept()
print(pid)
]])
  path = s.temp_dir() .. "/passed"
  local out = io.popen(("exec python3 %s %s </dev/null"):format(script, path))
  local pid = out:read "*n"
  out:close()
  _, err = listen("unix:" .. path)
  require("luv").kill(pid, "sigkill")
  os.remove(path)
  lu.assertEquals(err.message, ("cannot listen on unix:%s: Address already in use (ss -lxp | grep %s shows by whom)")
    :format(path, path))
end

T["ipv6only leaves v4 free"] = function()
  local l, err = listen("[::]:0", { ipv6only = true })
  if not l then
    lu.skip("no IPv6 here: " .. err)
  end
  lu.assertNotNil(listen("0.0.0.0:" .. l:address():match ":(%d+)$"))
end

T["reuseport lets two sockets share a port"] = function()
  local first = assert(listen("127.0.0.1:0", { reuseport = true }))
  lu.assertNotNil(listen(first:address(), { reuseport = true }))
end

T["what is no address is refused with a reason"] = function()
  for address, reason in pairs {
    ["nonsense"] = "expected host:port",
    ["1.2.3:80"] = "expected host:port",
    ["[::1]"] = "expected host:port",
    ["::1:80"] = "expected host:port",
    ["unix:"] = "expected host:port",
    ["127.0.0.1:65536"] = "a port is a number from 0 to 65535",
    ["127.0.0.1:99999999999"] = "a port is a number",
    ["unix:/" .. ("a"):rep(107)] = "at most 107 bytes",
  } do
    local l, err = listen(address)
    lu.assertNil(l, address)
    lu.assertStrContains(err.message, reason)
  end
end

T["a socket path of 107 bytes works whole"] = function()
  local dir = s.temp_dir()
  local path = dir .. "/" .. ("s"):rep(107 - #dir - 1)
  local l = assert(listen("unix:" .. path))
  lu.assertEquals(l:address(), "unix:" .. path)
  lu.assertTrue(s.exists(path))
end

T["mode and owner of a socket file are as asked"] = function()
  local path = s.temp_dir() .. "/sock"
  assert(listen("unix:" .. path, { mode = 384 }))
  lu.assertEquals(require("luv").fs_stat(path).mode % 512, 384)
end

T["a socket file that says no mode is everybody's, whatever the umask is"] = function()
  local path = s.temp_dir() .. "/sock"
  local before = core.posix.umask(63)
  local l, err = listen("unix:" .. path)
  core.posix.umask(before)
  lu.assertNotNil(l, err)
  lu.assertEquals(require("luv").fs_stat(path).mode % 512, 438)
end

T["a stale socket file is replaced, a live one is refused and stays"] = function()
  local path = s.temp_dir() .. "/sock"
  local live = assert(listen("unix:" .. path))
  local l, err = listen("unix:" .. path)
  lu.assertNil(l)
  lu.assertEquals(err.code, "EADDRINUSE")
  lu.assertTrue(s.exists(path))
  live:keep_file()
  live:close()
  lu.assertTrue(s.exists(path)) -- now nobody answers there
  lu.assertNotNil(listen("unix:" .. path))
end

T["a folder that somebody keeps locked is no reason not to listen there"] = function()
  local dir = s.temp_dir()
  local keeper = s.start { "flock", "--no-fork", dir, "sh", "-c", "echo locked; exec sleep 60" }
  keeper:expect "locked"
  assert(listen("unix:" .. dir .. "/sock")):close()
  keeper:kill "KILL"
end

T["a file that is no socket is never removed"] = function()
  local path = s.write_file("data", "precious")
  local l, err = listen("unix:" .. path)
  lu.assertNil(l)
  lu.assertEquals(err.code, "EADDRINUSE")
  lu.assertEquals(err.message, ("cannot listen on unix:%s: it exists and is no socket; it is left alone"):format(path))
  lu.assertEquals(s.read_file(path), "precious")
end

T["closing removes the socket file, but not one that somebody else has put there since"] = function()
  local path = s.temp_dir() .. "/sock"
  local first = assert(listen("unix:" .. path))
  os.remove(path)
  local second = assert(listen("unix:" .. path))
  first:close()
  lu.assertTrue(s.exists(path))
  second:close()
  lu.assertFalse(s.exists(path))
end

T["a forked child closes its copy and leaves file and socket to the parent"] = function()
  local path = s.temp_dir() .. "/sock"
  local l = assert(listen("unix:" .. path))
  local fd = l:fd()
  local pid = core.fork({ fd })
  if pid == 0 then
    l:close()
    core.exit(s.fds()[fd] and 1 or 0)
  end
  lu.assertEquals({ posix.waitpid(pid) }, { pid, "exited", 0 })
  lu.assertTrue(s.exists(path))
  s.connect(path):close()
end

T["a child that did not keep it does not close what has its number now"] = function()
  local l = assert(listen "127.0.0.1:0")
  local fd = l:fd()
  local pid = core.fork()
  if pid == 0 then
    local r, w = posix.pipe() -- the lowest free numbers
    while r ~= fd and w ~= fd and w < fd do
      r, w = posix.pipe()
    end
    l:close()
    core.exit(s.fds()[fd] and 0 or 1)
  end
  lu.assertEquals({ posix.waitpid(pid) }, { pid, "exited", 0 })
end

T["a passed descriptor is taken over only if it listens"] = function()
  local l = assert(listen "127.0.0.1:0")
  local pid = core.fork({ l:fd() }) -- a copy of its own to take over
  if pid == 0 then
    local again = core.listener.from_fd(l:fd())
    core.exit(again and again:address() == l:address() and 0 or 1)
  end
  lu.assertEquals({ posix.waitpid(pid) }, { pid, "exited", 0 })
  local r, w = posix.pipe()
  local taken, err = core.listener.from_fd(r)
  lu.assertNil(taken)
  lu.assertEquals(err.code, "ENOTSOCK")
  posix.close(r)
  posix.close(w)
end

T["methods of a closed one return nil and an error"] = function()
  local l = assert(listen "127.0.0.1:0")
  l:close()
  l:close()
  local fd, err = l:fd()
  lu.assertNil(fd)
  lu.assertEquals(err.code, "closed")
end

return T
