--- brood.posix: its results, its failures (nil, err, errno), and that it cannot close the runtime's own descriptors.
local lu = require "luaunit"
local core = require "brood.core"
local posix = require "brood.posix"
local s = require "spec.support"

local T = {}

T["a pipe carries bytes and ends with an empty read"] = function()
  local r, w = posix.pipe()
  lu.assertEquals(posix.write(w, "hello"), 5)
  lu.assertEquals(posix.read(r, 100), "hello")
  posix.close(w)
  lu.assertEquals(posix.read(r, 100), "")
  posix.close(r)
end

T["a read of more than a megabyte comes in one piece if it is there"] = function()
  local path = s.write_file("big", ("x"):rep(3000000))
  local fd = require("luv").fs_open(path, "r", 0)
  lu.assertEquals(#posix.read(fd, 3000000), 3000000)
  posix.close(fd)
end

T["a socketpair goes both ways"] = function()
  local a, b = posix.socketpair()
  posix.write(a, "ping")
  lu.assertEquals(posix.read(b, 10), "ping")
  posix.write(b, "pong")
  lu.assertEquals(posix.read(a, 10), "pong")
  posix.close(a)
  posix.close(b)
end

T["failures are nil, a message and the errno"] = function()
  local ok, err, errno = posix.read(999, 1)
  lu.assertNil(ok)
  lu.assertEquals(tostring(err), "read: Bad file descriptor")
  lu.assertEquals("because " .. err, "because read: Bad file descriptor")
  lu.assertEquals({ err.code, errno }, { "EBADF", 9 })
  lu.assertEquals(select(3, posix.chdir "/no/such"), 2)
  lu.assertEquals(select(3, posix.kill(2 ^ 22, 0)), 3)
  lu.assertEquals(select(3, posix.waitpid(posix.getpid())), 10)
  lu.assertEquals(select(3, posix.execve("/no/such", { "x" })), 2)
  lu.assertEquals(select(3, posix.getpwnam "no such user"), 2)
end

T["assert raises the err of a failure, and what else it raises is as in stock Lua"] = function()
  local _, err = pcall(function() assert(posix.chdir "/no/such") end)
  lu.assertEquals({ tostring(err), err.code }, { "chdir /no/such: No such file or directory", "ENOENT" })
  local line = debug.getinfo(1, "l").currentline
  _, err = pcall(function() assert(nil, "text", 2) end)
  lu.assertStrMatches(err, "%S+sys_posix.lua:" .. line + 1 .. ": text")
  lu.assertStrContains(select(2, pcall(function() assert(nil) end)), "assertion failed!")
  lu.assertEquals({ assert(1, {}, 3) }, { 1, {}, 3 })
end

T["writing to a pipe nobody reads is EPIPE, not the end"] = function()
  local r, w = posix.pipe()
  posix.close(r)
  lu.assertEquals(select(3, posix.write(w, "x")), 32)
  posix.close(w)
end

T["the pieces of the classic: fork, dup2, execve, waitpid"] = function()
  local r, w = posix.pipe()
  local pid = posix.fork()
  if pid == 0 then
    posix.dup2(w, 1)
    posix.execve("/bin/sh", { "sh", "-c", 'printf "%s-%s-%s" "$A" "$B" "$1"', "sh", "arg" }, { A = 1, "B=2" })
    core.exit(127)
  end
  posix.close(w)
  lu.assertEquals(posix.read(r, 100), "1-2-arg")
  lu.assertEquals({ posix.waitpid(pid) }, { pid, "exited", 0 })
  posix.close(r)
end

T["execve gives the program default signals, also those that we ignore"] = function()
  local r, w = posix.pipe()
  local pid = posix.fork()
  if pid == 0 then
    posix.dup2(w, 1)
    posix.execve("/bin/cat", { "cat", "/proc/self/status" })
    core.exit(127)
  end
  posix.close(w)
  posix.waitpid(pid)
  local status = posix.read(r, 16384)
  -- 32 and 33 are libc's own: whoever starts us by posix_spawn, as make does, leaves them ignored for good.
  local ignored = status:match("SigIgn:%s*(%x+)"):gsub("^00000001800", "00000000000")
  lu.assertEquals(ignored, "0000000000000000")
  lu.assertEquals(status:match "SigBlk:%s*(%x+)", "0000000000000000")
  posix.close(r)
end

T["an execve that failed leaves all as it was"] = function()
  posix.execve("/no/such", { "x" })
  local status = s.read_file "/proc/self/status"
  local caught = tonumber(status:match "SigCgt:%s*(%x+)", 16)
  lu.assertTrue(math.floor(caught / 2 ^ 12) % 2 == 1, "SIGPIPE does not end us still")
end

T["waitpid tells how a child ended, and does not wait when told so"] = function()
  local pid = posix.fork()
  if pid == 0 then
    require("brood").sleep(100)
  end
  lu.assertEquals({ posix.waitpid(pid, "nohang") }, { 0, "running" })
  lu.assertEquals({ posix.waitpid(pid, { nohang = true }) }, { 0, "running" })
  lu.assertEquals({ posix.waitpid(pid, posix.WNOHANG) }, { 0, "running" })
  lu.assertTrue(posix.kill(pid, "SIGSTOP"))
  lu.assertEquals({ posix.waitpid(pid, "untraced") }, { pid, "stopped", 19 })
  lu.assertTrue(posix.kill(pid, 9))
  lu.assertEquals({ posix.waitpid(pid) }, { pid, "killed", 9 })
end

T["modes are octal strings"] = function()
  local old = posix.umask "027"
  lu.assertEquals(posix.umask(), "027")
  lu.assertEquals(posix.umask(old), "027")
  lu.assertErrorMsgContains("octal", posix.umask, "99")
end

T["the runtime's own descriptors cannot be closed or overwritten"] = function()
  local l = assert(core.listener.open { address = "127.0.0.1:0" })
  local r, w = posix.pipe()
  for _, result in ipairs { { posix.close(l:fd()) }, { posix.dup2(r, l:fd()) } } do
    lu.assertNil(result[1])
    lu.assertStrContains(result[2].message, "belongs to the runtime")
    lu.assertEquals(result[3], 9)
  end
  s.connect(l:address()):close()
  l:close()
  posix.close(r)
  posix.close(w)
end

T["users and groups are found by name and number"] = function()
  local root = posix.getpwnam "root"
  lu.assertEquals({ root.uid, root.gid, root.name }, { 0, 0, "root" })
  lu.assertEquals(posix.getpwnam(0).name, "root")
  lu.assertEquals(posix.getgrnam("root").gid, 0)
end

T["a title shows in the process table"] = function()
  local program = s.script [[
    require("brood.posix").setproctitle("brood: a title")
    print "set"
    io.flush()
    require("brood").sleep(100)
  ]]
  program:expect "(set)"
  lu.assertEquals(s.cmdline(program.pid)[1], "brood: a title")
  program:kill "KILL"
  program:wait()
end

T["environ is ours as a map"] = function()
  lu.assertEquals(posix.environ().PATH, os.getenv "PATH")
end

return T
