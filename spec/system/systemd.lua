--- NOTIFY_SOCKET and WATCHDOG_USEC: what a supervisor that speaks sd_notify hears of a master, and from whom. The
--- supervisor is Python's: it prints each message with the pid of its sender.
local lu = require "luaunit"
local masters = require "spec.support.master"
local s = require "spec.support"
local uv = require "luv"

local PYTHON = [=[
import os, signal, socket, struct, sys
path = sys.argv[1]
def leave(*_):
    if not path.startswith("@"): os.unlink(path)
    os._exit(0)
signal.signal(signal.SIGTERM, leave)
listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
listener.bind("\0" + path[1:] if path.startswith("@") else path)
print("listening", flush=True)
while True:
    data, control, _, _ = listener.recvmsg(65536, 1024)
    pid = [struct.unpack("iii", d[:12])[0] for _, kind, d in control if kind == socket.SCM_CREDENTIALS]
    print(pid[0], data.decode().replace("\n", ";"), flush=True)
]=]

local APP = [[
local brood = require "brood"
return function(req, res)
  if req.path == "/slow" then
    io.open("begun", "w"):close()
    brood.sleep(0.6)
  end
  res:finish(os.getenv "NOTIFY_SOCKET" or os.getenv "WATCHDOG_USEC" or os.getenv "WATCHDOG_PID" or "nothing")
end]]

local function supervisor(path)
  local program = s.start { "/usr/bin/python3", "-u", s.write_file("supervisor.py", PYTHON), path }
  program:expect "listening"
  return program
end

---@class spec.Supervised
---@field master spec.Master
---@field listener spec.Program
local Supervised = {}
Supervised.__index = Supervised

-- A master with a supervisor.
local function start(options, env, path)
  options = options or {}
  options.app, options.env = options.app or APP, env or {}
  path = path or s.temp_dir() .. "/notify"
  local listener = supervisor(path)
  options.env.NOTIFY_SOCKET = path
  local self = setmetatable({ listener = listener, master = masters.start(options) }, Supervised)
  return self
end

