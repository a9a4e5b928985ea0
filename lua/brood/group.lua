--- N processes of one kind: kept at that number, scaled, rolled. A replacement
--- comes first and takes over the slot; the one it replaces goes when it is ready.
--- What a member is, and what makes it ready, is its process's business.
local clock = require "brood.clock"
local E = require "brood.error"
local emitter = require "brood.emitter"
local log = require "brood.log"
local restart = require "brood.rules.restart"
local task = require "brood.task"
local timer = require "brood.timer"

---@class brood.Member
---@field id integer never reused
---@field slot integer 1 to size; a replacement takes over its slot
---@field process brood.Process
---@field reason string? once it is told to go: "reload", "scale", "stop", ...
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
---@param options table name, size, make = fn(member) -> Process, respawn, surge, pause, after_ready, after_failure
---@return brood.Group
function M.new(options)
  return setmetatable({
    name = options.name or "group",
    size = options.size or 1,
    make = options.make,
    respawn = options.respawn ~= false,
    surge = options.surge or 1,
    pause = options.pause or 0,
    members = {},
    holders = {}, -- slot -> the member that holds it
    state = "stopped",
    last_id = 0,
    after_ready = restart.new(options.after_ready or AFTER_READY),
    after_failure = options.after_failure or AFTER_FAILURE,
    failing = {}, -- slot -> its own row of failed starts: many that fail side by side are no longer row
    retries = {}, -- slot -> timer of the next try
    failures = {}, -- slot -> failed starts in a row
  }, Group)
end

local function answer(self, field, ...)
  local list = self[field]
  self[field] = nil
  for _, done in ipairs(list or {}) do
    done(...)
  end
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

-- The first start is over when each slot has a ready member or has failed often enough.
local function settle_start(self)
  if not self.on_started then
    return
  end
  for slot = 1, self.size do
    local member = self.holders[slot]
    local is_ready = member and member.ready_at
    if not is_ready and (self.failures[slot] or 0) < START_ATTEMPTS then
      return
    end
  end
  if self.size > 0 and self:ready_count() == 0 then
    self.state = "stopping"
    local err = self.last_error or E.new("exit", "no member of %s became ready", self.name)
    self:stop_members("stop", function()
      self.state = "stopped"
      answer(self, "on_started", err)
    end)
    return
  end
  self.served = true
  self:emit("started")
  answer(self, "on_started")
end

local function settle_stop(self)
  if self.state == "stopping" and next(self.members) == nil and self.on_stopped then
    self.state = "stopped"
    self:emit("stopped")
    answer(self, "on_stopped")
  end
end

local function schedule(self, slot, delay)
  if self.retries[slot] or self.state ~= "running" or slot > self.size then
    return
  end
  local function go()
    self.retries[slot] = nil
    if self.state == "running" and slot <= self.size and not self.holders[slot] then
      self:launch(slot)
    end
  end
  if delay <= 0 then
    return go()
  end
  self.retries[slot] = timer.after(delay, go)
end

-- One of ours has ended that nobody told to go.
local function lost(self, member)
  if not self.respawn or self.state ~= "running" then
    return
  end
  local uptime = member.ready_at and now() - member.ready_at or 0
  local slot = member.slot
  local policy = self.after_ready
  if not member.ready_at then
    policy = self.failing[slot] or restart.new(self.after_failure)
    self.failing[slot] = policy
  end
  local verdict = restart.exited(policy, now(), uptime, math.random())
  if verdict.delay > 0 then
    log.warn(("%s: the next try for worker %d in %.1f s"):format(self.name, member.id, verdict.delay))
  end
  self:emit("respawn", member, member.process.exit_code, member.process.exit_signal)
  schedule(self, slot, verdict.delay)
end

local function on_exit(self, member)
  local slot, process = member.slot, member.process
  self.members[member.id] = nil
  local held = self.holders[slot] == member
  if held then
    self.holders[slot] = nil
  end
  local was_ready = member.ready_at ~= nil
  member.reason = member.reason or (process.exit_signal and not process.exit_code and "signal" or "crash")
  self:emit("exit", member, process.exit_code, process.exit_signal)
  if not was_ready then
    self.failures[slot] = (self.failures[slot] or 0) + 1
  end
  if member.on_gone then
    member.on_gone()
  end
  if held then
    lost(self, member)
  end
  settle_start(self)
  settle_stop(self)
end

