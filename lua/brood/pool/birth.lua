--- The process of a pool's worker: what it inherits, what is done in it before it takes jobs, and how it is told of
--- them. When one is started, and what becomes of it, is the group's business.
local await_before_fork = require "brood.group.before_fork"
local clock = require "brood.clock"
local core = require "brood.core"
local E = require "brood.error"
local inside = require "brood.pool.inside"
local merged = require "brood.rules.merged"
local Process = require "brood.process"
local task = require "brood.task"

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

local function fork_process(self)
  local o, generation = self.options, self.generation
  local plan = {
    worker = o.worker, options = o.options, max_jobs = o.max_jobs_per_process,
    lane = self.lane, id_of = self.crew.id_of, name = self:name(),
  }
  local process = Process.new(process_options(self, {
    main = function(line)
      return inside.run(line, plan)
    end,
    ready = "channel", stop_signal = "QUIT",
  }), {
    leader_alone = true, frames = { results = results(self) }, keep = generation.keep,
    guard = (o.timeout_working or ALONE) + (o.timeout_recovering or ALONE),
    prepare = function(line)
      core.posix.setproctitle("brood: " .. self:name())
      return after_fork(self, line)
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
