--- Programs and forked functions as brood.process starts them, with each system call on the way failing in turn: a
--- clear error, and nothing of the child, its pipes or its channel is left; what a signal interrupts is never noticed.
local each = require("spec.support.fault_try").each
local s = require "spec.support"

local RUN = [[
local Process = require "brood.process"
try(function()
  local result, err = Process.run({ "true" }, { timeout = 8 })
  assert(not result or result.code == 0)
  return result, err
end)
]]

local PIPES = [[
local Process = require "brood.process"
try(function()
  local line
  local cat = Process.new { command = { "cat" }, stdin = "pipe", stop_timeout = 1, stdout = function(text)
    line = text
  end }
  local ok, err = cat:start()
  if not ok then
    return nil, err
  end
  local wrote, why = cat:write("hello\n")
  cat:close_stdin()
  local code = cat:wait()
  assert(not wrote or code == 0 and line == "hello", "lost output")
  return wrote, why
end)
]]

local NOTIFY = [[
local Process = require "brood.process"
try(function()
  local p = Process.new { command = { arg[1], "exec", arg[2] }, ready = "notify", start_timeout = 6, stop_timeout = 1 }
  local ok, err = p:start()
  if ok then
    p:stop()
  end
  return ok, err
end)
]]

local CHANNEL = [[
local Process = require "brood.process"
local eventually = require("spec.support.fault_try").eventually
try(function()
  local got
  local p = Process.new { ready = "channel", start_timeout = 6, stop_timeout = 1, main = function(worker)
    worker:on("message", function(value)
      worker:send(value * 2)
    end)
    worker:ready()
  end }
  p:once("message", function(value)
    got = value
  end)
  local ok, err = p:start()
  if not ok then
    return nil, err
  end
  p:send(21)
  assert(eventually(function()
    return got or p.state ~= "ready"
  end))
  assert(got == 42, "no answer")
  return p:stop()
end)
]]

local function notify(call, errno, expect, may_abort)
  local child = s.write_file(s.temp_dir() .. "/child.lua",
    'require("brood.core").notify.send(os.getenv "NOTIFY_SOCKET", "READY=1") require("brood").sleep(60)')
  each(NOTIFY, call, errno, expect, { args = { s.binary, child }, may_abort = may_abort })
end

local T = {}

T["a program that cannot be started is a clear error, whichever step fails"] = function()
  for call, errno in pairs { clone = "EAGAIN", setpgid = "EPERM", dup2 = "EBADF", open = "EMFILE", pipe2 = "EMFILE" } do
    each(RUN, call, errno, "fails")
  end
  each(RUN, "execve", "ENOMEM", "fails", { max = 2 })
  each(RUN, "execve", "EACCES", "either", { max = 1 })
  each(RUN, "clone", "ENOMEM", "fails")
  each(RUN, "prctl", "EPERM", "either")
  each(PIPES, "pipe2", "ENFILE", "fails")
  each(PIPES, "clone", "EAGAIN", "fails")
end

T["without descriptors from some point on, a start fails and lets go of those it had"] = function()
  each(RUN, "open", "EMFILE", "fails", { onward = true })
  each(RUN, "pipe2", "EMFILE", "fails", { onward = true })
  each(PIPES, "pipe2", "EMFILE", "fails", { onward = true })
end

T["a pipe or a child that the loop cannot watch is an error, not a hang"] = function()
  for _, script in ipairs { RUN, PIPES } do
    each(script, "epoll_ctl", "ENOSPC", "either", { may_abort = true })
  end
end

T["what a signal interrupts goes on as if there had been none"] = function()
  for _, call in ipairs { "read", "write", "waitid", "epoll_wait" } do
    each(RUN, call, "EINTR", "copes")
    each(PIPES, call, "EINTR", "copes")
  end
end

T["a pipe that takes or gives little at a time loses nothing"] = function()
  each(PIPES, "read", "SHORT", "copes")
  each(PIPES, "write", "EAGAIN", "copes")
  each(PIPES, "read", "EAGAIN", "copes")
end

T["a notify socket that cannot be made is a clear error"] = function()
  for call, errno in pairs { socket = "EMFILE", bind = "EADDRINUSE", setsockopt = "ENOMEM", getsockname = "ENOBUFS",
    clone = "EAGAIN" } do
    notify(call, errno, "fails")
  end
  notify("recvmsg", "EINTR", "copes")
  notify("recvmsg", "ENOMEM", "copes")
  notify("recvmsg", "EAGAIN", "copes")
  notify("epoll_ctl", "ENOSPC", "either", true)
end

T["a forked function that cannot be started, or cannot be looked after, is a clear error"] = function()
  for call, errno in pairs { fork = "EAGAIN", socketpair = "EMFILE", open = "EMFILE", pidfd_open = "EMFILE" } do
    each(CHANNEL, call, errno, "fails")
  end
  each(CHANNEL, "fork", "ENOMEM", "fails")
end

T["a forked child that cannot become what it should be ends, and its start fails"] = function()
  for call, errno in pairs { pipe2 = "EMFILE", epoll_create1 = "EMFILE", eventfd = "EMFILE", fcntl = "EMFILE",
    dup2 = "EBUSY", setpgid = "EPERM", prctl = "EPERM" } do
    each(CHANNEL, call, errno, "either")
  end
end

T["the channel of a forked function gets over interruptions, shortages and short transfers"] = function()
  for _, call in ipairs { "sendmsg", "recvmsg" } do
    for _, errno in ipairs { "EINTR", "EAGAIN", "ENOMEM", "SHORT" } do
      each(CHANNEL, call, errno, "copes")
    end
  end
  each(CHANNEL, "waitid", "EINTR", "copes")
end

return T
