--- A cluster: N forked workers that serve one app on the same listening sockets.
--- The number of them is the group's business, their life the process's, what a worker is
--- cluster.member's; this joins them, and is what a master asks.
local change = require "brood.cluster.change"
local E = require "brood.error"
local emitter = require "brood.emitter"
local ends = require "brood.cluster.ends"
local generation = require "brood.cluster.generation"
local group = require "brood.group"
local linger = require "brood.cluster.linger"
local log = require "brood.log"
local make = require "brood.cluster.member"
local oldest_first = require "brood.group.oldest_first"
local places = require "brood.cluster.places"
local recycle = require "brood.cluster.recycle"
local respawn = require "brood.group.respawn"
local signals = require "brood.signals"
local sockets = require "brood.cluster.sockets"
local task = require "brood.task"
local view = require "brood.cluster.worker"
local watch = require "brood.cluster.watch"

local QUICK = 2 -- seconds a worker has after TERM before KILL
local STDERR = 2 -- what every process has, up to this one

---@class brood.WebCluster: brood.Emitter
---@field name string
---@field group brood.Group
---@field generation brood.Generation what is launched is of this one
---@field options table the generation's
---@field hooks table<string, function> the generation's
---@field sockets brood.Sockets the generation's
local Cluster = emitter.mixin {}
Cluster.__index = Cluster

local M = {}

-- What is launched from now on is of that generation.
local function adopt(self, gen)
  self.generation, self.options, self.hooks, self.sockets = gen, gen.options, gen.hooks, gen.sockets
  self.places = gen.places or self.places
  local rollout = gen.options.rollout or {}
  self.group.surge, self.group.pause = rollout.surge or 1, rollout.pause or 0
end

-- Somebody has sent QUIT to the worker itself: it has no more time than others who go, and nobody waits for its end.
local function replace_leaving(self, member)
  local all, slot = self.group, member.slot
  if member.reason or not member.ready_at or all.state ~= "running" then
    return
  end
  all:dismiss(member, "signal")
  if slot <= all.size and not all.holders[slot] then
    all:launch(slot)
  end
end

-- What a worker asks of its cluster.
local function hear(self, member)
  local peer = member.process.run.peer
  peer:handle("recycle", function()
    self.recycler:is_due(member, "max_requests")
  end)
  peer:handle("leaving", function()
    replace_leaving(self, member)
  end)
  peer:handle("reopen_all", function()
    self:emit("reopen_all", member.worker)
  end)
  self.recycler:watch(member)
end

local function new_group(self, options)
  local members = group.new {
    name = self.name, size = options.workers, next_id = options.next_id,
    hopeless = function(failure)
      return failure.code == "app" -- the file itself is at fault: missing, no Lua, or no app
    end,
    make = function(member)
      return make(self, member)
    end,
  }
  members:on("online", function(member)
    log.info(("%s: worker %d (pid %d) is ready"):format(self.name, member.id, member.worker.pid))
    self:emit("online", member.worker)
    sockets.cover(self)
    hear(self, member)
  end)
  for _, event in ipairs { "respawn", "faulted" } do
    members:on(event, function()
      sockets.cover(self)
    end)
  end
  members:on("rolled", function()
    self.recycler:go_on()
  end)
  members:on("stopped", function()
    watch.remove(self)
    self.recycler:forget()
  end)
  members:on("exit", function(member, ...)
    self.recycler:ended(member)
    ends(self, member, ...)
  end)
  return members
end

--- A cluster of workers; nothing is started yet.
---@param options table as in the config, and name, hooks, master, sockets = brood.Sockets
---@return brood.WebCluster?, brood.Error? err
function M.new(options)
  local self = setmetatable({
    name = options.name, master = options.master, history = {}, changes = {},
  }, Cluster)
  local first = generation.new(self, options)
  local problem = first:problem()
  if problem then
    return nil, problem
  end
  local err
  self.places, err = places.new(options.workers)
  if not self.places then
    return nil, err
  end
  self.group, self.recycler = new_group(self, options), recycle.new(self)
  adopt(self, first)
  return self
end