--- Start a new member in a slot. done(err) when it is ready, or has ended without.
---@param slot integer
---@param done? fun(err: brood.Error?, member: brood.Member)
function Group:launch(slot, done)
  self.last_id = self.last_id + 1
  -- Until it has a process, which a hook may delay, it is seen as one that starts.
  local process_to_come = { state = "starting" }
  local member = setmetatable({ id = self.last_id, slot = slot, group = self, process = process_to_come }, Member)
  local replaces = self.holders[slot]
  self.members[member.id] = member
  if not replaces then
    self.holders[slot] = member
  end
  local function failed(err)
    self.last_error = err
    self:emit("failed", member, err)
    if done then
      done(err, member)
    end
  end
  task.spawn(function()
    local process, err = self.make(member)
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
        local stopped = member.reason ~= nil
        if not stopped then
          log.error(("%s: worker %d: %s"):format(self.name, member.id, E.text(start_err)))
        end
        failed(start_err)
        if not process.run and not process.exit_code and not process.exit_signal then
          on_exit(self, member) -- it never ran, so there is no exit to come
        end
        return
      end
      member.ready_at = now()
      self.failing[slot] = nil
      self.failures[slot] = 0
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
  member.reason = member.reason or reason
  if self.holders[member.slot] == member then
    self.holders[member.slot] = nil
  end
  local process = member.process
  if not process or not process.stop then
    return done and done()
  end
  process:stop(done or function() end)
end

--- Start all members. Ends well when at least one is ready and the others are, or have
--- failed a few times and are tried again; with the first failure's error when none became ready.
---@async
---@param cb? fun(err: brood.Error?)
function Group:start(cb)
  return task.run(cb, self.name .. ":start", function(done)
    if self.state == "running" then
      return self.on_started and wait_for(self, "on_started", done) or done()
    elseif self.state == "stopping" then
      return done(E.new("stopped", "%s is stopping", self.name))
    end
    self.state, self.failures, self.last_error = "running", {}, nil
    wait_for(self, "on_started", done)
    for slot = 1, self.size do
      self:launch(slot)
    end
    settle_start(self)
  end)
end

function Group:stop_members(reason, done)
  local waiting = 1
  local function one_less()
    waiting = waiting - 1
    if waiting == 0 then
      done()
    end
  end
  for slot, retry in pairs(self.retries) do
    retry:cancel()
    self.retries[slot] = nil
  end
  local list = {}
  for _, member in pairs(self.members) do
    list[#list + 1] = member
  end
  for _, member in ipairs(list) do
    waiting = waiting + 1
    self:dismiss(member, reason, one_less)
  end
  one_less()
end

--- Stop all members, each with its own patience.
---@async
---@param cb? fun(err: brood.Error?)
function Group:stop(cb)
  return task.run(cb, self.name .. ":stop", function(done)
    if self.state == "stopped" then
      return done()
    end
    wait_for(self, "on_stopped", done)
    if self.state == "stopping" then
      return
    end
    self.state = "stopping"
    self:emit("stopping")
    answer(self, "on_started", E.new("stopped", "%s was stopped before it had started", self.name))
    self:stop_members("stop", function()
      settle_stop(self)
    end)
  end)
end

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
    local old = self.size
    self.size = n
    if self.state ~= "running" then
      return done()
    end
    local waiting, first = 1, nil
    local function one_less(err)
      first = first or err
      waiting = waiting - 1
      if waiting == 0 then
        done(first)
      end
    end
    for slot = old, n + 1, -1 do
      local member = self.holders[slot]
      if self.retries[slot] then
        self.retries[slot]:cancel()
        self.retries[slot] = nil
      end
      if member then
        waiting = waiting + 1
        self:dismiss(member, "scale", function()
          one_less()
        end)
      end
    end
    for slot = 1, n do
      if not self.holders[slot] and not self.retries[slot] then
        waiting = waiting + 1
        self:launch(slot, one_less)
      end
    end
    one_less()
  end)
end

--- Replace one member: a new one first; when it is ready it takes over the slot and the old one is told to go.
---@param slot integer
---@param reason string
---@param done fun(err: brood.Error?)
function Group:replace(slot, reason, done)
  local old = self.holders[slot]
  self:launch(slot, function(err, member)
    if err then
      return done(err)
    end
    local present = self.holders[slot]
    if slot > self.size then
      self:dismiss(member, "scale") -- scaled down meanwhile
    elseif present ~= member then
      if present then
        self:dismiss(present, reason)
      end
      if self.retries[slot] then
        self.retries[slot]:cancel()
        self.retries[slot] = nil
      end
      self.holders[slot] = member
    end
    done(nil, old)
  end)
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
    local token = {}
    self.rolling = token
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
