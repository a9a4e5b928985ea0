--- A pool as its user sees it. It takes jobs in and joins the others of this room: the store keeps what waits, the crew
--- has the workers, `dispatch` moves jobs between them, `settle` ends them, the ledger knows who is who.
local admission = require "brood.pool.admission"
local clock = require "brood.clock"
local collector = require "brood.collector"
local core = require "brood.core"
local crew = require "brood.pool.crew"
local dispatch = require "brood.pool.dispatch"
local E = require "brood.error"
local emitter = require "brood.emitter"
local fork = require "brood.fork"
local job = require "brood.pool.job"
local ledger = require "brood.pool.ledger"
local message = require "brood.message"
local settle = require "brood.pool.settle"
local task = require "brood.task"
local timer = require "brood.timer"

local encode = message.encode
local new_job = job.new

---@class brood.PoolStats
---@field jobs integer jobs that have ended, aborted ones too
---@field backlog integer jobs that no worker has yet, delayed ones too
---@field delayed integer those of them that wait for their time
---@field workers integer processes that there are
---@field busy integer those of them that have a job
---@field failed integer jobs that have ended with a failure
---@field aborted integer
---@field retried integer attempts that were followed by another
---@field restarts integer workers that were killed, crashed, or overran a limit
---@field late integer results that came when their job had ended already
---@field waiting brood.Histogram seconds from the moment a job could run until it was given to a worker
---@field running brood.Histogram seconds from then to its result

---@class brood.Pool: brood.Emitter
---@field name string
---@field options table normalised
---@field store table what waits, outside of the Lua heap
---@field tag string of the ids of its jobs
---@field remote? fun(client: integer, seq: integer, event: string, bytes: string?, attempt: integer)
local Pool = emitter.mixin {}
Pool.__index = Pool
for name, method in pairs(require "brood.pool.far") do
  Pool[name] = method
end

local M = { class = Pool }

local alive = setmetatable({}, { __mode = "k" })

-- The workers, the store and the jobs are the parent's.
fork.on_child(function()
  for pool in pairs(alive) do
    pool.foreign = true
  end
  alive = setmetatable({}, { __mode = "k" })
end)

-- Called with a dot in place of the colon, or in a process that has no part in it.
local function refuse(self, what)
  error(getmetatable(self) ~= Pool and require("brood.options").no_self(what)
    or ("%s: the pool belongs to the process that this one was forked from"):format(what), 3)
end

local function on_of(self)
  return {
    room = function()
      if not self.is_ready then
        self.is_ready = true
        self:emit "ready"
      end
      dispatch.arm(self)
    end,
    result = function(w, frame)
      dispatch.results(self, w, frame)
    end,
    lost = function(_, started, err, running)
      dispatch.lost(self, started, err, running)
    end,
    failed = function(err)
      dispatch.faulted(self, err)
    end,
    event = function(name, ...)
      self:emit(name, ...)
    end,
  }
end

--- A pool; no worker is started yet.
---@param options table normalised, as rules/pool_options says
---@param inner table name, next_seq, in specs make_store and make_crew; the rest is the crew's
---@return brood.Pool
function M.new(options, inner)
  options.max_processes = options.max_processes
    or require("brood.rules.pool_options").max_processes(core.cpus())
  local self = setmetatable({
    name = inner.name or "pool", options = options, store = (inner.make_store or core.jobs.store)(),
    ledger = ledger.new(options.result_ttl, options.max_results), now = clock.now,
    last_seq = 0, next_seq = inner.next_seq or false,
    live = 0, ended = 0, failed = 0, aborted = 0, retried = 0, worked = false,
    drains = {}, watchers = {}, progress = {}, started = {},
    deciding = {}, -- failed jobs whose retry_delay has not returned yet (true); "lost": their worker was, which is told
    tells_starts = false, eventful = false, far = false, -- what must be looked at for each job, once somebody wants it
    armed = false, end_told = false, leaving = false, is_ready = false, foreign = false,
  }, Pool)
  self.tag = self.ledger.tag
  self.pump = dispatch.pump_of(self)
  self.crew = (inner.make_crew or crew.new) {
    name = self.name, options = options, store = self.store, inner = inner, on = on_of(self),
    tag = self.tag,
    id_of = function(seq)
      return self.ledger:id_of(seq)
    end,
  }
  alive[self] = true
  collector.ease()
  return self
