--- What becomes of a slot whose member has ended by itself: tried again, at once
--- or with more and more patience, or given up. The rule is rules/restart's.
local clock = require "brood.clock"
local E = require "brood.error"
local log = require "brood.log"
local restart = require "brood.rules.restart"
local timer = require "brood.timer"

local M = {}

-- Whoever waits for the next try of a slot, if anybody does.
local function take_waiting(self, slot)
  local fn = self.awaiting[slot]
  self.awaiting[slot] = nil
  return fn or function() end
end

--- Wait for the next try of a slot whose member has just failed to start: fn(err, member) as its launch tells it, or
--- fn() where this slot is not tried any more, or is somebody else's business by then.
---@param self brood.Group
---@param slot integer
---@param fn fun(err: brood.Error?, member: brood.Member?)
function M.await(self, slot, fn)
  if not self.respawn or self.state ~= "running" then
    return fn()
  end
  self.awaiting[slot] = fn
end

--- Nobody tries anything any more: the group stops.
---@param self brood.Group
function M.stop(self)
  for slot, retry in pairs(self.retries) do
    retry:cancel()
    self.retries[slot] = nil
  end
  local awaiting = self.awaiting
  self.awaiting = {}
  for _, fn in pairs(awaiting) do
    fn(E.new("stopped", "%s was stopped", self.name))
  end
end

local function schedule(self, slot, delay)
  if self.retries[slot] or self.state ~= "running" or slot > self.size then
    return
  end
  local function go()
    self.retries[slot] = nil
    local waiting = take_waiting(self, slot)
    if self.state == "running" and slot <= self.size and not self.holders[slot] then
      self:launch(slot, waiting)
    else
      waiting()
    end
  end
  if delay <= 0 then
    return go()
  end
  self.retries[slot] = timer.after(delay, go)
  if self.troubles[slot] then
    self.troubles[slot].due = clock.now() + delay
  end
end

--- Why nobody serves in the slot of a member; forgotten when somebody does. Whoever serves there is not troubled by a
--- replacement that failed.
---@param self brood.Group
---@param member brood.Member
---@param text string
function M.trouble(self, member, text)
  local holder = self.holders[member.slot]
  if not holder or holder == member or not holder.ready_at then
    self.troubles[member.slot] = { text = text, at = clock.now() }
  end
end

--- The last of what keeps slots without a member that serves, and in how many seconds the next one is tried again.
---@param self brood.Group
---@return string? text, number? seconds nil where one is being tried, or nobody tries again
function M.last_trouble(self)
  local last, due
  for slot, trouble in pairs(self.troubles) do
    if slot <= self.size then
      last = (not last or trouble.at > last.at) and trouble or last
      due = self.retries[slot] and trouble.due and math.min(due or trouble.due, trouble.due) or due
    end
  end
  return last and last.text, due and math.max(0, due - clock.now())
end

--- What became of that slot so far is forgotten, and nobody waits to try it again.
---@param self brood.Group
---@param slot integer
function M.forget(self, slot)
  self.failures[slot], self.given_up[slot], self.failing[slot], self.troubles[slot] = nil, nil, nil, nil
  timer.drop(self.retries, slot)
  take_waiting(self, slot)()
end

-- Those that somebody sends; the others tell of a mistake in the process itself.
local SENT = { KILL = true, TERM = true, INT = true, QUIT = true }

--- Why one ended that nobody here had told to go.
---@param process brood.Process
---@return "signal"|"crash"
function M.reason(process)
  return SENT[process.exit_signal] and "signal" or "crash"
end

local function describe(member)
  local process = member.process
  local how = process.exit_signal and "was killed by " .. process.exit_signal
    or ("ended with status %s"):format(tostring(process.exit_code))
  return ("worker %d %s%s"):format(member.id, how, member.cause and (" (%s)"):format(member.cause) or "")
end

local function give_up(self, member)
  self.given_up[member.slot] = true
  local err = E.new("faulted", "%s: worker %d: too many ends in too short a time", self.name, member.id)
  if member.process.fault then
    member.process:fault(err)
  end
  self:emit("faulted", member, err)
  take_waiting(self, member.slot)(err, member)
end

--- A member that holds its slot has ended, and nobody had told it to go.
---@param self brood.Group
---@param member brood.Member
function M.lost(self, member)
  if not self.respawn or self.state ~= "running" then
    return
  end
  local uptime = member.ready_at and clock.now() - member.ready_at or 0
  local policy = self.after_ready
  if member.ready_at then
    M.trouble(self, member, describe(member))
  else
    policy = self.failing[member.slot] or restart.new(self.after_failure)
    self.failing[member.slot] = policy
  end
  local verdict = restart.exited(policy, clock.now(), uptime, math.random())
  if verdict.action == "faulted" then
    return give_up(self, member)
  elseif verdict.delay > 0 and not self.quiet then
    log.warn(("%s: the next try for worker %d in %.1f s"):format(self.name, member.id, verdict.delay))
  end
  schedule(self, member.slot, verdict.delay)
  self:emit("respawn", member, member.process.exit_code, member.process.exit_signal)
end

return M
