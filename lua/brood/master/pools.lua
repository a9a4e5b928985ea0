--- The job pools of a master: made from the config, joined with its hooks, started before its clusters and ended after
--- them. It is loaded where a config has pools, and nowhere else. What a pool is, and what becomes of its jobs, is the
--- room brood.pool's business.
local clock = require "brood.clock"
local core = require "brood.core"
local count = require "brood.rules.count"
local E = require "brood.error"
local hooks = require "brood.master.hooks"
local join = require "brood.join"
local kinds = require "brood.rules.kinds"
local log = require "brood.log"
local named = require "brood.pool.named"
local pools = require "brood.pool"
local pools_end = require "brood.master.pools_end"
local room = require "brood.pool.room"
local run_hook = require "brood.hook"
local task = require "brood.task"
local trial = require "brood.pool.trial"
local unhooked = require "brood.rules.unhooked"
local without = require "brood.rules.without"

local START_ATTEMPTS = 3
local STDERR = 2

---@class brood.MasterPools
---@field master brood.Master
---@field list brood.Pool[] those of the config, by name
---@field leaving brood.Pool[] those that a reload has left out, until they are empty, and those that it tries
---@field quick boolean told to stop at once
local Pools = {}
Pools.__index = Pools

local M = {}

-- ---- what they are made of ------------------------------------------------------------------------------------------

-- The hooks of the config that the workers are of; about those that are there already, the newest config's.
local function hooks_of(master, config)
  local own = config.hooks
  local made = {
    ready = function(w)
      hooks.queue(master, master.config.hooks, "worker_ready", w)
    end,
    exit = function(w, ...)
      hooks.queue(master, master.config.hooks, "worker_exit", w, ...)
    end,
  }
  if own.before_fork then
    function made.before_fork(w)
      return run_hook(own, "before_fork", master, w)
    end
  end
  if own.after_fork then
    function made.after_fork(w)
      local err = run_hook(own, "after_fork", master, w)
      if err then
        error(err, 0)
      end
    end
  end
  return made
end

local function inner_of(master, name, config)
  return {
    name = name, next_seq = named.next_seq,
    next_id = function()
      master.last_worker = master.last_worker + 1
      return master.last_worker
    end,
    process = {
      env = config.env, user = config.user, group = config.group, umask = config.umask, limits = config.limits,
      cwd = config.working_directory,
    },
    hooks = hooks_of(master, config),
  }
end

-- What a program is told has to be JSON.
local function complete(name, options)
  if type(options.worker) == "table" then
    local ok, err = pcall(require("brood.pool.program").check, options.options, -1, "pools." .. name)
    if not ok then
      return nil, E.new("config", "%s", tostring(err))
    end
  end
  return options
end

-- What keeps no pool from starting, and is worth knowing: above all who would otherwise be root without a word.
local function warn_of(name, options, config)
  local advice = unhooked(options.worker, config.hooks.after_fork, config.user)
  if advice then
    log[core.posix.getuid() == 0 and "warn" or "info"](("%s: %s"):format(name, advice))
  end
end

--- A pool that is none of the master's yet, though every process knows its name; nothing is started.
---@param name string
---@param config brood.EffectiveConfig
---@return brood.Pool? pool, brood.Error? err
function Pools:make(name, config)
  local options, err = complete(name, config.pools[name])
  if not options then
    return nil, err
  end
  warn_of(name, options, config)
  local pool = pools.make(options, inner_of(self.master, name, config))
  room.attach(pool)
  pool:on("error", function(failure)
    log.warn(("%s: %s"):format(name, E.text(failure)))
  end)
  named.add(pool)
  table.insert(self.leaving, pool)
  return pool
end

--- Nothing is left of one.
function Pools:gone(pool)
  self.leaving = without(self.leaving, pool)
  named.remove(pool.name, pool)
end

