--- Between the store and the workers: who is given how many jobs and when, what comes back from them, and what is
--- taken back from a worker that holds others up. It looks once at the end of a turn, for all that happened in it.
--- It starts and stops no worker (the crew does) and ends no job (settle does).
local clock = require "brood.clock"
local core = require "brood.core"
local E = require "brood.error"
local log = require "brood.log"
local queue = require "brood.rules.queue"
local settle = require "brood.pool.settle"
local timer = require "brood.timer"

local expect_soon = core.expect_soon
local answered, succeeded, failed, progressed = settle.answered, settle.succeeded, settle.failed, settle.progressed

local M = {}

local PATIENCE = 0.01 -- seconds that a job may hold those behind it up while another worker is idle

-- ---- the pump ----

local pump

--- Look at what there is to do at the end of this turn.
---@param self brood.Pool
function M.arm(self)
  if not self.armed then
    self.armed = true
    core.at_turn_end(self.pump)
  end
end
local arm = M.arm

-- Delayed jobs become waiting ones when they are due; one timer looks after the next of them.
local function promote(self, now)
  local due = self.store:due(now) -- what was aborted leaves nothing to wait for
  self.next_due = due
  if self.due_at ~= due then
    if self.due_timer then
      self.due_timer:cancel()
    end
    self.due_at = due
    self.due_timer = due and timer.after(due - now, function()
      self.due_at, self.due_timer = nil, nil
      arm(self)
    end)
  end
end

--- A job is due at that time; 0 is now.
---@param self brood.Pool
---@param due number
function M.stir(self, due)
  if due > 0 and (not self.next_due or due < self.next_due) then
    self.next_due = due
  end
  if not self.armed then
    arm(self)
  end
end

-- What was just given begins at once where the worker had nothing else.
local function tell_given(self, w, had, count)
  local list = w.lane:list()
  for i = #list - count + 1, #list do
    local handle = list[i] and settle.handle(self, list[i])
    if handle then
      self:emit("task", handle, w)
    end
  end
  if had == 0 and list[1] then
    settle.started(self, list[1])
  end
end

local function outstanding_of(workers)
  local n = 0
  for i = 1, #workers do
    n = n + workers[i]:outstanding()
  end
  return n
end

local function share_out(self, waiting, now)
  local crew = self.crew
  local level
  while waiting > 0 do
    local w, had, room = crew:free()
    if not w then
      return waiting
    end
    -- With room for one there is nothing to share.
    local n = 1
    if self.options.prefetch > 1 then
      level = level or queue.level(waiting, outstanding_of(crew:workers()), self.options.max_processes)
      n = queue.share(level, had, room)
    end
    local count = n > 0 and w:give(n, now, room)
    if not count or count == 0 then
      return waiting -- all have their part, or it has gone, and the crew knows
    end
    waiting = waiting - count
    if self.tells_starts then
      tell_given(self, w, had, count)
    end
  end
  return waiting
end

-- While one worker has nothing to do, another must not keep jobs that it cannot begin: they are taken back.
local function look_for_stalls(self)
  self.stall_timer = nil
  local workers, now = self.crew:workers(), clock.now()
  local idle = false
  for _, w in ipairs(workers) do
    idle = idle or w:outstanding() == 0 and w:room() > 0
  end
  if not idle then
    return
  end
  for _, w in ipairs(workers) do
    local seq, since = w.lane:running()
    if seq and queue.stalls(w:outstanding(), now - since, PATIENCE) and w.lane:take_back() > 0 then
      arm(self)
    end
  end
  M.watch_stalls(self)
end

--- Keep an eye on workers that have more than they can begin while another has nothing.
---@private
---@param self brood.Pool
function M.watch_stalls(self)
  if self.stall_timer or self.options.prefetch == 1 then
    return
  end
  local idle, full = false, false
  for _, w in ipairs(self.crew:workers()) do
    local n = w:outstanding()
    idle, full = idle or n == 0 and w:room() > 0, full or n >= 2
  end
  if idle and full then
    self.stall_timer = timer.after(PATIENCE, function()
      look_for_stalls(self)
    end)
  end