-- What was said so far, as a list of { pid, text }; those that match a pattern.
function Supervised:said(pattern)
  local list = {}
  for pid, text in self.listener:stdout():gmatch "(%d+) ([^\n]*)\n" do
    if text:find(pattern or "", 1) then
      list[#list + 1] = { pid = tonumber(pid), text = text }
    end
  end
  return list
end

-- Wait for the nth message that matches.
function Supervised:hears(pattern, n)
  local list
  s.wait(function()
    list = self:said(pattern)
    return list[n or 1]
  end, 10, function()
    return ("message %d like '%s'; there are:\n%s\nthe log: %s"):format(n or 1, pattern, self.listener:stdout(),
      self.master:log())
  end)
  return list[n or 1].text, list[n or 1].pid
end

local function now_usec()
  return uv.hrtime() / 1000
end

local function change(master, from, to)
  local path = master.dir .. "/brood.lua"
  local text, n = s.read_file(path):gsub(from, to)
  lu.assertEquals(n, 1)
  s.write_file(path, text)
end

-- As systemd does for Type=notify-reload: HUP, RELOADING since then, READY.
local function reload(self, n)
  local since = now_usec()
  self.master.program:kill "HUP"
  local text = self:hears("RELOADING=1", n)
  local told = tonumber(text:match "MONOTONIC_USEC=(%d+)")
  lu.assertTrue(told ~= nil and told >= math.floor(since) and told <= now_usec(), text)
  return (self:hears("READY=1", n + 1))
end

return {
  ["READY comes from the master itself when it serves, on a socket with a path or an abstract one"] = function()
    for _, path in ipairs { false, "@brood-spec-" .. uv.os_getpid() .. "-" .. uv.hrtime() } do
      local self = start({ workers = 2 }, nil, path or nil)
      local text, pid = self:hears "READY=1"
      lu.assertEquals(pid, self.master.program.pid)
      lu.assertStrMatches(text, "READY=1;STATUS=web: 2 of 2 workers serve 127.0.0.1:%d+")
      lu.assertEquals(self.master:get().body, "nothing")
      lu.assertEquals(self.master:stop "QUIT", 0)
      lu.assertStrContains(self:hears "STOPPING=1", "STATUS=stopping")
      lu.assertEquals(#self:said(), 2, self.listener:stdout())
      self.listener:kill "TERM"
    end
  end,

  ["it is not ready before a worker is, nor when it cannot start"] = function()
    local self = start { workers = 1, app = "require('brood').sleep(0.4) return function() end" }
    s.remains(function() return #self:said "READY" == 0 end, 0.3, "silence")
    self:hears "READY=1"
    self = start { workers = 1, app = "error 'no'" }
    lu.assertEquals(self.master.program:wait(20), 1)
    lu.assertEquals(#self:said "READY", 0)
  end,

  ["nobody whom it starts sees the socket, and a program's own is another"] = function()
    local self = start({ workers = 1, config = [[
      on_start = function()
        local Process = require "brood.process"
        note("config", os.getenv "NOTIFY_SOCKET", os.getenv "WATCHDOG_USEC")
        note("run", (Process.run({ "sh", "-c", "echo \"[$NOTIFY_SOCKET$WATCHDOG_USEC$WATCHDOG_PID]\"" }).stdout))
        local shell = io.popen "echo \"[$NOTIFY_SOCKET]\""
        note("popen", shell:read "*l")
        local own = Process.new({ ready = "notify", command = { "sh", "-c",
          "echo \"$NOTIFY_SOCKET\" > own; systemd-notify --ready 2> /dev/null || sleep 5" }, start_timeout = 1, cwd = here })
        own:start()
      end]] }, { WATCHDOG_USEC = "60000000" })
    self:hears "READY=1"
    local notes = self.master:notes()
    lu.assertStrContains(notes, "config nil nil")
    lu.assertStrContains(notes, "run []")
    lu.assertStrContains(notes, "popen []")
    lu.assertNotStrContains(s.read_file(self.master.dir .. "/own"), self.listener.argv[4])
  end,

  ["a reload is RELOADING with the time, then READY; one that fails as well, with the reason as status"] = function()
    local self = start { workers = 2 }
    self:hears "READY=1"
    lu.assertStrContains(reload(self, 1), "STATUS=web: 2 of 2 workers serve")
    change(self.master, "workers = 2", "workres = 2")
    lu.assertStrContains(reload(self, 2), "STATUS=the last reload failed: ")
    change(self.master, "workres = 2", "workers = 1, on_start = function() error 'no schema' end")
    lu.assertStrMatches(reload(self, 3), "READY=1;STATUS=the last reload failed: .*no schema.*")
    change(self.master, ", on_start = function%(%) error 'no schema' end", "")
    lu.assertStrContains(reload(self, 4), "STATUS=web: 1 of 1 workers serve")
    local order = {}
    for _, message in ipairs(self:said()) do
      order[#order + 1] = message.text:match "^%u+" == "MONOTONIC" and "RELOADING" or message.text:match "^%u+"
    end
    lu.assertEquals(table.concat(order, " "),
      "READY RELOADING READY RELOADING READY RELOADING READY RELOADING READY")
    lu.assertEquals(self.master:stop "QUIT", 0)
  end,

  ["however many reloads are asked for at once, the last thing said is READY"] = function()
    local self = start { workers = 2 }
    self:hears "READY=1"
    for _ = 1, 8 do
      self.master.program:kill "HUP"
      s.remains(function() return true end, 0.015)
    end
    s.wait(function()
      local list = self:said()
      return #self:said "RELOADING" >= 1 and list[#list].text:find "^READY=1" and
        select(2, self.master:log():gsub("reloaded in", "")) >= 1
    end, 10, "READY")
    lu.assertEquals(self.master:stop "QUIT", 0)
  end,

  ["TERM is graceful under a supervisor, and a second one quick; STOPPING is told once"] = function()
    local self = start { workers = 1 }
    local master = self.master
    local socket = s.connect(master:address())
    socket:send "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"
    s.wait(function() return s.exists(master.dir .. "/begun") end)
    master.program:kill "TERM"
    self:hears "STOPPING=1"
    lu.assertEquals(socket:response().body, "nothing")
    lu.assertEquals(master.program:wait(), 0)
    lu.assertEquals(#self:said "STOPPING", 1)

    self = start { workers = 1, app = APP:gsub("0%.6", "60") }
    master = self.master
    socket = s.connect(master:address())
    socket:send "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"
    s.wait(function() return s.exists(master.dir .. "/begun") end)
    master.program:kill "TERM"
    self:hears "STOPPING=1"
    s.remains(function() return not master.program.over end, 0.1)
    master.program:kill "TERM"
    local seconds = s.timed(master.program.wait, master.program)
    lu.assertTrue(seconds < 5, seconds)
    lu.assertEquals(master.program.code, 0)
  end,

  ["WATCHDOG comes at half the time, as long as the master's loop turns"] = function()
    local self = start({ workers = 1, config = [[
      worker_exit = function()
        local till = require("luv").hrtime() + 1e9
        while require("luv").hrtime() < till do end
      end]] }, { WATCHDOG_USEC = "200000" })
    self:hears "READY=1"
    local first = uv.hrtime()
    self:hears("WATCHDOG=1", 6)
    local seconds = (uv.hrtime() - first) / 1e9
    lu.assertTrue(seconds > 0.3 and seconds < 1 + s.slow, seconds)
    local _, pid = self:hears "WATCHDOG=1"
    lu.assertEquals(pid, self.master.program.pid)
    -- A hook that does not let go.
    uv.kill(self.master:pids()[1], "sigkill")
    s.wait(function() return self.master:log():find "killed by KILL" end)
    local before = #self:said "WATCHDOG"
    s.remains(function() return #self:said "WATCHDOG" <= before + 1 end, 0.5, "silence")
    self:hears("WATCHDOG=1", before + 3)
  end,

  ["a watchdog that is meant for another process is not fed"] = function()
    local self = start({ workers = 1 }, { WATCHDOG_USEC = "100000", WATCHDOG_PID = "1" })
    self:hears "READY=1"
    s.remains(function() return #self:said "WATCHDOG" == 0 end, 0.3)
  end,

  ["after an upgrade the new master is the main process, and the old one's end is not the service's"] = function()
    local self = start({ workers = 1, config = 'pidfile = "run.pid"' }, { WATCHDOG_USEC = "200000" })
    local master, dir = self.master, self.master.dir
    local old = master.program.pid
    self:hears "READY=1"
    uv.kill(old, "sigusr2")
    local text, pid = self:hears "MAINPID="
    lu.assertEquals(pid, old)
    local new = tonumber(text:match "%d+")
    lu.assertEquals(s.read_file(dir .. "/run.pid"), new .. "\n")
    local _, ready = self:hears("READY=1", 2)
    lu.assertEquals(ready, new)
    uv.kill(old, "sigquit")
    s.gone({ old }, 10)
    lu.assertEquals(#self:said "STOPPING", 0, self.listener:stdout())
    lu.assertEquals(self.master:get().body, "nothing")
    local before = #self:said "WATCHDOG=1"
    local _, fed = self:hears("WATCHDOG=1", before + 2)
    lu.assertEquals(fed, new)
    uv.kill(new, "sighup")
    local _, reloading = self:hears "RELOADING=1"
    lu.assertEquals(reloading, new)
    uv.kill(new, "sigterm") -- graceful there as well
    local _, stopping = self:hears "STOPPING=1"
    lu.assertEquals(stopping, new)
    s.gone({ new }, 10)
    lu.assertStrContains(master:log(), "stopping gracefully")
  end,

  ["a new master that is told to go leaves the old one the main process"] = function()
    local self = start { workers = 1, config = 'pidfile = "run.pid"' }
    local old = self.master.program.pid
    self:hears "READY=1"
    uv.kill(old, "sigusr2")
    local new = tonumber(self:hears("MAINPID="):match "%d+")
    uv.kill(new, "sigquit")
    s.gone({ new }, 10)
    s.wait(function()
      local list = self:said "MAINPID="
      return list[#list].text == "MAINPID=" .. old
    end, 10, "the old one")
    lu.assertEquals(#self:said "STOPPING", 0, self.listener:stdout())
    lu.assertEquals(self.master:stop "QUIT", 0)
    local _, pid = self:hears "STOPPING=1"
    lu.assertEquals(pid, old)
  end,

  ["with -D the daemon is the main process, and it is ready"] = function()
    local path, dir = s.temp_dir() .. "/notify", s.temp_dir()
    local listener = supervisor(path)
    s.write_file(dir .. "/app.lua", APP)
    s.write_file(dir .. "/brood.lua",
      'return { app = "app.lua", listen = "unix:web.sock", workers = 1, control = false, pidfile = "run.pid" }')
    local command = s.brood({ "-D", dir .. "/brood.lua" }, { env = { NOTIFY_SOCKET = path } })
    lu.assertEquals(command:wait(), 0)
    local pid = tonumber(s.read_file(dir .. "/run.pid"))
    s.wait(function()
      return listener:stdout():find(("%d MAINPID=%d;READY=1\n"):format(command.pid, pid), 1, true)
    end, 10, "the main process")
    uv.kill(pid, "sigterm")
    s.gone({ pid }, 10)
    s.wait(function() return listener:stdout():find(pid .. " [^\n]*STOPPING=1") end, 10, "STOPPING")
  end,

  ["a supervisor that is not there, or does not read, harms nobody"] = function()
    local master = masters.start { workers = 1, env = { NOTIFY_SOCKET = s.temp_dir() .. "/nobody" } }
    lu.assertEquals(master:get().body, "hello\n")
    master.program:expect "the supervisor cannot be told anything: "
    lu.assertEquals(master:stop "QUIT", 0)

    local self = start({ workers = 1 }, { WATCHDOG_USEC = "2000" })
    self:hears "READY=1"
    self.listener:kill "STOP"
    s.remains(function() return self.master:get().status == 200 end, 0.5)
    self.listener:kill "CONT"
    local before = #self:said "WATCHDOG"
    self:hears("WATCHDOG", before + 5)
    lu.assertEquals(self.master:stop "QUIT", 0)
    self:hears "STOPPING=1"
  end,
}
