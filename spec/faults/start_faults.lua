--- `brood exec` from its very first system call on, each failing in turn: either nobody notices, or there is one clear
--- line and status 1. Never half a script, a crash or a hang.
local lu = require "luaunit"
local faults = require "spec.support.faults"

-- Fail each call of a script that ends with print "over".
local function each(script, call, errno, options)
  local given = { script = script .. '\nprint "over"', call = call, errno = errno }
  for name, value in pairs(options or {}) do
    given[name] = value
  end
  local total = faults.each(given, function(result)
    if result.signal then
      return -- by libuv, where the options allow that
    elseif result.code == 0 then
      lu.assertEquals(result.stdout, given.stdout or "over\n")
      lu.assertEquals(result.stderr, "")
    else
      lu.assertEquals(result.code, 1)
      lu.assertTrue(not given.copes, "it should have coped")
      lu.assertStrMatches(result.stderr, "%S+Z error .*%S: %S.*")
    end
  end)
  lu.assertTrue(total > 0, call .. " is never called")
  return total
end

local RUN = [[
local result, err = require("brood.process").run({ "echo", "out" }, { timeout = 8 })
if not result then error(err, 0) end
assert(result.code == 0 and result.stdout == "out\n")
]]

local T = {}

T["without descriptors there is one line that says so, and status 1"] = function()
  for _, call in ipairs { "pipe2", "epoll_create1", "eventfd" } do
    each("", call, "EMFILE", { onward = true, may_abort = call == "pipe2" })
    each("", call, "EMFILE", { may_abort = call == "pipe2" })
  end
  local result = faults.run("pipe2:EMFILE:1+", { script = "" })
  lu.assertEquals(result.code, 1)
  lu.assertStrContains(result.stderr, "cannot start: event loop: Too many open files")
end

T["without a single free number below the limit it says so, too"] = function()
  local s = require "spec.support"
  for limit = 4, 12 do
    local result = s.run { "/bin/sh", "-c", ("ulimit -n %d; exec %s exec /dev/null"):format(limit, s.binary) }
    lu.assertNil(result.signal, result.stderr)
    if result.code ~= 0 then
      lu.assertStrContains(result.stderr, "Too many open files")
    end
  end
end

T["a kernel that refuses what is not needed is coped with"] = function()
  for call, errno in pairs { fcntl = "EINVAL", prlimit = "EPERM", setrlimit = "EPERM" } do
    if faults.run("", { script = "" }).calls[call] > 0 then
      each("", call, errno, { may_abort = true })
    end
  end
end

T["the first program that a script starts fails clearly, or not at all"] = function()
  each(RUN, "pipe2", "EMFILE", { may_abort = true })
  each(RUN, "pipe2", "EMFILE", { onward = true, may_abort = true })
  for call, errno in pairs { open = "EMFILE", clone = "EAGAIN", mmap = "ENOMEM", setpgid = "EPERM", prctl = "EPERM" } do
    each(RUN, call, errno)
  end
  each(RUN, "epoll_ctl", "ENOSPC", { may_abort = true })
end

T["signals that interrupt whatever it does are never noticed"] = function()
  for _, call in ipairs { "read", "write", "waitid", "epoll_wait", "open" } do
    each(RUN, call, "EINTR", { copes = true })
  end
end

T["what is printed is printed, whatever becomes of the log"] = function()
  local script = [[
    local log = require "brood.log"
    require("spec.support.faults").arm()
    log.error "a record" log.error "another" log.error(("a long one"):rep(1000))
    print "over"
  ]]
  for _, errno in ipairs { "ENOSPC", "EAGAIN", "EIO", "EPIPE" } do
    local result = faults.run(("write:%s:1+"):format(errno), { script = script, from = "arm" })
    lu.assertEquals({ result.code, result.stdout }, { 0, "over\n" })
  end
end

return T
