--- The programs of a backend and those who wait for them: who gets which, when another one is started, and what becomes
--- of those who wait when none can be. What a call means in each state is rules/backend_states; one program is
--- backend.program.
local clock = require "brood.clock"
local E = require "brood.error"
local emitter = require "brood.emitter"
local Lease = require "brood.backend.lease"
local log = require "brood.log"
local program = require "brood.backend.program"
local queue = require "brood.backend.queue"
local rules = require "brood.rules.backend_states"
local supervised = require "brood.supervised"
local timer = require "brood.timer"

local M = {}

local settle

--- With nothing that runs, and nobody who waits.
---@param self brood.Backend
function M.reset(self)
  self.slots, self.queue, self.failures = {}, queue.new(), rules.new()
  self.state, self.pid, self.faulted, self.blocked_until, self.failure = "stopped", nil, false, 0, nil
  self.retry, self.settling, self.unsettled, self.closers = nil, false, false, {}
end

---@param self brood.Backend
---@return brood.Error
function M.stopped(self)
  return E.new("stopped", "%s is closed", self.name)
end

-- ---- what it looks like ----

-- Its state is that of the program which the next one would meet.
local function update(self)
  local states, pid = {}, nil
  for slot = 1, self.options.size do
    local one = self.slots[slot]
    if one then
      states[one.process.state] = true
      pid = pid or one.pid
    end
  end
  self.pid = pid
  local old, new = self.state, rules.of(states, self.faulted)
  if new ~= old then
    self.state = new
    self:emit(new)
    self:emit("state", new, old)
  end
end

local function answer(list, ...)
  for _, done in ipairs(list) do
    done(...)
  end
end

-- Whoever waits for an error gets it; it is news to those who listen, and where nobody waits to the log.
local function report(self, err, waited_for)
  if not waited_for or emitter.has_listener(self, "error") or emitter.has_listener(self, "*") then
    self:emit("error", err)
  end
end

-- ---- being idle ----

local function arm_idle(self, one)
  local patience = self.options.idle
  if not patience or one.idle_timer then
    return
  end
  local function wait(seconds)
    one.idle_timer = timer.after(seconds, function()
      one.idle_timer = nil
      if not one:is_free() then
        return -- it is armed again when that is over
      end
      local left = patience - Lease.idle_for(one)
      if left > 0.0005 then
        return wait(left)
      end
      self:emit("idle", one.pid)
      if one:is_free() then
        one:quit()
      end
    end):unref()
  end
  wait(patience)
end

-- ---- failures ----

local function fail_waiting(self, err)
  for _, ticket in ipairs(self.queue:take_all()) do
    ticket.done(err)
  end
end

-- Whether there is one that runs, or will.
local function has_hope(self)
  for _, one in pairs(self.slots) do
    if not one.asked and not one.over then
      return true
    end
  end
  return false
end

local function forget(self)
  rules.forget(self.failures)
  self.faulted, self.blocked_until, self.failure = false, 0, nil
end

--- Somebody wants one now: none of the pauses counts.
---@param self brood.Backend
function M.hope(self)
  self.faulted, self.blocked_until = false, 0
end

