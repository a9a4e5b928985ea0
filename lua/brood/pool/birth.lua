--- The process of a pool's worker: what it inherits, what is done in it before it takes jobs, and how it is told of
--- them. When one is started, and what becomes of it, is the group's business.
local await_before_fork = require "brood.group.before_fork"
local clock = require "brood.clock"
local core = require "brood.core"
local E = require "brood.error"
local inside = require "brood.pool.inside"
local lazy = require "brood.lazy"
local merged = require "brood.rules.merged"
local Process = require "brood.process"
local task = require "brood.task"
local template = require "brood.process.template"

local worker = lazy.room "brood.pool.worker"

local now = clock.now

local ALONE = 10 -- seconds that a running job has when the master is gone, where a job has no limit of its own

local M = {}

local function process_options(self, more)
  local given, o = self.generation.process, self.options
  local all = {
    name = self:name(),
    start_timeout = o.timeout_initializing, stop_timeout = o.graceful_timeout or false,
    env = given.env, cwd = given.cwd, umask = given.umask, limits = given.limits,
    user = given.user, group = given.group,
  }
  for name, value in pairs(more) do
    all[name] = name == "env" and merged(all.env or {}, value) or value
  end
  return all
end

-- It was told to go, or is gone: what it has not begun with is for others. One that is not ready has nothing to finish.
function M.on_stopping(self)
  if not self.member.ready_at then
    local run = self.process.run
    -- Of one that has died by itself there is nothing to end, and its end says how.
    return run and (run.stop_asked or run.failure) and self.process:kill_now()
  end
  self.seen_at = now()
  self:to "stopping"
  if not self.discarded then
    self:take_back()
    self.crew:watch(self, self.seen_at)
  end
end

local function results(self)
  local heard = self.crew.heard.result
  return function(frame)
    self.seen_at = now()
    heard(self, frame)
  end
end

-- In the child, before it gives up its rights. Returns whether the hook has given them up.
local function after_fork(self, line)
  local hook = self.generation.hooks.after_fork
  if not hook then
    return
  end
  self.inner, self.pid, self.started_at = line, line.pid, self.process.started_at
  local ok, err = task.call(hook, self)
  if not ok then
    error(err, 0)
  end
  self.settled = true
  return self.dropped
end

-- What the worker is, in the process that is forked for it, whoever forks it.
local function lua_process(self, inbox_of, more)
  local o, generation = self.options, self.generation
  return Process.new(process_options(self, {
    main = function(line)
      return inside.run(line, {
        worker = o.worker, options = o.options, max_jobs = o.max_jobs_per_process,
        inbox = inbox_of(), id_of = self.crew.id_of, name = self:name(),
      })
    end,
    ready = "channel", stop_signal = "QUIT",
  }), merged({
    leader_alone = true, keep = generation.keep,
    guard = (o.timeout_working or ALONE) + (o.timeout_recovering or ALONE),
    prepare = function(line)
      core.posix.setproctitle("brood: " .. self:name())
      return after_fork(self, line)
    end,
  }, more))
end

-- In its template: a worker as its hooks see it, to which an order gives what it has of its own.
local function made_ahead(crew, kind)
  local member = { id = 0, slot = 0, generation = kind }
  local self, lane = worker.new(crew, member), nil
  local process = lua_process(self, function()
    return assert(crew.store:inbox(lane), "the template is older than the lane")
  end, {})
  self.process = process
  return function(order)
    lane = order.lane
    member.id, member.slot, self.id, self.slot = order.id, order.slot, order.id, order.slot
    process.name, process.started_at = self:name(), order.started_at
    return process
  end
end

local LANES = 64 -- more than there are workers, and two for each: the old one and its replacement

-- A worker that is replaced often is forked by a template, which is small, and idle. Not on trial, when it might be the
-- only one; nor where a hook does something in the master before each fork, which the worker is to see.
local function template_of(self)
  local crew, kind = self.crew, self.generation
  if kind ~= crew.generation or not self.options.max_jobs_per_process or kind.hooks.before_fork then
    return nil
  end
  if not kind.template then
    kind.lanes = crew.store:slots(2 * self.options.max_processes + LANES)
    kind.template = template.new(crew.name, kind.keep, function()
      return made_ahead(crew, kind)
    end)
  end
  return self.lane:number() <= kind.lanes and kind.template or nil
end

local function fork_process(self)
  local lane = self.lane
  local process = lua_process(self, function()
    return lane:inbox()
  end, {
    frames = { results = results(self) },
    template = template_of(self),
    order = { id = self.id, slot = self.slot, lane = lane:number(), started_at = clock.unix() },
    spawned = function()
      self.crew.group.spawned(self.member)
    end,
  })
  function self.post(_, frame)
    local run = process.run
    if run and run.peer then
      run.peer:post_bytes("jobs", frame)
    end
  end
  return process
end

-- A program that is told of its jobs by lines: its process differs, and who claims its jobs. It is not told to go
-- before its running job has ended.
local function program_process(self)
  local o = self.options
  local line = require("brood.pool.program").new {
    name = self:name(), worker = o.worker, lane = self.lane, id_of = self.crew.id_of, on_frame = results(self),
    options = o.options, env = self.generation.process.env,
    on_fault = function(err)
      self:discard("crash", err)
    end,
  }
  local process = Process.new(process_options(self, line.process_options), line.inner)
  line:attach(process)
  local stop = process.stop
  function process.stop(_, cb)
    if self.member.ready_at and not self.discarded and process.run then
      M.on_stopping(self)
      if self:outstanding() > 0 then
        return self:when_idle(function()
          stop(process, cb)
        end)
      end
    end
    return stop(process, cb)
  end
  self.line = line
  function self.post(_, frame)
    line:feed(frame)
  end
  return process
end

--- Make its process; nothing is started yet.
---@async
---@param self brood.PoolWorker
---@return brood.Process? process, brood.Error? err
function M.make(self)
  local hook = self.generation.hooks.before_fork
  if hook then
    local ok, why = await_before_fork(self.member, self.options.timeout_initializing, function()
      local whole, failure = task.call(hook, self)
      return failure and E.from(failure) or not whole and E.new("hook", "before_fork failed") or nil
    end)
    if not ok then
      return nil, why
    end
  end
  local err
  self.lane, err = self.crew.store:lane()
  if not self.lane then
    return nil, err
  end
  local is_program = type(self.options.worker) == "table" and self.options.worker.command
  self.process = (is_program and program_process or fork_process)(self)
  self.process:on("stopping", function()
    M.on_stopping(self)
  end)
  return self.process
end

return M
