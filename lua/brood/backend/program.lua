--- One program of a backend, from its start to its end: one life of one process, with a socket (or a port) of its own.
--- It says when it is ready and when it is gone. Who may use it, and whether another one follows, is the crew's
--- business.
local clock = require "brood.clock"
local E = require "brood.error"
local listening = require "brood.backend.listening"
local place = require "brood.backend.place"
local port_of = require("brood.lazy").room "brood.backend.port"
local files = require "brood.files"
local Process = require "brood.process"
local signals = require "brood.signals"
local tail = require "brood.backend.tail"
local timer = require "brood.timer"
local uv = require "luv"

local M = {}

-- Of /proc/PID/stat, behind the name: state, 5 numbers, flags, 21 numbers, the signals that wait for it.
local STAT = "%) (%a)" .. (" %-?%d+"):rep(5) .. " (%d+)" .. (" %-?%d+"):rep(21) .. " (%d+) "
local EXITING, KILLED = 0x4, 0x100 -- PF_EXITING; KILL
local QUIT, TERM = signals.number "QUIT", signals.number "TERM"

---@class brood.BackendProgram
---@field slot integer
---@field name string
---@field process brood.Process
---@field tail brood.BackendTail
---@field place? brood.BackendPlace
---@field address string once it is ready: "unix:/path" or "host:port"
---@field lease? brood.BackendLease who uses it
---@field suspect? boolean a lease has failed: it is not used before it is known to live
---@field failed_somebody? boolean it was a lease that has failed
---@field served integer how many leases it had
---@field free_since? number
---@field asked? "quit"|"terminate"|"kill" how it was told to end
---@field was_ready? boolean
---@field starters fun(err: brood.Error?)[] who waits until it is ready
---@field enders fun()[] who waits until it is gone
---@field successors fun(err: brood.Error?)[] who waits for another one in its place
local Program = {}
Program.__index = Program

local function answer(list, ...)
  for _, done in ipairs(list) do
    done(...)
  end
end

-- ---- its start ----

local function environment(self, given)
  local env = {}
  for name, value in pairs(given or {}) do
    env[name] = value
  end
  -- What says where we listen, or another backend, is not this program's.
  env.SOCKET, env.PORT = self.place and self.place.path or env.SOCKET or false, self.port or env.PORT or false
  return env
end

local function make_process(self, o, inner)
  return Process.new({
    name = self.name, command = o.command, cwd = o.cwd, env = environment(self, o.env), user = o.user, group = o.group,
    umask = o.umask, limits = o.limits, stdout = tail.stream(self.tail, 1, o.stdout),
    stderr = tail.stream(self.tail, 2, o.stderr), start_timeout = o.start_timeout,
    stop_timeout = o.terminate_timeout, stop_signal = "TERM",
  }, {
    ready = "listening", limit_name = "terminate_timeout", environ = inner.environ,
    where = function()
      return self.port and port_of.missing(self) or "it does not listen on the path in SOCKET"
    end,
  })
end

-- The error of a start, with what the program printed: what it had to say is the reason.
local function explain(self, err)
  local process, text = self.process, self.tail:text()
  err.exit_code, err.exit_signal, err.output = process.exit_code, process.exit_signal, text
  if text then
    err.reason = err.message
    err.message = err.code == "exit" and text or ("%s\n%s"):format(err.message, text)
  end
  return err
end

local function gone(self, err)
  if self.over then
    return
  end
  self.over = true
  self.pid = nil
  if self.patience then
    self.patience:cancel()
  end
  if self.place then
    self.place:release()
  elseif self.port then
    port_of.free(self)
  end
  self.heard.gone(self, err)
  local starters, enders = self.starters, self.enders
  self.starters, self.enders = {}, {}
  answer(starters, err)
  answer(enders)
end

local function started(self, err)
  local process = self.process
  if not err then
    self.was_ready, self.free_since = true, clock.now()
    local starters = self.starters
    self.starters = {}
    self.heard.ready(self)
    return answer(starters)
  end
  self.err = explain(self, err)
  self.port_lost = self.port ~= nil and port_of.was_lost(self, err)
  if not process.exit_code and not process.exit_signal then
    gone(self, self.err) -- it never ran, so there is no exit to come
  end
