--- N processes of one kind: kept at that number, scaled, rolled. A replacement
--- comes first and takes over the slot; the one it replaces goes when it is ready.
--- What a member is, and what makes it ready, is its process's business.
local clock = require "brood.clock"
local E = require "brood.error"
local emitter = require "brood.emitter"
local failure = require "brood.group.failure"
local respawn = require "brood.group.respawn"
local restart = require "brood.rules.restart"
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
local Member = {}
Member.__index = Member

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
local START_ATTEMPTS = 3 -- failed starts of a slot before the first start of the group counts as failed

local now = clock.now

--- A group; nothing is started yet.
---@param options table name, size, make = fn(member) -> Process, respawn, surge, pause, after_ready, after_failure;
--- next_id() where ids are counted over several groups, hopeless(err) where trying a first start again cannot help
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
    next_id = options.next_id, hopeless = options.hopeless,
    after_ready = restart.new(options.after_ready or AFTER_READY),
    after_failure = options.after_failure or AFTER_FAILURE,
    failing = {}, -- slot -> its own row of failed starts: many that fail side by side are no longer row
    retries = {}, -- slot -> timer of the next try
    failures = {}, -- slot -> failed starts in a row
    given_up = {}, -- slot -> true: nobody tries again by itself
    pauses = {}, -- of rolls: fn -> true, called when the pause must not be waited for
  }, Group)
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
  for slot, retry in pairs(self.retries) do
    retry:cancel()
    self.retries[slot] = nil
  end
  self:wake_rolls()
  local list = {}
  for _, member in pairs(self.members) do
    list[#list + 1] = member
  end
  for _, member in ipairs(list) do
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
local function give_up_start(self, member, err)
  local first = self.state == "running" and self.on_started and self:ready_count() == 0
  local over = first and self.hopeless and self.hopeless(err)
  if over then
    member.reason = "crash"
    fail_start(self, err)
  end
  return over
end

-- The first start is over when each slot has a ready member or has failed often enough.
local function settle_start(self)
  if not self.on_started or self.state ~= "running" then
    return
  end
  for slot = 1, self.size do
    local member = self.holders[slot]
    if not (member and member.ready_at) and not self.given_up[slot]
      and (self.failures[slot] or 0) < START_ATTEMPTS then
      return
    end
  end
  if self.size > 0 and self:ready_count() == 0 then
    return fail_start(self, self.last_error or E.new("exit", "no member of %s became ready", self.name))
  end
  local started = take(self, "on_started")
  self:emit("started")
  answer_all(started)
end

-- The end of a member, whatever ended it; once.
local function on_exit(self, member)
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
  if not member.ready_at and not told then
    self.failures[slot] = (self.failures[slot] or 0) + 1
    if not self.respawn then
      self.given_up[slot] = true
    end
  end
  self:emit("exit", member, process.exit_code, process.exit_signal)
  answer_all(take(member, "on_gone"))
  settle_start(self)
  if held and not told then
    respawn.lost(self, member)
  end
  settle_stop(self)
end

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

--- Start a new member in a slot. done(err, member) when it is ready, or has ended without.
---@param slot integer
---@param done? fun(err: brood.Error?, member: brood.Member)
---@return brood.Member
function Group:launch(slot, done)
  self.last_id = self.next_id and self.next_id() or self.last_id + 1
  -- Until it has a process, which a hook may delay, it is seen as one that starts.
  local to_come = { state = "starting" }
  local member = setmetatable({ id = self.last_id, slot = slot, group = self, process = to_come }, Member)
  self.members[member.id] = member
  self.given_up[slot] = nil
  if not self.holders[slot] then
    self.holders[slot] = member
  end
  local function failed(err)
    if not member.reason and not give_up_start(self, member, err) then
      self.last_error = err
      failure(self, member, err)
    end
    self:emit("failed", member, err)
    if done then
      done(err, member)
    end
  end
  task.spawn(function()
    local process, err = make(self, member)
    if not process then
      -- Refused before there was anything to start, by a hook for instance.
      member.process = { state = "stopped" }
      failed(err)
      return on_exit(self, member)
    end
    member.process = process
    process:on("exit", function()
      on_exit(self, member)
    end)
    process:start(function(start_err)
      if start_err then
        failed(start_err)
        if not process.run and not process.exit_code and not process.exit_signal then
          on_exit(self, member) -- it never ran, so there is no exit to come
        end
        return
      end
      member.ready_at = now()
      self.failing[slot] = nil
      self.failures[slot], self.last_failure = 0, nil
      self:emit("online", member)
      if done then
        done(nil, member)
      end
      settle_start(self)
    end)
  end)
  return member
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

function begin_start(self, done)
  if self.state == "running" and not self.on_started then
    return done()
  elseif self.state == "running" then
    return wait_for(self, "on_started", done)
  elseif self.state == "stopping" then
    return wait_for(self, "on_restart", done)
  end
  self.state, self.failures, self.given_up, self.last_error = "running", {}, {}, nil
  supervised.add(self)
  wait_for(self, "on_started", done)
  for slot = 1, self.size do
    -- What a launch calls may stop it all, or scale it.
    if self.state == "running" and slot <= self.size and not self.holders[slot] then
      self:launch(slot)
    end
  end
  settle_start(self)
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
    scale(self, n, done)
    settle_start(self) -- a start that waited for the surplus waits no more
  end)
end

--- Replace one member: a new one first; when it is ready it takes over the slot and the old one is told to go.
---@param slot integer
---@param reason string
---@param done fun(err: brood.Error?)
---@return brood.Member the new one
function Group:replace(slot, reason, done)
  return self:launch(slot, function(err, member)
    if err then
      return done(err)
    end
    local present = self.holders[slot]
    if slot > self.size then
      self:dismiss(member, "scale") -- scaled down meanwhile
    elseif present and present.id > member.id and present.ready_at then
      self:dismiss(member, "superseded") -- a later wish was granted sooner
    elseif present ~= member then
      self.holders[slot] = member
      if present then
        self:dismiss(present, reason)
      end
      respawn.drop(self, slot)
    end
    done()
  end)
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
    if self.state ~= "running" then
      return done(E.new("stopped", "%s does not run", self.name))
    end
    local older, token = self.rolling, { replacements = {} }
    self.rolling = token
    self:wake_rolls()
    for member in pairs(older and older.replacements or {}) do
      self:dismiss(member, "superseded")
    end
    require("brood.group.roll")(self, token, reason or "reload", function(err, replaced)
      if err then
        err.replaced = replaced
        return done(err)
      end
      done(nil, replaced)
    end)
  end)
end

return M
