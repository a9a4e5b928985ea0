--- How long a pool's worker may take for what it does, and what becomes of one that takes longer: the job that ran at
--- that moment is to blame, and nobody's successor. When somebody looks is the crew's business.
local E = require "brood.error"

local min = math.min

local GRACE = 5 -- seconds in which one that has nothing to do any more must have gone
local SPARE = 0.1 -- seconds without a job after which one goes whose replacement is there, whatever it might still run
local FOR_EVER = 1e9 -- seconds: how the store keeps that a job has no limit

local M = {}

-- What it has sent may not have been read yet.
local function read_now(self)
  local run = self.process.run
  if self.line then
    self.line:read_now()
  elseif run and run.peer then
    run.peer:read_now()
  end
end

local function overran(self, phase, reason, err, culprit)
  self.crew.heard.event("timeout", self, phase)
  self:discard(reason, err, culprit)
end

local function limit_of(self, seq)
  local _, _, _, _, own = self.crew.store:find(seq)
  if own and own >= 0 then
    return own < FOR_EVER and own or nil
  end
  return self.options.timeout_working or nil
end

-- When to look again, with jobs that may begin at any moment behind the one that runs.
local function next_look(self, due, at)
  for _, seq in ipairs(self.lane:list()) do
    local limit = limit_of(self, seq)
    due = limit and min(due or at + limit, at + limit) or due
  end
  return due
end

-- The job that runs: until when it may. Once it may no more, nothing else can be claimed, and only if it still runs
-- then is it to blame.
local function look_at_job(self, seq, started_at, at)
  local limit = limit_of(self, seq)
  local due = limit and started_at + limit + (self.stolen_from == started_at and self.stolen or 0)
  if not due or at < due then
    return next_look(self, due, at)
  end
  read_now(self)
  if self.lane:running() ~= seq then
    return at
  end
  self:take_back()
  if self.lane:running() ~= seq then
    return at
  end
  overran(self, "working", "timeout", E.new("timeout", "the job took longer than %g s%s", limit,
    self.line and " (did the program flush its stdout?)" or ""), seq)
end

-- It has jobs, and does not begin with any.
local function look_at_idler(self, at)
  local limit = self.options.timeout_working
  if not limit or at < self.seen_at + limit then
    return next_look(self, limit and self.seen_at + limit, at)
  end
  read_now(self)
  if self.lane:running() or self.lane:outstanding() == 0 then
    return at
  end
  self:take_back()
  if self.lane:running() then
    return at
  end
  overran(self, "working", "timeout", E.new("timeout", "%s stood still for %g s", self:name(), limit))
end

local function look_at_recovery(self, at)
  local limit = self.options.timeout_recovering
  if not limit then
    return nil
  elseif at < self.recovering_since + limit then
    return self.recovering_since + limit
  end
  read_now(self)
  if self.recovering_since then
    overran(self, "recovering", "timeout", E.new("timeout", "%s: recover took longer than %g s", self:name(), limit))
  end
end

-- It has nothing to do, and another one has its slot.
local function look_at_spare(self, at)
  local holder = self.crew.group.holders[self.slot]
  if at < self.seen_at + SPARE then
    return self.seen_at + SPARE
  elseif not (holder and holder.ready_at) then
    return at + SPARE
  end
  self.crew.group:dismiss(self.member, "max_jobs")
end

--- Its master has stood still for so long, and perhaps it has as well: what it does may take so much longer.
---@param self brood.PoolWorker
---@param seconds number
---@param at number monotonic seconds
function M.allow(self, seconds, at)
  self.seen_at = at
  if self.recovering_since then
    self.recovering_since = min(at, self.recovering_since + seconds)
  end
  local seq, started_at = nil, nil
  if self.lane then
    seq, started_at = self.lane:running()
  end
  if seq then
    local before = self.stolen_from == started_at and self.stolen or 0
    self.stolen_from, self.stolen = started_at, min(before + seconds, at - started_at)
  end
end

--- See whether it has overrun anything. Returns when to look again, if ever.
---@param self brood.PoolWorker
---@param at number monotonic seconds
---@return number? due
function M.look(self, at)
  if self.discarded or not self.lane or self.state == "starting" or self.state == "stopped" then
    return nil
  elseif self.recovering_since then
    return look_at_recovery(self, at)
  elseif self.lane:outstanding() > 0 then
    local seq, started_at = self.lane:running()
    if seq then
      return look_at_job(self, seq, started_at, at)
    end
    return look_at_idler(self, at)
  elseif self.state == "stopping" then
    if at < self.seen_at + GRACE then
      return self.seen_at + GRACE
    end
    self:discard "stop"
  elseif self.state == "ready" and self.member.reason then
    return look_at_spare(self, at)
  end
end

--- When the first look is due, after it has been given something at `at`.
---@param self brood.PoolWorker
---@param at number
---@return number? due
function M.due(self, at)
  if self.state == "stopping" and self.lane:outstanding() == 0 then
    return at + GRACE
  elseif self.state == "ready" and self.member.reason then
    return at + SPARE
  end
  local limit = self.recovering_since and self.options.timeout_recovering or self.options.timeout_working
  local shortest = self.crew.shortest
  return (limit or shortest) and at + min(limit or shortest, shortest or limit) or nil
end

return M
