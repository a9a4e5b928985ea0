--- The master of a config: opens its sockets, starts its clusters, and ends when
--- all below it has. What a cluster or a worker is, is decided below; what the
--- config says, in master.config; what signals mean, in master.signals.
local clock = require "brood.clock"
local cluster = require "brood.cluster"
local control = require "brood.master.control"
local core = require "brood.core"
local E = require "brood.error"
local emitter = require "brood.emitter"
local hooks = require "brood.master.hooks"
local listeners = require "brood.master.listeners"
local log = require "brood.log"
local stop = require "brood.master.stop"
local supervised = require "brood.supervised"
local task = require "brood.task"

---@class brood.Master: brood.Emitter
---@field pid integer
---@field pidfile string? its path, while it is held
---@field config brood.EffectiveConfig? nil while a config that is a function runs
---@field clusters table<string, brood.WebCluster> by name
---@field workers brood.ClusterWorker[] those that are alive
---@field state "starting"|"ready"|"stopping"|"stopped"
local Master = emitter.mixin {}

Master.__index = function(self, name)
  if name == "workers" then
    return Master.all_workers(self)
  end
  return Master[name]
end

local M = {}

--- The workers of all clusters that are alive.
---@return brood.ClusterWorker[]
function Master:all_workers()
  local list = {}
  for _, web in ipairs(self.order) do
    for _, worker in ipairs(web:workers()) do
      list[#list + 1] = worker
    end
  end
  return list
end

local function make_cluster(self, options)
  local wanted = {
    hooks = self.config.hooks, master = self,
    fds = function()
      return self.listeners:fds(options.name)
    end,
  }
  for key, value in pairs(options) do
    wanted[key] = value
  end
  local web, err = cluster.new(wanted)
  if not web then
    return nil, E.new(err.code, "%s: %s", options.name, err.message)
  end
  web:on("online", function(worker)
    self:emit("online", worker)
    hooks.queue(self, "worker_ready", worker)
  end)
  web:on("exit", function(worker, code, signal)
    self:emit("exit", worker, code, signal)
    hooks.queue(self, "worker_exit", worker, code, signal)
  end)
  web:on("message", function(worker, value, fd)
    self:emit("message", worker, value, fd)
  end)
  self.clusters[options.name] = web
  self.order[#self.order + 1] = web
  return true
end

-- ---- start ----------------------------------------------------------------------------------------------------------

local function called_off()
  return E.new("stopped", "stopped before it had started")
end

local function take_pidfile(self)
  local path, err = self.config.pidfile, nil
  if path then
    self.pid_holder, err = core.pidfile.open(path)
    self.pidfile = self.pid_holder and path
  end
  return err == nil, err
end

-- Everything that may fail before the first fork. A stop may come wherever it waits.
local function prepare(self)
  local ok, err = core.posix.chdir(self.config.working_directory)
  if not ok then
    return nil, E.new(err.code, "working_directory %s: %s", self.config.working_directory, err.message)
  end
  ok, err = take_pidfile(self)
  if not ok then
    return nil, err
  end
  ok, err = self.listeners:open(self.config.clusters, function()
    return self.state ~= "starting"
  end)
  if not ok then
    return nil, err
  end
  ok, err = control.start(self)
  if not ok then
    return nil, err
  end
  err = hooks.call(self, "on_start", "start")
  self.begun = err == nil
  return err == nil, err
end

local function start(self, done)
  local ok, err = prepare(self)
  if self.state ~= "starting" then
    if self.state == "stopped" then
      stop.release(self) -- what was opened since
    end
    return done(called_off())
  end
  for _, options in ipairs(ok and self.config.clusters or {}) do
    ok, err = make_cluster(self, options)
    if not ok then
      break
    end
  end
  if not ok then
    return stop.begin(self, "terminate", function()
      done(err)
    end)
  end
  stop.each(self.order, function(web, one_less)
    web:start(one_less)
  end, function(failure)
    if self.state ~= "starting" then
      return done(failure or called_off())
    elseif failure then
      return stop.begin(self, "terminate", function()
        done(failure)
      end)
    end
    self.state = "ready"
    self:emit("ready")
    done()
  end)
end

--- Open the sockets and start the clusters. nil and the reason when it cannot serve; nothing is left then.
---@async
---@param config brood.EffectiveConfig
---@param cb? fun(err: brood.Error?)
---@return true? ok, brood.Error? err code "stopped" when it was told to stop meanwhile
function Master:start(config, cb)
  self.config = config
  return task.run(cb, "master:start", function(done)
    supervised.adopt_orphans()
    task.spawn(start, self, done)
  end)
end

-- ---- stop -----------------------------------------------------------------------------------------------------------

-- A worker has a copy of the master, which can do nothing for it.
local function check_here(self, name)
  if core.posix.getpid() ~= self.pid then
    error(("master:%s: only in the master itself; a worker can send it a message (brood.worker:send)"):format(name), 3)
  end
end

--- Stop gracefully: requests finish, within graceful_timeout.
---@async
---@param cb? fun(err: brood.Error?)
function Master:quit(cb)
  check_here(self, "quit")
  return task.run(cb, "master:quit", function(done)
    if self.state ~= "stopping" then
      log.info("stopping gracefully")
    end
    stop.begin(self, "stop", done)
    hooks.excuse(self)
  end)
end

--- Stop quickly, also when a graceful stop is under way. Asked a second time, what is left is killed at once.
---@async
---@param cb? fun(err: brood.Error?)
function Master:terminate(cb)
  check_here(self, "terminate")
  return task.run(cb, "master:terminate", function(done)
    log.info("stopping quickly")
    stop.begin(self, "terminate", done)
    hooks.excuse(self)
  end)
end

--- Wait until it has stopped.
---@async
---@param cb? fun(err: brood.Error?)
function Master:wait(cb)
  return task.run(cb, "master:wait", function(done)
    if self.state == "stopped" then
      return done()
    end
    table.insert(self.waiters, done)
  end)
end

-- ---- what hooks, scripts and the control server ask -----------------------------------------------------------------

--- Send a message to the workers of all clusters, or of one.
---@param value any
---@param name? string a cluster's
function Master:broadcast(value, name)
  check_here(self, "broadcast")
  if name and not self.clusters[name] then
    error(("there is no cluster '%s'"):format(name), 2)
  end
  for _, web in ipairs(self.order) do
    if name == nil or name == web.name then
      web:send(value)
    end
  end
end

--- What runs, as plain values.
---@return table
function Master:status()
  local now = clock.unix()
  local status = {
    version = core.version, pid = self.pid, state = self.state, uptime = now - self.started_at, clusters = {},
  }
  for name, web in pairs(self.clusters) do
    status.clusters[name] = web:status(now)
    status.clusters[name].listen = self.listeners:addresses(name)
  end
  return status
end

--- A master; nothing is opened or started yet.
---@return brood.Master
function M.new()
  return setmetatable({
    pid = core.posix.getpid(), clusters = {}, order = {}, stoppers = {}, waiters = {}, hooking = {},
    excuses = setmetatable({}, { __mode = "k" }),
    state = "starting", started_at = clock.unix(), listeners = listeners.new(),
  }, Master)
end

return M
