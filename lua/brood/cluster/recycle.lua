--- Workers that have served for long enough, by requests, memory or age: replaced one at a time, the
--- new one first. What fails leaves the old one serving, and is tried again. How one is replaced is the group's
--- business, what it takes is measured by cluster.memory; a roll comes first, and may make this needless.
local clock = require "brood.clock"
local linger = require "brood.cluster.linger"
local count = require "brood.rules.count"
local lazy = require "brood.lazy"
local log = require "brood.log"
local oldest_first = require "brood.group.oldest_first"
local restart = require "brood.rules.restart"
local timer = require "brood.timer"

local memory = lazy.room "brood.cluster.memory"
local tree = lazy.room "brood.cluster.tree" -- of a program

local M = {}

local MB = 1024 * 1024
local AFTER_FAILURE = { delay = 1, max_delay = 60 }
-- A limit that every new worker soon exceeds must not have them replaced without end.
local AFTER_MEMORY = { immediate = 2, delay = 5, max_delay = 300, stable_after = 60 }

---@class brood.Recycler
---@field cluster brood.Cluster
---@field due brood.Member[] in the order in which they became so
---@field current? brood.Member whose replacement is coming
local Recycler = {}
Recycler.__index = Recycler

---@param cluster brood.Cluster
---@return brood.Recycler
function M.new(cluster)
  return setmetatable({
    cluster = cluster, due = {}, timers = {}, measured = {}, failures = restart.new(AFTER_FAILURE),
  }, Recycler)
end

-- ---- replacing ------------------------------------------------------------------------------------------------------

-- Whether it still is to be replaced: it may have gone, or be going.
local function is_there(self, member)
  local serves = self.cluster.group.members[member.id] == member and not member.reason
  return serves and (member.process.state == "ready" or member.process.state == "busy")
end

local function next_one(self)
  local holders, i = self.cluster.group.holders, 1
  while self.due[i] do
    local member = self.due[i]
    if not is_there(self, member) then
      table.remove(self.due, i)
    elseif holders[member.slot] == member and not linger.is_full(self.cluster, member.slot) then
      return table.remove(self.due, i)
    else
      i = i + 1 -- on trial: it may get its slot; or it waits: nobody's time is cut short for this
    end
  end
end

local function failed(self, member, err)
  if not is_there(self, member) then
    return
  end
  table.insert(self.due, 1, member)
  if self.cluster.group.rolling or err.code == "stopped" then
    return -- called off by a roll, which will have replaced it
  end
  local delay = restart.exited(self.failures, clock.now(), 0, math.random()).delay
  log.warn(("%s: worker %d goes on serving, as its replacement did not become ready; the next try in %.1f s"):format(
    self.cluster.name, member.id, delay))
  self.waiting = timer.after(delay, function()
    self.waiting = nil
    self:go_on()
  end):unref()
end

-- What it takes, where that is the reason.
local function figures(member)
  if member.due ~= "max_memory" or not member.bytes then
    return ""
  end
  return (" (%.1f MB of %.1f MB)"):format(member.bytes / MB, member.most / MB)
end

local function recycle(self, member)
  local cluster = self.cluster
  local requests = member.worker.requests
  if not member.tried then
    cluster:note(("%s: worker %d (pid %d) is to be replaced after %s: %s%s"):format(cluster.name, member.id,
      member.process.pid, requests and count(requests, "request") or ("%.1f s"):format(clock.now() - member.ready_at),
      member.due, figures(member)))
  end
  member.tried = true
  self.current = member
  cluster:emit("recycle", member.worker, requests)
  cluster.group:replace(member.slot, member.due, function(err)
    self.current = nil
    if err then
      failed(self, member, err)
    else
      restart.reset(self.failures)
    end
    self:go_on()
  end)
end

--- See to the next one, if nothing speaks against it.
function Recycler:go_on()
  local group = self.cluster.group
  if self.current or self.waiting or group.rolling or group.state ~= "running" then
    return
  end
  local member = next_one(self)
  if member then
    recycle(self, member)
  end
end

--- It is to be replaced for this reason, when its turn comes.
---@param member brood.Member
---@param reason "max_requests"|"max_memory"|"max_lifetime"
function Recycler:is_due(member, reason)
  if not member.due and is_there(self, member) then
    member.due = reason
    table.insert(self.due, member)
    self:go_on()
  end
end

-- ---- what makes one due ---------------------------------------------------------------------------------------------

local LOOK = 2 -- seconds between two looks at the memory

-- Those that exceed it soon after their start wait longer from time to time, each slot for itself.
local function beyond_memory(self, member)
  local history = self.measured[member.slot] or restart.new(AFTER_MEMORY)
  self.measured[member.slot] = history
  local now = clock.now()
  if not member.memory_due then
    member.memory_due = now + restart.exited(history, now, now - member.ready_at, math.random()).delay
  end
  if now >= member.memory_due then
    self:is_due(member, "max_memory")
  end
end

-- How much one may take: by itself, or for what it took when it became ready, which is measured first.
local function most(member)
  local o = member.generation.options
  local gain = o.max_memory_gain and member.first_bytes and o.max_memory_gain * member.first_bytes
  return gain and o.max_memory and math.min(gain, o.max_memory) or gain or o.max_memory
end

local function exceeds(member, limit, done)
  local room = member.is_program and tree or memory
  return room.exceeds(member.process.pid, limit, done)
end

local function look_at_memory(self)
  for _, member in ipairs(oldest_first(self.cluster.group)) do
    local limit = most(member)
    if limit and member.ready_at and not member.due and not member.measuring and is_there(self, member) then
      member.measuring, member.most = true, limit
      exceeds(member, limit, function(too_much, bytes)
        member.measuring, member.bytes = nil, bytes
        if too_much then
          beyond_memory(self, member)
        end
      end)
    end
  end
end

--- A worker is ready: see when it has to go.
---@param member brood.Member
function Recycler:watch(member)
  local o = member.generation.options
  if o.max_lifetime then
    self.timers[member] = timer.after(o.max_lifetime, function()
      self.timers[member] = nil
      self:is_due(member, "max_lifetime")
    end):unref()
  end
  if o.max_memory_gain then
    exceeds(member, 0, function(_, bytes)
      member.first_bytes = bytes
    end)
  end
  if (o.max_memory or o.max_memory_gain) and not self.looking then
    self.looking = timer.every(LOOK, function()
      look_at_memory(self)
    end):unref()
  end
end

--- A worker has ended.
---@param member brood.Member
function Recycler:ended(member)
  timer.drop(self.timers, member)
  self:go_on() -- there may be room in its slot now
end

--- The cluster has stopped.
function Recycler:forget()
  for _, name in ipairs { "looking", "waiting" } do
    timer.drop(self, name)
  end
  self.due, self.measured = {}, {}
end

return M
