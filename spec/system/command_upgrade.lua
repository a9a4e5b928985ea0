--- Clusters whose workers are programs, when their master is upgraded, made a daemon, or opens its log files anew.
-- time limit: 120 s
local command = require "spec.support.command"
local load_client = require "spec.support.load_client"
local lu = require "luaunit"
local s = require "spec.support"
local uv = require "luv"

local PYTHON = 'command = { "python3", "server.py", "notify" }, ready = "notify",'

-- USR2 to the master in charge, and wait until the new one serves: the pids of both.
local function upgrade(master, times)
  local old = master:pid()
  uv.kill(old, "sigusr2")
  master:logged("serves beside this one", times)
  return old, master:pid()
end

-- The workers of the old master go, and it with them.
local function finish(pid)
  uv.kill(pid, "sigquit")
  s.gone({ pid }, 20 * s.slow)
end

return {
  ["an upgrade loses no request, there and back"] = function()
    local master = command.start { config = PYTHON .. 'listen = { "127.0.0.1:0", "unix:web.sock" },' }
    local load = load_client.start({ master:address(), "unix:" .. master.dir .. "/web.sock" },
      { "4:keep:echo:1", "4:short:echo:1", "4:keep:echo:150", "1:keep:slow:0" })
    for i = 1, 3 do
      finish((upgrade(master, i)))
      s.wait(function() return #s.child_pids(master:pid()) == 2 end, 20 * s.slow)
    end
    local _, new = upgrade(master, 4)
    finish(new)
    master:logged "this master goes on"
    load_client.whole(load:stop(), master:log())
    finish(master:pid())
  end,

  ["sockets that wait do so in the new master's programs as well, and node's in none"] = function()
    local plain = [[
import os, socket
sock = socket.socket(fileno=3)
open("%d" % os.getpid(), "w").write("blocking" if sock.getblocking() and os.get_blocking(3) else "not")
while True:
    conn, _ = sock.accept()
    conn.recv(65536)
    conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nplain")
    conn.close()
]]
    local master = command.start { config = 'command = { "python3", "plain.py" },', files = { ["plain.py"] = plain } }
    lu.assertEquals(master:body(), "plain")
    local old, new = upgrade(master)
    for _, pid in ipairs { old, new } do
      for _, worker in ipairs(s.child_pids(pid)) do
        if worker ~= new then
          local said = s.wait(function() return (s.read_file(master.dir .. "/" .. worker) or ""):match ".+" end,
            20 * s.slow)
          lu.assertEquals(said, "blocking")
        end
      end
    end
    for _ = 1, 20 do
      lu.assertEquals(master:body(), "plain")
    end
    finish(old)
    lu.assertEquals(master:body(), "plain")
    finish(new)
  end,

  ["USR1 opens the files anew, programs go on with theirs, and a reload gives them the new ones"] = function()
    local master = command.start { config = [[command = { "sh", "-c", "echo $$ began; exec python3 server.py notify" },
      ready = "notify", workers = 1, stdout_path = "out.log", stderr_path = "err.log",]] }
    local function log()
      return s.read_file(master.dir .. "/err.log") or ""
    end
    s.wait(function() return log():find "workers serve" end)
    os.rename(master.dir .. "/out.log", master.dir .. "/out.log.1")
    uv.kill(master:pid(), "sigusr1")
    s.wait(function() return log():find "web: its programs write on to the files that they have: a reload" end)
    local pid = s.read_file(master.dir .. "/out.log.1"):match "^(%d+) began\n$"
    lu.assertEquals(uv.fs_readlink(("/proc/%s/fd/1"):format(pid)), master.dir .. "/out.log.1")
    uv.kill(master:pid(), "sighup")
    s.wait(function() return (s.read_file(master.dir .. "/out.log") or ""):find "^%d+ began\n" end)
    s.gone({ tonumber(pid) }, 10)
    lu.assertEquals(select(2, log():gsub("write on to the files", "")), 1)
    finish(master:pid())
  end,

  ["a daemon's programs do not hold what its starter waits for, and say why they fail"] = function()
    local function daemon(config)
      local dir = s.temp_dir()
      s.write_file(dir .. "/server.py", command.PYTHON)
      s.write_file(dir .. "/brood.lua", ([[return { listen = "127.0.0.1:0", pidfile = "run.pid", control = false,
        workers = 1, daemonize = true, %s }]]):format(config))
      -- The shell waits for the end of what cat reads.
      local argv = { "/bin/sh", "-c", ("%s run %s/brood.lua 2>&1 | cat"):format(s.binary, dir) }
      local result = s.run(argv, { timeout = 20 * s.slow })
      return result.stdout, tonumber(s.read_file(dir .. "/run.pid") or "")
    end
    local _, pid = daemon('command = { "sh", "-c", "echo hello; exec python3 server.py notify" }, ready = "notify"')
    lu.assertNotNil(pid)
    local worker = s.child_pids(pid)[1]
    uv.kill(worker, "sigkill")
    s.wait(function() return s.child_pids(pid)[1] ~= nil and s.child_pids(pid)[1] ~= worker end)
    finish(pid)
    local text, none = daemon('command = { "sh", "-c", "echo no luck >&2; exit 5" }')
    lu.assertNil(none)
    lu.assertStrContains(text, "no luck\n")
    lu.assertStrContains(text, "ended with status 5 before it was ready")
  end,
}
