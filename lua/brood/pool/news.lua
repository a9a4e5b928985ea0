--- What the group of a pool's workers tells, and what comes of it: who hears that a worker has come or gone, what is
--- said when one cannot be started, and when nobody tries any more. How many there are to be is the crew's business.
local clock = require "brood.clock"
local E = require "brood.error"
local group = require "brood.group"
local log = require "brood.log"
local restart = require "brood.rules.restart"
local timer = require "brood.timer"
local worker = require "brood.pool.worker"

local now = clock.now

local ATTEMPTS = 3 -- failed starts in a row of one slot, with no worker there, before waiting jobs are not kept waiting
local AFTER_FAULT = { delay = 0.2, max_delay = 5, jitter = 0 } -- then it is tried again, when there are jobs
local LAST = 5 -- seconds that running jobs have to end when the script that has the pool is told to
local WEIGHT = 0.2 -- of the newest in a mean

local M = {}

local function list_remove(list, item)
  for i, each in ipairs(list) do
    if each == item then
      return table.remove(list, i)
    end
  end
end

--- Who waits for all of them to be there hears that they are, or why not.
---@param self brood.Crew
---@param err brood.Error?
function M.answer_spawners(self, err)
  local list = self.spawners
  self.spawners = {}
  for _, done in ipairs(list) do
    done(err)
  end
end

--- Tell those who wait, if all are there.
---@param self brood.Crew
function M.settle_spawners(self)
  local all = self.group
  if #self.spawners == 0 then
    return
  end
  for slot = 1, all.size do
    local holder = all.holders[slot]
    if not (holder and holder.ready_at) then
      return
    end
  end
  M.answer_spawners(self)
end

local function mean(old, new)
  return old and old + WEIGHT * (new - old) or new
end

local function on_spawned(self, member)
  local w = member.worker
  local process = w.process
  if process.pid and not w.pid then
    w.pid, w.started_at = process.pid, process.started_at
    table.insert(self.list, w)
    w:to "starting"
    self.heard.event("spawn", w)
  end
end

-- Workers can be started (again).
---@param self brood.Crew
---@param w brood.PoolWorker
function M.recovered(self, w)
  self.told, self.vain, self.failed_starts = nil, nil, {}
  if self.fault then
    self.fault = nil
    log.info(("%s: worker %d has started; the pool works again"):format(self.name, w.id))
  end
end

local function on_online(self, member)
  local w = member.worker
  on_spawned(self, member) -- a program may be ready before the group has told of it
  self.mean_start = mean(self.mean_start, now() - w.began_at)
  if not self.vain and (not w.line or w.options.worker.ready == "line") then
    M.recovered(self, w)
  end
  w:to "ready"
  if w.generation.hooks.ready then
    w.generation.hooks.ready(w)
  end
  self.heard.room(w)
  M.settle_spawners(self)
end

