--- A cluster: N forked workers that serve one app on the same listening sockets, those of a master or of a script.
--- The number of them is the group's business, their life the process's, what a worker is
--- cluster.member's; this joins them, and is what a master asks. What only a script's cluster has and does (options
--- of its own, sockets that it opens itself) is cluster.script's.
local change = require "brood.cluster.change"
local clock = require "brood.clock"
local closing = require "brood.cluster.closing"
local core = require "brood.core"
local E = require "brood.error"
local emitter = require "brood.emitter"
local ends = require "brood.cluster.ends"
local generation = require "brood.cluster.generation"
local group = require "brood.group"
local linger = require "brood.cluster.linger"
local log = require "brood.log"
local make = require "brood.cluster.member"
local oldest_first = require "brood.group.oldest_first"
local ours = require "brood.ours"
local places = require "brood.cluster.places"
local program = require("brood.lazy").room "brood.cluster.program"
local recycle = require "brood.cluster.recycle"
local respawn = require "brood.group.respawn"
local show = require "brood.rules.show"
local signals = require "brood.signals"
local sockets = require "brood.cluster.sockets"
local task = require "brood.task"
local view = require "brood.cluster.worker"
local watch = require "brood.cluster.watch"

local MOST = 65535 -- workers
local QUICK = 2 -- seconds a worker has after TERM before KILL
local STDERR = 2 -- what every process has, up to this one

---@class brood.Cluster: brood.Emitter
---@field name string
---@field state brood.ProcessState "faulted": every worker has ended, and none is started again
---@field workers brood.ClusterWorker[] those that are alive, oldest first
---@field master? brood.Master whose cluster it is, if it is a master's
---@field door? brood.Door of a script's: its sockets, and its start
---@field group brood.Group
---@field generation brood.Generation what is launched is of this one
---@field options table the generation's
---@field hooks table<string, function> the generation's
---@field sockets brood.Sockets the generation's
---@field private born integer the generation of the process that it belongs to
local Cluster = emitter.mixin {}

local live = {}

Cluster.__index = function(self, name)
  local field = live[name]
  if field then
    return field(self)
  end
  return Cluster[name]
end

local M = { class = Cluster, live = live }

--- Whether it is one, and whose: for what is not to be called in the child of a fork.
---@private
function M.is_one(self)
  return getmetatable(self) == Cluster
end

---@private
function M.is_foreign(self)
  return self.born ~= core.generation()
end


