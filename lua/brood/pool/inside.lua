--- The inside of a pool's worker: loads the worker file, claims one job after the other, runs it in a task, and says
--- what has become of it. Which job that is, and when this process ends, the master decides: pool.crew and pool.worker.
local brood = require "brood"
local core = require "brood.core"
local clock = require "brood.clock"
local E = require "brood.error"
local files = require "brood.files"
local fork = require "brood.fork"
local log = require "brood.log"
local message = require "brood.message"
local nearest = require "brood.rules.nearest"
local payloads = require "brood.pool.payload"
local quiet = require "brood.quiet"
local signals = require "brood.signals"
local supervised = require "brood.supervised"
local task = require "brood.task"
local uv = require "luv"

local M = {}

-- Results wait for others, to be written together, until nothing else is to be done; but not for longer than so many
-- seconds before the next job, which may take its time, and no more bytes than these. What lasted longer than BRISK
-- seconds is worth a write of its own.
local HELD, HELD_BYTES, BRISK = 0.0001, 65536, 0.00002
-- A long job holds up what was not sent before it, and one may come where not all were brisk, or after a pause: then
-- nothing waits before a number of jobs, so many for each of these seconds, and at most TRIAL.
local DOUBT, TRIAL = 2000, 500
local FLUSH = 1 -- seconds that the master has at the end to take what was sent
local WANTED = "function(job, options), or { init =, job =, recover = }"
local PARTS = { "init", "job", "recover" }
local PROGRAMS = { py = "python3", js = "node", mjs = "node", cjs = "node", rb = "ruby", sh = "sh", pl = "perl" }

local now, decode, encode = clock.now, message.decode, message.encode
local getpid = core.posix.getpid
local find, max, min = string.find, math.max, math.min
local setmetatable, rawset, call, unpack_payload = setmetatable, rawset, task.call, payloads.unpack

---@class brood.WorkerJob what a job function is given
---@field id string
---@field data any
---@field attempt integer 1 at first
---@field seq integer
local Job = {}

-- The worker that this process is.
---@type brood.PoolInside?
local mine

fork.on_child(function()
  mine = nil -- a child that a job forks has nothing to say to the pool
end)

function Job.__index(self, name)
  if name == "id" and mine then
    local id = mine.id_of(self.seq)
    rawset(self, "id", id)
    return id
  end
  return Job[name]
end

--- Tell how far it has come: at once, whatever the job does next.
---@param value any
---@return true? ok, brood.Error? err code "ended" when the job has ended already
function Job:progress(value)
  if getmetatable(self) ~= Job then
    error(require("brood.options").no_self "job:progress", 2)
  end
  local bytes, err = encode(value, "progress")
  if not bytes then
    error("job:progress: " .. err.message, 2)
  elseif self.over or not mine then
    return nil, E.new("ended", "the job has ended")
  end
  local put
  put, err = mine.inbox:put(self.seq, "progress", bytes)
  mine:flush()
  return put and true or nil, err
end

---@class brood.PoolInside
---@field peer brood.Peer the line to the master
---@field inbox table core.jobs' inbox
---@field run fun(job: brood.WorkerJob, options: any): any
---@field recover? fun(job: brood.WorkerJob, options: any)
---@field name string of the worker
---@field options any
---@field id_of fun(seq: integer): string
---@field left number how many jobs it may still run
---@field working boolean
---@field leaving? boolean it was told to go
---@field orphan? boolean its master is gone
---@field pending integer bytes of results that were not sent
---@field sent_at number
---@field began_at number when the job before was claimed
---@field doubt number jobs that begin when all results are sent
---@field pid integer
---@field flush_due? boolean they are sent at the end of this turn, whatever the job does
local Inside = {}
Inside.__index = Inside

-- ---- loading --------------------------------------------------------------------------------------------------------

local function refuse(fmt, ...)
  local err = E.new("worker", fmt, ...)
  err.traceback = err.message -- where this was noticed is of no use to whoever wrote it
  error(err, 0)
end

-- What may be meant, where it is no Lua or not there.
local function hint(path)
  if not uv.fs_stat(path) then
    return path:sub(1, 1) ~= "/" and (" (in %s)"):format(uv.cwd()) or ""
  end
  local language = PROGRAMS[path:match "%.(%w+)$"]
  return language and (' (a program needs worker = { command = { "%s", "%s" } })'):format(language, path) or ""