-- What an error says behind the name of its worker.
local function without_name(w, err)
  local name, why = w:name(), err.message
  return why:sub(1, #name) == name and why:sub(#name + 1) or ": " .. why
end

-- As the pool tells it, whose own name is put before it by whoever logs it.
local function of_worker(w, err)
  local told = E.new(err.code, "worker %d%s", w.id, without_name(w, err))
  told.traceback = err.traceback and ("worker %d: %s"):format(w.id, err.traceback)
  return told
end

local function on_failed(self, member, err)
  if member.reason or member.tentative then
    return -- told to go
  end
  local w = member.worker
  err = w and w.err or err
  if err.code == "timeout" and w and w.pid then
    self.heard.event("timeout", w, "initializing")
  end
  self.last_error, member.failed = err, true
  local why = w and without_name(w, err) or err.message
  if why ~= self.told then
    self.told = why -- of many in a row that fail for one reason, once
    self.heard.event("error", w and of_worker(w, err) or err)
  end
  M.answer_spawners(self, err)
end

-- No worker can be started: who waits is told, and nobody tries any more until there are jobs, and some time is over.
local function give_up(self)
  if not self.fault then
    self.fault = restart.new(AFTER_FAULT)
    log.error(("%s: no worker can be started, and jobs fail until one can%s"):format(self.name,
      self.last_error and ": " .. self.last_error.message or ""))
  end
  self.try_at = now() + restart.exited(self.fault, now(), 0).delay
  self.group:scale(0, function() end)
  self.heard.failed(self.last_error or E.new("faulted", "%s: no worker can be started", self.name))
end

local function ending(code, signal)
  return signal and "was killed by " .. signal or "ended with status " .. tostring(code)
end

-- A program counts as ready as soon as it runs: one that leaves before it has read any job has not started. Nor has a
-- Lua worker that leaves without having begun with one of the jobs that wait: they would wait for its like for ever.
-- Returns whether it was such a one.
local function note_vain_start(self, w, member, started)
  if not member.ready_at or member.reason ~= "crash" or w.jobs > 0 or #started > 0
    or not w.line and self.store:counts() == 0 then
    return false
  end
  local err = w.err or E.new("exit", "%s %s before it had %s a job", w:name(),
    ending(member.process.exit_code, member.process.exit_signal), w.line and "read" or "begun with")
  self.vain = (self.vain or 0) + 1
  if self.vain == 1 then
    self.heard.event("error", of_worker(w, err))
  end
  self.last_error = err
  return true
end

-- A start of that slot has failed. Returns how many have since there was a worker: one beside it that serves shows that
-- workers can be started.
local function note_failed_start(self, slot)
  if self.group:ready_count() > 0 then
    self.failed_starts = {}
    return 0
  end
  local count = (self.failed_starts[slot] or 0) + 1
  self.failed_starts[slot] = count
  return count
end

local UNASKED = { crash = true, signal = true, timeout = true }

-- One that was to go soon can die before, and one that we have ended has an err where it was at fault.
local function is_unasked(w, started)
  if w.discarded then
    return w.err ~= nil
  end
  return UNASKED[w.reason] or started[1] ~= nil
end

-- Of one that was ready: its jobs may be tried again without a word, and it may have had none. How long a job may take
-- is a limit that was asked for, and whoever has the job hears of it.
local function tell_end(self, w, started, code, signal, vain)
  if not is_unasked(w, started) then
    return
  end
  self.restarts = self.restarts + 1
  if w.culprit or vain or w.line and w.jobs == 0 and not started[1] then
    return -- (one that had not begun with anything has a story of its own)
  end
  local seq = started[#started]
  log.warn(w.err and ("%s; its worker (pid %s) is replaced"):format(w.err.message, tostring(w.pid))
    or ("%s (pid %s) %s%s"):format(w:name(), tostring(w.pid),
      ending(code, signal), seq and " while it ran job " .. self.id_of(seq) or ""))
end

local function on_exit(self, member, code, signal)
  local w = member.worker
  if w then
    local pid, had_run = w.pid, w.pid ~= nil
    list_remove(self.list, w)
    w.reason = member.reason
    local err = w.err or w:end_error(code, signal)
    local started = w:bury()
    local vain = note_vain_start(self, w, member, started)
    if member.ready_at and not member.tentative then
      tell_end(self, w, started, code, signal, vain)
    end
    self.heard.lost(w, started, err, w.culprit)
    w:to "stopped"
    if had_run then
      w.last_pid, w.exit_code, w.exit_signal = pid, code, signal
      self.heard.event("exit", w, code, signal)
      if w.generation.hooks.exit then
        w.generation.hooks.exit(w, code, signal)
      end
    end
  end
  local all = self.group
  local failed = member.failed and (self.fault ~= nil or note_failed_start(self, member.slot) >= ATTEMPTS)
  if (failed or (self.vain or 0) >= ATTEMPTS) and all.state == "running" and all:ready_count() == 0 then
    give_up(self)
  end
end

--- How long its group waits before it replaces one that has died: longer while they die without having ended a job.
---@param self brood.Crew
---@param all brood.Group
function M.be_patient(self, all)
  local delay = self.options.respawn_delay
  all:be_patient(delay > 0 and { delay = delay, max_delay = math.max(1, delay), stable_after = 10 } or nil,
    { delay = math.max(0.05, math.min(1, delay)), max_delay = 5 })
end

--- The group of a crew.
---@param self brood.Crew
---@param inner? table next_id
---@return brood.Group
function M.group(self, inner)
  local all = group.new {
    name = self.name, size = 0, next_id = inner and inner.next_id, quiet = true,
    spawned = function(member)
      on_spawned(self, member)
    end,
    make = function(member)
      member.worker = worker.new(self, member)
      return member.worker:make()
    end,
  }
  M.be_patient(self, all)
  function all.limit()
    timer.after(LAST, function()
      all:kill()
    end):unref()
  end
  for event, fn in pairs { online = on_online, failed = on_failed, exit = on_exit } do
    all:on(event, function(...)
      fn(self, ...)
    end)
  end
  return all
end

return M