end

--- The job cannot be run at all. Whoever enqueued it has the rest of the turn to listen.
---@param self brood.Pool
---@param seq integer
---@param err brood.Error
---@param client? integer
function M.cannot_begin(self, seq, err, client)
  local list = self.stillborn or {}
  list[#list + 1] = { seq = seq, err = err, client = client or 0 }
  self.stillborn = list
end

--- Whether it is one of those; then it is none any more.
---@param self brood.Pool
---@param seq integer
---@return integer? client
function M.call_off(self, seq)
  for at, each in ipairs(self.stillborn or {}) do
    if each.seq == seq then
      table.remove(self.stillborn, at)
      return each.client
    end
  end
end

--- End them.
---@param self brood.Pool
function M.end_stillborn(self)
  while self.stillborn and self.stillborn[1] do
    local list = self.stillborn
    self.stillborn = nil
    for _, each in ipairs(list) do
      settle.finish(self, each.seq, "failure", false, each.err, clock.now(), each.client)
    end
  end
end

-- With nothing to do nobody else looks whether the remembered results have had their time.
local function forget_in_time(self)
  local left = not self.forgetting and self.ledger:expire(clock.now())
  if left then
    self.forgetting = timer.after(left + 0.01, function()
      self.forgetting = nil
      forget_in_time(self)
    end):unref()
  end
end

--- Where all jobs have ended, those who wait for that are told; unless whoever hears of it first enqueues another.
---@param self brood.Pool
function M.tell_empty(self)
  if not self.worked or self.live > 0 then
    return
  end
  self.worked = false
  forget_in_time(self)
  self:emit("idle")
  if self.live == 0 then
    local drains = self.drains
    self.drains = {}
    for _, done in ipairs(drains) do
      done()
    end
  end
end

function pump(self)
  self.armed = false
  if self.stillborn then
    M.end_stillborn(self)
  end
  local now = clock.now()
  if self.next_due or self.due_at then
    promote(self, now)
  end
  if not self.leaving then
    local waiting = self.store:counts()
    if waiting > 0 then
      waiting = share_out(self, waiting, now)
    end
    if waiting > 0 then
      self.crew:wanted(waiting)
    else
      M.watch_stalls(self)
    end
  end
  M.tell_empty(self)
  if self.live > 0 then
    expect_soon()
  end
end

-- ---- what comes from the workers ----

-- An own word for the end of each, though later ones mean that it must have begun.
local function tell_start_of(self, seq, kind)
  if kind ~= "recovered" and kind ~= "late" then
    settle.started(self, seq)
  end
end

local function is_success(kind)
  return kind == "success" or kind == "recovering"
end

--- A frame of results.
---@param self brood.Pool
---@param w table
---@param frame string
function M.results(self, w, frame)
  local lane, now, offset = w.lane, clock.now(), 0
  while true do
    local seq, kind, payload, left, _
    -- The bytes of a success are left where they are, while nobody but the one who enqueued it hears of it.
    local lean = not (self.tells_starts or self.eventful or self.heard)
    offset, seq, kind, payload, _, left = lane:take(frame, offset, now, lean)
    if not offset then
      if seq then
        w:fault(E.new("protocol", "%s: a worker has sent results that cannot be read", self.name))
      end
      break
    end
    if self.tells_starts then
      tell_start_of(self, seq, kind)
    end
    w:took(kind, seq, left)
    if (self.tells_starts or self.heard) and not self.store:find(seq) then -- luacheck: ignore 542
      -- a listener has ended it meanwhile
    elseif type(payload) == "number" then
      answered(self, seq, frame, offset, payload, now)
    elseif is_success(kind) then
      succeeded(self, seq, payload, now)
    elseif kind == "progress" then
      progressed(self, seq, payload)
    elseif kind == "failure" or kind == "recovering_failure" then
      failed(self, seq, payload)
    end
    if offset == #frame or w.lane ~= lane then
      break -- or what a callback has done ended the worker
    end
  end
  if self.tells_starts and w.lane == lane then
    local next_seq = lane:list()[1]
    if next_seq then
      settle.started(self, next_seq)
    end
  end
  arm(self)
end

--- A worker is gone; these jobs it had begun. The error is the running one's.
---@param self brood.Pool
---@param started integer[]
---@param err brood.Error
---@param running? integer
function M.lost(self, started, err, running)
  local deciding = self.deciding
  for _, seq in ipairs(started) do
    deciding[seq] = "lost" -- nobody has them now: whoever hears of one and ends all is to find the others as well
  end
  for _, seq in ipairs(started) do
    local own = err
    if seq ~= running and err.code == "timeout" then
      own = E.new("exit", "its worker was killed before it had told the result")
    end
    if self.tells_starts and deciding[seq] then
      settle.started(self, seq)
    end
    if deciding[seq] then
      deciding[seq] = nil
      failed(self, seq, nil, own)
    end
  end
  arm(self)
end

--- No worker can be started, which has been told: jobs that wait fail rather than hang.
---@param self brood.Pool
---@param err brood.Error
function M.faulted(self, err)
  local left = self.store:counts() -- what comes meanwhile, from those who hear of an end, has its own chance
  local function some()
    local list = {}
    for _, seq in ipairs(left > 0 and self.store:take_any(left) or {}) do
      if self.store:find(seq) == "waiting" then
        list[#list + 1] = seq
      end
    end
    left = left - #list
    return list
  end
  local each = E.new("faulted", "no worker of %s can be started: %s", self.name, err.message)
  each.cause, each.traceback = err, err.traceback
  settle.fail_all(self, some(), each, some)
  arm(self)
end

-- ---- ending jobs from outside ----

local function worker_of(self, seq)
  for _, w in ipairs(self.crew:workers()) do
    for at, each in ipairs(w.lane:list()) do
      if each == seq then
        return w, at
      end
    end
  end
end

--- "waiting", "delayed" or "running"; nil of a job that is not in the store.
---@param self brood.Pool
---@param seq integer
---@return string?
function M.state(self, seq)
  local state = self.store:find(seq)
  if state ~= "assigned" then
    return state
  elseif self.deciding[seq] == true then
    return "waiting"
  end
  local w, at = worker_of(self, seq)
  return w and at > 1 and "waiting" or "running"
end

-- Where it stands in its worker's row says whether it runs: what is before the running one is done already.
local function is_begun(w, seq, at)
  local running = w.lane:running()
  if not running or running == seq then
    return true
  end
  for i, each in ipairs(w.lane:list()) do
    if each == running then
      return at > i
    end
  end
  return true
end

--- Stop what is being done for a job: what its worker has beside it is taken back, and goes elsewhere.
---@param self brood.Pool
---@param seq integer
---@return table? w the worker that has begun with it, and is to be killed once the job has ended
function M.withdraw(self, seq)
  self.deciding[seq] = nil
  arm(self)
  if self.store:find(seq) == "assigned" then
    local w, at = worker_of(self, seq)
    if w then
      w.lane:take_back()
      return self.store:find(seq) == "assigned" and is_begun(w, seq, at) and w or nil
    end
  end
end

--- Jobs that no worker has, the first of them: there may be more than the store tells at once.
---@param self brood.Pool
---@return integer[]
function M.unbegun(self)
  local waiting, delayed = self.store:counts()
  return waiting + delayed > 0 and self.store:take_any(waiting + delayed) or {}
end

--- Every job that has not ended; of those that no worker has, the first.
---@param self brood.Pool
---@return integer[]
function M.all(self)
  local list = M.unbegun(self)
  for _, w in ipairs(self.crew:workers()) do
    for _, seq in ipairs(w.lane:list()) do
      list[#list + 1] = seq
    end
  end
  for seq in pairs(self.deciding) do
    list[#list + 1] = seq
  end
  return list
end

--- The pump of a pool, for the end of a turn.
---@param self brood.Pool
---@return fun()
function M.pump_of(self)
  return function()
    local ok, err = xpcall(pump, debug.traceback, self)
    if not ok then
      log.error(err)
    end
  end
end

return M
