--- posix.fork and Worker.fork with every system call on the way failing in turn, in both processes: the parent gets a
--- clear error or hears of the child's end, and a child that is not whole never goes on as if it were.
local each = require("spec.support.fault_try").each

local FORK = [[
local posix, core = require "brood.posix", require "brood.core"
try(function()
  local pid, err = posix.fork()
  if not pid then
    return nil, err
  elseif pid == 0 then
    core.exit(7)
  end
  local got, why, status = posix.waitpid(pid)
  assert(got == pid, "its end was lost")
  if status == 7 then
    return true
  end
  return nil, { message = "the child ended: " .. tostring(why) .. " " .. tostring(status), code = "exit" }
end)
]]

-- A number goes there and twice that comes back, and the child writes into a pipe that was sent to it.
local WORKER = [[
local posix, brood, Worker = require "brood.posix", require "brood", require "brood.worker"
local eventually = require("spec.support.fault_try").eventually
local function child(worker)
  worker:on("message", function(value, fd)
    assert(posix.write(fd, "x"))
    posix.close(fd)
    worker:send(value * 2)
    worker:exit(7)
  end)
  while true do
    brood.sleep(60)
  end
end
local function parent(worker, r, w)
  local over, answer, status
  worker:once("exit", function(code)
    over, status = true, code
  end)
  worker:on("message", function(value)
    answer = value
  end)
  local ok, err = worker:send(21, w)
  posix.close(w)
  if ok == nil then
    worker:stop()
    return nil, err
  end
  if not eventually(function() return over end) then
    worker:stop()
    error "it hangs"
  end
  if status ~= 7 then
    return nil, { message = "the child ended with status " .. tostring(status), code = "exit" }
  end
  assert(answer == 42 and posix.read(r, 1) == "x", "a message or a descriptor was lost")
  return true
end
try(function()
  local r, w = posix.pipe()
  if not r then
    return nil, w
  end
  local worker, err = Worker.fork()
  if worker and worker:is_child() then
    child(worker)
  end
  local ok, why = nil, err
  if worker then
    ok, why = parent(worker, r, w)
  else
    posix.close(w)
  end
  posix.close(r)
  return ok, why
end)
]]

local T = {}

T["a fork that fails is a clear error"] = function()
  for _, script in ipairs { FORK, WORKER } do
    each(script, "fork", "EAGAIN", "fails")
    each(script, "fork", "ENOMEM", "fails")
  end
  each(WORKER, "socketpair", "EMFILE", "fails")
end

T["a worker that its parent cannot look after is ended, and that is a clear error"] = function()
  each(WORKER, "pidfd_open", "EMFILE", "fails")
  each(WORKER, "pidfd_open", "ENOMEM", "fails")
  each(WORKER, "epoll_ctl", "ENOSPC", "either", { may_abort = true })
end

T["a child that gets no loop of its own ends, and the parent hears of it"] = function()
  for _, script in ipairs { FORK, WORKER } do
    for _, call in ipairs { "pipe2", "epoll_create1", "eventfd" } do
      each(script, call, "EMFILE", "either")
    end
  end
end

T["a child that cannot set itself apart ends, and the parent hears of it"] = function()
  each(WORKER, "setpgid", "EPERM", "either")
  each(WORKER, "prctl", "EPERM", "either")
  each(WORKER, "sigaction", "EINVAL", "either", { max = 8, may_abort = true })
end

T["messages and descriptors get over interruptions, shortages and short transfers"] = function()
  for _, call in ipairs { "sendmsg", "recvmsg" } do
    for _, errno in ipairs { "EINTR", "EAGAIN", "ENOMEM", "SHORT" } do
      each(WORKER, call, errno, "copes")
    end
  end
  each(WORKER, "sendmsg", "ETOOMANYREFS", "copes")
  each(WORKER, "fcntl", "EMFILE", "fails", { max = 1 })
end

T["what a signal interrupts goes on as if there had been none"] = function()
  for _, call in ipairs { "read", "write", "waitid", "epoll_wait" } do
    each(WORKER, call, "EINTR", "copes")
  end
  each(FORK, "waitpid", "EINTR", "copes")
end

return T