--- The workers that are alive, oldest first.
---@return brood.ClusterWorker[]
function Cluster:workers()
  local list = {}
  for _, member in ipairs(oldest_first(self.group)) do
    if member.process.pid then
      list[#list + 1] = member.worker
    end
  end
  return list
end

local function start_group(self, done)
  local ok, err = self.sockets:grow(self.group.size) -- it may have been scaled before
  if not ok then
    return done(err)
  end
  watch.add(self)
  self.group:start(done)
end

--- Start it: ends well once each worker is ready or keeps being tried, and one at least serves. With `preload` the app
--- is loaded first, here.
---@async
---@param cb? fun(err: brood.Error?)
function Cluster:start(cb)
  self.hurried, self.lingers = nil, nil
  return task.run(cb, self.name .. ":start", function(done)
    self.generation:load(function(err)
      if err then
        return done(err)
      end
      start_group(self, done)
    end)
  end)
end

-- What is not yet running is not wanted any more.
local function call_off(self)
  self.generation:cancel()
  for each in pairs(self.changes) do
    each.generation:cancel()
  end
end

--- Stop it gracefully: requests and connections finish within graceful_timeout, and idle connections are closed; but
--- with `lingers`, where somebody else serves on the same sockets, they may ask once more.
---@async
---@param lingers? boolean|fun(err: brood.Error?)
---@param cb? fun(err: brood.Error?)
function Cluster:stop(lingers, cb)
  if type(lingers) == "function" then
    lingers, cb = false, lingers
  end
  call_off(self)
  self.lingers = lingers or false
  if not lingers then
    linger.no_longer(self)
  end
  return self.group:stop(cb)
end

--- Stop it now: TERM, and KILL for what is still there a moment later. Asked again, KILL at once.
---@async
---@param cb? fun(err: brood.Error?)
function Cluster:terminate(cb)
  call_off(self)
  if self.hurried then
    self.group:kill()
  else
    self.hurried = true
    for _, member in ipairs(oldest_first(self.group)) do
      if member.process.hurry then
        member.process:hurry(signals.number("TERM"), QUICK, "a quick stop")
      end
    end
  end
  return self.group:stop(cb)
end

--- Keep n workers from now on. Returns when the new ones are ready and the surplus has finished and gone.
---@async
---@param n integer
---@param cb? fun(err: brood.Error?)
function Cluster:scale(n, cb)
  return task.run(cb, self.name .. ":scale", function(done)
    local ok, err = self.sockets:grow(n)
    if not ok then
      return done(err)
    end
    self.group:scale(n, done)
    sockets.cover(self) -- those that go accept no more
  end)
end

--- A change to other options, another app, other sockets: it is tried with `probe`, and made with `commit`.
---@param options table as for `new`
---@return brood.Change
function Cluster:change(options)
  return change.new(self, options)
end

--- Be another generation from now on, and replace the workers. Called by a change.
---@private
---@param gen brood.Generation
---@param first? brood.Member its first worker, on trial
---@param done fun(err: brood.Error?, replaced: integer)
function Cluster:become(gen, first, done)
  watch.remove(self)
  adopt(self, gen)
  watch.add(self)
  local ok, err = self.sockets:grow(gen.options.workers)
  if not ok then
    log.error(("%s: %s"):format(self.name, E.text(err))) -- their share of connections goes to the other slots
  end
  self.group:renew({
    size = gen.options.workers, reason = "reload", first = first,
    is_new = function(member)
      return member.generation == gen
    end,
  }, done)
  sockets.cover(self)
end

--- Hand each worker files that were opened again, in place of what it has under that number; its access log is known
--- by its path, for the number may mean another one by now.
---@param list brood.Reopened[]
function Cluster:reopen(list)
  for _, member in ipairs(oldest_first(self.group)) do
    local access_log = member.generation and member.generation.options.access_log
    for _, file in ipairs(member.process.post and list or {}) do
      if file.target <= STDERR then
        member.process:post("reopen", { target = file.target }, file.fd)
      elseif access_log and access_log.path == file.path then
        member.process:post("reopen", { target = access_log.fd }, file.fd)
      end
    end
  end
end

--- Send a message to every worker.
---@param value any
function Cluster:send(value)
  for _, worker in ipairs(self:workers()) do
    worker:send(value)
  end
end

--- What runs, as plain values.
---@param now number seconds since 1970
---@return table
function Cluster:status(now)
  local processes = {}
  for i, worker in ipairs(self:workers()) do
    processes[i] = view.status(worker, now, self.history[worker.slot])
  end
  local last_error, next_try = respawn.last_trouble(self.group)
  return {
    workers = self.group.size, ready = self.group:ready_count(), processes = processes,
    last_error = last_error, next_try = next_try,
  }
end

return M
