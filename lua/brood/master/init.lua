--- The master of a config: opens its sockets, starts its clusters, acts on
--- signals, and ends when all below it has. What a cluster or a worker is, is
--- decided below; what the config says, in master.config.
local clock = require "brood.clock"
local core = require "brood.core"
local E = require "brood.error"
local cluster = require "brood.cluster"
local control = require "brood.master.control"
local emitter = require "brood.emitter"
local listeners = require "brood.master.listeners"
local log = require "brood.log"
local signals = require "brood.signals"
local supervised = require "brood.supervised"
local task = require "brood.task"
local uv = require "luv"

---@class brood.Master: brood.Emitter
---@field pid integer
---@field config table the effective config
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

-- Called by name, so that the hooks of the newest config serve old workers too.
local function run_hook(self, name, ...)
  local fn = self.config.hooks[name]
  if fn then
    local ok, err = xpcall(fn, task.on_raise, self, ...)
    if not ok then
      core.uncaught(("%s: %s"):format(name, E.text(err)))
    end
  end
end

--- The workers of all clusters that are alive.
---@return brood.ClusterWorker[]
function Master:all_workers()
  local list = {}
  for _, web in pairs(self.clusters) do
    for _, worker in ipairs(web:workers()) do
      list[#list + 1] = worker
    end
  end
  return list
end

local function make_cluster(self, options)
  local web = cluster.new {
    name = options.name, app = options.app, workers = options.workers, env = options.env,
    working_directory = options.working_directory, umask = options.umask, limits = options.limits,
    user = options.user, group = options.group,
    start_timeout = options.start_timeout, graceful_timeout = options.graceful_timeout,
    hooks = self.config.hooks, master = self,
    fds = function()
      return self.listeners:fds(options.name)
    end,
  }
  web:on("online", function(worker)
    self:emit("online", worker)
    run_hook(self, "worker_ready", worker)
  end)
  web:on("exit", function(worker, code, signal)
    self:emit("exit", worker, code, signal)
    run_hook(self, "worker_exit", worker, code, signal)
  end)
  web:on("message", function(worker, value, fd)
    self:emit("message", worker, value, fd)
  end)
  self.clusters[options.name] = web
  self.order[#self.order + 1] = web
end

-- What each signal of the master does.
local actions = {
  QUIT = function(self)
    self:quit(function() end)
  end,
  TERM = function(self)
    self:terminate(function() end)
  end,
  INT = function(self)
    self:terminate(function() end)
  end,
  HUP = function(self)
    if uv.guess_handle(0) == "tty" or uv.guess_handle(1) == "tty" or uv.guess_handle(2) == "tty" then
      return self:quit(function() end)
    end
    log.warn("HUP: reload is not available yet")
  end,
}
for _, name in ipairs { "USR1", "USR2", "TTIN", "TTOU" } do
  actions[name] = function()
    log.warn(name .. ": not available yet")
  end
end

local function watch_signals(self)
  supervised.unguard_signals()
  for name, action in pairs(actions) do
    self.watches[#self.watches + 1] = signals.on(name, function()
      action(self)
    end)
  end
end

local function each_in_turn(list, call, done)
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

--- Open the sockets and start the clusters. nil and the reason when it cannot serve; nothing is left then.
---@async
---@param cb? fun(err: brood.Error?)
function Master:start(cb)
  return task.run(cb, "master:start", function(done)
    watch_signals(self)
    supervised.adopt_orphans()
    task.spawn(function()
      local ok, err = self.listeners:open(self.config.clusters)
      if ok then
        ok, err = control.start(self)
      end
      if not ok then
        self:close()
        return done(err)
      end
      for _, options in ipairs(self.config.clusters) do
        make_cluster(self, options)
      end
      each_in_turn(self.order, function(web, one_less)
        web:start(one_less)
      end, function(failure)
        if self.state ~= "starting" then
          return done(failure or E.new("stopped", "stopped before it had started"))
        elseif failure then
          return self:terminate(function()
            done(failure)
          end)
        end
        self.state = "ready"
        self:emit("ready")
        done()
      end)
    end)
  end)
end

-- Sockets and socket files are the last to go: they belong to the master alone.
function Master:close()
  if self.control then
    self.control:close()
    self.control = nil
  end
  self.listeners:close()
  self.state = "stopped"
  for _, watch in ipairs(self.watches) do
    watch:close()
  end
  self:emit("stopped")
end

local function stop(self, how, done)
  table.insert(self.stoppers, done)
  if self.state == "stopped" then
    return done()
  end
  local first = self.state ~= "stopping"
  self.state = "stopping"
  each_in_turn(self.order, function(web, one_less)
    web[how](web, one_less)
  end, function()
    if first then
      self:close()
      local list = self.stoppers
      self.stoppers = {}
      for _, fn in ipairs(list) do
        fn()
      end
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

--- Stop quickly, also when a graceful stop is under way.
---@async
---@param cb? fun(err: brood.Error?)
function Master:terminate(cb)
  return task.run(cb, "master:terminate", function(done)
    log.info("stopping quickly")
    stop(self, "terminate", done)
  end)
end

--- Send a message to the workers of all clusters, or of one.
---@param value any
---@param name? string a cluster's
function Master:broadcast(value, name)
  if name and not self.clusters[name] then
    error(("there is no cluster '%s'"):format(name), 2)
  end
  for cluster_name, web in pairs(self.clusters) do
    if name == nil or name == cluster_name then
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
    local entry = { workers = web.group.size, ready = web.group:ready_count(), listen = self.listeners:addresses(name),
      processes = {} }
    for i, worker in ipairs(web:workers()) do
      entry.processes[i] = {
        name = ("%s worker %d"):format(name, worker.id), kind = "worker", id = worker.id, slot = worker.slot,
        pid = worker.pid, state = worker.state, uptime = now - worker.started_at, requests = worker.requests,
      }
    end
    status.clusters[name] = entry
  end
  return status
end

--- A master for an effective config; nothing is opened or started yet.
---@param config table
---@return brood.Master
function M.new(config)
  return setmetatable({
    pid = core.posix.getpid(), config = config, clusters = {}, order = {}, stoppers = {}, watches = {},
    state = "starting", started_at = clock.unix(), listeners = listeners.new(),
  }, Master)
end

return M
