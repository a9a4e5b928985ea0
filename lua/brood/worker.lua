--- Worker.fork: a copy of this process with a line to it. It returns in both;
--- values go both ways. What a cluster's worker does is brood.serve's business.
local core = require "brood.core"
local child = require "brood.process.child"
local E = require "brood.error"
local emitter = require "brood.emitter"
local ending = require "brood.process.ending"
local fork = require "brood.fork"
local log = require "brood.log"
local peer_class = require "brood.peer"
local signals = require "brood.signals"
local supervised = require "brood.supervised"
local task = require "brood.task"
local timer = require "brood.timer"

local KILL, TERM, INT, CONT = 9, 15, 2, 18
local PATIENCE = 5 -- seconds between TERM and KILL when this process ends
local FLUSH = 30 -- seconds that an exit waits for the parent to take what was sent

---@class brood.Worker: brood.Emitter
---@field pid integer the child's, in both processes
---@field id integer counts the forks of the parent
---@field exit_code integer? in the parent, once it has ended
---@field exit_signal string?
---@field slot integer? here and below: of `brood.worker` in a cluster's worker
---@field cluster string?
---@field state "starting"|"ready"|"stopping"|nil
---@field started_at number? seconds since 1970
---@field requests integer? answered so far
---@field user? fun(self: brood.Worker, name: string|integer, group: string|integer?) in after_fork
local Worker = emitter.mixin {}
Worker.__index = Worker

local M = {}

local last_id = 0

--- Whether this is the child's end.
---@return boolean
function Worker:is_child()
  return self.in_child
end

--- Send any Lua value without functions or userdata (64 MB, 90 levels) and a descriptor with it. Never suspends.
---@param value any
---@param fd? integer
---@return boolean? sent false when more than 1 MB waits (`drain` follows); nil where nobody runs
---@return brood.Error? err
function Worker:send(value, fd)
  return peer_class.send(self.peer, value, fd, 3)
end

--- Wait until the kernel has taken all that was sent.
---@async
---@param cb? fun(err: brood.Error?)
function Worker:flush(cb)
  return self.peer:flush(cb)
end

--- In the child: flush and exit. In the parent: ask the child to exit once it has handled the messages sent before.
---@param code? integer
function Worker:exit(code)
  if code ~= nil and type(code) ~= "number" then
    error("worker:exit: the status must be a number, got " .. type(code), 2)
  end
  if not self.in_child then
    return self.peer:post("exit", code or 0)
  end
  local ok, err = self.peer:flush_blocking(FLUSH)
  if not ok and err.code ~= "stopped" then
    log.warn(("exit: %d bytes of messages are lost: %s"):format(self.peer:pending(), err))
  end
  supervised.exit(code)
end

--- Send the child a signal, TERM unless told otherwise.
---@param signal? string|integer
---@return true? ok, brood.Error? err
function Worker:kill(signal)
  local number = signals.check(signal or TERM, 2)
  if self.in_child then
    return core.posix.kill(self.pid, number)
  elseif self.ended then
    return nil, E.new("stopped", "worker %d has ended", self.id)
  end
  return self.proc:signal(number)
end

function Worker:on_listen()
  self.peer:listening()
end

--- TERM, and KILL for what does not go: what becomes of it when this process is told to end.
---@async
---@param cb? fun()
function Worker:stop(cb)
  return task.run(cb, "worker:stop", function(done)
    if self.ended then
      return done()
    end
    table.insert(self.stoppers, done)
    if not self.stop_timer then
      self.proc:signal_group(TERM)
      self.proc:signal_group(CONT) -- one that is stopped would not see it otherwise
      self.stop_timer = timer.after(PATIENCE, function()
        self:destroy()
      end)
    end
  end)
end

---@private
function Worker:hasten()
  self.proc:signal(TERM)
  self.proc:signal(INT)
  return true
end

--- KILL it and its group at once.
---@private
function Worker:destroy()
  self.proc:signal_group(KILL)
end

---@private
function Worker:gone()
  return ending.is_gone(self)
end

local function finish(self, code, signum)
  self.proc:close()
  supervised.remove(self)
  self.ended = true
  self.exit_code, self.exit_signal = code, signum and signals.name(signum) or nil
  if self.stop_timer then
    self.stop_timer:cancel()
  end
  self.peer:close()
  self:emit("exit", self.exit_code, self.exit_signal)
  for _, done in ipairs(self.stoppers) do
    done()
  end
