--- Sockets that somebody else has bound (systemd, or what speaks its protocol): matched to `listen` by address or by
--- name, taken as they are by an app without `listen`, and closed where nobody names them.
local lu = require "luaunit"
local s = require "spec.support"
local uv = require "luv"

-- Binds, as a supervisor does, and becomes a program: NAME=ADDRESS ... -- PROGRAM ARGUMENTS. The address "file" is no
-- socket, the last one may be "nothing".
local PARENT = [[
import os, socket, sys
split = sys.argv.index("--")
fds, names = [], []
for spec in sys.argv[1:split]:
    name, address = spec.split("=", 1)
    if address == "file":
        fds.append(os.open("/dev/null", os.O_RDONLY))
    elif address == "nothing":
        pass
    else:
        if address.startswith("/"):
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.bind(address)
        else:
            host, port = address.rsplit(":", 1)
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            sock = socket.socket(family, socket.SOCK_STREAM)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, int(port)))
            print(name, sock.getsockname()[1], flush=True)
        sock.listen(16)
        fds.append(sock.detach())
    names.append(name)
high = [os.dup(fd) for fd in fds]
high = [__import__("fcntl").fcntl(fd, __import__("fcntl").F_DUPFD, 50) for fd in high]
for i, fd in enumerate(high):
    os.dup2(fd, 3 + i, inheritable=True)
os.closerange(3 + len(high), 200)
if os.environ.pop("SPEC_NO_NAMES", None) is None:
    os.environ["LISTEN_FDNAMES"] = ":".join(names)
os.environ["LISTEN_FDS"] = str(len(names))
os.environ["LISTEN_PID"] = str(os.getpid() + int(os.environ.pop("SPEC_OTHER_PID", "0")))
os.execv(sys.argv[split + 1], sys.argv[split + 1:])
]]

