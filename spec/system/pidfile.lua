--- The pidfile of a master: locked while it lives, gone when it has ended.
local core = require "brood.core"
local lu = require "luaunit"
local masters = require "spec.support.master"
local s = require "spec.support"
local uv = require "luv"

local APP = 'return function(_, res) res:finish("hi") end'

local function config(dir, listen)
  s.write_file(dir .. "/app.lua", APP)
  return s.write_file(dir .. "/brood.lua", ([[
    return { app = "app.lua", listen = %q, workers = 1, pidfile = "run.pid", control = false }
  ]]):format(listen))
end

local function start(path)
  local p = s.brood { "run", path }
  p:expect("serve ")
  return p
end

return {
  ["it holds the master's pid, and is removed at the end"] = function()
    local dir = s.temp_dir()
    local p = start(config(dir, "127.0.0.1:0"))
    lu.assertEquals(s.read_file(dir .. "/run.pid"), p.pid .. "\n")
    p:kill("QUIT")
    lu.assertEquals({ p:wait() }, { 0 })
    lu.assertFalse(s.exists(dir .. "/run.pid"))
  end,

  ["a second master does not take it from a live one, and says who holds it"] = function()
    local dir = s.temp_dir()
    local path = config(dir, "127.0.0.1:0")
    local first = start(path)
    local second = s.brood({ "run", path }):finish()
    lu.assertEquals(second.code, 1)
    lu.assertStrContains(second.stderr, ("run.pid is held by the running process %d"):format(first.pid))
    lu.assertEquals(s.read_file(dir .. "/run.pid"), first.pid .. "\n")
    lu.assertEquals(first:stop(), 0)
  end,

  ["one that a killed master left is taken over, though its workers still live"] = function()
    local dir = s.temp_dir()
    local path = config(dir, "127.0.0.1:0")
    local first = start(path)
    first:kill("KILL")
    first:wait()
    lu.assertEquals(s.read_file(dir .. "/run.pid"), first.pid .. "\n")
    local second = start(path)
    lu.assertEquals(s.read_file(dir .. "/run.pid"), second.pid .. "\n")
    lu.assertEquals(second:stop(), 0)
  end,

  ["nobody who outlives a killed master holds it: no worker, no fork of either, no program that a hook has started"] =
  function()
    local HELP = [[
      local brood, posix, ffi = require "brood", require "brood.posix", require "ffi"
      ffi.cdef "unsigned sleep(unsigned)"
      local function hangs()
        while true do ffi.C.sleep(300) end
      end
      local function forks(note, who)
        local pid = assert(posix.fork())
        if pid == 0 then hangs() end
        note(who, pid)
      end
    ]]
    local m = masters.start {
      workers = 1, before = HELP, config = [[
        pidfile = "run.pid",
        on_start = function()
          forks(note, "of the master")
          local out = io.popen "sleep 300 >/dev/null 2>&1 & echo $!"
          note("a program", out:read "*l")
          out:close()
        end,
      ]],
      app = masters.NOTE .. HELP .. [[
        return function()
          forks(note, "of a worker")
          note("busy", posix.getpid())
          hangs()
        end
      ]],
    }
    s.connect(m:address()):send "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    m:noted "busy"
    local left = {}
    for pid in m:notes():gmatch "(%d+)\n" do
      left[#left + 1] = tonumber(pid)
    end
    m.program:kill "KILL"
    m.program:wait()
    local holder, err = core.pidfile.open(m.dir .. "/run.pid", true)
    local alive = 0
    for _, pid in ipairs(left) do
      alive = alive + (s.alive(pid) and 1 or 0)
      uv.kill(pid, "sigkill")
    end
    s.gone(left, 10)
    lu.assertEquals({ #left, alive }, { 4, 4 }, m:log())
    assert(holder, err):close()
    os.remove(m.control)
  end,

  ["what this process opens and closes besides takes no lock off it"] = function()
    local path = s.temp_dir() .. "/run.pid"
    local holder = assert(core.pidfile.open(path))
    assert(io.open(path)):close()
    lu.assertNil((core.pidfile.open(path)))
    local script = 'print((select(2, require("brood.core").pidfile.open(arg[1]))))'
    local said = s.run({ s.binary, "exec", s.write_file(path .. ".lua", script), path }).stdout
    lu.assertStrContains(said, ("held by the running process %d"):format(core.posix.getpid()))
    holder:close()
    lu.assertFalse(s.exists(path))
  end,

  ["a reload to another path of the same file keeps it, locked and in place, and so does one that fails"] = function()
    local m = masters.start { workers = 1, config = 'pidfile = "run.pid"' }
    m:ready(1)
    assert(uv.fs_symlink(m.dir, m.dir .. "/alias"))
    local ino = assert(uv.fs_stat(m.dir .. "/run.pid")).ino
    for _, path in ipairs { "alias/run.pid", "run.pid", "alias/alias/run.pid" } do
      for _, fails in ipairs { true, false } do
        local more = fails and ', on_start = function() error "not today" end' or ""
        lu.assertEquals(m:hup { workers = 1, config = ("pidfile = %q%s"):format(path, more) }, not fails, m:log())
        lu.assertEquals(assert(uv.fs_stat(m.dir .. "/run.pid")).ino, ino)
        local free, err = core.pidfile.open(m.dir .. "/run.pid")
        lu.assertNil(free)
        lu.assertStrContains(err.message, ("held by the running process %d"):format(m.program.pid))
      end
    end
    lu.assertEquals(m:stop "QUIT", 0)
    lu.assertFalse(s.exists(m.dir .. "/run.pid"))
  end,

  ["a start that cannot bind leaves no pidfile, and that of the one that runs alone"] = function()
    local first_dir, second_dir = s.temp_dir(), s.temp_dir()
    local address = "127.0.0.1:" .. s.free_port()
    local first = start(config(first_dir, address))
    local second = s.brood({ "run", config(second_dir, address) }):finish()
    lu.assertEquals(second.code, 1)
    lu.assertStrContains(second.stderr, address)
    lu.assertFalse(s.exists(second_dir .. "/run.pid"))
    lu.assertEquals(s.read_file(first_dir .. "/run.pid"), first.pid .. "\n")
    lu.assertEquals(first:stop(), 0)
  end,

  ["who has just been killed may hold it for a moment longer"] = function()
    local dir = s.temp_dir()
    local path = dir .. "/run.pid"
    -- A lock of the open file, as ours, by a process whose number is not in it.
    local holder = s.write_file(dir .. "/holder.py", [[
import fcntl, struct, sys, time
file = open(sys.argv[1], "w")
fcntl.fcntl(file, 37, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0)) # F_OFD_SETLK
print("held", flush=True)
time.sleep(float(sys.argv[2]))
]])
    local function open(seconds)
      local p = s.start { "python3", holder, path, tostring(seconds) }
      p:expect "held\n"
      local ours, err = core.pidfile.open(path, true)
      p:kill "KILL"
      p:wait()
      return ours, err
    end
    s.wait(function() -- a busy machine may let it live for longer
      local ours = open(0.05)
      return ours and (ours:close() or true)
    end)
    local ours, err = open(60)
    lu.assertNil(ours)
    lu.assertStrContains(err.message, "is held by another running process")
  end,

  ["another's file at its path stays as it is, and is named"] = function()
    local dir = s.temp_dir()
    local path = config(dir, "127.0.0.1:0")
    s.write_file(dir .. "/run.pid", "root:x:0:0\n")
    local result = s.brood({ "run", path }):finish()
    lu.assertEquals(result.code, 1)
    lu.assertStrContains(result.stderr, "run.pid is something else, which stays as it is")
    lu.assertEquals(s.read_file(dir .. "/run.pid"), "root:x:0:0\n")
  end,

  ["what is no file at all is not removed either"] = function()
    local dir = s.temp_dir()
    local path = config(dir, "127.0.0.1:0")
    assert(os.execute(("mkfifo %s/run.pid"):format(dir)) == 0)
    local result = s.brood({ "run", path }):finish()
    lu.assertEquals(result.code, 1)
    lu.assertStrContains(result.stderr, "run.pid is something else")
    lu.assertTrue(s.exists(dir .. "/run.pid"))
  end,

  ["one in a folder that is not there is an error that names it"] = function()
    local dir = s.temp_dir()
    s.write_file(dir .. "/app.lua", APP)
    local path = s.write_file(dir .. "/brood.lua",
      'return { app = "app.lua", listen = "127.0.0.1:0", pidfile = "no/such/run.pid", control = false }')
    local result = s.brood({ "run", path }):finish()
    lu.assertEquals(result.code, 1)
    lu.assertStrContains(result.stderr, "no/such/run.pid: No such file or directory")
  end,
}
