--- N processes of one kind: kept at that number, scaled, rolled. A replacement
--- comes first and takes over the slot; the one it replaces goes when it is ready.
--- What a member is, and what makes it ready, is its process's business.
local E = require "brood.error"
local emitter = require "brood.emitter"
local launch = require "brood.group.launch"
local oldest_first = require "brood.group.oldest_first"
local renew = require "brood.group.renew"
local respawn = require "brood.group.respawn"
local restart = require "brood.rules.restart"
local roll = require "brood.group.roll"
local scale = require "brood.group.scale"
local supervised = require "brood.supervised"
local task = require "brood.task"

---@class brood.Member
---@field id integer never reused
---@field slot integer 1 to size; a replacement takes over its slot
---@field process brood.Process
---@field reason string? once it is told to go: "reload", "scale", "stop", ...
---@field cause string? why it is ended without that: its end is then unasked, and this its reason
---@field ready_at number? monotonic seconds
---@field tentative boolean? on trial: it holds no slot before it is adopted, and nobody replaces it

---@class brood.Group: brood.Emitter
---@field name string
---@field size integer how many there should be
---@field members table<integer, brood.Member> by id
local Group = emitter.mixin {}
Group.__index = Group

local M = {}

-- One that was ready is replaced at once, unless such ends follow upon each other without a breath
-- in between; one that never became ready is tried again with more and more patience.
local AFTER_READY = { immediate = 10, stable_after = 0.1, delay = 0.05, max_delay = 1 }
local AFTER_FAILURE = { delay = 0.1, max_delay = 30 }
local SERVED = "served" -- it was ready once, has ended, and is not to be replaced
local START_ATTEMPTS = 3 -- failed starts of a slot before the first start of the group counts as failed

--- A group; nothing is started yet.
---@param options table name, size, make = fn(member) -> Process, respawn, surge, pause, after_ready, after_failure;
--- spawned(member) once it has a process, quiet (who made the group tells of failed starts itself), next_id() where ids
--- are counted over several groups, hopeless(err) where trying a first start again cannot help
---@return brood.Group
function M.new(options)
  return setmetatable({
    name = options.name or "group",
    size = options.size or 1,
    make = options.make,
    respawn = options.respawn ~= false,
    surge = options.surge or 1, pause = options.pause or 0,
    members = {},
    holders = {}, -- slot -> the member that holds it
    state = "stopped",
    last_id = 0,
    next_id = options.next_id, hopeless = options.hopeless, quiet = options.quiet,
    spawned = options.spawned,
    after_ready = restart.new(options.after_ready or AFTER_READY),
    after_failure = options.after_failure or AFTER_FAILURE,
    failing = {}, -- slot -> its own row of failed starts: many that fail side by side are no longer row
    retries = {}, -- slot -> timer of the next try
    awaiting = {}, -- slot -> who hears of the next try
    failures = {}, -- slot -> failed starts in a row
    given_up = {}, -- slot -> true: nobody tries again by itself
    troubles = {}, -- slot -> why nobody serves there: text, at = when it came about, due = when it is tried again
    pauses = {}, -- of rolls: fn -> true, called when the pause must not be waited for
    coming = {}, -- replacements that are not ready yet: member -> true
  }, Group)
end

--- How long it waits before it replaces a member that has died, and one that could not be started, from now on.
---@param after_ready? table as rules.restart takes it
---@param after_failure? table
function Group:be_patient(after_ready, after_failure)
  self.after_ready, self.after_failure = restart.new(after_ready or AFTER_READY), after_failure or AFTER_FAILURE
end

local function wait_for(self, field, done)
  self[field] = self[field] or {}
  table.insert(self[field], done)
end

