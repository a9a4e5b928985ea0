--- A master in the foreground of a terminal: Ctrl-C, and a terminal that goes away. The terminal is Python's pty.
local lu = require "luaunit"
local s = require "spec.support"

local PYTHON = [[
import os, pty, signal, sys, time
steps, argv = sys.argv[1].split(), sys.argv[2:]
pid, fd = pty.fork()
if pid == 0:
    if "tostop" in steps:
        import termios
        modes = termios.tcgetattr(0)
        modes[3] |= termios.TOSTOP
        termios.tcsetattr(0, termios.TCSANOW, modes)
    os.execv(argv[0], argv)
def until(text):
    seen = b""
    while text not in seen:
        data = os.read(fd, 4096)
        if not data: raise OSError
        sys.stdout.write(data.decode()); sys.stdout.flush()
        seen += data
try:
    if steps[0] == "quiet":
        # Its log is elsewhere: it says by a file that it serves.
        while not os.path.exists(os.path.join(os.path.dirname(argv[-1]), "serves")): time.sleep(0.005)
    else: until(b"workers serve")
    for step in steps:
        if step == "ctrl-c": os.write(fd, b"\x03")
        elif step == "hangup": os.close(fd)
        elif step == "resize":
            import fcntl, termios, struct
            fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        elif step in ("quiet", "tostop"): pass
        elif step == "ask":
            import socket
            web = socket.socket(socket.AF_UNIX)
            web.connect(os.path.join(os.path.dirname(argv[-1]), "web.sock"))
            web.sendall(b"GET /asked HTTP/1.0\r\n\r\n")
            until(b"GET /asked")
        elif step == "signal-HUP":
            os.kill(pid, signal.SIGHUP)
            while not os.path.exists(os.path.join(os.path.dirname(argv[-1]), "again")): time.sleep(0.005)
        elif step == "HUP": os.kill(pid, signal.SIGHUP); until(b"reloaded in")
        else: until(step.encode())
    if "hangup" not in steps: until(b"(the end)")
except OSError:
    pass
print("ended", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
]]

local APP = [[
local brood = require "brood"
return { server = function(req, res)
    local file = io.open("begun", "w")
    file:close()
    brood.sleep(0.7)
    res:finish "slow"
  end, stop = function() local file = io.open("stopped", "w") file:close() end }]]

local function terminal(steps, workers, more)
  -- A chroot without devpts, or a build sandbox, has none.
  lu.skipIf(not s.exists("/dev/pts/ptmx"), "no terminals here")
  local dir = s.temp_dir()
  s.write_file(dir .. "/app.lua", APP)
  s.write_file(dir .. "/brood.lua", ([[
    return { app = "app.lua", listen = "unix:web.sock", control = false, workers = %d, %s }]])
      :format(workers or 2, more or ""))
  local python = s.write_file("terminal.py", PYTHON)
  return s.start({ "/usr/bin/python3", python, steps, s.binary, "run", dir .. "/brood.lua" }), dir
end

local function ends_well(program, dir)
  program:expect "ended (%-?%d+)"
  local result = program:finish()
  lu.assertEquals(result.stdout:match("ended (%-?%d+)"), "0", result.stdout .. result.stderr)
  lu.assertFalse(s.exists(dir .. "/web.sock"))
  return result.stdout
end

return {
  ["Ctrl-C ends it at once with 0, and reaches the workers through the master alone"] = function()
    local out = ends_well(terminal "ctrl-c")
    lu.assertStrContains(out, "stopping quickly")
    lu.assertEquals(select(2, out:gsub("ended: status 0 %(stop%)", "")), 2)
  end,

  ["a second Ctrl-C does no harm"] = function()
    ends_well(terminal "ctrl-c ctrl-c")
  end,

  ["a terminal that goes away ends it gracefully"] = function()
    local program, dir = terminal("hangup", 1)
    local result = program:finish()
    lu.assertStrContains(result.stdout, "ended 0")
    lu.assertTrue(s.exists(dir .. "/stopped")) -- the app's stop has run: it was graceful
    lu.assertFalse(s.exists(dir .. "/web.sock"))
  end,

  ["that its output goes to files is no reason to take the terminal for gone; that it is gone, is one"] = function()
    local files = [[stdout_path = "out.log", stderr_path = "err.log",
      on_start = function(m)
        m:on("ready", function() io.open("serves", "w"):close() end)
        m:on("reloaded", function() io.open("again", "w"):close() end)
      end]]
    local function log(dir)
      return s.read_file(dir .. "/err.log") or ""
    end
    local program, dir = terminal("quiet signal-HUP ctrl-c", 1, files)
    s.wait(function() return log(dir):find "reloaded in" end, 10, function() return log(dir) end)
    program:finish()
    lu.assertNotStrContains(log(dir), "terminal has gone")
    program, dir = terminal("quiet hangup", 1, files)
    lu.assertStrContains(program:finish().stdout, "ended 0")
    lu.assertStrContains(log(dir), "the terminal has gone away")
    lu.assertTrue(s.exists(dir .. "/stopped"))
  end,

  ["a terminal that stops who writes to it from the background (stty tostop) does not stop the workers"] = function()
    local out = ends_well(terminal("tostop ask ask ctrl-c", 1, 'access_log = "-"'))
    lu.assertEquals(select(2, out:gsub("GET /asked", "")), 2, out)
  end,

  ["a HUP while the terminal is there, and a resize, end nothing"] = function()
    local out = ends_well(terminal "resize HUP ctrl-c")
    lu.assertStrContains(out, "reloaded in")
    lu.assertNotStrContains(out, "WINCH")
  end,
}