end

-- All it has sent is heard before its exit; and none of its group is left when that is told.
local function on_exit(self)
  self.peer:read_now()
  self.proc:signal_group(KILL)
  ending.end_wards(self, self.stop_timer ~= nil)
  local code, signum = self.proc:reap()
  self.reaped = true
  ending.await_group({ name = ("worker %d"):format(self.id) }, self, function()
    finish(self, code, signum)
  end)
end

--- In a child with a ready channel: tell the parent that it is.
function Worker:ready()
  return self.peer:post("ready")
end

--- What a child does once its parent is gone, and no listener of `disconnect` returned true.
--- One that serves has its graceful end in place of it; a child that this one forks has not.
function Worker.master_gone()
  supervised.exit(0)
end

-- The listeners of a child, counted while they run: an exit that the parent asks for waits until the
-- messages before it have been handled, by listeners that suspend as well.
local function count_listeners(self)
  local running, asked_to_exit = 0, nil
  local function leave_when_idle()
    if asked_to_exit and running == 0 then
      self:exit(asked_to_exit)
    end
  end
  local function counted(fn, ...)
    running = running + 1
    local ok, err = xpcall(fn, task.on_raise, ...)
    running = running - 1
    if not ok then
      core.uncaught(E.text(err))
    end
    leave_when_idle()
  end
  self.call_listener = function(fn, ...)
    task.spawn(counted, fn, ...)
  end
  self.peer:handle("exit", function(status)
    asked_to_exit = status
    leave_when_idle()
  end)
end

--- The child's end of a channel.
---@param fd integer
---@param self? brood.Worker
---@return brood.Worker
function M.attach(fd, self)
  self = self or setmetatable({}, Worker)
  self.in_child = true
  self.pid = core.posix.getpid()
  self.peer = assert(peer_class.new(fd, {
    role = "child", name = "the master", keep_alive = true, target = self,
    disconnect = function()
      if not emitter.ask(self, "disconnect") then
        self:master_gone()
      else
        core.process.forgive_master_death()
      end
    end,
  }))
  count_listeners(self)
  return self
end

-- One that is not whole must not go on as a copy of its parent, whoever may catch an error here.
local function become_child(self, fd, master)
  local ok, err = xpcall(function()
    assert(core.process.new_group())
    M.attach(fd, self)
    child.guard_master(PATIENCE, master)
  end, task.on_raise)
  if not ok then
    log.error("Worker.fork: " .. E.text(err))
    core.exit(1)
  end
end

-- Nobody would hear of its messages or its end: it ends now.
local function give_up(self, err)
  fork.wait_for_end(self.pid)
  self.proc:close()
  if self.peer then
    self.peer:close()
  end
  return nil, err
end

local function become_parent(self, fd, pid)
  local err
  self.pid = pid
  self.proc, err = fork.adopt(pid, true)
  if not self.proc then
    core.fd.close(fd)
    return nil, err
  end
  self.peer, err = peer_class.new(fd, {
    role = "parent", name = ("worker %d (pid %d)"):format(self.id, pid), target = self,
    disconnect = function() end,
    overflow = function()
      self:destroy()
    end,
  })
  local watched = self.peer
  if not watched then
    core.fd.close(fd)
  else
    watched, err = self.proc:watch(function()
      on_exit(self)
    end)
  end
  if not watched then
    return give_up(self, err)
  end
  supervised.add(self)
  return self
end

--- Fork this process. Returns in both: `is_child()` tells which one it is.
---@return brood.Worker? worker, brood.Error? err
function M.fork()
  local ours, theirs = core.channel.pair()
  if not ours then
    return nil, theirs
  end
  last_id = last_id + 1
  local self = setmetatable({ id = last_id, in_child = false, grouped = true, stoppers = {} }, Worker)
  local master = core.posix.getpid()
  local pid, err = fork.both({ theirs })
  if not pid then
    core.fd.close(ours)
    core.fd.close(theirs)
    return nil, err
  elseif pid == 0 then
    become_child(self, theirs, master)
    return self
  end
  core.fd.close(theirs)
  return become_parent(self, ours, pid)
end

return M