end

local function load_file(path)
  local chunk, why = loadfile(path)
  if not chunk then
    refuse("cannot load the worker: %s%s", why, hint(path))
  end
  files.path_first(path)
  local ok, value = task.call(chunk)
  if not ok then
    error(value, 0)
  elseif value == nil then
    refuse("%s returns nothing: is `return` missing? It must return %s", path, WANTED)
  end
  return value, path
end

--- What runs the jobs, in one form. Raises what is wrong with it.
---@param worker string|function|table a path, or what a worker file returns
---@return { init: function?, job: function, recover: function? }
function M.load(worker)
  local value, where = worker, "the worker"
  if type(worker) == "string" then
    value, where = load_file(worker)
  end
  if type(value) == "function" then
    return { job = value }
  elseif type(value) ~= "table" then
    refuse("%s must return %s, got %s", where, WANTED, type(value))
  elseif type(value.job) ~= "function" then
    refuse("%s must return %s, got a table %s", where, WANTED,
      value.job == nil and "without `job`" or "whose `job` is a " .. type(value.job))
  end
  for name in pairs(value) do
    if name ~= "init" and name ~= "job" and name ~= "recover" then
      refuse("%s must return %s, got a table with '%s'%s", where, WANTED, tostring(name),
        nearest.hint(nearest.find(name, PARTS)))
    end
  end
  for _, name in ipairs(PARTS) do
    if value[name] ~= nil and type(value[name]) ~= "function" then
      refuse("%s: `%s` must be a function, got %s", where, name, type(value[name]))
    end
  end
  return value
end

-- ---- working --------------------------------------------------------------------------------------------------------

--- Send what there is.
function Inside:flush()
  local frame = self.inbox:frame()
  self.pending = 0
  while frame do
    if self.peer:post_bytes("results", frame) == false then
      self.peer:flush_blocking(FLUSH) -- more than a megabyte waits: a job that reports without end waits as well
    end
    frame = #frame > HELD_BYTES and self.inbox:frame() -- one frame may not take all of what is big
  end
  self.sent_at = now()
end

--- The end of this process; nothing that a job supervises is left behind.
---@param status integer
function Inside:leave(status)
  self:flush()
  self.peer:flush_blocking(FLUSH)
  supervised.exit(status)
end

local function failure(err)
  return "failure", message.encode_error(err)
end

local function outcome(ok, value)
  if not ok then
    return failure(value)
  end
  local bytes, err = encode(value, "the result")
  if not bytes then
    return failure(err)
  end
  return "success", bytes
end

-- An error that no message can carry is told by another one.
local function put(self, seq, kind, bytes)
  local pending, err = self.inbox:put(seq, kind, bytes)
  if not pending then
    bytes = message.encode_error(E.new(err.code, "the job's end cannot be told: %s", err.message))
    pending = assert(self.inbox:put(seq, find(kind, "^recovering") and "recovering_failure" or "failure", bytes))
  end
  return pending
end

local RECOVERING = { success = "recovering", failure = "recovering_failure" }

-- The job is over, and its result must not wait for what is done behind it.
local function recover(self, job, kind, bytes)
  put(self, job.seq, RECOVERING[kind], bytes)
  self:flush()
  local ok, err = call(self.recover, job, self.options)
  if not ok then
    log.error(("%s: recover failed, the worker is replaced: %s"):format(self.name, E.text(err)))
    self:leave(1)
  end
  self.pending = self.inbox:put(job.seq, "recovered", "")
end

local function finish(self, job, ok, value)
  job.over = true
  self.left = self.left - 1
  local pending = ok and not self.recover and self.inbox:answer(job.seq, value)
  if not pending then
    local kind, bytes = outcome(ok, value)
    if self.recover then
      return recover(self, job, kind, bytes)
    end
    pending = put(self, job.seq, kind, bytes)
  end
  self.pending = pending
  if pending >= HELD_BYTES then
    self:flush()
  end
end