--- The members that are to stay, in the order of their slots.
---@return brood.Member[]
function Group:current()
  local list = {}
  for slot = 1, self.size do
    local member = self.holders[slot]
    if member then
      list[#list + 1] = member
    end
  end
  return list
end

--- How many serve: ready or busy, and not told to go.
---@return integer
function Group:ready_count()
  local n = 0
  for _, member in pairs(self.members) do
    local state = member.process.state
    if not member.reason and (state == "ready" or state == "busy") then
      n = n + 1
    end
  end
  return n
end

local function take(self, field)
  local list = self[field] or {}
  self[field] = nil
  return list
end

local function answer_all(list, ...)
  for _, done in ipairs(list) do
    done(...)
  end
end

local begin_start

-- Nothing is left: those who wait hear of it, and who wanted a start meanwhile gets it.
local function settle_stop(self)
  if self.state ~= "stopping" or next(self.members) ~= nil then
    return
  end
  local failed, stopped, again = take(self, "failed_starts"), take(self, "on_stopped"), take(self, "on_restart")
  local err = self.start_error
  self.state, self.start_error = "stopped", nil
  supervised.remove(self)
  self:emit("stopped")
  answer_all(failed, err)
  answer_all(stopped)
  for _, done in ipairs(again) do
    begin_start(self, done)
  end
end

local function begin_stop(self)
  self.state = "stopping"
  self:emit("stopping")
  respawn.stop(self)
  self:wake_rolls()
  for _, member in ipairs(oldest_first(self)) do
    self:dismiss(member, "stop")
  end
  settle_stop(self)
end

local function fail_start(self, err)
  self.failed_starts = take(self, "on_started")
  self.start_error = err
  begin_stop(self)
end

-- A first start ends at once where trying again cannot help.
---@private
function Group:give_up_start(member, err)
  local first = self.state == "running" and self.on_started and not member.tentative and self:ready_count() == 0
  local over = first and self.hopeless and self.hopeless(err)
  if over then
    member.reason = "crash"
    fail_start(self, err)
  end
  return over
end

-- The first start is over when each slot has a ready member or has failed often enough.
---@private
function Group:settle_start()
  if not self.on_started or self.state ~= "running" then
    return
  end
  local served = false
  for slot = 1, self.size do
    local member = self.holders[slot]
    if not (member and member.ready_at) and not self.given_up[slot]
      and (self.failures[slot] or 0) < START_ATTEMPTS then
      return
    end
    served = served or self.given_up[slot] == SERVED
  end
  if self.size > 0 and not served and self:ready_count() == 0 then
    return fail_start(self, self.last_error or E.new("exit", "no member of %s became ready", self.name))
  end
  local started = take(self, "on_started")
  self:emit("started")
  answer_all(started)
end

-- The end of a member, whatever ended it; once.
---@private
function Group:ended(member)
  if not self.members[member.id] then
    return
  end
  local slot, process, told = member.slot, member.process, member.reason ~= nil
  self.members[member.id] = nil
  local held = self.holders[slot] == member
  if held then
    self.holders[slot] = nil
  end
  member.reason = member.reason or member.cause or respawn.reason(process)
  if not told and not member.tentative then
    self.failures[slot] = (self.failures[slot] or 0) + (member.ready_at and 0 or 1)
    if not self.respawn then
      self.given_up[slot] = member.ready_at and SERVED or true
    end
  end
  self:emit("exit", member, process.exit_code, process.exit_signal)
  answer_all(take(member, "on_gone"))
  self:settle_start()
  if held and not told then
    respawn.lost(self, member)
  end
  settle_stop(self)
end

--- Start a new member in a slot. done(err, member) when it is ready, or has ended without.
---@param slot integer
---@param done? fun(err: brood.Error?, member: brood.Member)
---@param given? table what the member is to know from the start
---@return brood.Member
function Group:launch(slot, done, given)
  return launch(self, slot, done or function() end, given)
end

--- Tell one member to go; done() when nothing of it is left.
---@param member brood.Member
---@param reason string
---@param done? fun()
function Group:dismiss(member, reason, done)
  if not self.members[member.id] then
    return done and done()
  end
  member.reason = member.reason or reason
  if self.holders[member.slot] == member then
    self.holders[member.slot] = nil
  end
  if done then
    wait_for(member, "on_gone", done)
  end
  -- One that is still being made sees the reason when it has been.
  if member.process and member.process.stop then
    member.process:stop(function() end)
  end
end

--- Let one member go: it gives up its slot, which is for another one, and ends by itself. A stop ends it as any other.
---@param member brood.Member
---@param reason string
function Group:release(member, reason)
  member.reason = member.reason or reason
  if self.holders[member.slot] == member then
    self.holders[member.slot] = nil
  end
end

--- KILL one member, and start another one in its place at once: whoever does this knows why.
---@param member brood.Member
---@param reason string
---@param patient? boolean it is replaced as one that has died by itself
function Group:discard(member, reason, patient)
  local slot = member.slot
  if patient then
    member.cause = member.cause or reason
    return member.process.kill_now and member.process:kill_now()
  end
  self:release(member, reason)
  if member.process.kill_now then
    member.process:kill_now()
  end
  if self.state == "running" and slot <= self.size and not self.holders[slot] and not self.retries[slot] then
    self:launch(slot)
  end
end

function begin_start(self, done)
  if self.state == "running" and not self.on_started then
    return done()
  elseif self.state == "running" then
    return wait_for(self, "on_started", done)
  elseif self.state == "stopping" then
    return wait_for(self, "on_restart", done)
  end
  self.state, self.failures, self.given_up, self.troubles, self.last_error = "running", {}, {}, {}, nil
  supervised.add(self)
  wait_for(self, "on_started", done)
  for slot = 1, self.size do
    -- What a launch calls may stop it all, or scale it.
    if self.state == "running" and slot <= self.size and not self.holders[slot] then
      self:launch(slot)
    end
  end
  self:settle_start()
end

--- Start all members. Ends well when at least one is ready and the others are, or have failed a few
--- times and are tried again; with the last failure's error when none became ready. During a stop it starts afterwards.
---@async
---@param cb? fun(err: brood.Error?)
function Group:start(cb)
  return task.run(cb, self.name .. ":start", function(done)
    begin_start(self, done)
  end)
end

--- Stop all members, each with its own patience.
---@async
---@param cb? fun(err: brood.Error?)
function Group:stop(cb)
  return task.run(cb, self.name .. ":stop", function(done)
    local unwanted = take(self, self.state == "stopping" and "on_restart" or "on_started")
    if self.state == "stopped" then
      return done()
    end
    wait_for(self, "on_stopped", done)
    if self.state == "running" then
      begin_stop(self)
    end
    answer_all(unwanted, E.new("stopped", "%s was stopped before it had started", self.name))
  end)
end

---@private
function Group:destroy() end -- luacheck: ignore 212 (each member is supervised itself)

---@private
function Group:gone() return true end -- luacheck: ignore 212

--- KILL all members now. Their exits are reported as ever.
---@param signal? integer sent in place of KILL
function Group:kill(signal)
  for _, member in pairs(self.members) do
    if member.process and member.process.run then
      if signal then
        member.process:signal(signal)
      else
        member.process:kill_now()
      end
    end
  end
end

--- Keep n members from now on. Returns when the new ones are ready and the surplus is gone.
---@async
---@param n integer
---@param cb? fun(err: brood.Error?)
function Group:scale(n, cb)
  if type(n) ~= "number" or n < 0 or n ~= math.floor(n) then
    error(("scale: a whole number of members is needed, got %s"):format(tostring(n)), 2)
  end
  return task.run(cb, self.name .. ":scale", function(done)
    scale.to(self, n, done)
    self:settle_start() -- a start that waited for the surplus waits no more
  end)
end

--- Let a member that is ready have its slot: whoever holds it is told to go. Not where the slot is no more, or has a
--- younger one that serves already.
---@private
---@param member brood.Member
---@param reason string why the present holder goes
function Group:take_over(member, reason)
  local slot = member.slot
  local present = self.holders[slot]
  member.tentative = nil
  if slot > self.size then
    self:dismiss(member, "scale") -- scaled down meanwhile
  elseif present and present.id > member.id and present.ready_at then
    self:dismiss(member, "reload") -- a later wish was granted sooner
  elseif present ~= member then
    self.holders[slot] = member
    if present then
      self:dismiss(present, reason)
    end
    respawn.forget(self, slot)
  end
end

--- Replace one member: a new one first; when it is ready it takes over the slot and the old one is told to go.
---@param slot integer
---@param reason string
---@param done fun(err: brood.Error?)
---@return brood.Member the new one
function Group:replace(slot, reason, done)
  local member, answered
  member = self:launch(slot, function(err, new)
    answered = true
    self.coming[new] = nil
    if not err then
      self:take_over(new, reason)
    end
    done(err)
  end)
  if not answered then
    self.coming[member] = true
  end
  return member
end

--- Rolls that pause look again now: the group stops, or a newer roll takes their place.
---@private
function Group:wake_rolls()
  local pauses = self.pauses
  self.pauses = {}
  for wake in pairs(pauses) do
    wake()
  end
end

--- Replace all members, old ones going only when their replacements are
--- ready. A second roll takes the place of the first.
---@async
---@param cb? fun(err: brood.Error?, replaced: integer)
---@return integer? replaced, brood.Error? err with `replaced`
function Group:roll(reason, cb)
  if type(reason) == "function" then
    reason, cb = nil, reason
  end
  return task.run(cb, self.name .. ":roll", function(done)
    roll.begin(self, { reason = reason or "reload" }, done)
  end)
end

--- Members of another kind from now on, as many as `size`: those that lack come at once, the others are rolled, and
--- what is too much goes. `is_new(member)` knows the new kind; `first`, on trial until now, has its slot at once.
---@async
---@param plan {size: integer, reason: string, is_new: (fun(member: brood.Member): boolean), first: brood.Member?}
---@param cb? fun(err: brood.Error?, replaced: integer)
---@return integer? replaced, brood.Error? err with `replaced`
function Group:renew(plan, cb)
  return task.run(cb, self.name .. ":renew", function(done)
    renew(self, plan, done)
    self:settle_start()
  end)
end

return M
