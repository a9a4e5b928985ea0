--- The master of a config, as hooks, signals and the control server see it: what
--- can be asked of it. How it starts is master.start's, how it ends master.stop's; what a
--- cluster or a worker is, is decided below; what the config says, in master.config.
local cause = require "brood.master.cause"
local clock = require "brood.clock"
local clusters = require "brood.master.clusters"
local core = require "brood.core"
local emitter = require "brood.emitter"
local hooks = require "brood.master.hooks"
local lazy = require "brood.lazy"
local listeners = require "brood.listeners"
local log = require "brood.log"
local logs = require "brood.logs"
local program = lazy.room "brood.cluster.program"
local scale = require "brood.master.scale"
local stop = require "brood.master.stop"
local supervised = require "brood.supervised"
local task = require "brood.task"
local transition = require "brood.master.transition"

local start = lazy.passing "brood.master.start"
local upgrade = lazy.room "brood.master.upgrade"

---@class brood.Master: brood.Emitter
---@field pid integer
---@field pidfile string? its path, while it is held
---@field config brood.EffectiveConfig? nil while a config that is a function runs
---@field clusters table<string, brood.Cluster> by name
---@field workers brood.ClusterWorker[] those that are alive
---@field pools table<string, brood.NamedPool> by name
---@field keeper brood.MasterPools? of the pools, once a config has had some
---@field backend_keeper brood.MasterBackends? once a config has had some
---@field proxy brood.MasterProxy? what its workers ask, once a config has had one
---@field services table<string, brood.NamedService> by name
---@field programs brood.MasterServices? their keeper, once a config has had some
---@field exit_status integer? what to end with: that of a service without which it is not to run, or of os.exit
---@field failure brood.Error? why it could not start
---@field old_pid integer? in the new master of an upgrade the old one's, until that is gone
---@field told boolean? whether it was told to stop
---@field new_pid integer? in the old master of an upgrade the new one's, while that lives
---@field inherited brood.Inherited
---@field origin brood.Origin
---@field last_reload { ok: boolean, at: number, error: string?, replaced: integer? }?
---@field state "starting"|"ready"|"stopping"|"stopped"
---@field explain fun(examined: brood.Examined): string all that is wrong with a config, as text
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
  for _, web in ipairs(clusters.every(self)) do
    for _, worker in ipairs(web.workers) do
      list[#list + 1] = worker
    end
  end
  return list
end

-- A worker has a copy of the master, which can do nothing for it.
local function check_here(self, name)
  if core.posix.getpid() ~= self.pid then
    error(("master:%s: only in the master itself; a worker can send it a message (brood.worker:send)"):format(name), 3)
  end
end

-- ---- start and stop -------------------------------------------------------------------------------------------------

--- Open the sockets and start the clusters. nil and the reason when it cannot serve; nothing is left then.
---@async
---@param config brood.EffectiveConfig
---@param cb? fun(err: brood.Error?)
---@return true? ok, brood.Error? err code "stopped" when it was told to stop meanwhile
function Master:start(config, cb)
  check_here(self, "start")
  if self.config then
    error("master:start: it has been started already", 2)
  end
  self.config = config
  return task.run(cb, "master:start", function(done)
    supervised.adopt_orphans()
    task.spawn(function()
      start(self, done)
    end)
  end)
end

--- Stop gracefully: requests finish, within graceful_timeout.
---@async
---@param cb? fun(err: brood.Error?)
function Master:quit(cb)
  check_here(self, "quit")
  local why = cause.note()
  return task.run(cb, "master:quit", function(done)
    if self.state ~= "stopping" then
      self.told = true
      log.info("stopping gracefully" .. why)
    end
    stop.begin(self, "stop", done)
    hooks.excuse(self, cb)
  end)
end

--- Stop quickly, also when a graceful stop is under way. Asked a second time, what is left is killed at once.
---@async
---@param cb? fun(err: brood.Error?)
function Master:terminate(cb)
  check_here(self, "terminate")
  local why = cause.note()
  return task.run(cb, "master:terminate", function(done)
    self.told = true
    log.info("stopping quickly" .. why)
    local again = self.haste
    self.haste = true
    if self.on_haste then
      self.on_haste(again)
    end
    stop.begin(self, "terminate", done)
    hooks.excuse(self, cb)
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
    hooks.excuse(self, cb)
  end)
end

-- ---- what hooks, scripts and the control server ask -----------------------------------------------------------------

-- The cluster of that name; raises two levels up where there is none.
local function find_cluster(self, method, name)
  local web = self.clusters[name]
  if web then
    return web
  end
  local known = {}
  for _, each in ipairs(self.order) do
    known[#known + 1] = each.name
  end
  local which = #known > 0 and "the clusters are: " .. table.concat(known, ", ") or "there are no clusters yet"
  error(("master:%s: there is no cluster '%s'; %s"):format(method, tostring(name), which), 3)
end

--- Send a message to the workers of all clusters, or of one.
---@param value any
---@param name? string a cluster's
function Master:broadcast(value, name)
  check_here(self, "broadcast")
  local list = name ~= nil and { find_cluster(self, "broadcast", name) } or self.order
  for _, web in ipairs(list) do
    web:send(value)
  end
end

--- Keep n workers of a cluster ("web" unless named) from now on. Returns when those that lack are ready and those that
--- are too many have finished and gone. Before the start it is the number to start with.
---@async
---@param name string|integer the cluster, or n
---@param n? integer|fun(err: brood.Error?) 0 to 65535; the callback where `name` is n
---@param cb? fun(err: brood.Error?)
---@return true? ok, brood.Error? err
function Master:scale(name, n, cb)
  check_here(self, "scale")
  if type(name) == "number" then
    name, n, cb = "web", name, n
  end
  find_cluster(self, "scale", name)
  if not scale.is_number(n) then
    error(("master:scale: the number of workers must be a whole one from 0 to %d, got %s"):format(scale.WORKERS_MAX,
      tostring(n)), 2)
  end
  return task.run(cb, "master:scale", function(done)
    scale.to(self, name, n, done)
  end)
end

--- Take all workers away gracefully; the master stays, with its sockets, and `scale` brings workers back.
---@async
---@param cb? fun(err: brood.Error?)
---@return true? ok, brood.Error? err
function Master:drain(cb)
  check_here(self, "drain")
  return task.run(cb, "master:drain", function(done)
    scale.drain(self, done)
  end)
end

--- Read the config again and replace the workers by new ones, one after the other. One that is broken changes nothing,
--- and neither does one whose first new worker does not become ready. Where an old master was drained, beside the new
--- one of an upgrade, it takes the upgrade back: it has its workers again, and its config stays what it was.
---@async
---@param cb? fun(err: brood.Error?)
---@return true? ok, brood.Error? err with `replaced`, how many workers are new, where it was halted on its way
function Master:reload(cb)
  check_here(self, "reload")
  local why = cause.note()
  return task.run(cb, "master:reload", function(done)
    if self.successor and upgrade.is_taken_back(self, why) then
      return scale.step(self, 1, done)
    end
    transition.wish(self, "reload", function(wish, over)
      require "brood.master.reload"(self, wish, why, over)
    end, function(err)
      done(err)
    end)
  end)
end

--- Open all log files anew, here and in the workers, for they have been renamed. One that cannot be opened goes on in
--- the old file.
---@async
---@param cb? fun(err: brood.Error?)
---@return true? ok, brood.Error? err
function Master:reopen(cb)
  check_here(self, "reopen")
  local why = cause.note()
  return task.run(cb, "master:reopen", function(done)
    local _, err = self.logs:reopen(why)
    for _, web in ipairs(self.order) do
      if web.options.command then
        program.keep_files(web, self.logs.paths)
      end
    end
    done(err)
  end)
end

--- Start a new master beside this one, of whatever program is in its place now, on the same sockets. Returns once it
--- serves; nil and the reason where it does not, and this one goes on as before.
---@async
---@param cb? fun(err: brood.Error?)
---@return true? ok, brood.Error? err code "busy" while there is one already
function Master:upgrade(cb)
  check_here(self, "upgrade")
  local why = cause.note()
  return task.run(cb, "master:upgrade", function(done)
    upgrade.begin(self, why, done)
  end)
end

--- What runs, as plain values.
---@return table
function Master:status()
  local now = clock.unix()
  local status = {
    version = core.version, pid = self.pid, state = self.state, uptime = now - self.started_at, clusters = {},
    old_pid = self.old_pid, new_pid = self.new_pid, last_reload = self.last_reload,
  }
  for name, web in pairs(self.clusters) do
    status.clusters[name] = web:status(now)
    status.clusters[name].listen = self.listeners:addresses(name)
    status.clusters[name].drained = self.drained[name] == true
  end
  status.services = self.programs and self.programs:status(now) or {}
  status.pools = self.keeper and self.keeper:status(now) or {}
  status.backends = self.backend_keeper and self.backend_keeper:status(now) or {}
  -- What a reload has left out, or is still trying, may have workers as well.
  for _, web in ipairs(self.leaving) do
    local other = web:status(now)
    local known = status.clusters[web.name] or { workers = 0, ready = 0, processes = {}, listen = {} }
    status.clusters[web.name] = known
    for _, process in ipairs(other.processes) do
      table.insert(known.processes, process)
    end
  end
  return status
end

--- A master; nothing is opened or started yet.
---@param options? { log_format: string? } from the command line
---@return brood.Master
function M.new(options)
  local self
  self = setmetatable({
    pid = core.posix.getpid(), clusters = {}, pools = {}, services = {}, order = {}, leaving = {},
    last_worker = 0, drained = {}, transitions = transition.new(), options = options or {},
    inherited = { sockets = {} },
    stoppers = {}, waiters = {}, hooking = {}, excuses = setmetatable({}, { __mode = "k" }), terminals = {},
    state = "starting", started_at = clock.unix(), listeners = listeners.new(function(listener)
      if self.successor then
        return upgrade.let_go(self, listener)
      end
      listener:close()
    end),
    log_format = options and options.log_format or "text", logs = logs.new(function(list)
      for _, web in ipairs(clusters.every(self)) do
        web:reopen(list)
      end
      if self.keeper then
        self.keeper:reopen(list)
      end
      if self.programs then
        self.programs:reopen()
      end
    end),
  }, Master)
  return self
end

return M