-- A job that waits lets the loop turn; what others have left is sent then.
local function flush_at_turn_end(self)
  if not self.flush_due then
    self.flush_due = true
    core.at_turn_end(self.at_turn_end)
  end
end

local function run(self, seq, attempt, at, data, payload)
  local since = at - self.began_at
  local doubt = max(self.doubt - 1, min(TRIAL, since * DOUBT))
  self.doubt = doubt
  if self.pending > 0 then
    if doubt >= 1 or since > BRISK or at - self.sent_at > HELD then
      self:flush()
    else
      flush_at_turn_end(self)
    end
  end
  self.began_at = at
  local job = setmetatable({ id = nil, data = data, attempt = attempt, seq = seq, over = false }, Job)
  if payload then -- it has an id of its own, or is no plain value
    local bytes, sound, value
    bytes, job.id = unpack_payload(payload)
    sound, value = decode(bytes)
    if not sound then
      return finish(self, job, false, value)
    end
    job.data = value
  end
  finish(self, job, call(self.run, job, self.options))
end

-- Until there is nothing more to claim: what the master does not want to be run any more it has taken back.
local function work(self)
  self.working = true
  local inbox = self.inbox
  while self.left > 0 and not self.orphan do
    local seq, attempt, at, data, payload = inbox:take()
    if not seq then
      break
    end
    run(self, seq, attempt, at, data, payload)
  end
  self.working = false
  if self.left <= 0 or self.leaving then
    return self:leave(0)
  end
  self:flush()
  core.expect_soon()
  quiet.note()
end

-- Whatever fails here fails for good: the master hears of the end, and another worker goes on. A child that a job has
-- forked behind our back claims and says nothing in its parent's name.
local function work_safely(self)
  local ok, err = call(work, self)
  if ok then
    return
  elseif getpid() ~= self.pid then
    log.error(("%s: a process that a job has forked came back from the job; brood.posix.fork would know how")
      :format(self.name))
    core.exit(1)
  end
  log.error(("%s: %s"):format(self.name, E.text(err)))
  pcall(self.flush, self)
  self.peer:flush_blocking(FLUSH)
  supervised.exit(1)
end

-- A job that runs is finished first.
local function go(self)
  self.leaving = true
  if not self.working then
    self.peer:read_now() -- what has been sent before this was
    if not self.working then
      self:leave(0)
    end
  end
end

-- What was done before is told, when a job ends the process.
local function tell_before_exit(self)
  local exit = os.exit
  os.exit = function(code) -- luacheck: ignore 122
    if mine == self and getpid() == self.pid then
      self:flush()
      self.peer:flush_blocking(FLUSH)
    end
    return exit(code)
  end
end

--- Be a worker: in its process, from the fork to its end. Raises when it cannot become one.
---@param line brood.Worker the line to the master
---@param plan { worker: string|function|table, options: any, inbox: table, id_of: function, max_jobs: integer|false,
---  name: string }
function M.run(line, plan)
  local self = setmetatable({
    peer = line.peer, inbox = plan.inbox, options = plan.options, id_of = plan.id_of,
    name = plan.name,
    left = plan.max_jobs or math.huge, working = false, pending = 0, sent_at = 0, began_at = 0, doubt = 0,
    pid = getpid(),
  }, Inside)
  mine = self
  function self.at_turn_end()
    self.flush_due = false
    if self.pending > 0 then
      self:flush()
    end
  end
  brood.worker = nil -- it is no web worker: what it has to say goes through its jobs
  M.line = line
  line.peer:hold_loop(true) -- how long it may wait for nothing is the master's decision
  signals.on("QUIT", function()
    go(self)
  end)
  function line.master_gone()
    self.orphan = true
    go(self)
  end
  tell_before_exit(self)
  local parts = M.load(plan.worker)
  if parts.init then
    parts.init(plan.options)
  end
  self.run, self.recover = parts.job, parts.recover
  line.peer:handle("jobs", function(frame)
    if not self.inbox:feed(frame) then
      log.error "jobs that make no sense"
      return supervised.exit(1)
    end
    if not self.working then
      task.spawn(work_safely, self)
    end
  end)
  line.peer:handle("reopen", function(value, fd)
    require("brood.access_log").reopen(value, fd)
  end)
  line:ready()
end

return M
