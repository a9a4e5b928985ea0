--- A script's own cluster: the class that a master's are of as well, with what only a script asks of one, and the
--- events that tell the script what a master's log tells an operator. Its sockets are cluster.door's.
local door = require "brood.cluster.door"
local ours = require "brood.ours"
local restart = require "brood.cluster.restart"
local signals = require "brood.signals"
local task = require "brood.task"

local M = {}

-- ---- what it is asked -----------------------------------------------------------------------------------------------

---@class brood.Cluster
local Calls = {}

--- Replace every worker by a new one, which loads the app again, on the same sockets: the old one goes when the new one
--- is ready. Returns when the new ones serve, though old ones may still finish. Where the first new one does not become
--- ready, the old ones go on. Restarts follow each other; a cluster that does not run is started.
---@async
---@param cb? fun(err: brood.Error?)
---@return true? ok, brood.Error? err with `replaced`: how many there are new ones for
function Calls:restart(cb)
  return task.run(cb, self.name .. ":restart", function(done)
    restart(self, done)
  end)
end

--- Call fn(worker) for every worker that is alive, oldest first.
---@param fn fun(worker: brood.ClusterWorker)
function Calls:each(fn)
  if type(fn) ~= "function" then
    error("cluster:each: a function is needed, got " .. type(fn), 2)
  end
  for _, worker in ipairs(self.workers) do
    fn(worker)
  end
end

--- Send every worker a signal, TERM unless told otherwise. Those that end of it have ended unasked, and others come in
--- their place: `stop` is for good.
---@param signal? string|integer
function Calls:kill(signal)
  local number = signals.check(signal or "TERM", 2)
  for _, worker in ipairs(self.workers) do
    worker:kill(number)
  end
end

--- Where it listens, with real ports, what its apps have opened too; nothing while it is stopped.
---@return string? first, string ... the others
function Calls:address()
  return unpack(self.door:addresses())
end

local function state(self)
  local of_group = self.group.state
  if of_group == "stopped" then
    return self.door.opening and "starting" or self.fault and "faulted" or "stopped"
  elseif of_group == "running" then
    return self.group.on_started and "starting" or "ready"
  end
  return of_group
end

-- ---- what it tells --------------------------------------------------------------------------------------------------

local UNASKED = { crash = true, signal = true, timeout = true }

-- `respawn` tells of two workers: the one that is ready now, and how the one before it has ended.
local function tell_respawns(self)
  local all, ended = self.group, {}
  all:on("exit", function(member, code, signal)
    local slot = member.slot
    if not all.respawn or not member.ready_at or not UNASKED[member.reason] or slot > all.size then
      return
    end
    local holder = all.holders[slot]
    if holder and holder.ready_at then
      return self:emit("respawn", holder.worker, code, signal)
    end
    ended[slot] = { code, signal }
  end)
  all:on("online", function(member)
    local last = ended[member.slot]
    if last and not member.tentative then
      ended[member.slot] = nil
      self:emit("respawn", member.worker, last[1], last[2])
    end
  end)
  all:on("stopped", function()
    ended = {}
  end)
end

-- What has failed while it starts is the error of `start`, unless that goes well all the same.
local function tell_failures(self)
  local all, untold = self.group, {}
  all:on("failed", function(member, err)
    if member.reason or member.tentative then
      return
    elseif all.on_started then
      untold[member.slot] = { err, member.worker }
    else
      self:emit("error", err, member.worker)
    end
  end)
  all:on("started", function()
    local list = untold
    untold = {}
    for _, failure in pairs(list) do
      self:emit("error", failure[1], failure[2])
    end
  end)
  all:on("stopping", function()
    untold = {}
  end)
end

-- Where nobody runs, and nobody is started again, it has stopped.
local function end_with_the_last(self)
  local all = self.group
  local function look(err)
    if all.state == "running" and not all.on_started and all.size > 0 and next(all.members) == nil
      and next(all.retries) == nil then
      self.fault = err
      all:stop(function() end)
    end
  end
  all:on("faulted", function(_, err)
    look(err)
  end)
  for _, event in ipairs { "exit", "started" } do
    all:on(event, function()
      if not all.respawn then
        look()
      end
    end)
  end
end

--- A cluster; nothing is opened or started yet.
---@param room table brood.cluster
---@param options table as cluster.options makes them
---@return brood.Cluster
function M.new(room, options)
  if room.live.state ~= state then
    ours.guard(Calls, "cluster", { "restart", "each", "kill" }, room.is_one, room.is_foreign)
    ours.guard(Calls, "cluster", { "address" }, room.is_one) -- an after_fork hook may well ask for it
    for name, method in pairs(Calls) do
      room.class[name] = method
    end
    room.live.state = state
  end
  local access_log = options.access_log
  options.access_log, options.sockets = nil, door.no_sockets()
  local self = assert(room.make(options))
  self.door = door.new(self)
  self.door.access_log = access_log
  tell_respawns(self)
  tell_failures(self)
  end_with_the_last(self)
  return self
end

return M
