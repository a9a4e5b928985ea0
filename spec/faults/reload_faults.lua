--- A master that is reloaded, upgraded, scaled, drained, that recycles a worker or opens its logs anew, with each
--- system call failing in turn, in the master and in its workers: it serves on, with as many workers as before, says
--- what failed, and ends as it should.
-- time limit: 240 s
local lu = require "luaunit"
local master = require "spec.support.fault_master"

-- libuv ends a process itself where the pipe for its signals fails.
local ABORT = { may_abort = true }

local function all(what, list, options)
  for call, errno in pairs(list) do
    lu.assertTrue(master.each(what, call, errno, options) > 0, ("%s: %s is never called"):format(what, call))
  end
end

local T = {}

T["a reload copes with workers that cannot be forked, reached or looked after"] = function()
  all("reload", { fork = "EAGAIN", socketpair = "EMFILE", pidfd_open = "EMFILE", eventfd = "EMFILE" })
  all("reload", { fork = "ENOMEM", setpgid = "EPERM", prctl = "EPERM", epoll_create1 = "EMFILE" })
end

T["a reload copes with files and descriptors that cannot be had"] = function()
  all("reload", { open = "EMFILE", dup2 = "EBUSY", chdir = "EACCES" })
  all("reload", { open = "ENOSPC" })
  all("reload", { pipe2 = "EMFILE", fcntl = "EMFILE" }, ABORT)
  all("reload", { write = "EINTR" })
end

T["a reload copes with messages that cannot be sent or taken"] = function()
  all("reload", { sendmsg = "ENOBUFS", recvmsg = "ENOMEM" })
  all("reload", { sendmsg = "EAGAIN", recvmsg = "EINTR" })
end

T["a new master that cannot be started, reached or told what there is leaves the old one as it was"] = function()
  all("upgrade", { clone = "EAGAIN", socketpair = "EMFILE", open = "EMFILE", mmap = "ENOMEM", write = "ENOSPC" })
  all("upgrade", { clone = "ENOMEM", open = "ENOSPC", write = "EAGAIN" })
end

T["one worker more is tried again until it is there"] = function()
  all("scale", { fork = "EAGAIN", socketpair = "EMFILE", open = "EMFILE", eventfd = "EMFILE" })
  all("scale", { fork = "ENOMEM", pipe2 = "EMFILE" }, ABORT)
end

T["a worker that is to be recycled serves until its replacement could be started"] = function()
  all("recycle", { fork = "EAGAIN", socketpair = "EMFILE", open = "EMFILE" })
  all("recycle", { fork = "ENOMEM", epoll_create1 = "EMFILE" })
end

T["workers come back after a drain although some could not be started at once"] = function()
  all("drain", { fork = "EAGAIN", socketpair = "EMFILE" })
end

T["a log that cannot be opened anew is written on as it was"] = function()
  all("reopen", { open = "EMFILE", sendmsg = "ENOBUFS" })
  all("reopen", { open = "ENOSPC", sendmsg = "EAGAIN" })
end

return T
