--- What a started program finds: descriptors, signals, limits, ids, group; and what is left of one that cannot start.
local ffi = require "ffi"
local lu = require "luaunit"
local core = require "brood.core"
local posix = require "brood.posix"
local s = require "spec.support"
local spawn = require "spec.support.core_spawn"

ffi.cdef [[
  typedef void (*spawn_spec_handler)(int);
  spawn_spec_handler signal(int, spawn_spec_handler);
  int open(const char *, int, ...); int getpid(void);
]]
local SIG_IGN = ffi.cast("spawn_spec_handler", 1)
local SIG_DFL = ffi.cast("spawn_spec_handler", 0)
local ROOT = posix.getuid() == 0

local function sh(text, options)
  return spawn.output({ "/bin/sh", "-c", text }, options)
end

-- The name and code of a start that must fail.
local function refused(argv, options)
  local before = s.fd_count()
  local p, err = core.process.spawn(spawn.spec(argv, options))
  lu.assertNil(p)
  lu.assertEquals(s.fd_count(), before)
  lu.assertEquals(s.child_pids(), {})
  return err.message, err.code
end

local T = {}

T["a program inherits no descriptor but those named"] = function()
  local stray = ffi.C.open("/dev/null", 0) -- without close-on-exec, as a C library might
  local listing = sh("ls /proc/$$/fd")
  posix.close(stray)
  lu.assertEquals(listing, "0\n1\n2\n")
end

T["descriptors reach their places even where these overlap"] = function()
  local r1, w1 = posix.pipe()
  local r2, w2 = posix.pipe()
  -- Each source is the other's destination.
  local p = spawn.start({ "/bin/sh", "-c", ("echo to-a > /dev/fd/%d; echo to-b > /dev/fd/%d"):format(w1, w2) }, {
    fds = { { 0, 0 }, { 1, 1 }, { 2, 2 }, { w1, w2 }, { w2, w1 } },
  })
  lu.assertEquals(spawn.finish(p), 0)
  lu.assertEquals(posix.read(r1, 100), "to-b\n")
  lu.assertEquals(posix.read(r2, 100), "to-a\n")
  for _, fd in ipairs { r1, w1, r2, w2 } do
    posix.close(fd)
  end
end

T["a descriptor that stays at its number is passed on"] = function()
  local r, w = posix.pipe()
  local p = spawn.start({ "/bin/sh", "-c", "echo here > /dev/fd/" .. w }, {
    fds = { { 0, 0 }, { 1, 1 }, { 2, 2 }, { w, w } },
  })
  lu.assertEquals(spawn.finish(p), 0)
  lu.assertEquals(posix.read(r, 100), "here\n")
  posix.close(r)
  posix.close(w)
end

T["all signals are at their default and none is blocked"] = function()
  local USR1 = core.process.signal_number "USR1"
  local old = ffi.C.signal(USR1, SIG_IGN)
  -- Of the kernel's own words: sh would change some for itself.
  local status = spawn.output { "/bin/cat", "/proc/self/status" }
  ffi.C.signal(USR1, old == SIG_IGN and SIG_DFL or old)
  lu.assertEquals(status:match "SigIgn:%s*(%x+)", "0000000000000000") -- SIGPIPE, which we ignore, among them
  lu.assertEquals(status:match "SigBlk:%s*(%x+)", "0000000000000000")
end

T["the limit of open files is the one we were started with, not the one we raised ours to"] = function()
  local result = s.run({ "/bin/sh", "-c", 'ulimit -S -n 200; exec "$0" exec "$1"', s.binary, s.write_file("limit.lua", [[
    local core = require "brood.core"
    local function show(limits)
      local p = core.process.spawn{ argv = {"/bin/sh", "-c", "ulimit -n"}, fds = {{0,0},{1,1},{2,2}}, limits = limits }
      local over
      p:watch(function() p:reap() p:close() over = true end)
      repeat require("brood").sleep(0.005) until over
    end
    print((io.open("/proc/self/limits"):read("*a"):match("Max open files%s+(%d+)")))
    io.flush()
    show()
    show({ { name = "nofile", soft = 77, hard = 99 } })
    require("brood.posix").execve("/bin/sh", { "sh", "-c", "ulimit -n" })
  ]]) })
  local ours, plain, asked, replaced = result.stdout:match("^(%d+)\n(%d+)\n(%d+)\n(%d+)\n$")
  lu.assertTrue(tonumber(ours) > 200, result.stdout .. result.stderr)
  lu.assertEquals({ plain, asked, replaced }, { "200", "77", "200" })
end

T["new_group and session are in force before the program runs"] = function()
  local shell = { "/bin/sh", "-c", "read pid rest < /proc/self/stat; cut -d' ' -f1,5,6 /proc/$$/stat" }
  local pid, group, session = spawn.output(shell, { new_group = true }):match("(%d+) (%d+) (%d+)")
  lu.assertEquals(group, pid)
  lu.assertNotEquals(session, pid)
  pid, group, session = spawn.output(shell, { session = true }):match("(%d+) (%d+) (%d+)")
  lu.assertEquals({ group, session }, { pid, pid })
  pid, group = spawn.output(shell):match("(%d+) (%d+) (%d+)")
  lu.assertNotEquals(group, pid)
end

