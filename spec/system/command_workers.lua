--- Clusters whose workers are programs: what a program finds, how many there are, and how they are told to go.
-- time limit: 120 s
local command = require "spec.support.command"
local lu = require "luaunit"
local s = require "spec.support"
local uv = require "luv"

local PYTHON = 'command = { "python3", "server.py", "notify" }, ready = "notify",'

local function descriptors(pid)
  local list = {}
  for fd, target in pairs(s.fds(pid)) do
    if tonumber(fd) > 2 and target:find "^socket:" then
      list[#list + 1] = tonumber(fd)
    end
  end
  table.sort(list)
  return list
end

local function until_gone(pid)
  s.gone({ pid }, 10 * s.slow)
end

return {
  ["a program finds the sockets in their order from descriptor 3 on, and nothing else of ours"] = function()
    local master = command.start { config = PYTHON .. [[workers = 1,
      listen = { "unix:one.sock", "127.0.0.1:0" },
      env = { NOTES = here .. "/said", OWN = "yes", HOME = false },]], env = {
        NOTIFY_SOCKET = false, WATCHDOG_USEC = "1000000", LISTEN_FDS = "0", KEEP = "it",
      } }
    master:address()
    local pid, fds, names, listen_pid = master:said "started (%d+) (%d+) (%S+) (%d+)\n"
    lu.assertEquals({ fds, names, listen_pid }, { "2", "web:web", pid })
    local unix, tcp = "unix:" .. master.dir .. "/one.sock", master.all:match "127%.0%.0%.1:%d+"
    lu.assertEquals({ s.get(unix, "/pid").body, s.get(tcp, "/pid").body }, { pid, pid })
    for name, value in pairs {
      OWN = "yes", KEEP = "it", HOME = "none", WATCHDOG_USEC = "none", BROOD_CLUSTER = "web", BROOD_WORKER_ID = "1",
      BROOD_WORKER_SLOT = "1", BROOD_CHANNEL_FD = "none", LISTEN_FDNAMES = "web:web",
    } do
      lu.assertEquals(s.get(tcp, "/env/" .. name).body, value, name)
    end
    lu.assertEquals(descriptors(tonumber(pid)), { 3, 4 })
    lu.assertEquals(uv.fs_readlink(("/proc/%s/cwd"):format(pid)), master.dir)
    master:over()
    lu.assertFalse(s.exists(master.dir .. "/one.sock"))
  end,

  ["sockets that a supervisor has passed keep their names"] = function()
    local master = command.start { config = PYTHON .. 'listen = { "fd:one", "127.0.0.1:0" }, workers = 1,',
      files = { ["start.py"] = [[
import os, socket, sys
a = socket.socket()
a.bind(("127.0.0.1", 0))
a.listen()
os.dup2(a.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS="1", LISTEN_FDNAMES="one", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[1], sys.argv[1:])
]] }, through = { "python3", "start.py" } }
    master:said "started %d+ 2 one:web "
    master:over()
  end,

  ["a server that waits in accept is served by sockets that wait"] = function()
    local master = command.start { config = 'command = { "python3", "plain.py" },', files = { ["plain.py"] = [[
import os, socket
sock = socket.socket(fileno=3)
while True:
    conn, _ = sock.accept()
    conn.recv(65536)
    conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nplain")
    conn.close()
]] } }
    for _ = 1, 10 do
      lu.assertEquals(master:body(), "plain")
    end
    local old = master:pids()
    assert(master:hup())
    -- It may still take a connection between the signal and its end, as it has no handler for it.
    s.wait(function() return not s.alive(old[1]) and not s.alive(old[2]) end, 10 * s.slow, "the old ones to be gone")
    lu.assertEquals(master:body(), "plain")
    master:over()
  end,

  ["TTIN, TTOU, WINCH and HUP change their number, and each end has its reason"] = function()
    local master = command.start { config = PYTHON .. [[
      worker_exit = function(_, w, code, signal) note("exit", w.id, w.slot, code, signal, w.reason) end,]] }
    master:ready(2)
    local pid = master:pid()
    uv.kill(pid, "sigttin")
    master:ready(3)
    uv.kill(pid, "sigttou")
    master:noted "exit 3 3 0 nil scale\n"
    uv.kill(pid, "sigwinch")
    master:noted "exit 1 1 0 nil scale\n"
    master:noted "exit 2 2 0 nil scale\n"
    assert(master:hup())
    master:ready(2)
    uv.kill(master:pids()[1], "sigkill")
    master:noted "exit 4 1 nil KILL signal\n"
    master:ready(2)
    master:over()
    master:noted "exit 5 2 0 nil stop\n"
  end,

  ["hooks run around it in the master, where it has no count of requests and hears no message"] = function()
    local master = command.start { config = PYTHON .. [[workers = 1,
      before_fork = function(_, w) note("before", w.id, w.pid, w.state, w.cluster) end,
      worker_ready = function(m, w)
        local sent, err = w:send("x")
        note("ready", w.id, w.pid, w.requests, sent, err.code, err)
        m:broadcast("x")
      end,]] }
    local pid = master:noted "before 1 nil starting web\nready 1 (%d+) nil nil program web worker 1 is a program"
    local worker = master:ready(1)[1]
    lu.assertEquals({ worker.pid, worker.kind, worker.slot, worker.requests }, { tonumber(pid), "worker", 1, nil })
    lu.assertEquals({ worker.state, worker.status_text }, { "ready", "serving" })
    master:over()
  end,

  ["a hook that raises in before_fork aborts that one start"] = function()
    local master = command.start { config = PYTHON .. [[workers = 1,
      before_fork = function(_, w) if w.id == 1 then error("not yet") end end,]] }
    lu.assertEquals(master:ready(1)[1].id, 2)
    master:over()
  end,

  ["after_fork cannot run in it, and the log says so"] = function()
    local master = command.start { config = PYTHON .. 'workers = 1, after_fork = function() note("after") end,' }
    master:ready(1)
    lu.assertStrContains(master:log(), "web: after_fork does not run for programs, which stay the user that brood is")
    lu.assertNil(master:notes():find "after")
    master:over()
  end,

  ["stop_signal is what it gets, and its process group as well"] = function()
    local master = command.start { config = [[stop_signal = "INT", workers = 1, ready = "notify",
      command = { "sh", "-c", "python3 server.py notify; exit 7" },
      worker_exit = function(_, w, code, signal) note("exit", code, signal, w.reason) end,]] }
    master:ready(1)
    master:over()
    master:said "told 2 %d+\n"
    master:said "stopped %d+\n"
  end,

  ["one that ignores its stop signal is killed after graceful_timeout, and what it has started is gone"] = function()
    local master = command.start { config = [[graceful_timeout = "300ms", workers = 1, ready = "notify",
      command = { "sh", "-c", "trap '' TERM; sleep 1000 & echo $! > child; exec python3 server.py notify deaf" },]] }
    local pid = master:ready(1)[1].pid
    local child = tonumber(s.read_file(master.dir .. "/child"))
    assert(master:hup())
    until_gone(pid)
    until_gone(child)
    lu.assertStrMatches(master:log(),
      ".*web worker 1: still there %d%.%d s after TERM %(graceful_timeout is 0%.3 s%): KILL\n.*")
    local child_of_next = tonumber(s.read_file(master.dir .. "/child"))
    master:over()
    until_gone(child_of_next)
  end,

  ["a quick stop does not wait for it"] = function()
    local master = command.start { config = [[workers = 1, ready = "notify",
      command = { "python3", "server.py", "notify", "deaf" },]] }
    master:ready(1)
    local _, _, seconds = master:stop "TERM"
    lu.assertTrue(seconds < 10 * s.slow, seconds)
  end,

  ["programs end when the master is killed"] = function()
    local master = command.start { config = PYTHON }
    local pids = master:pids()
    uv.kill(master:pid(), "sigkill")
    s.gone(pids, 10)
    os.remove(master.control)
    master:said("stopped " .. pids[1])
  end,

  ["max_lifetime replaces them, the new one first"] = function()
    local master = command.start { config = PYTHON .. [[workers = 1, max_lifetime = "700ms",
      worker_ready = function(_, w) note("ready", w.id) end,
      worker_exit = function(_, w, code) note("exit", w.id, code, w.reason) end,]] }
    master:address()
    master:noted "ready 1\nready 2\nexit 1 0 max_lifetime\n"
    lu.assertStrMatches(master:log(), ".*worker 1 %(pid %d+%) is to be replaced after %d%.%d s: max_lifetime\n.*")
    master:over()
  end,

  ["max_memory counts what it has started as well"] = function()
    local master = command.start { config = [[workers = 1, max_memory = "60m", ready = "notify",
      command = { "sh", "-c", "python3 hungry.py notify; true" },
      worker_ready = function(_, w) note("ready", w.id) end,
      worker_exit = function(_, w) note("exit", w.id, w.reason) end,]],
      files = { ["hungry.py"] = "import os\nif not os.path.exists('fed'):\n    open('fed', 'w').close()\n"
        .. "    eaten = b'x' * (80 << 20)\n" .. command.PYTHON } }
    master:noted "ready 1\nready 2\nexit 1 max_memory\n"
    master:over()
  end,

  ["a watchdog that hears nothing ends it"] = function()
    local master = command.start { config = PYTHON .. [[workers = 1, watchdog = "500ms", graceful_timeout = 1,
      worker_exit = function(_, w, code, signal) note("exit", w.id, code, signal, w.reason) end,]] }
    master:noted "exit 1 nil ABRT crash\n"
    master:over()
  end,

  ["ready = \"line\" is its word on a channel, over which messages go both ways"] = function()
    local master = command.start { config = [[command = { "python3", "talk.py" }, ready = "line", workers = 1,
      worker_ready = function(_, w) note("sent", w:send { ping = 1 }) end,
      on_start = function(m) m:on("message", function(w, value) note("heard", w.id, value.pong) end) end,]],
      files = { ["talk.py"] = [[
import json, os, socket, time
line = socket.socket(fileno=int(os.environ["BROOD_CHANNEL_FD"]))
out, into = line.makefile("w"), line.makefile("r")
time.sleep(0.2)
out.write('{"ready": true}\n')
out.flush()
asked = json.loads(into.readline())
out.write(json.dumps({"pong": asked["ping"] + 1}) + "\n")
out.flush()
time.sleep(1000)
]] } }
    master:noted "sent true\nheard 1 2\n"
    master:over()
  end,

  ["node has its word as well"] = function()
    local master = command.start { config = 'command = { "node", "server.js", "line" }, ready = "line",' }
    local pids = master:pids()
    local answered = tonumber(master:body())
    lu.assertTrue(answered == pids[1] or answered == pids[2])
    assert(master:hup())
    master:over()
  end,

  ["ready as a table looks until something answers"] = function()
    local port = s.free_port()
    local master = command.start { config = ([[workers = 1, ready = { port = %d, http = "/up" },
      command = { "python3", "admin.py" },]]):format(port), files = { ["admin.py"] = ([[
import http.server, threading, time
time.sleep(0.3)
class Up(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        open("asked", "w").write(self.path)
        self.send_response(200); self.send_header("Content-Length", "0"); self.end_headers()
http.server.HTTPServer(("127.0.0.1", %d), Up).serve_forever()
]]):format(port) } }
    master:address()
    lu.assertEquals(s.read_file(master.dir .. "/asked"), "/up")
    master:over()
  end,

  ["user, group, umask, limits and directory are what the config says"] = function()
    if require("brood.posix").getuid() ~= 0 then
      return
    end
    local master = command.start { open = true, config = PYTHON .. [[workers = 1, user = "nobody", umask = "027",
      limits = { nofile = 123 }, working_directory = here .. "/", env = { NOTES = "/dev/null" },]] }
    local pid = master:ready(1)[1].pid
    lu.assertStrMatches(s.status_field(pid, "Uid"), "65534%s.*")
    lu.assertEquals(s.status_field(pid, "Umask"), "0027")
    lu.assertStrMatches(s.read_file(("/proc/%d/limits"):format(pid)), ".*Max open files%s+123%s+123 .*")
    master:over()
  end,

  ["clusters of apps and of programs stand side by side"] = function()
    local master = command.start { config = [[app = "app.lua", max_requests = 1000, timeout = 5, clusters = {
      py = { command = { "python3", "server.py", "notify" }, ready = "notify", listen = "unix:py.sock", workers = 1 },
    },]], files = { ["app.lua"] = "return function(req, res) res:finish('lua') end" } }
    lu.assertEquals(master:body(), "lua")
    lu.assertStrMatches(s.get("unix:" .. master.dir .. "/py.sock", "/pid").body, "%d+")
    assert(master:hup())
    lu.assertStrMatches(s.get("unix:" .. master.dir .. "/py.sock", "/env/BROOD_CLUSTER").body, "py")
    local _, status = master:ask "/status"
    lu.assertEquals({ status.clusters.web.processes[1].requests ~= nil, status.clusters.py.processes[1].requests },
      { true, nil })
    master:over()
  end,
}