--- These are the pools from now on. Returns those that are so no longer.
---@param list brood.Pool[]
---@return brood.Pool[] left_out
function Pools:set(list)
  local kept, left_out = {}, {}
  for _, pool in ipairs(list) do
    kept[pool] = true
    self.leaving = without(self.leaving, pool)
  end
  for _, pool in ipairs(self.list) do
    if not kept[pool] then
      left_out[#left_out + 1] = pool
      table.insert(self.leaving, pool)
    end
  end
  self.list = list
  self.master.pools = {}
  for _, pool in ipairs(list) do
    self.master.pools[pool.name] = named.find(pool.name)
  end
  return left_out
end

local function every(self)
  local list = { unpack(self.list) }
  for _, pool in ipairs(self.leaving) do
    list[#list + 1] = pool
  end
  return list
end

-- ---- start ----------------------------------------------------------------------------------------------------------

local function serves(pool)
  return pool.crew.group:ready_count() > 0
end

-- It is started when all its workers are ready, or one at least and the others are tried again.
local function start_one(self, pool, attempt, done)
  pool:spawn_workers(function(err)
    if not err then
      log.info(("%s: %s ready"):format(pool.name, count(#pool.crew:workers(), "pool worker")))
      return done()
    elseif err.code == "stopped" or self.quick then
      return done(err)
    elseif serves(pool) then
      return done()
    elseif attempt >= START_ATTEMPTS then
      return done(E.of(pool.name, err))
    end
    start_one(self, pool, attempt + 1, done)
  end)
end

--- Start pools, all at once. done(err) with the first error, without waiting for the others.
---@param list brood.Pool[]
---@param done fun(err: brood.Error?)
function Pools:start(list, done)
  local all = join.new(done)
  for _, pool in ipairs(list) do
    local over = all:branch()
    start_one(self, pool, 1, function(err)
      if err then
        done(err)
      end
      over()
    end)
  end
  all.all_begun()
end

--- Make and start those of the config.
---@async
---@return true? ok, brood.Error? err
function Pools:begin()
  local config, list = self.master.config, {}
  for i, name in ipairs(kinds.sorted_keys(config.pools)) do
    local pool, err = self:make(name, config)
    if not pool then
      return nil, err
    end
    list[i] = pool
  end
  self:set(list)
  return true
end

-- ---- end ------------------------------------------------------------------------------------------------------------

--- End them: what is enqueued is still done until then, what is left fails with "exit". done() when nothing is left.
---@param deadline number monotonic seconds
---@param done fun()
function Pools:stop(deadline, done)
  pools_end.stop(self, every(self), deadline, done)
end

--- They end now, whatever they are doing: whoever waits for that waits no longer.
function Pools:hurry()
  pools_end.hurry(self, every(self))
end

--- A reload has left one out: it does what it has to do, and ends.
---@param pool brood.Pool
function Pools:retire(pool)
  local patience = self.master.config.graceful_timeout
  local deadline = patience and clock.now() + patience or math.huge
  log.info(("%s: is not in the config any more"):format(pool.name))
  local one = setmetatable({ master = self.master, list = { pool }, leaving = {}, quick = false }, Pools)
  one:stop(deadline, function()
    self:gone(pool)
  end)
end

-- ---- reload ---------------------------------------------------------------------------------------------------------

--- What a reload does to the pools. It undoes it by `or_else`, and lets it come into force by `then_do`.
---@async
---@param reload brood.Reload
---@return true? ok, brood.Error? err
function Pools:prepare(reload)
  local config, list, born, trials = reload.config, {}, {}, {}
  for i, name in ipairs(kinds.sorted_keys(config.pools)) do
    local present = self.master.pools[name] and named.own(name)
    local err
    if present then
      local options
      options, err = complete(name, config.pools[name])
      if options then
        warn_of(name, options, config)
        local one = trial.new(present, options, inner_of(self.master, name, config))
        trials[#trials + 1] = one
        reload:or_else(function()
          one:cancel()
        end)
      end
    else
      local pool
      pool, err = self:make(name, config)
      present, born[#born + 1] = pool, pool
      reload:or_else(function()
        if pool then
          pool:exit(function()
            self:gone(pool)
          end)
        end
      end)
    end
    if err then
      return nil, err
    end
    list[i] = present
  end
  reload.pool_trials, reload.pools_born = trials, born
  for name in pairs(self.master.pools) do
    if not config.pools[name] then
      named.hide(name, true) -- from those that are forked from now on
      reload:or_else(function()
        named.hide(name, false)
      end)
    end
  end
  reload:then_do(function()
    for _, pool in ipairs(self:set(list)) do
      self:retire(pool)
    end
  end)
  return task.run(nil, "reload", function(done)
    local all = join.new(done)
    local function one(name)
      local over = all:branch()
      return function(err)
        if err then
          done(name and E.of(name, err) or err)
        end
        over()
      end
    end
    for _, each in ipairs(trials) do
      each:probe(one(each.pool.name))
    end
    self:start(born, one())
    all.all_begun()
  end)
end

-- ---- what is asked of them ------------------------------------------------------------------------------------------

--- Files that were opened anew, for the workers.
---@param list brood.Reopened[]
function Pools:reopen(list)
  local theirs = {}
  for _, file in ipairs(list) do
    theirs[#theirs + 1] = file.target <= STDERR and file or nil
  end
  for _, pool in ipairs(theirs[1] and every(self) or {}) do
    pool.crew:reopen(theirs)
  end
end

local function process_of(w, now)
  return {
    name = ("%s worker %d"):format(w.pool, w.id), kind = "pool worker", id = w.id, slot = w.slot, pid = w.pid,
    state = w.state, uptime = w.started_at and now - w.started_at, jobs = w.jobs,
  }
end

--- What runs, as plain values, by name.
---@param now number seconds since 1970
---@return table<string, table>
function Pools:status(now)
  local result = {}
  for _, pool in ipairs(every(self)) do
    local one, processes = pool:stats(), {}
    for _, w in ipairs(pool.crew:workers()) do
      processes[#processes + 1] = process_of(w, now)
    end
    one.processes, one.max_processes = processes, pool.options.max_processes
    local known = result[pool.name]
    if known then
      for _, process in ipairs(processes) do
        table.insert(known.processes, process)
      end
    else
      result[pool.name] = one
    end
  end
  return result
end

--- The pools of a master; there are none yet.
---@param master brood.Master
---@return brood.MasterPools? keeper, brood.Error? err
function M.new(master)
  local ok, err = named.prepare()
  if not ok then
    return nil, err
  end
  room.open()
  return setmetatable({ master = master, list = {}, leaving = {}, quick = false }, Pools)
end

return M
