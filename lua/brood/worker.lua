--- Worker.fork: a copy of this process with a line to it. It returns in both;
--- values go both ways. What a cluster's worker does is brood.serve's business.
local core = require "brood.core"
local child = require "brood.process.child"
local emitter = require "brood.emitter"
local fork = require "brood.fork"
local peer_class = require "brood.peer"
local signals = require "brood.signals"
local supervised = require "brood.supervised"
local task = require "brood.task"
local timer = require "brood.timer"

local KILL, TERM = 9, 15
local PATIENCE = 5 -- seconds between TERM and KILL when this process ends

---@class brood.Worker: brood.Emitter
---@field pid integer the child's, in both processes
---@field id integer counts the forks of the parent
---@field exit_code integer? in the parent, once it has ended
---@field exit_signal string?
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
  self.peer:flush_blocking(PATIENCE)
  core.exit(code or 0)
end

--- Send the child a signal, TERM unless told otherwise.
---@param signal? string|integer
---@return true? ok, brood.Error? err
function Worker:kill(signal)
  return self.proc:signal(signals.check(signal or TERM, 2))
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
    self.proc:signal_group(TERM)
    self.stop_timer = timer.after(PATIENCE, function()
      self:kill_now()
    end)
  end)
end

--- KILL it and its group at once.
function Worker:kill_now()
  self.proc:signal_group(KILL)
end

local function on_exit(self)
  self.peer:read_now()
  self.proc:signal_group(KILL)
  local code, signum = self.proc:reap()
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

--- In a child with a ready channel: tell the parent that it is.
function Worker:ready()
  return self.peer:post("ready")
end

--- What a child does once its parent is gone, and no listener of `disconnect` returned true.
--- One that serves replaces it with its graceful end.
function M.on_master_gone()
  core.exit(0)
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
        M.on_master_gone()
      else
        core.process.forgive_master_death()
      end
    end,
  }))
  self.peer:handle("exit", function(status)
    self:exit(status)
  end)
  return self
end

local function become_child(self, fd, master)
  core.process.new_group()
  M.attach(fd, self)
  child.guard_master(PATIENCE, master)
end

local function become_parent(self, fd, pid)
  self.pid = pid
  self.proc = assert(core.process.adopt(pid, true))
  self.peer = assert(peer_class.new(fd, {
    role = "parent", name = ("worker %d (pid %d)"):format(self.id, pid), target = self,
    disconnect = function() end,
    overflow = function()
      self:kill_now()
    end,
  }))
  supervised.add(self)
  self.proc:watch(function()
    on_exit(self)
  end)
end

--- Fork this process. Returns in both: `is_child()` tells which one it is.
---@return brood.Worker? worker, brood.Error? err
function M.fork()
  local ours, theirs = core.channel.pair()
  if not ours then
    return nil, theirs
  end
  last_id = last_id + 1
  local self = setmetatable({ id = last_id, in_child = false, stoppers = {} }, Worker)
  local master = core.posix.getpid()
  local pid, err = fork.both({ theirs })
  if not pid then
    core.fd.close(ours)
    core.fd.close(theirs)
    return nil, err
  elseif pid == 0 then
    become_child(self, theirs, master)
  else
    core.fd.close(theirs)
    become_parent(self, ours, pid)
  end
  return self
end

return M