T["umask, directory and environment are as asked"] = function()
  local dir = s.temp_dir()
  lu.assertEquals(sh("umask; pwd; echo $A-$B", { umask = 18, cwd = dir, env = { "A=1", "PATH=/usr/bin:/bin" } }),
    "0022\n" .. dir .. "\n1-\n")
end

T["LISTEN_PID becomes the program's own pid, and a former one is replaced"] = function()
  local out = sh("echo $LISTEN_PID $$ $LISTEN_FDS", { env = { "LISTEN_PID=1", "LISTEN_FDS=2" }, listen_pid = true })
  local named, real, fds = out:match("(%d+) (%d+) (%d+)")
  lu.assertEquals({ named, fds }, { real, "2" })
end

T["a program without a slash is looked up in PATH of its own environment"] = function()
  local dir = s.temp_dir()
  s.write_file(dir .. "/only-here", "#!/bin/sh\necho found", 493)
  lu.assertEquals(spawn.output({ "only-here" }, { env = { "PATH=/nonexistent:" .. dir } }), "found\n")
  local message, code = refused({ "only-here" }, { env = { "PATH=/nonexistent" } })
  lu.assertEquals({ message, code }, { "exec only-here: No such file or directory", "ENOENT" })
end

T["a script without #! is run by sh"] = function()
  local script = s.write_file("plain", "echo from sh $1", 493)
  lu.assertEquals(spawn.output { script, "x" }, "from sh x\n")
end

T["a start that fails names the step and leaves nothing"] = function()
  local message, code = refused { "/no/such" }
  lu.assertEquals({ message, code }, { "exec /no/such: No such file or directory", "ENOENT" })
  message, code = refused { s.write_file("not-executable", "x", 384) }
  lu.assertStrContains(message, "Permission denied")
  lu.assertEquals(code, "EACCES")
  message, code = refused({ "/bin/true" }, { cwd = "/no/such/dir" })
  lu.assertEquals({ message, code }, { "chdir /no/such/dir: No such file or directory", "ENOENT" })
  message, code = refused({ "/bin/true" }, { fds = { { 0, 0 }, { 1, 1 }, { 2, 2 }, { 999, 3 } } })
  lu.assertStrContains(message, "pass descriptors")
  lu.assertEquals(code, "EBADF")
  message = refused({ "/bin/true" }, { limits = { { name = "nofile", soft = 10, hard = 5 } } })
  lu.assertStrContains(message, "set limit nofile: Invalid argument")
end

T["a mistake in the spec raises before anything happens"] = function()
  for text, spec in pairs {
    ["0, 1 and 2"] = { argv = { "/bin/true" }, fds = { { 1, 1 }, { 2, 2 } } },
    ["argv"] = { argv = {}, fds = { { 0, 0 }, { 1, 1 }, { 2, 2 } } },
    ["zero byte"] = spawn.spec { "/bin/true", "a\0b" },
    ["unknown limit 'nofiles'"] = spawn.spec({ "/bin/true" }, { limits = { { name = "nofiles", soft = 1 } } }),
  } do
    lu.assertErrorMsgContains(text, core.process.spawn, spec)
  end
end

T["ids are dropped for good, groups included, without touching our own"] = function()
  if not ROOT then
    lu.skip "needs root"
  end
  local status = spawn.output({ "/bin/cat", "/proc/self/status" },
    { uid = 65534, gid = 65534, groups = { 65534, 12345 } })
  lu.assertEquals(status:match "Uid:%s*([^\n]+)", "65534\t65534\t65534\t65534")
  lu.assertEquals(status:match "Gid:%s*([^\n]+)", "65534\t65534\t65534\t65534")
  lu.assertEquals(status:match "Groups:%s*([%d ]-)%s*\n", "12345 65534")
  lu.assertEquals(status:match "CapEff:%s*(%x+)", "0000000000000000")
  lu.assertEquals(posix.getuid(), 0)
  -- The shared memory would have become undumpable.
  lu.assertNotNil(s.read_file("/proc/self/environ"))
  lu.assertEquals(tonumber((ffi.C.getpid())), posix.getpid())
end

T["a program is told of its parent's death, also after it changed its user"] = function()
  local script = [[
    local core = require "brood.core"
    local ids = tonumber(arg[1])
    core.process.spawn{ argv = {"/bin/sleep", "100"}, fds = {{0,0},{1,1},{2,2}}, death_signal = 15, new_group = true,
      uid = ids, gid = ids }:watch(function() end)
    print(require("luv").os_getpid())
    io.flush()
  ]]
  local parent = s.script(script, ROOT and { "65534" } or {})
  parent:expect("(%d+)\n")
  local child
  s.wait(function()
    child = s.child_pids(parent.pid)[1]
    return child
  end, 5, "the grandchild")
  parent:kill "KILL"
  parent:wait()
  s.wait(function()
    return not s.alive(child)
  end, 5, "the program to hear of it")
end

T["a thousand programs start and are reaped, and no descriptor stays"] = function()
  local before, running, bad = s.fd_count(), 0, 0
  for i = 1, 1000 do
    local p = spawn.start { "/bin/true" }
    running = running + 1
    p:watch(function()
      if p:reap() ~= 0 then
        bad = bad + 1
      end
      p:close()
      running = running - 1
    end)
    if i % 100 == 0 then
      s.wait(function()
        return running == 0
      end, 20, "a hundred programs")
    end
  end
  lu.assertEquals({ bad, s.fd_count() }, { 0, before })
end

return T