end

local function accepts(self, run, address)
  if self.process.run == run and run.on_ready then
    self.address = address
    run.on_ready()
  end
end

local function await(self)
  local run = self.process.run
  if not (run and run.on_ready) then
    return
  end
  local cancel
  if self.place then
    cancel = listening.await_socket(self.place, function()
      accepts(self, run, "unix:" .. self.place.path)
    end)
  else
    cancel = port_of.await(self, function(address, err)
      if err then
        return self.process:fail(err)
      end
      accepts(self, run, address)
    end)
  end
  local give_up = run.give_up_waiting
  run.give_up_waiting = function()
    give_up()
    cancel()
  end
end

--- Start it. What becomes of it is told by heard.spawn, state, ready, exit and gone, the last one exactly once.
function Program:begin()
  local o, inner = self.options, self.inner
  local ok, err = (o.port and port_of or place).take(self, inner.owner)
  if not ok then
    self.process = { state = "stopped" }
    return gone(self, E.of(self.name, err))
  end
  self.process = make_process(self, o, inner)
  self.process:on("state", function(new)
    self.heard.state(self, new)
  end)
  self.process:on("exit", function(code, signal)
    self.heard.exit(self, code, signal)
    gone(self, self.err)
  end)
  self.process:start(function(why)
    started(self, why)
  end)
  self.pid = self.process.pid
  if self.pid then
    self.heard.spawn(self)
    await(self)
  end
end

--- One that is to be started, by `begin`.
---@param o table the backend's options
---@param slot integer
---@param heard table<string, fun(program: brood.BackendProgram, ...)>
---@param inner table
---@return brood.BackendProgram
function M.new(o, slot, heard, inner)
  return setmetatable({
    slot = slot, heard = heard, options = o, inner = inner, tail = tail.new(), served = 0, starters = {}, enders = {},
    successors = {}, name = o.size == 1 and inner.name or ("%s %d"):format(inner.name, slot),
    process = { state = "starting" }, -- until there is one
  }, Program)
end

-- ---- its end ----

--- Whether it can be used by whoever comes.
---@return boolean
function Program:is_free()
  return self.process.state == "ready" and not self.lease and not self.suspect and not self.asked
end

--- Whether it has begun to end, of which we are yet to hear: what it still accepts it would not answer.
---@return boolean
function Program:is_dying()
  local text = files.read(("/proc/%d/stat"):format(self.pid)) or ""
  local state, flags, signals_to_come = text:match(STAT)
  if not state then
    return text == ""
  end
  return state == "Z" or state == "X" or bit.band(tonumber(flags), EXITING) ~= 0
    or bit.band(tonumber(signals_to_come), KILLED) ~= 0
end

--- Whether it cannot be found any more: somebody has removed its socket, as what clears /tmp does.
---@return boolean
function Program:is_lost()
  return self.place ~= nil and uv.fs_stat(self.place.path) == nil
end

---@private
function Program:kill()
  self.asked = "kill"
  self.process:kill_now()
end

---@private
function Program:terminate()
  if self.asked == "kill" or self.asked == "terminate" then
    return
  end
  self.asked = "terminate"
  local process, patience = self.process, self.options.terminate_timeout
  if process.state == "stopping" then
    return process:hurry(TERM, patience)
  end
  process.options.stop_signal, process.options.stop_timeout = TERM, patience
  process:stop(function() end)
end

---@private
function Program:quit()
  local patience = self.options.quit_timeout
  if patience == 0 then
    return self:terminate()
  elseif self.asked then
    return
  end
  self.asked = "quit"
  local process = self.process
  if process.state == "stopping" then
    return -- its start has failed, and it is being ended already
  end
  process.options.stop_signal, process.options.stop_timeout = QUIT, false
  process:stop(function() end)
  if patience and not self.over then
    self.patience = timer.after(patience, function()
      self:terminate()
    end)
  end
end

--- Tell it to end: "quit", "terminate" or "kill"; a harder word than before counts.
---@param how string
function Program:finish(how)
  self[how](self)
end

return M
