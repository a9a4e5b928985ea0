--- One member of a group, from the call for it to its being ready, or its end without. What
--- becomes of its slot then is decided by the group, and by group.respawn.
local clock = require "brood.clock"
local E = require "brood.error"
local failure = require "brood.group.failure"
local respawn = require "brood.group.respawn"
local task = require "brood.task"

local Member = {}
Member.__index = Member

local function make(self, member)
  local ok, process, err = xpcall(self.make, task.on_raise, member)
  if not ok then
    process, err = nil, E.from(process)
  elseif process ~= nil and (type(process) ~= "table" or type(process.start) ~= "function") then
    process, err = nil, E.new("make", "`make` of %s must return a Process, got %s", self.name, type(process))
  elseif process == nil and err == nil then
    err = E.new("make", "`make` of %s returned nothing", self.name)
  end
  if member.reason then
    return nil, E.new("stopped", "worker %d of %s was stopped before it had started", member.id, self.name)
  end
  return process, err
end

-- A member, known to the group; one that is not on trial holds its slot if nobody else does.
local function new_member(self, slot, given)
  self.last_id = self.next_id and self.next_id() or self.last_id + 1
  -- Until it has a process, which a hook may delay, it is seen as one that starts.
  local to_come = { state = "starting" }
  local member = setmetatable({ id = self.last_id, slot = slot, group = self, process = to_come }, Member)
  for name, value in pairs(given or {}) do
    member[name] = value
  end
  self.members[member.id] = member
  if not member.tentative then
    self.given_up[slot] = nil
    self.holders[slot] = self.holders[slot] or member
  end
  return member
end

local function failed(self, member, err, done)
  -- Of one on trial whoever tries it tells.
  if not member.reason and not member.tentative and not self:give_up_start(member, err) then
    self.last_error = err
    respawn.trouble(self, member, err.message)
    if not self.quiet then
      failure(self, member, err)
    end
  end
  self:emit("failed", member, err)
  done(err, member)
end

local function became_ready(self, member, done)
  member.ready_at = clock.now()
  if not member.tentative then
    self.failing[member.slot] = nil
    self.failures[member.slot], self.last_failure, self.troubles[member.slot] = 0, nil, nil
  end
  self:emit("online", member)
  done(nil, member)
  self:settle_start()
end

local function start(self, member, process, done)
  member.process = process
  process:on("exit", function()
    self:ended(member)
  end)
  process:start(function(err)
    if not err then
      return became_ready(self, member, done)
    end
    failed(self, member, err, done)
    if not process.run and not process.exit_code and not process.exit_signal then
      self:ended(member) -- it never ran, so there is no exit to come
    end
  end)
  if self.spawned then
    self.spawned(member)
  end
end

--- Start a new member. done(err, member) when it is ready, or has ended without.
---@param self brood.Group
---@param slot integer
---@param done fun(err: brood.Error?, member: brood.Member)
---@param given? table what the member is to know from the start
---@return brood.Member
return function(self, slot, done, given)
  local member = new_member(self, slot, given)
  task.spawn(function()
    local process, err = make(self, member)
    if process then
      return start(self, member, process, done)
    end
    -- Refused before there was anything to start, by a hook for instance.
    member.process = { state = "stopped" }
    failed(self, member, err, done)
    self:ended(member)
  end)
  return member
end
