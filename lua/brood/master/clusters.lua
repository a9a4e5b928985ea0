--- The clusters of a master: made from the config, joined with its hooks and events, and those that have
--- been left out of a newer config until their last worker has gone. When they start and stop
--- is decided elsewhere.
local cluster = require "brood.cluster"
local core = require "brood.core"
local E = require "brood.error"
local emitter = require "brood.emitter"
local hooks = require "brood.master.hooks"
local log = require "brood.log"
local merged = require "brood.rules.merged"
local programs = require("brood.lazy").passing "brood.rules.programs"

local M = {}

-- One that a reload has forked, which is not decided yet.
local function is_on_trial(web, worker)
  local own = worker.member.generation
  return web.on_trial or own ~= nil and own.number > web.generation.number
end

-- The newest config's serve old workers too: those of a cluster that it has left out have the top level's. One that is
-- on trial has those that it was forked with.
local function hooks_of(self, web, worker)
  if web.left_out then
    return self.config.hooks
  end
  return is_on_trial(web, worker) and worker.member.generation.hooks or web.hooks
end

local OURS = debug.getinfo(1, "S").source:match "^(.*)master/clusters%.lua$" -- where brood's own files are

--- Whether a listener of the master's events is none of a config's.
---@param entry table as the emitter has it
---@return boolean
function M.is_ours(entry)
  return debug.getinfo(entry.fn, "S").source:sub(1, #OURS) == OURS
end

-- While a reload is tried there are the listeners of two configs: each hears of its own workers.
local function emit(self, web, worker, event, ...)
  local former = self.former_listeners
  local trial = former and is_on_trial(web, worker) or false
  emitter.emit_to(self, former and function(entry)
    return (former[entry] == nil) == trial or M.is_ours(entry)
  end, event, ...)
end

local function watch(self, web)
  web:on("online", function(worker)
    emit(self, web, worker, "online", worker)
    hooks.queue(self, hooks_of(self, web, worker), "worker_ready", worker)
  end)
  web:on("exit", function(worker, code, signal)
    emit(self, web, worker, "exit", worker, code, signal)
    hooks.queue(self, hooks_of(self, web, worker), "worker_exit", worker, code, signal)
  end)
  web:on("message", function(worker, value, fd)
    emit(self, web, worker, "message", worker, value, fd)
  end)
  web:on("reopen_all", function()
    self.logs:reopen_soon()
  end)
  -- It has been logged: only who listens hears of it again.
  web.group:on("failed", function(member, err)
    if not member.reason and (emitter.has_listener(self, "error") or emitter.has_listener(self, "*")) then
      emit(self, web, member.worker, "error", err, member.worker)
    end
  end)
end

-- What keeps no programs from starting, and is worth knowing: above all who would otherwise be root without a word.
local function advise(options)
  for _, advice in ipairs(programs.advice(options, options.hooks.after_fork)) do
    local urgent = not advice.urgent or core.posix.getuid() == 0
    log[urgent and "warn" or "info"](("%s: %s"):format(options.name, advice.text))
  end
end

--- What a cluster is made of, or changed to.
---@param self brood.Master
---@param options brood.ClusterOptions
---@param sockets brood.Sockets
---@return table? wanted, brood.Error? err
function M.options(self, options, sockets)
  local access_log, err = self.logs:access(options.access_log, self.log_format)
  if err then
    return nil, E.of(options.name, err)
  end
  local wanted = merged(options, {
    master = self, hooks = options.hooks or self.config.hooks, sockets = sockets,
    next_id = function()
      self.last_worker = self.last_worker + 1
      return self.last_worker
    end,
  })
  wanted.access_log = access_log
  if wanted.command then
    advise(wanted)
  end
  return wanted
end

--- A cluster that is not one of the master's yet; nothing is started.
---@param self brood.Master
---@param options brood.ClusterOptions
---@param sockets brood.Sockets
---@return brood.Cluster? web, brood.Error? err
function M.make(self, options, sockets)
  local wanted, err = M.options(self, options, sockets)
  if not wanted then
    return nil, err
  end
  local web
  web, err = cluster.make(wanted)
  if not web then
    return nil, E.of(options.name, err)
  end
  watch(self, web)
  return web
end

--- It may have workers, but is none of the master's clusters: not yet, or no longer.
---@param self brood.Master
---@param web brood.Cluster
function M.keep_in_sight(self, web)
  web.on_trial = not web.left_out
  self.leaving[#self.leaving + 1] = web
end

--- These are the clusters from now on, in this order. Returns those that are so no longer: they are kept in sight until
--- `gone` is told of them.
---@param self brood.Master
---@param order brood.Cluster[]
---@return brood.Cluster[] left_out
function M.set(self, order)
  local kept, left_out = {}, {}
  self.clusters = {}
  for _, web in ipairs(order) do
    kept[web] = true
    self.clusters[web.name] = web
  end
  for _, web in ipairs(self.order) do
    if not kept[web] then
      web.left_out = true
      left_out[#left_out + 1] = web
      M.keep_in_sight(self, web)
    end
  end
  self.order = order
  return left_out
end

--- Nothing is left of one that was kept in sight, or it is one of the master's clusters now.
---@param self brood.Master
---@param web brood.Cluster
function M.gone(self, web)
  web.on_trial = nil
  local list = {}
  for _, other in ipairs(self.leaving) do
    list[#list + 1] = other ~= web and other or nil
  end
  self.leaving = list
end

--- All that may have workers: those of the config, those being tried by a reload, and those that are leaving.
---@param self brood.Master
---@return brood.Cluster[]
function M.every(self)
  local list = { unpack(self.order) }
  for _, web in ipairs(self.leaving) do
    list[#list + 1] = web
  end
  return list
end

return M