end

-- ---- what the handles ask ----

---@private
function Pool:_state(seq)
  return dispatch.state(self, seq)
end

---@private
function Pool:_attempt(seq)
  local _, attempt = self.store:find(seq)
  return attempt
end

---@private
function Pool:_hold(handle)
  self.ledger.held:put(handle.seq, handle)
  self.eventful = true
end

---@private
function Pool:_stir(due)
  dispatch.stir(self, due)
end

---@private
function Pool:on_listen(event)
  if event == "*" or event == "task" or event == "job:start" then
    self.tells_starts, self.eventful = true, true
  end
  if event == "*" or event:find("^worker:") then
    self.crew.listening = true
  end
end

-- ---- taking jobs in ----

-- The number of the next job.
local function number(self)
  local seq = self.next_seq
  if seq then
    return seq()
  end
  seq = self.last_seq + 1
  self.last_seq = seq
  return seq
end

---@private
Pool._number = number

local function push(self, seq, payload, options)
  if options or self.options.max_backlog or self.leaving then
    return admission.push(self, seq, payload, options or admission.NONE)
  end
  local ok, err = self.store:push(seq, payload, 0, 0, -1, -1)
  return ok or nil, err
end

-- A job that is known by its id already: the one that enqueues it again hears of its end as well.
local function join_known(self, seq, cb, done)
  local handle = self.ledger:find(seq) or settle.handle(self, seq)
  if handle.ending then
    if cb or done then
      timer.after(0, function()
        handle:answer(done or function(err, value)
          task.spawn(cb, err, value)
        end)
      end)
    end
  elseif cb or done then
    handle:add_waiter(done or function(err, value)
      task.spawn(cb, err, value)
    end)
  end
  return handle
end

-- Plain data without options is most of what comes: nothing is looked up for it.
---@param self brood.Pool
local function take_in(self, data, options, cb, done)
  if options and options.id then
    local known = self:_known(options.id)
    if known then
      return join_known(self, known, cb, done)
    end
  end
  local seq = number(self)
  local input, ok, err, size
  if not (options or self.options.max_backlog or self.leaving) then
    input, size = self.store:put(seq, data)
    ok = input ~= nil
  end
  if not ok then
    input, err = encode(data, "data")
    if input then
      ok, err = push(self, seq, input, options)
    end
  end
  local handle = new_job(self, seq, input or "", cb, done, size)
  local books = self.ledger
  if cb or done or not ok then
    books.held:put(seq, handle)
  else
    books.weak:put(seq, handle)
  end
  if options and options.id and not (err and err.code == "id") then
    books:name(seq, options.id)
    handle.id = options.id
  end
  if not ok then
    dispatch.cannot_begin(self, seq, err)
  end
  self.live = self.live + 1
  self.worked = true
  if not self.armed then
    dispatch.arm(self)
  end
  if rawget(self, "heard") then
    self:emit("enqueue", handle)
    if err and err.code == "backlog" then
      self:emit("backlog", handle)
    end
  end
  return handle
end

--- Enqueue a job. `data` is any value without functions or userdata; what cannot be sent fails the job, not the call.
--- Ends with cb(err, result), which like every listener comes after this has returned.
---@param data any
---@param options? brood.JobOptions
---@param cb? fun(err: brood.Error?, result: any)
---@return brood.Job
function Pool:enqueue(data, options, cb)
  if getmetatable(self) ~= Pool or self.foreign then
    refuse(self, "pool:enqueue")
  end
  if type(options) == "function" and cb == nil then
    options, cb = nil, options
  end
  if cb ~= nil and type(cb) ~= "function" then
    error("pool:enqueue: the callback must be a function, got " .. type(cb), 2)
  end
  if options ~= nil then
    options = admission.check(options, "pool:enqueue", 3)
  end
  return take_in(self, data, options, cb, nil)
end

