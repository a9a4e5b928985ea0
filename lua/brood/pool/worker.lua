--- One worker of a pool, as the master, its events and the hooks see it: its process, its lane of the store, what it
--- has been given and how long it has had for that. When one is started or replaced is the crew's business.
local become = require "brood.process.become"
local birth = require "brood.pool.birth"
local clock = require "brood.clock"
local E = require "brood.error"
local limits = require "brood.pool.limits"
local signals = require "brood.signals"

local now = clock.now
local min = math.min

---@class brood.PoolWorker
---@field id integer never reused
---@field slot integer 1 to max_processes; a replacement has its slot, while both are there
---@field pid integer?
---@field pool string the pool's name
---@field state "starting"|"ready"|"busy"|"recovering"|"stopping"|"stopped"|"faulted"
---@field jobs integer that it has run
---@field requests integer the same, as hooks have it of web workers
---@field started_at number? seconds since 1970
---@field reason string? once it is told to go, or has ended
---@field lane table core.jobs' lane
---@field member brood.Member
---@field crew brood.Crew
---@field options table of the pool, when it was made
---@field limit number jobs that it may run
local Worker = {}
Worker.__index = Worker

local M = {}

-- ---- for users ------------------------------------------------------------------------------------------------------

--- Send it a message; it hears of them in what its hooks have left there.
---@param value any
---@param fd? integer
---@return boolean? sent, brood.Error? err
function Worker:send(value, fd)
  if not self.process then
    return nil, E.new("stopped", "worker %d does not run", self.id)
  end
  return self.process:send(value, fd)
end

--- Send it a signal, TERM unless told otherwise.
---@param signal? string|integer
---@return true? ok, brood.Error? err
function Worker:kill(signal)
  local number = signals.check(signal or "TERM", 2)
  if not self.pid then
    return nil, E.new("stopped", "worker %d does not run", self.id)
  end
  return self.process:signal(number)
end

--- In after_fork: become this user and group now, for good.
---@param name string|integer
---@param group? string|integer default: the user's own
function Worker:user(name, group)
  return become(self, self.inner, name, group) -- a tail call: it is the caller's line that is blamed
end

-- ---- states ---------------------------------------------------------------------------------------------------------

local EVENTS = {}
for _, state in ipairs { "starting", "ready", "busy", "recovering", "stopping", "stopped", "faulted" } do
  EVENTS[state] = "worker:" .. state
end

---@private
---@param state string
function Worker:to(state)
  if self.state == state then
    return
  end
  self.state = state
  local crew = self.crew
  if crew.listening then
    crew.heard.event(EVENTS[state], self)
  end
end

local TAKES = { ready = true, busy = true, recovering = true }

-- ---- jobs -----------------------------------------------------------------------------------------------------------

--- How many jobs it has been given and has not answered.
---@return integer
function Worker:outstanding()
  return self.lane and self.lane:outstanding() or 0
end

--- How many more it can be given, and how many it has.
---@return integer room, integer outstanding
function Worker:room()
  if not TAKES[self.state] or self.member.tentative then
    return 0, self:outstanding()
  end
  local out = self.lane:outstanding()
  local free = self.options.prefetch - out - (self.state == "recovering" and 1 or 0)
  return min(free, self.limit - self.jobs - out), out
end

--- Give it up to n of the best waiting jobs.
---@param n integer
---@param at number monotonic seconds
---@param room? integer what `room` has just said
---@return integer count
function Worker:give(n, at, room)
  room = room or self:room()
  if room < 1 or n < 1 then
    return 0
  end
  local frame, count = self.lane:assign(min(n, room), at)
  if not frame then
    return 0
  end
  self.seen_at = at
  self:post(frame)
  if self.state == "ready" then
    self:to "busy"
  end
  local crew = self.crew
  crew:watch(self, at)
  if self.limit < math.huge then
    crew:consider_replacing(self, at)
  end
  return count
end

--- A job of it has come so far: told by whoever reads the results, for each record.
---@param kind string
---@param _ integer
---@param left? integer what it still has, where that is known
function Worker:took(kind, _, left)
  if kind == "progress" then
    return
  end
  if kind == "recovered" then
    self.recovering_since = nil
  else
    local jobs = self.jobs + 1
    self.jobs, self.requests = jobs, jobs
    if jobs == 1 then
      self.crew:proved(self)
    end
    if kind == "recovering" or kind == "recovering_failure" then
      self.recovering_since = now()
      if TAKES[self.state] then
        self:to "recovering"
      end
      return self.crew:watch(self, self.recovering_since)
    end
  end
  local state = self.state
  if self.recovering_since then
    return
  elseif (left or self.lane:outstanding()) > 0 then
    return state ~= "busy" and TAKES[state] and self:to "busy"
  elseif self.idle then
    self:now_idle()
  elseif TAKES[state] then
    if self.jobs >= self.limit then
      self.seen_at = now()
      self:to "stopping" -- a Lua worker goes by itself, as it can count as well
      self.crew:watch(self, self.seen_at)
      if self.line then
        self.crew.group:dismiss(self.member, "max_jobs")
      end
    else
      self:to "ready"
      if self.member.reason then
        self.crew:watch(self, self.seen_at)
      end
      if kind == "recovered" then
        self.crew.heard.room(self)
      end
    end
  end
