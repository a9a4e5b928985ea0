--- A master with one worker, from its start over one request to QUIT, with each system call failing in turn, in the
--- master and in the worker. Either it serves and ends with 0, or it does not start, says why and ends with 1. What
--- hits a worker alone costs no more than that worker: the next one serves.
-- time limit: 90 s
local lu = require "luaunit"
local faults = require "spec.support.faults"
local s = require "spec.support"

local APP = [[
local pid = require("brood.posix").getpid()
return function(req, res) res:finish("hello from " .. pid .. "\n") end
]]

local function ask(address)
  local answer
  local ok, socket = pcall(s.connect, address)
  if ok then
    socket:send "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    ok, answer = pcall(socket.receive, socket, "\r\n\r\nhello from %d+\n", 3)
    socket:close()
  end
  return ok and tonumber(answer:match "hello from (%d+)")
end

-- Ask until somebody answers: after a worker died that is the next one. Returns who, and at which attempt.
local function ask_until(address, good)
  local attempts, pid = 0, nil
  s.wait(function()
    attempts = attempts + 1
    pid = ask(address)
    return pid and (not good or good(pid))
  end, 10, "an answer")
  return pid, attempts
end

local function address_of(program)
  local address
  s.wait(function()
    address = program:stderr():match "workers serve (%S+)\n"
    return address or program.over
  end, 10, function()
    return "the start\n" .. program:stderr()
  end)
  return address
end

local function options(more)
  local given
  given = {
    sockets = {},
    make_args = function()
      local control = s.temp_dir() .. "/control"
      table.insert(given.sockets, control)
      return { "-s", s.write_file(s.temp_dir() .. "/app.lua", APP), "-l", "127.0.0.1:0", "-w", 1,
        "--control", "unix:" .. control }
    end,
    meanwhile = function(program)
      local address = address_of(program)
      if address then
        local _, attempts = ask_until(address)
        program.attempts = attempts
        program:kill "QUIT"
      end
    end,
  }
  for name, value in pairs(more or {}) do
    given[name] = value
  end
  return given
end

-- The signal that a worker dies of is only one that libuv raises itself, where `may_abort` allows it.
local function judge(result, given)
  if result.signal then
    return
  end
  local died = result.stderr:match "killed by (%u+)"
  lu.assertTrue(not died or given.may_abort and died == "ABRT", "a worker was killed by " .. tostring(died))
  if result.code == 0 then
    lu.assertStrContains(result.stderr, "workers serve")
    if given.copes then
      lu.assertNotStrContains(result.stderr, " error ")
      lu.assertNotStrContains(result.stderr, " warn ")
    end
  else
    lu.assertEquals(result.code, 1)
    lu.assertTrue(not given.copes, "it should have coped")
    lu.assertStrMatches(result.stderr, ".* error %S* *%S* *cannot start: .*")
  end
end

local function each(call, errno, more)
  local given = options(more)
  given.call, given.errno = call, errno
  local total = faults.each(given, function(result)
    judge(result, given)
  end)
  lu.assertTrue(total > 0, call .. " is never called")
  for _, path in ipairs(given.may_abort and given.sockets or {}) do
    os.remove(path) -- of a master that had no time to
  end
end

local T = {}

T["a socket that cannot be had is named, and ends the start"] = function()
  for call, errno in pairs { socket = "EMFILE", bind = "EACCES", listen = "EINVAL", getsockname = "ENOBUFS",
    setsockopt = "ENOMEM", chmod = "EPERM" } do
    each(call, errno)
  end
end

T["a worker that cannot be forked, reached or looked after is tried again, and then serves"] = function()
  for call, errno in pairs { fork = "EAGAIN", socketpair = "EMFILE", pidfd_open = "EMFILE", open = "EMFILE",
    setpgid = "EPERM", dup2 = "EBUSY" } do
    each(call, errno)
  end
  each("fork", "ENOMEM")
end

T["forks that always fail end the start with the reason"] = function()
  local result = faults.run("fork:EAGAIN:1+", options())
  judge(result, {})
  lu.assertEquals(result.code, 1)
  lu.assertStrContains(result.stderr, "fork: Resource temporarily unavailable")
end

T["a worker that dies is replaced even though forks fail for a while"] = function()
  local result = faults.run("fork:EAGAIN:2-4", options { meanwhile = function(program)
    local address = address_of(program)
    local first = ask_until(address)
    require("luv").kill(first, "sigkill")
    ask_until(address, function(pid)
      return pid ~= first
    end)
    program:kill "QUIT"
  end })
  lu.assertEquals(result.code, 0)
  lu.assertEquals(result.calls.fork, 5)
  lu.assertStrContains(result.stderr, "fork: Resource temporarily unavailable")
end

T["master and worker do without the descriptors they cannot have, or say so"] = function()
  for _, call in ipairs { "pipe2", "epoll_create1", "eventfd" } do
    each(call, "EMFILE", { may_abort = call == "pipe2" })
  end
  each("fcntl", "EMFILE", { may_abort = true })
  each("mmap", "ENOMEM")
  each("prctl", "EPERM")
end

T["what the loop cannot watch costs a worker at most"] = function()
  each("epoll_ctl", "ENOSPC", { may_abort = true })
end

T["connections wait while there are no descriptors for them"] = function()
  each("accept4", "EMFILE")
  each("accept4", "ENOMEM")
  each("accept4", "ECONNABORTED", { copes = true })
end

T["whatever a signal interrupts goes on unseen"] = function()
  for _, call in ipairs { "accept4", "sendmsg", "recvmsg", "recv", "read", "waitid", "epoll_wait" } do
    each(call, "EINTR", { copes = true, max = 24 })
  end
end

T["shortages and short transfers between master, worker and client lose nothing"] = function()
  for _, call in ipairs { "sendmsg", "recvmsg" } do
    each(call, "EAGAIN", { copes = true })
    each(call, "SHORT", { copes = true })
  end
end

T["under a limit of open files that is too low it says so, else it serves"] = function()
  for limit = 10, 24, 2 do
    local dir = s.temp_dir()
    local program = s.start({ "/bin/sh", "-c", ("ulimit -n %d; exec %s -s %s -l 127.0.0.1:0 -w 1 --control unix:%s")
      :format(limit, s.binary, s.write_file(dir .. "/app.lua", APP), dir .. "/control") },
      { env = { BROOD_LUA = false } }) -- whose files would want descriptors
    local address = address_of(program)
    if address then
      ask_until(address)
      program:kill "QUIT"
    end
    local result = program:finish()
    judge(result, {})
    lu.assertNil(result.signal)
    lu.assertTrue(result.code == 0 or result.stderr:lower():find("too many open files", 1, true) ~= nil)
  end
end

T["a log on a full disk harms nobody"] = function()
  local socket = s.temp_dir() .. "/http"
  local program = s.start { "/bin/sh", "-c", ("exec %s -s %s -l unix:%s -w 1 --control unix:%s 2>/dev/full"):format(
    s.binary, s.write_file(s.temp_dir() .. "/app.lua", APP), socket, s.temp_dir() .. "/control") }
  s.wait(function()
    return s.exists(socket)
  end)
  local first = ask_until("unix:" .. socket)
  require("luv").kill(first, "sigkill")
  ask_until("unix:" .. socket, function(pid)
    return pid ~= first
  end)
  program:kill "QUIT"
  lu.assertEquals(program:finish().code, 0)
end

return T
