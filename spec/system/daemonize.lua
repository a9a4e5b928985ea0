--- `brood -D` and `daemonize`: what the command says and returns, what the daemon has of it, and what is left of one
--- that does not come to serve.
local lu = require "luaunit"
local s = require "spec.support"
local uv = require "luv"

local APP = 'return function(_, res) res:finish("hi\\n") end'

local CONFIG = [[
local here, brood = %q, require "brood"
return { app = "app.lua", listen = "unix:web.sock", workers = 2, pidfile = "run.pid", control = false,
%s }
]]

local daemons = {} -- directories of those that may run

---@param config? string more keys
---@param app? string
---@return string dir
local function make(config, app)
  local dir = s.temp_dir()
  s.write_file(dir .. "/app.lua", app or APP)
  s.write_file(dir .. "/brood.lua", CONFIG:format(dir, config or ""))
  daemons[#daemons + 1] = dir
  return dir
end

local function pid_of(dir)
  return tonumber(s.read_file(dir .. "/run.pid") or "")
end

local function run(dir, options)
  return s.brood({ "run", "-D", dir .. "/brood.lua" }, options)
end

local function get(dir)
  return s.get("unix:" .. dir .. "/web.sock").body
end

-- End it as an operator does, and see that it leaves nothing.
local function stop(dir)
  local pid = assert(pid_of(dir), "no pidfile")
  local all = s.child_pids(pid)
  all[#all + 1] = pid
  uv.kill(pid, "sigquit")
  s.gone(all, 10)
  lu.assertFalse(s.exists(dir .. "/run.pid"))
  lu.assertFalse(s.exists(dir .. "/web.sock"))
end

local function nothing_left(dir)
  for _, process in ipairs(s.processes()) do
    for _, word in ipairs(s.cmdline(process.pid) or {}) do
      lu.assertFalse(word:find(dir, 1, true) and s.alive(process.pid) or false, word)
    end
  end
  lu.assertFalse(s.exists(dir .. "/run.pid"))
  lu.assertFalse(s.exists(dir .. "/web.sock"))
end

-- What a failed test has left in the background would outlive the run.
local function kept_clean(test)
  return function()
    daemons = {}
    local ok, err = xpcall(test, function(e)
      return type(e) == "string" and debug.traceback(e, 2) or e
    end)
    for _, dir in ipairs(daemons) do
      local pid = pid_of(dir)
      if pid and s.alive(pid) then
        local children = s.child_pids(pid)
        uv.kill(pid, "sigkill")
        for _, child in ipairs(children) do
          uv.kill(child, "sigkill")
        end
      end
    end
    if not ok then
      error(err, 0)
    end
  end
end

local function stdio(pid)
  local fds = s.fds(pid)
  return { fds[0], fds[1], fds[2] }
end

local function has_terminal(pid)
  local text = s.read_file(("/proc/%d/stat"):format(pid))
  return text:match "%) %a %-?%d+ %-?%d+ %-?%d+ (%-?%d+)" ~= "0"
end

local NOWHERE = { "/dev/null", "/dev/null", "/dev/null" }

local tests = {
  ["it returns 0 once the daemon serves, which has a session of its own and nothing of the command"] = function()
    local dir = make()
    local command = run(dir)
    lu.assertEquals({ command:wait() }, { 0 })
    lu.assertEquals(get(dir), "hi\n")
    local pid = pid_of(dir)
    local stat = s.stat(pid)
    lu.assertEquals({ stat.session, stat.group }, { pid, pid })
    lu.assertNotEquals(stat.ppid, command.pid)
    lu.assertFalse(has_terminal(pid))
    lu.assertEquals(stdio(pid), NOWHERE)
    local workers = s.child_pids(pid)
    lu.assertEquals(#workers, 2)
    for _, worker in ipairs(workers) do
      s.wait(function() return stdio(worker)[2] == "/dev/null" and stdio(worker)[3] == "/dev/null" end)
      lu.assertNotStrContains(s.read_file(("/proc/%d/environ"):format(worker)), "BROOD_DAEMON")
    end
    for _, target in pairs(s.fds(pid)) do
      lu.assertFalse(target:find(command.dir, 1, true) ~= nil, target)
    end
    lu.assertStrMatches(command:stderr(), ".*web: 2 of 2 workers serve unix:[^\n]*web.sock\n"
      .. ".*in the background as process %d+; the log goes nowhere from now on: `stderr_path` names a file for it\n")
    lu.assertEquals(command:stdout(), "")
    stop(dir)
  end,

  ["the key does the same, and brood check shows where it comes from"] = function()
    local dir = make 'daemonize = true, stderr_path = "err.log",'
    local command = s.brood { dir .. "/brood.lua" }
    lu.assertEquals({ command:wait() }, { 0 })
    lu.assertEquals(get(dir), "hi\n")
    local pid = pid_of(dir)
    lu.assertEquals(s.stat(pid).session, pid)
    lu.assertEquals(stdio(pid), { "/dev/null", "/dev/null", dir .. "/err.log" })
    lu.assertStrContains(s.read_file(dir .. "/err.log"), "in the background as process " .. pid)
    stop(dir)
    lu.assertStrContains(s.read_file(dir .. "/err.log"), "stopping gracefully")
    local plain = make()
    local checked = s.brood({ "check", "-D", plain .. "/brood.lua" }):finish()
    lu.assertStrContains(checked.stdout, "daemonize = true, -- -D\n")
  end,

  ["what is wrong with a config is said as in the foreground, and the status is 1"] = function()
    for text, pattern in pairs {
      ["workres = 3,"] = "unknown key 'workres'", ["x y"] = "brood.lua:3: ", ["daemonize = 1,"] = "daemonize",
      ['on_start = function() error "no schema" end,'] = "cannot start: on_start: .*no schema",
      ["user = 'nobody-there',"] = "nobody%-there",
    } do
      local dir = make(text)
      local there = s.brood({ "run", dir .. "/brood.lua" }):finish()
      local result = run(dir):finish()
      lu.assertEquals({ result.code, there.code }, { 1, 1 }, text)
      lu.assertStrMatches(result.stderr, ".*" .. pattern .. ".*")
      lu.assertNotStrContains(result.stderr, "the daemon")
      lu.assertEquals(result.stdout, "")
      nothing_left(dir)
    end
  end,

  ["an app that cannot be loaded is the reason, in the log file too"] = function()
    local dir = make('stderr_path = "err.log",', "error 'no database'")
    local result = run(dir):finish()
    lu.assertEquals(result.code, 1)
    lu.assertStrContains(result.stderr, "no database")
    lu.assertStrContains(s.read_file(dir .. "/err.log"), "no database")
    nothing_left(dir)
  end,

  ["a start that hangs beyond start_timeout is a failure"] = function()
    local dir = make("start_timeout = 0.3,", "while true do end")
    local result = run(dir):finish(30)
    lu.assertEquals(result.code, 1)
    lu.assertStrContains(result.stderr, "was not ready within 0.3 s")
    nothing_left(dir)
  end,

  ["it waits for an on_start that takes its time, and says nothing else"] = function()
    local dir = make 'on_start = function() brood.sleep(0.5) end,'
    local command = run(dir)
    local seconds = s.timed(command.wait, command)
    lu.assertEquals(command.code, 0)
    lu.assertTrue(seconds >= 0.5, seconds)
    stop(dir)
  end,

  ["a status that the config exits with is the command's, and 0 without a daemon is 1"] = function()
    local result = run(make "on_start = function() os.exit(7) end,"):finish()
    lu.assertEquals(result.code, 7)
    lu.assertStrContains(result.stderr, "the daemon ended with status 7 before it was ready")
    result = run(make "on_start = function() os.exit(0) end,"):finish()
    lu.assertEquals(result.code, 1)
    lu.assertStrContains(result.stderr, "the daemon ended with status 0 before it was ready")
  end,

  ["a daemon that is killed while it starts is named"] = function()
    local dir = make "on_start = function() brood.sleep(60) end,"
    local command = run(dir)
    s.wait(function() return pid_of(dir) end, 10, "the pidfile")
    uv.kill(pid_of(dir), "sigkill")
    lu.assertEquals(command:wait(), 1)
    lu.assertStrContains(command:stderr(), "the daemon was killed by KILL before it was ready")
    os.remove(dir .. "/run.pid")
    os.remove(dir .. "/web.sock")
  end,

  ["a script that reads what it prints is not kept waiting, nor does it need any descriptors"] = function()
    local dir = make()
    local result = s.run({ "/bin/sh", "-c", ("out=$(%s -D %s/brood.lua 2>&1); echo status $?; echo \"$out\" | tail -1")
      :format(s.binary, dir) }, { timeout = 20 })
    lu.assertStrMatches(result.stdout, "status 0\n[^\n]*in the background as process %d+; [^\n]*\n")
    stop(dir)
    dir = make()
    result = s.run({ "/bin/sh", "-c", ("%s -D %s/brood.lua <&- >&- 2>&-; echo status $?"):format(s.binary, dir) })
    lu.assertEquals(result.stdout, "status 0\n")
    lu.assertEquals(get(dir), "hi\n")
    lu.assertEquals(stdio(pid_of(dir)), NOWHERE)
    stop(dir)
    dir = make "no = 1,"
    result = s.run({ "/bin/sh", "-c", ("%s -D %s/brood.lua <&- >&- 2>&-; echo status $?"):format(s.binary, dir) })
    lu.assertEquals(result.stdout, "status 1\n")
  end,

  ["a command that is told to stop while it waits takes the daemon along; one that is killed, too"] = function()
    for signal, code in pairs { TERM = 1, INT = 1, QUIT = 1, KILL = false } do
      local dir = make "on_start = function() brood.sleep(60) end,"
      local command = run(dir)
      s.wait(function() return pid_of(dir) end, 10, "the pidfile")
      local pid = pid_of(dir)
      command:kill(signal)
      lu.assertEquals(command:wait() or false, code)
      s.gone({ pid }, 10)
      nothing_left(dir)
      if signal == "KILL" then
        lu.assertStrContains(command:stderr(), "the command that was to start this daemon is gone: stopping")
      end
    end
  end,

  ["a second one says who is there, and takes nothing from it"] = function()
    local dir = make()
    lu.assertEquals(run(dir):wait(), 0)
    local pid = pid_of(dir)
    local result = run(dir):finish()
    lu.assertEquals(result.code, 1)
    lu.assertStrContains(result.stderr, ("run.pid is held by the running process %d"):format(pid))
    lu.assertEquals(pid_of(dir), pid)
    lu.assertEquals(get(dir), "hi\n")
    stop(dir)
  end,

  ["it is reloaded and upgraded as any other, and stays in the background"] = function()
    local dir = make 'stderr_path = "err.log",'
    lu.assertEquals(run(dir):wait(), 0)
    local old = pid_of(dir)
    uv.kill(old, "sighup")
    local function logged(text)
      s.wait(function() return s.read_file(dir .. "/err.log"):find(text, 1, true) end, 10, function()
        return ("'%s' in\n%s"):format(text, s.read_file(dir .. "/err.log"))
      end)
    end
    logged "reloaded in"
    uv.kill(old, "sigusr2")
    logged "serves beside this one"
    local new = pid_of(dir)
    lu.assertNotEquals(new, old)
    uv.kill(old, "sigquit")
    s.gone({ old }, 10)
    lu.assertEquals(get(dir), "hi\n")
    lu.assertFalse(has_terminal(new))
    lu.assertEquals(stdio(new), { "/dev/null", "/dev/null", dir .. "/err.log" })
    stop(dir)
  end,

  ["an end of the terminal that it was typed in is nothing to it"] = function()
    lu.skipIf(not s.exists("/dev/pts/ptmx"), "no terminals here")
    local dir = make 'env = { HERE = "1" },'
    local python = s.write_file("terminal.py", [[
import os, pty, sys
pid, fd = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
try:
    while os.read(fd, 4096): pass
except OSError:
    pass
print("status", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
os.close(fd)
]])
    local result = s.run({ "/usr/bin/python3", python, s.binary, "-D", dir .. "/brood.lua" })
    lu.assertEquals(result.stdout, "status 0\n")
    local pid = pid_of(dir)
    lu.assertFalse(has_terminal(pid))
    s.remains(function() return s.alive(pid) end, 0.2)
    lu.assertEquals(get(dir), "hi\n")
    stop(dir)
  end,

  ["sockets that a supervisor has passed go on to it"] = function()
    local dir = make()
    s.write_file(dir .. "/brood.lua", [[return { app = "app.lua", workers = 1, pidfile = "run.pid", control = false }]])
    local python = s.write_file("passed.py", [=[
import os, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[3] + "/web.sock")
listener.listen()
os.dup2(listener.fileno(), 9)
os.dup2(9, 3, inheritable=True)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES="web")
os.execv(sys.argv[1], [sys.argv[1], "-D", sys.argv[3] + "/" + sys.argv[2]])
]=])
    local result = s.run({ "/usr/bin/python3", python, s.binary, "brood.lua", dir })
    lu.assertEquals({ result.code, result.stdout }, { 0, "" }, result.stderr)
    lu.assertEquals(get(dir), "hi\n")
    uv.kill(pid_of(dir), "sigquit")
    s.wait(function() return not s.exists(dir .. "/run.pid") end)
    lu.assertTrue(os.remove(dir .. "/web.sock")) -- it was the supervisor's, and is left to it
  end,
}

for name, test in pairs(tests) do
  tests[name] = kept_clean(test)
end
return tests
