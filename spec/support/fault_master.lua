--- A master under the shim that goes through one transition while system calls fail: the config arms the shim, does it,
--- disarms, and notes how that ended. Whatever fails, the master must serve on, say what it was, and end with 0.
local lu = require "luaunit"
local faults = require "spec.support.faults"
local s = require "spec.support"
local uv = require "luv"

local M = {}

local CONFIG = [[
package.path = %q .. package.path
local brood, fault = require "brood", require "spec.support.faults"
local here = %q
local function note(...)
  local file = io.open(here .. "/notes", "a")
  file:write(table.concat({ ... }, " "), "\n")
  file:close()
end
local acts = {
  reload = function(master) return master:reload() end,
  upgrade = function(master) return master:upgrade() end,
  reopen = function(master) return master:reopen() end,
  scale = function(master) return master:scale(3) end,
  drain = function(master)
    master:drain()
    return master:reload()
  end,
  recycle = function(master)
    note "ask"
    for _ = 1, 400 do
      if io.open(here .. "/gone") then
        return true
      end
      brood.sleep(0.02)
    end
    return true
  end,
}
return {
  app = "app.lua", listen = { "127.0.0.1:0", "unix:web.sock" }, workers = 2, control = "unix:control.sock",
  pidfile = "run.pid", access_log = "access.log", start_timeout = 5, graceful_timeout = 5,
  signals = { HUP = function(master)
    fault.arm()
    local ok, err = acts.%s(master)
    fault.disarm()
    note(ok and "done" or "failed", err and tostring(err):gsub("\n.*", "") or "")
  end },
  worker_exit = function(_, worker)
    if worker.reason == "max_requests" then
      io.open(here .. "/gone", "w"):close()
    end
  end,
  %s
}
]]

local APP = [[
local pid = require("brood.posix").getpid()
return function(req, res) res:finish("hello from " .. pid .. "\n") end
]]

local function ask(address)
  local ok, socket = pcall(s.connect, address)
  if not ok then
    return false
  end
  local answer
  ok, answer = pcall(function()
    socket:send "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    return socket:receive("\r\n\r\nhello from %d+\n", 3)
  end)
  socket:close()
  return ok and answer
end

-- The masters of a directory that run, and how many workers they have.
local function running(dir)
  local masters, workers = {}, 0
  for _, process in ipairs(s.processes()) do
    local cmdline = table.concat(s.cmdline(process.pid) or {}, " ")
    if process.state ~= "Z" and cmdline:find("master " .. dir, 1, true) then
      masters[#masters + 1] = process.pid
      for child in pairs(s.children(process.pid)) do
        workers = workers + ((table.concat(s.cmdline(child) or {}, " "):find "worker") and 1 or 0)
      end
    end
  end
  return masters, workers
end

-- How it ended, once it has.
local function outcome(dir)
  local notes = "\n" .. (s.read_file(dir .. "/notes") or "")
  return notes:match "\n(done)" or notes:match "\n(failed) "
end

-- What is done to the program while it runs.
local function go_through(program, dir, what)
  s.wait(function() return program.over or program:stderr():find "workers serve" end, 15)
  local address, told = "unix:" .. dir .. "/web.sock", {}
  program:kill "HUP"
  s.wait(function()
    if what == "recycle" and not s.exists(dir .. "/gone") then
      ask(address)
    end
    return program.over or outcome(dir)
  end, 25, function()
    return "the outcome of the " .. what .. "\n" .. program:stderr()
  end)
  -- It serves, with as many workers as it should have; a lost one may be tried again with a delay.
  local wanted = what == "scale" and 3 or 2
  if program:stderr():find "all goes on as before" and what == "drain" then
    wanted = 0
  end
  s.wait(function()
    local masters, workers = running(dir)
    return program.over or (wanted == 0 or ask(address)) and workers == wanted * #masters
  end, 20, function()
    local masters, workers = running(dir)
    return ("%d workers of %d masters to serve after the %s, which is %s\n%s"):format(workers, #masters, what,
      tostring(outcome(dir)), program:stderr())
  end)
  s.wait(function()
    local left = running(dir)
    for _, pid in ipairs(left) do
      told[pid] = told[pid] or uv.kill(pid, "sigquit")
    end
    return #left == 0
  end, 15, function() return "the end\n" .. program:stderr() end)
end

local TEXTS = {
  EAGAIN = "temporarily unavailable", EMFILE = "too many open files", ENOMEM = "memory", ENOSPC = "no space left",
  EACCES = "permission denied", EPERM = "not permitted", EBUSY = "busy", ENOBUFS = "no buffer space",
  ENOENT = "no such file", EIO = "i/o error", EINVAL = "invalid argument",
}

-- What failed is told by name; what a process dies of is only libuv's own abort, where it has that and no other answer.
local function judge(result, errno, may_abort)
  lu.assertEquals(result.code, 0)
  local died = result.stderr:match "killed by (%u+)"
  lu.assertTrue(not died or may_abort and died == "ABRT", "somebody was killed by " .. tostring(died))
  if result.stderr:find " error " and not died then
    lu.assertStrContains(result.stderr:lower(), TEXTS[errno] or errno)
  end
end

---Fail each of the calls of that name in turn while a master goes through a transition.
---@param what "reload"|"upgrade"|"reopen"|"scale"|"drain"|"recycle"
---@param call string
---@param errno string
---@param options? { config?: string, max?: integer, onward?: boolean, may_abort?: boolean }
---@return integer calls
function M.each(what, call, errno, options)
  options = options or {}
  return faults.each({
    call = call, errno = errno, from = "arm", timeout = 20, max = options.max, onward = options.onward,
    may_abort = options.may_abort,
    make_args = function()
      local dir = s.temp_dir()
      s.write_file(dir .. "/app.lua", APP)
      local path = s.root .. "/?.lua;" .. s.root .. "/?/init.lua;"
      return { "run", s.write_file(dir .. "/brood.lua", CONFIG:format(path, dir, what,
        (what == "recycle" and "max_requests = 5," or "") .. (options.config or ""))) }
    end,
    meanwhile = function(program)
      go_through(program, program.argv[3]:match "^(.*)/[^/]*$", what)
    end,
  }, function(result)
    judge(result, errno, options.may_abort)
  end)
end

return M
