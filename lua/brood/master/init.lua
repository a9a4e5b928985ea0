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
local supervised = require "brood.supervised"
local task = require "brood.task"
local timer = require "brood.timer"

---@class brood.Master: brood.Emitter
---@field pid integer
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
  local web = cluster.new(wanted)
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
end

-- Call call(item, done) for all of them at once; done(err) with the first error when all are over.
local function each(list, call, done)
  local waiting, first = 1, nil
  local function one_less(err)
    first = first or err
    waiting = waiting - 1
    if waiting == 0 then
      done(first)
    end
  end
  for _, item in ipairs(list) do
    waiting = waiting + 1
    call(item, one_less)
  end
  one_less()
end

-- ---- start ----------------------------------------------------------------------------------------------------------

local function called_off()
  return E.new("stopped", "stopped before it had started")
end

-- Everything that may fail before the first fork. A stop may come wherever it waits.
local function prepare(self)
  local ok, err = core.posix.chdir(self.config.working_directory)
  if not ok then
    return nil, E.new(err.code, "working_directory %s: %s", self.config.working_directory, err.message)
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

local stop

local function start(self, done)
  local ok, err = prepare(self)
  if self.state ~= "starting" then
    return done(called_off())
  elseif not ok then
    return stop(self, "terminate", function()
      done(err)
    end)
  end
  for _, options in ipairs(self.config.clusters) do
    make_cluster(self, options)
  end
  each(self.order, function(web, one_less)
    web:start(one_less)
  end, function(failure)
    if self.state ~= "starting" then
      return done(failure or called_off())
    elseif failure then
      return stop(self, "terminate", function()
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

-- Sockets and socket files are the last to go: they belong to the master alone.
local function close(self)
  if self.control then
    self.control:close()
    self.control = nil
  end
  self.listeners:close()
  self.state = "stopped"
  self:emit("stopped")
  local list = self.stoppers
  self.stoppers = {}
  for _, done in ipairs(list) do
    done()
  end
end

-- The workers are gone: what hooks still do has graceful_timeout, or until a quick stop is asked for.
local function finish(self)
  local limit
  local function over()
    if self.cut then
      self.cut = nil
      if limit then
        limit:cancel()
      end
      close(self)
    end
  end
  self.cut = over
  if self.config.graceful_timeout then
    limit = timer.after(self.config.graceful_timeout, function()
      log.warn("hooks still run: not waiting any longer")
      over()
    end)
  end
  task.spawn(function()
    hooks.wait(self)
    if self.begun then
      hooks.run(self, "on_stop")
    end
    over()
  end)
end

function stop(self, how, done)
  if self.state == "stopped" then
    return done()
  end
  table.insert(self.stoppers, done)
  local first = self.state ~= "stopping"
  self.state = "stopping"
  if self.cut and how == "terminate" then
    return self.cut()
  end
  each(self.order, function(web, one_less)
    web[how](web, one_less)
  end, function()
    if first then
      finish(self)
    end
  end)
end

--- Stop gracefully: requests finish, within graceful_timeout.
---@async
---@param cb? fun(err: brood.Error?)
function Master:quit(cb)
  return task.run(cb, "master:quit", function(done)
    if self.state ~= "stopping" then
      log.info("stopping gracefully")
    end
    stop(self, "stop", done)
  end)
end

--- Stop quickly, also when a graceful stop is under way. Asked a second time, what is left is killed at once.
---@async
---@param cb? fun(err: brood.Error?)
function Master:terminate(cb)
  return task.run(cb, "master:terminate", function(done)
    log.info("stopping quickly")
    stop(self, "terminate", done)
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
    table.insert(self.stoppers, done)
  end)
end

-- ---- what hooks, scripts and the control server ask -----------------------------------------------------------------

--- Send a message to the workers of all clusters, or of one.
---@param value any
---@param name? string a cluster's
function Master:broadcast(value, name)
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
    pid = core.posix.getpid(), clusters = {}, order = {}, stoppers = {}, hooking = {},
    state = "starting", started_at = clock.unix(), listeners = listeners.new(),
  }, Master)
end

return M