local APP = [[
return function(_, res)
  local list = {}
  for name in pairs(require("brood.posix").environ()) do
    if name:find "^LISTEN_" then list[#list + 1] = name end
  end
  res:finish("served by " .. require("brood").worker.cluster .. table.concat(list))
end]]

---@param sockets string[] "NAME=ADDRESS"
---@param config string keys, as Lua source; app.lua and admin.lua are there
---@param env? table
local function start(sockets, config, env)
  local python = s.path_of "python3"
  lu.skipIf(not python, "needs python3")
  local dir = s.temp_dir()
  s.write_file(dir .. "/app.lua", APP)
  s.write_file(dir .. "/brood.lua", ("return { workers = 1, control = 'unix:control.sock', %s }"):format(config))
  local argv = { python, s.write_file("parent.py", PARENT), unpack(sockets) }
  for _, word in ipairs { "--", s.binary, "run", dir .. "/brood.lua" } do
    table.insert(argv, word)
  end
  return s.start(argv, { env = env }), dir
end

local function port_of(p, name)
  return p:expect("\n?" .. name .. " (%d+)\n")
end

local function serves(p, address, text)
  lu.assertEquals(s.get(address).body, "served by " .. text)
  return p
end

local function up(p)
  p:expect "control: "
  return p
end

local function finish(p)
  p:kill "QUIT"
  lu.assertEquals({ p:wait() }, { 0 })
end

return {
  ["a socket is found by its address, whatever its name, and keeps what waits in it"] = function()
    local port = s.free_port()
    local p = start({ "any=127.0.0.1:" .. port }, ('app = "app.lua", listen = "127.0.0.1:%d"'):format(port))
    port_of(p, "any")
    local early = s.connect("127.0.0.1:" .. port)
    early:send "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    lu.assertEquals(early:response().body, "served by web")
    up(p)
    lu.assertNotStrContains(p:stderr(), "closed")
    finish(p)
  end,

  ["a bare port finds a socket on all interfaces"] = function()
    local port = s.free_port()
    local p = start({ "any=0.0.0.0:" .. port }, ('app = "app.lua", listen = %d'):format(port))
    up(p)
    serves(p, "127.0.0.1:" .. port, "web")
    finish(p)
  end,

  ["a socket is found by its name, and sockets of one name are taken together"] = function()
    local p = start({ "web=127.0.0.1:0", "web=127.0.0.1:0" }, 'app = "app.lua", listen = "fd:web"')
    up(p)
    local seen = 0
    for port in p:stdout():gmatch "web (%d+)" do
      serves(p, "127.0.0.1:" .. port, "web")
      seen = seen + 1
    end
    lu.assertEquals(seen, 2)
    finish(p)
  end,

  ["an app without listen takes all that no other cluster names"] = function()
    local p = start({ "one=127.0.0.1:0", "two=127.0.0.1:0", "private=127.0.0.1:0" },
      'app = "app.lua", clusters = { admin = { app = "app.lua", listen = "fd:private" } }')
    up(p)
    serves(p, "127.0.0.1:" .. port_of(p, "one"), "web")
    serves(p, "127.0.0.1:" .. port_of(p, "two"), "web")
    serves(p, "127.0.0.1:" .. port_of(p, "private"), "admin")
    finish(p)
  end,

  ["without names they are all unknown, and taken"] = function()
    local p = start({ "one=127.0.0.1:0", "two=127.0.0.1:0" }, 'app = "app.lua"', { SPEC_NO_NAMES = "1" })
    up(p)
    serves(p, "127.0.0.1:" .. port_of(p, "one"), "web")
    serves(p, "127.0.0.1:" .. port_of(p, "two"), "web")
    finish(p)
  end,

  ["one that nobody names is closed with a warning"] = function()
    local p = start({ "mine=127.0.0.1:0", "extra=127.0.0.1:0" }, 'app = "app.lua", listen = "fd:mine"')
    up(p)
    local port = port_of(p, "extra")
    lu.assertStrContains(p:stderr(), ("the passed socket 'extra' (127.0.0.1:%s) is closed"):format(port))
    lu.assertFalse((pcall(s.connect, "127.0.0.1:" .. port)))
    finish(p)
  end,

  ["a name that was not passed fails the start"] = function()
    local p = start({ "mine=127.0.0.1:0" }, 'app = "app.lua", listen = { "fd:mine", "fd:other" }')
    lu.assertEquals(p:wait(), 1)
    lu.assertStrContains(p:stderr(), "fd:other: no socket of that name was passed")
  end,

  ["what is no socket is closed with a warning, and the others are found"] = function()
    local p = start({ "junk=file", "web=127.0.0.1:0" }, 'app = "app.lua", listen = "fd:web"')
    up(p)
    lu.assertStrContains(p:stderr(), "the passed descriptor 3 is closed")
    serves(p, "127.0.0.1:" .. port_of(p, "web"), "web")
    finish(p)
  end,

  ["what is announced and not there is told, and harms nobody"] = function()
    local p = start({ "web=127.0.0.1:0", "gone=nothing" }, 'app = "app.lua", listen = "fd:web"')
    up(p)
    lu.assertStrContains(p:stderr(), "LISTEN_FDS announces descriptor 4, but nothing was passed there")
    serves(p, "127.0.0.1:" .. port_of(p, "web"), "web")
    finish(p)
  end,

  ["sockets for another process are none of ours"] = function()
    local p = start({ "web=127.0.0.1:0" }, 'app = "app.lua", listen = "127.0.0.1:0"', { SPEC_OTHER_PID = "1" })
    local at = p:expect "workers serve (%S+)\n"
    lu.assertNotEquals(at, "127.0.0.1:" .. port_of(p, "web"))
    lu.assertEquals(s.get(at).body, "served by web")
    finish(p)
  end,

  ["the file of a passed Unix socket stays: it is not ours"] = function()
    local path = s.temp_dir() .. "/app.sock"
    local p = start({ "web=" .. path },
      ('app = "app.lua", listen = { address = "unix:%s", mode = "0600" }'):format(path))
    up(p)
    local before = uv.fs_stat(path).mode
    serves(p, "unix:" .. path, "web")
    finish(p)
    lu.assertTrue(s.exists(path))
    lu.assertEquals(uv.fs_stat(path).mode, before)
    uv.fs_unlink(path)
  end,

  ["a script's cluster takes those that it names, by name or by address, and leaves them open"] = function()
    local python, port = s.path_of "python3", s.free_port()
    lu.skipIf(not python, "needs python3")
    local dir = s.temp_dir()
    s.write_file(dir .. "/app.lua", APP)
    s.write_file(dir .. "/server.py", "import http.server, socket\n"
      .. "s = http.server.HTTPServer(('127.0.0.1', 0), http.server.SimpleHTTPRequestHandler, False)\n"
      .. "s.socket = socket.socket(fileno=3)\ns.serve_forever()\n")
    local script = s.write_file("script.lua", ([[
      local brood, uv = require "brood", require "luv"
      local apps = brood.cluster.new("%s/app.lua", { name = "apps", count = 2,
        listen = { "fd:many", { address = "127.0.0.1:%d", backlog = 5 } } })
      local programs = brood.cluster.new { command = { "python3", "server.py" }, count = 1, listen = "fd:program",
        working_directory = "%s" }
      for _ = 1, 2 do
        assert(apps:start())
        assert(programs:start())
        for _, address in ipairs { apps:address() } do
          print("apps", brood.http.get("http://" .. address .. "/").body)
        end
        print("program", brood.http.get("http://" .. programs:address() .. "/server.py").status)
        assert(apps:restart())
        assert(apps:stop())
        assert(programs:stop())
        local early = brood.net.connect "127.0.0.1:%d"
        print("connected", early ~= nil)
      end
      print(brood.cluster.new("%s/app.lua", { listen = "fd:nobody" }):start())
    ]]):format(dir, port, dir, port, dir))
    local p = s.start({ python, s.write_file("parent.py", PARENT), "many=127.0.0.1:0", "many=127.0.0.1:0",
      "other=127.0.0.1:" .. port, "program=127.0.0.1:0", "--", s.binary, "exec", script })
    lu.assertEquals({ p:wait(20 * s.slow) }, { 0 }, p:stderr())
    local said = p:stdout():gsub("%l+ %d+\n", "", 4)
    local round = ("apps\tserved by apps\n"):rep(3) .. "program\t200\nconnected\ttrue\n"
    lu.assertStrContains(said, round .. round .. "nil\tcannot listen on fd:nobody: no socket of that name was passed")
  end,

  ["passed sockets stay over a reload and over upgrades, with their names"] = function()
    local path = s.temp_dir() .. "/app.sock"
    local p, dir = start({ "web=127.0.0.1:0", "web=" .. path }, 'app = "app.lua", pidfile = "run.pid"')
    up(p)
    local at, old = "127.0.0.1:" .. port_of(p, "web"), p.pid
    p:kill "HUP"
    p:expect "reloaded in"
    serves(p, at, "web")
    local function said(pattern)
      return s.wait(function() return p:stderr():match(pattern) end, 10, function() return pattern .. p:stderr() end)
    end
    for _ = 1, 2 do
      uv.kill(old, "sigusr2")
      local new = tonumber((said(("%%[%d%%] the new master %%(pid (%%d+)%%) serves"):format(old))))
      uv.kill(old, "sigquit")
      said(("the old master %%(pid %d%%) is gone"):format(old))
      serves(p, at, "web")
      serves(p, "unix:" .. path, "web")
      old = new
    end
    uv.kill(old, "sigquit")
    s.gone({ old }, 10)
    lu.assertFalse(s.exists(dir .. "/control.sock"))
    lu.assertTrue(s.exists(path))
    uv.fs_unlink(path)
  end,
}