function live:workers()
  local list = {}
  for _, member in ipairs(oldest_first(self.group)) do
    if member.process.pid then
      list[#list + 1] = member.worker
    end
  end
  return list
end

--- What is launched from now on is of that generation.
---@private
---@param gen brood.Generation
function Cluster:adopt(gen)
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
  if not peer then
    return self.recycler:watch(member)
  end
  peer:handle("recycle", function()
    self.recycler:is_due(member, "max_requests")
  end)
  peer:handle("leaving", function()
    closing.closed(member)
    replace_leaving(self, member)
  end)
  peer:handle("reopen_all", function()
    self:emit("reopen_all", member.worker)
  end)
  self.recycler:watch(member)
end

--- What is in the log of a master, whose events few listen to, but would be much in that of a script, which has them.
---@param text string
function Cluster:note(text)
  log[self.master and "info" or "debug"](text)
end

local function new_group(self, options)
  local members = group.new {
    name = self.name, size = options.workers, next_id = options.next_id, respawn = options.respawn,
    after_ready = options.after_ready, after_failure = options.after_failure, quiet = self.master == nil,
    hopeless = function(failure)
      if self.options.command then
        return program.is_final(failure)
      end
      return failure.code == "app" -- the file itself is at fault: missing, no Lua, or no app
    end,
    make = function(member)
      return make(self, member)
    end,
  }
  members:on("online", function(member)
    self:note(("%s: worker %d (pid %d) is ready"):format(self.name, member.id, member.worker.pid))
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
    self:emit "stopped"
  end)
  for _, event in ipairs { "started", "stopping" } do
    members:on(event, function()
      self:emit(event)
    end)
  end
  members:on("exit", function(member, ...)
    self.recycler:ended(member)
    ends(self, member, ...)
  end)
  return members
end

--- A cluster of a script's own; nothing is opened or started yet. Options, and what they are without a word: see the
--- reference.
---
---     local cluster = Cluster.new("app.lua", { listen = 8080, count = 4 })
---
---@param app_or_options string|brood.ScriptClusterOptions the path of the app; or options with `app`
---@param given? brood.ScriptClusterOptions
---@return brood.Cluster
function M.new(app_or_options, given)
  local options = require("brood.cluster.options").check(2, "Cluster.new", app_or_options, given)
  return require("brood.cluster.script").new(M, options)
end

--- A cluster whose options are normalised already.
---@private
---@param options table as in the config, and name, hooks, master, sockets = brood.Sockets; of a script's also respawn,
--- after_ready, after_failure, args, recycle_timeout, max_memory_gain
---@return brood.Cluster?, brood.Error? err
function M.make(options)
  local self = setmetatable({
    name = options.name, master = options.master, history = {}, changes = {}, born = core.generation(),
  }, Cluster)
  local first = generation.new(self, options)
  local problem = self.master and first:problem() -- a script hears of it from `start`
  if problem then
    return nil, problem
  end
  local err
  self.places, err = places.new(options.workers)
  if not self.places then
    return nil, err
  end
  self.group, self.recycler = new_group(self, options), recycle.new(self)
  self:adopt(first)
  return self
end

--- All that comes before the first fork is done.
---@private
---@param done fun(err: brood.Error?)
function Cluster:launch(done)
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
    if self.door then
      return self.door:start(done)
    end
    self.generation:load(function(err)
      if err then
        return done(err)
      end
      self:launch(done)
    end)
  end)
end

-- What is not yet running is not wanted any more.
local function call_off(self)
  if self.door then
    self.door:call_off()
  end
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
  if type(n) ~= "number" or n < 0 or n > MOST or n ~= math.floor(n) then
    error(("cluster:scale: a whole number of workers is needed, got %s"):format(show(n)), 2)
  end
  return task.run(cb, self.name .. ":scale", function(done)
    if self.group.state ~= "running" then
      return self.group:scale(n, done) -- for the next start
    end
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
  self:adopt(gen)
  watch.add(self)
  if first and first.process.post then
    first.process:post "serve" -- before the one whose slot it gets is told to go
  end
  local ok, err = self.sockets:grow(gen.options.workers)
  if not ok then
    log.error(("%s: %s"):format(self.name, E.text(err))) -- their share of connections goes to the other slots
  end
  self.group:renew({
    size = gen.options.workers, reason = "reload", first = first,
    is_new = function(member)
      return member.generation == gen
    end,
  }, function(failure, replaced)
    if failure then
      return done(failure, replaced)
    end
    closing.wait(self, function()
      done(nil, replaced)
    end)
  end)
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

--- Send a message to every worker. Never suspends.
---@param value any
function Cluster:send(value)
  for _, worker in ipairs(self.workers) do
    worker:send(value)
  end
end

--- What runs, as plain values.
---@param now? number seconds since 1970
---@return table
function Cluster:status(now)
  now = now or clock.unix()
  local processes = {}
  for i, worker in ipairs(self.workers) do
    processes[i] = view.status(worker, now, self.history[worker.slot])
  end
  local last_error, next_try = respawn.last_trouble(self.group)
  return {
    workers = self.group.size, ready = self.group:ready_count(), processes = processes,
    last_error = last_error, next_try = next_try,
  }
end

ours.guard(Cluster, "cluster", { "start", "stop", "terminate", "scale", "send" }, M.is_one, M.is_foreign)
ours.guard(Cluster, "cluster", { "status" }, M.is_one)

return M
