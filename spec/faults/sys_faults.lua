--- Every system call below programs, forks, pipes, listeners, notify sockets and the log, made to fail one by one:
--- there is a clear error or none, and nothing is left behind.
local lu = require "luaunit"
local faults = require "spec.support.faults"

local HEAD = [[
local core, posix = require "brood.core", require "brood.posix"
local fault, proc = require "spec.support.faults", require "spec.support.proc"
local uv = require "luv"
uv.new_pipe(false):close()
local files
local function count()
  files = proc.fds()
  local n = 0
  for _ in pairs(files) do n = n + 1 end
  return n
end
local function try(fn)
  fn() -- once without a fault: what is made for good is made
  local before = count()
  fault.arm()
  local ok, err = fn()
  fault.disarm()
  print(ok and "done" or "failed", ok and "" or tostring(err.message), ok and "" or tostring(err.code))
  collectgarbage() collectgarbage()
  local after = count()
  if after ~= before then print("LEAK", before, after) end
  for pid, state in pairs(proc.children()) do print("CHILD", pid, state) end
end
]]

local SPAWN = HEAD .. [[
try(function()
  local p, err = core.process.spawn{
    argv = {"true"}, fds = {{0,1},{1,0},{2,2}}, new_group = true, cwd = "/", umask = 18, death_signal = 15, listen_pid = true,
    limits = {{ name = "core", soft = 0 }},
  }
  if not p then return nil, err end
  local r, w = io.open("/proc/" .. p:pid() .. "/stat")
  if r then r:close() end
  repeat local code, signal, again = p:reap() until not again or again.code ~= "EAGAIN"
  p:close()
  return true
end)
]]

local LISTEN = HEAD .. [[
local dir = arg[1]
try(function()
  local l, err = core.listener.open{ address = dir, mode = 384 }
  if not l then return nil, err end
  l:close()
  return true
end)
]]

local PIPES = HEAD .. [[
try(function()
  local a, b = posix.pipe()
  if not a then return nil, b end
  local c, d = posix.socketpair()
  if c then posix.close(c) posix.close(d) end
  posix.close(a) posix.close(b)
  return c, d
end)
]]

local NOTIFY = HEAD .. [[
try(function()
  local n, err = core.notify.open()
  if not n then return nil, err end
  local ok, why = n:watch(function() end)
  if ok then ok, why = core.notify.send(n:path(), "READY=1") end
  n:close()
  return ok, why
end)
]]

local FORK = HEAD .. [[
try(function()
  local pid, err = posix.fork()
  if pid == 0 then core.exit(0) end
  if not pid then return nil, err end
  local p, why = core.process.adopt(pid, true)
  if p then
    repeat local _, _, again = p:reap() until not again
    p:close()
  else
    posix.waitpid(pid)
  end
  return p, why
end)
]]

-- Fail each call in turn. With `must`, every failing call must show, as that code; else it may be coped with.
local function each(script, call, errno, must, args)
  local total = faults.each({ script = script, call = call, errno = errno, from = "arm", args = args }, function(result)
    lu.assertEquals(result.code, 0)
    lu.assertNotStrContains(result.stdout, "LEAK")
    lu.assertNotStrContains(result.stdout, "CHILD")
    local how, message, code = result.stdout:match "^(%l+)\t([^\n]*)\t([%u%d]*)\n"
    lu.assertNotNil(how)
    if must or how == "failed" then
      lu.assertEquals({ how, code }, { "failed", errno })
      lu.assertTrue(#message > 8)
    end
  end)
  lu.assertTrue(total > 0, call .. " is never called")
end

local T = {}

T["a program that cannot be started for want of processes or memory is a clear error"] = function()
  each(SPAWN, "clone", "EAGAIN", true)
  each(SPAWN, "clone", "ENOMEM", true)
  each(SPAWN, "clone", "EMFILE", true)
end

T["each step between clone and exec that fails is reported"] = function()
  each(SPAWN, "setpgid", "EPERM", true)
  each(SPAWN, "fcntl", "EMFILE", true)
  each(SPAWN, "dup2", "EBADF", true)
  each(SPAWN, "chdir", "EACCES", true)
  each(SPAWN, "execve", "ENOMEM", true)
  each(SPAWN, "execve", "E2BIG", true)
end

T["a kernel without close_range is coped with"] = function()
  each(SPAWN, "close_range", "ENOSYS", false)
  each(SPAWN, "close_range", "EPERM", false)
end

T["signals that interrupt a wait are no failure"] = function()
  each(SPAWN, "waitid", "EINTR", false)
end

T["memory that is missing while a program is started is a clear error"] = function()
  if os.getenv "BROOD_SANITIZED" then
    lu.skip "the sanitizer has a malloc of its own"
  end
  each(SPAWN, "malloc", "ENOMEM", false)
end

T["a listener that cannot be made is a clear error, and leaves neither socket nor file"] = function()
  local s = require "spec.support"
  local path = s.temp_dir() .. "/sock"
  for _, address in ipairs { "127.0.0.1:0", "unix:" .. path } do
    each(LISTEN, "socket", "EMFILE", true, { address })
    each(LISTEN, "bind", "EACCES", true, { address })
    each(LISTEN, "listen", "EADDRINUSE", true, { address })
    each(LISTEN, "getsockname", "ENOBUFS", true, { address })
    lu.assertFalse(s.exists(path))
  end
  each(LISTEN, "setsockopt", "EPERM", true, { "127.0.0.1:0" })
  each(LISTEN, "chmod", "EPERM", true, { "unix:" .. path })
  lu.assertFalse(s.exists(path))
end

T["no IPv6 means 0.0.0.0"] = function()
  each(LISTEN, "socket", "EAFNOSUPPORT", false, { "*:0" })
end

T["pipes and socketpairs that cannot be made are clear errors"] = function()
  each(PIPES, "pipe2", "EMFILE", true)
  each(PIPES, "socketpair", "ENFILE", true)
end

T["a notify socket that cannot be made, watched or written is a clear error"] = function()
  each(NOTIFY, "socket", "EMFILE", true)
  each(NOTIFY, "bind", "EADDRINUSE", true)
  each(NOTIFY, "setsockopt", "ENOMEM", true)
  each(NOTIFY, "sendto", "EAGAIN", true)
  each(NOTIFY, "sendto", "EINTR", false)
end

T["a fork or an adoption that fails is a clear error, and its child is not lost"] = function()
  each(FORK, "fork", "EAGAIN", true)
  each(FORK, "pidfd_open", "EMFILE", true)
end

T["a log that cannot be written, or only in pieces, fails nobody"] = function()
  for _, errno in ipairs { "EINTR", "EAGAIN", "ENOSPC", "EIO", "SHORT" } do
    local result = faults.run(("write:%s:1-3"):format(errno), { from = "arm", script = [[
      local fault, core = require "spec.support.faults", require "brood.core"
      fault.arm()
      for i = 1, 6 do core.log.write("info", "record " .. i) end
      fault.disarm()
    ]] })
    lu.assertEquals(result.code, 0, errno)
    lu.assertStrContains(result.stderr, "record 6\n")
    if errno == "EINTR" or errno == "SHORT" then
      lu.assertStrContains(result.stderr, "record 1\n")
    end
  end
end

T["a scoreboard without memory is a clear error"] = function()
  each(HEAD .. [[
    try(function() return core.scoreboard.create(64) end)
  ]], "mmap", "ENOMEM", true)
end

return T