end

--- Call fn once it has answered all that it has, or is gone.
---@param fn fun()
function Worker:when_idle(fn)
  self.idle = self.idle or {}
  table.insert(self.idle, fn)
end

---@private
function Worker:now_idle()
  local list = self.idle or {}
  self.idle = nil
  for _, fn in ipairs(list) do
    fn()
  end
end

--- What it has not claimed yet waits again, for anybody.
---@return integer count
function Worker:take_back()
  local count = self.lane and self.lane:take_back() or 0
  if count > 0 then
    self.crew.heard.room(self)
  end
  return count
end

-- ---- its end --------------------------------------------------------------------------------------------------------

--- End it now, and have it replaced: its running job is to be ended, or it makes no sense.
---@param reason string
---@param err? brood.Error what its jobs fail with, in place of how it ended
---@param culprit? integer the job to which that err belongs
function Worker:discard(reason, err, culprit)
  if self.discarded or self.state == "stopped" then
    return
  end
  self.discarded = true
  self.err, self.culprit = err, culprit
  self:take_back()
  self.crew.group:discard(self.member, reason, self.jobs == 0)
end

--- It has sent what cannot be understood.
---@param err? brood.Error
function Worker:fault(err)
  self:discard("crash", err or E.new("protocol", "%s sent results that make no sense", self:name()))
end

---@return string
function Worker:name()
  return ("%s worker %d"):format(self.pool, self.id)
end

--- What became of it, for the jobs that it had.
---@private
function Worker:end_error(code, signal)
  local how = signal and "was killed by " .. signal or ("exited with status %s"):format(tostring(code))
  local err = E.new("exit", "%s (pid %s) %s while it ran the job", self:name(), tostring(self.pid), how)
  err.exit_code, err.exit_signal = code, signal
  return err
end

-- Jobs that had ended, and whose results have died with the worker, run once more: only the one that ran is to blame.
local function spare_ended(self, started, running)
  local store = self.crew.store
  for _, seq in ipairs(started) do
    local _, attempt = store:find(seq)
    if seq ~= running and attempt then
      store:requeue(seq, 0, attempt)
    end
  end
  return running and store:find(running) and { running } or {}
end

-- A program that has died had not read a job that was written to it: that one has not begun, and waits again; but not
-- where it was given all its time.
local function spare_unread(self, started)
  local unread, begun = self.line:untaken(), {}
  for _, seq in ipairs(started) do
    local _, attempt = self.crew.store:find(seq)
    if seq ~= unread or seq == self.culprit or not attempt then
      begun[#begun + 1] = seq
    else
      self.crew.store:requeue(seq, 0, attempt)
    end
  end
  return begun
end

--- The worker is gone: the job that it ran, which is no longer its own, in a list. What it had besides waits again.
---@return integer[] started
function Worker:bury()
  local lane, started = self.lane, {}
  if lane then
    local running = lane:running()
    started = spare_ended(self, lane:abandon(), running)
    if self.line then
      started = spare_unread(self, started)
    end
    lane:free()
    self.lane = nil
  end
  self:now_idle()
  return started
end

--- Make its process; nothing is started yet.
---@async
---@return brood.Process? process, brood.Error? err
function Worker:make()
  return birth.make(self)
end

--- See whether it has overrun anything. Returns when to look again, if ever.
---@param at number monotonic seconds
---@return number? due
function Worker:look(at)
  return limits.look(self, at)
end

--- When the first look is due, after it has been given something at `at`.
---@param at number
---@return number? due
function Worker:due(at)
  return limits.due(self, at)
end

--- The worker of a group's member, which is to be made.
---@param crew brood.Crew
---@param member brood.Member
---@return brood.PoolWorker
function M.new(crew, member)
  local generation = member.generation or crew.generation -- one on trial has its own
  return setmetatable({
    crew = crew, member = member, generation = generation, options = generation.options, id = member.id,
    slot = member.slot, pool = crew.name, state = "stopped", jobs = 0, requests = 0, began_at = now(), seen_at = 0,
    limit = generation.options.max_jobs_per_process or math.huge,
  }, Worker)
end

return M