--- Enqueue a job and wait for its end: what its worker returned, or nil and the error.
---@async
---@param data any
---@param options? brood.JobOptions
---@param cb? fun(err: brood.Error?, result: any)
---@return any result, brood.Error? err
function Pool:run(data, options, cb)
  if getmetatable(self) ~= Pool or self.foreign then
    refuse(self, "pool:run")
  end
  if type(options) == "function" and cb == nil then
    options, cb = nil, options
  end
  if options ~= nil then
    options = admission.check(options, "pool:run", 3)
  end
  return task.run(cb, "pool:run", function(done)
    take_in(self, data, options, nil, done)
  end)
end

--- The job with this id, if it has not ended or is still remembered; else nil.
---@async
---@param id string
---@param cb? fun(err: nil, job: brood.Job?)
---@return brood.Job?
function Pool:get(id, cb)
  if getmetatable(self) ~= Pool or self.foreign then
    refuse(self, "pool:get")
  end
  if type(id) ~= "string" then
    error("pool:get: the id must be a string, got " .. type(id), 2)
  end
  return task.run(cb, "pool:get", function(done)
    local seq = self:_known(id)
    done(nil, seq and (self.ledger:find(seq) or settle.handle(self, seq)) or nil)
  end)
end

--- End a job: see Job:abort.
---@private
---@param seq integer
---@return boolean? aborted, brood.Error? err
function Pool:abort(seq)
  local w, client
  if self.store:find(seq) then
    w = dispatch.withdraw(self, seq)
  else
    client = dispatch.call_off(self, seq)
    if not client then
      return nil, E.new("ended", "the job has ended already")
    end
  end
  settle.finish(self, seq, "abort", false, E.new("abort", "the job was aborted"), clock.now(), client)
  if w then
    w:discard("abort")
  end
  return true
end

-- ---- the pool as a whole ----

--- Start all workers now, rather than when there are jobs for them. Returns when all are ready, or the error.
---@async
---@param cb? fun(err: brood.Error?)
---@return boolean? ok, brood.Error? err
function Pool:spawn_workers(cb)
  if getmetatable(self) ~= Pool or self.foreign then
    refuse(self, "pool:spawn_workers")
  end
  return task.run(cb, "pool:spawn_workers", function(done)
    self.crew:spawn(done)
  end)
end

--- Wait until all that is enqueued has ended: what is enqueued meanwhile, too. The pool stays usable.
---@async
---@param cb? fun()
---@return boolean? ok
function Pool:drain(cb)
  if getmetatable(self) ~= Pool or self.foreign then
    refuse(self, "pool:drain")
  end
  return task.run(cb, "pool:drain", function(done)
    if self.live == 0 then
      return done()
    end
    self.drains[#self.drains + 1] = done
  end)
end

--- End everything now: every job that has not ended fails with the code "exit", and the workers are killed. Returns
--- when they are gone; then the pool can be used again.
---@async
---@param cb? fun()
---@return boolean? ok
function Pool:exit(cb)
  if getmetatable(self) ~= Pool or self.foreign then
    refuse(self, "pool:exit")
  end
  return task.run(cb, "pool:exit", function(done)
    self.leaving = (self.leaving or 0) + 1
    self.is_ready = false
    dispatch.end_stillborn(self)
    settle.fail_all(self, dispatch.all(self), E.new("exit", "%s was told to exit", self.name), function()
      return dispatch.unbegun(self) -- the store tells of some at a time, and nothing new is taken in
    end)
    self.crew:kill(function()
      self.leaving = self.leaving > 1 and self.leaving - 1 or false
      dispatch.tell_empty(self)
      dispatch.arm(self)
      done()
    end)
  end)
end

--- Counts, and how long jobs wait and run.
---@return brood.PoolStats
function Pool:stats()
  if getmetatable(self) ~= Pool then
    refuse(self, "pool:stats")
  end
  local waiting, delayed = self.store:counts()
  local workers, busy = self.crew:counts()
  local times = self.store:stats()
  return {
    jobs = self.ended, backlog = waiting + delayed, delayed = delayed, workers = workers, busy = busy,
    failed = self.failed, aborted = self.aborted, retried = self.retried, late = times.late,
    restarts = self.crew.restarts or 0,
    waiting = times.waiting, running = times.running,
  }
end

return M