-- One has ended unasked that has served nobody.
local function failed(self, one, err)
  local killed = err.code == "exit" and one.process.exit_signal ~= nil or one.port_lost or false
  local what, pause = rules.failed(self.failures, clock.now(), { was_ready = one.was_ready or false, killed = killed })
  report(self, err, #one.starters > 0 or self.queue.count > 0)
  if what == "again" then
    return
  end
  self.failure, self.blocked_until = err, clock.now() + pause
  if not has_hope(self) then
    self.faulted = pause > 0
    update(self) -- whoever is answered may look
    fail_waiting(self, err)
  end
end

-- One has ended unasked: it matters to whoever used it, who sees it, or to nobody.
local function crashed(self, err, used)
  local text = err.message
  if used then
    return report(self, E.new("exit", "%s in the middle of a request", text), false)
  end
  log.warn(("%s: it is started again when it is needed"):format(text))
end

-- ---- what programs tell ----

local function gone(self, one, err)
  self.slots[one.slot] = nil
  if one.idle_timer then
    one.idle_timer:cancel()
  end
  local ended, used = Lease.gone(one)
  if not one.asked and not supervised.ending then
    if one.was_ready and (used or one.served > 0) then
      crashed(self, ended, used)
    else
      failed(self, one, err or ended)
    end
  end
  update(self)
  local successors = one.successors
  one.successors = {}
  if #successors > 0 then
    M.launch(self, one.slot, successors)
  end
  settle(self)
end

local function heard_by(self)
  return {
    state = function(one, new)
      local run = one.process.run
      if new == "stopping" and run and run.stop_asked and not one.asked then
        one.asked = "terminate" -- by the end of this process
      end
      update(self)
    end,
    spawn = function(one)
      update(self)
      self:emit("spawn", one.pid)
    end,
    ready = function(one)
      arm_idle(self, one)
      settle(self)
    end,
    exit = function(one, code, signal)
      self:emit("exit", code, signal, one.pid)
    end,
    gone = function(one, err)
      gone(self, one, err)
    end,
    used = function(one)
      forget(self)
      self.served = self.served + 1
      if self.options.run_once then
        one:quit()
      end
      M.free(self, one)
    end,
    spared = function(one, used)
      if used and self.options.run_once then
        one:quit()
      end
      M.free(self, one)
    end,
  }
end

--- It can be used by the next one.
---@param self brood.Backend
---@param one brood.BackendProgram
function M.free(self, one)
  one.free_since = clock.now()
  one.process:set_busy(false)
  if not one.asked then
    arm_idle(self, one)
  end
  settle(self)
end

--- Start one in a place where there is none.
---@param self brood.Backend
---@param slot integer
---@param starters fun(err: brood.Error?)[]
function M.launch(self, slot, starters)
  if self.closed or supervised.ending then
    return answer(starters, M.stopped(self))
  end
  self.faulted = false
  self.heard_programs = self.heard_programs or heard_by(self)
  local one = program.new(self.options, slot, self.heard_programs, self.inner)
  one.starters = starters
  self.slots[slot] = one
  one:begin()
end

-- ---- who gets what ----

-- Of those that are free the one that was used last, so that those which are not needed become idle.
local function free_one(self)
  local found
  for _, one in pairs(self.slots) do
    if one:is_free() and (not found or one.free_since > found.free_since) then
      found = one
    end
  end
  return found
end

local function start_what_is_needed(self)
  local starting, size = 0, self.options.size
  for _, one in pairs(self.slots) do
    starting = starting + (not one.asked and not one.was_ready and 1 or 0)
  end
  -- While they fail one has to show that it can.
  local wanted = math.min(self.queue.count, self.failures.row > 0 and 1 or size)
  for slot = 1, size do
    if starting >= wanted or self.closed and self.queue.count == 0 then
      return
    elseif not self.slots[slot] then
      starting = starting + 1
      M.launch(self, slot, {})
      wanted = math.min(wanted, self.queue.count)
    end
  end
end

-- None is started yet: look again when one may be.
local function retry_later(self, seconds)
  self.retry = self.retry or timer.after(seconds, function()
    self.retry = nil
    settle(self)
  end)
end

local function one_round(self)
  local one = self.queue.count > 0 and free_one(self)
  while one do
    if one:is_dying() or one:is_lost() then
      Lease.suspect(one, self.heard_programs, function() end)
    else
      local ticket = self.queue:take()
      ticket.done(nil, Lease.new(one, self.heard_programs))
    end
    one = self.queue.count > 0 and free_one(self)
  end
  if self.queue.count == 0 then
    return
  elseif supervised.ending then
    return fail_waiting(self, E.new("stopped", "%s is stopped: this process ends", self.name))
  end
  local pause = self.blocked_until - clock.now()
  if pause > 0 then
    return retry_later(self, pause)
  end
  start_what_is_needed(self)
end

-- Closed, and nobody waits: those that nobody uses go, and with the last one it is over.
local function finish(self)
  for _, one in pairs(self.slots) do
    if not one.lease and not one.suspect and not one.asked then
      one:quit()
    end
  end
  if next(self.slots) == nil then
    timer.drop(self, "retry")
    local closers = self.closers
    self.closers = {}
    answer(closers)
  end
end

--- Give what is free to those who wait, and start what they need. Whoever is called by this may cause it again.
function settle(self)
  self.unsettled = true
  if self.settling then
    return
  end
  self.settling = true
  while self.unsettled do
    self.unsettled = false
    one_round(self)
    if self.closed and self.queue.count == 0 then
      finish(self)
    end
  end
  self.settling = false
end
M.settle = settle

-- How many could be served before anybody has to wait for somebody else's end.
local function room(self)
  local used = 0
  for _, one in pairs(self.slots) do
    used = used + ((one.lease or one.suspect or one.asked) and 1 or 0)
  end
  return self.options.size - used
end

--- Wait for a program. done(err, lease) once, unless the ticket is called off.
---@param self brood.Backend
---@param done fun(err: brood.Error?, lease: brood.BackendLease?)
---@param before? boolean whose turn has come to nothing waits before all others
---@return brood.BackendTicket? ticket
function M.acquire(self, done, before)
  local limit = self.options.max_backlog
  if self.closed then
    return done(M.stopped(self))
  elseif self.faulted and self.blocked_until > clock.now() then
    return done(self.failure)
  elseif limit and self.queue.count >= room(self) + limit then
    return done(E.new("backlog", "%s: %d wait already", self.name, self.queue.count))
  end
  local ticket = self.queue:add(done, before)
  settle(self)
  return ticket
end

M.forget, M.fail_waiting = forget, fail_waiting
M.update = update

return M
