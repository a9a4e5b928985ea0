--- A cluster: N forked workers that serve one app on the same listening sockets.
--- The number of them is the group's business, their life the process's; this
--- joins the two with the hooks and the worker objects that hooks are given.
local clock = require "brood.clock"
local core = require "brood.core"
local E = require "brood.error"
local emitter = require "brood.emitter"
local group = require "brood.group"
local identity = require "brood.cluster.identity"
local inside = require "brood.cluster.inside"
local log = require "brood.log"
local note = require "brood.cluster.note"
local preload = require "brood.cluster.preload"
local Process = require "brood.process"
local serve = require "brood.serve"
local signals = require "brood.signals"
local sockets = require "brood.cluster.sockets"
local task = require "brood.task"
local timer = require "brood.timer"
local view = require "brood.cluster.worker"
local watch = require "brood.cluster.watch"

local QUICK = 2 -- seconds a worker has after TERM before KILL
local SPARE = 1024 -- places of the scoreboard beside two for each worker (one that goes, one that comes)

---@class brood.WebCluster: brood.Emitter
---@field name string
---@field group brood.Group
local Cluster = emitter.mixin {}
Cluster.__index = Cluster

local M = {}

-- A hook runs in the task of the fork, which waits for it; what it raises is the fork's failure.
local function run_hook(self, name, ...)
  local fn = self.hooks[name]
  if not fn then
    return true
  end
  local ok, err = task.call(fn, ...)
  if not ok then
    local failure = E.new("hook", "%s", name .. ": " .. tostring(err))
    failure.traceback = name .. ": " .. E.text(err)
    return nil, failure
  end
  return true
end

-- ---- places on the scoreboard ---------------------------------------------------------------------------------------

-- A worker keeps its place to its end, however many come and go beside it.
local function take_place(self, member)
  local place = table.remove(self.free_places)
  if not place and self.places < self.capacity then
    self.places = self.places + 1
    place = self.places
  end
  member.place = place
  member.counters = place and function(field)
    return self.scoreboard:get(place, field)
  end
end

local function leave_place(self, member)
  member.last_requests = member.counters and member.counters("requests")
  member.told = member.counters and note.signal(member.counters("state"))
  member.counters = nil
  if member.place then
    self.scoreboard:set(member.place, "accepting", 0) -- or its siblings would wait for it to take connections
    table.insert(self.free_places, member.place)
    member.place = nil
  end
end

-- ---- one worker -----------------------------------------------------------------------------------------------------

-- The child, between its fork and its app. Signals come first: a hook may wait, and they must be heard meanwhile.
local function prepare(self, member, inner)
  local own = note.new(self.scoreboard, member.place)
  local serving = serve.begin(inner, member.fds, own)
  serving.patience = self.options.graceful_timeout
  core.posix.setproctitle(("brood: %s worker %d"):format(self.name, member.id))
  if member.place then
    self.scoreboard:attach(member.place)
  end
  own:stage("after_fork")
  serving.known = inside.dress(inner, member, self)
  view.in_child(member.worker, inner)
  local ok, err = run_hook(self, "after_fork", self.master, member.worker)
  if not ok then
    error(err, 0)
  end
  return serving, view.settle(member.worker)
end

-- What a worker keeps of the master's: its sockets, and the file of its access log.
local function keeps(self, member)
  local fds, access_log = { unpack(member.fds) }, self.options.access_log
  if access_log and access_log.fd > 2 then
    fds[#fds + 1] = access_log.fd
  end
  return fds
end

local function new_process(self, member)
  local o, serving = self.options, nil
  member.fds = sockets.for_member(self, member)
  return Process.new({
    name = ("%s worker %d"):format(self.name, member.id),
    main = function()
      if self.inherited then
        preload.tune(self.inherited)
      end
      serving:run(o.app, self.app, o.access_log)
    end,
    env = o.env, cwd = o.working_directory, umask = o.umask, user = o.user, group = o.group, limits = o.limits,
    ready = "channel", stop_signal = "QUIT", stop_timeout = o.graceful_timeout, start_timeout = o.start_timeout,
  }, {
    keep = keeps(self, member), leader_alone = true,
    where = function()
      return member.counters and note.where(member.counters("state"), o.app)
    end,
    prepare = function(inner)
      local dropped
      serving, dropped = prepare(self, member, inner)
      return dropped
    end,
  })
end

-- Wait for before_fork, but no longer than somebody wants the worker: a stop must not depend on a hook's end, and a
-- start has its start_timeout.
local function before_fork(self, member)
  local seconds = self.hooks.before_fork and self.options.start_timeout
  return task.run(nil, "before_fork", function(answer)
    local limit
    local function done(...)
      if limit then
        limit:cancel()
      end
      answer(...)
    end
    if seconds then
      limit = timer.after(seconds, function()
        done(E.new("timeout", "before_fork has not ended within %g s", seconds))
      end)
    end
    member.process = {
      state = "starting",
      stop = function()
        done(E.new("stopped", "told to go before its fork"))
      end,
    }
    task.spawn(function()
      local _, err = run_hook(self, "before_fork", self.master, member.worker)
      done(err)
    end)
  end)
end

local function make(self, member)
  local worker = view.new(member, self.name)
  member.worker = worker
  local ok, err = before_fork(self, member)
  if not ok then
    return nil, err
  end
  take_place(self, member)
  local process = new_process(self, member)
  process:on("stopping", function()
    member.pid = process.pid
    if not member.ready_at then
      process:hurry(signals.number("TERM"), QUICK) -- it serves nobody yet, so there is nothing to finish
    end
  end)
  process:on("message", function(value, fd)
    self:emit("message", worker, value, fd)
  end)
  return process
end

-- ---- the cluster ----------------------------------------------------------------------------------------------------

local function describe_end(member)
  local process, why = member.process, member.reason
  if process.exit_signal then
    local how = "killed by " .. process.exit_signal
    return why == "signal" and how or ("%s (%s)"):format(how, why)
  end
  return ("status %s (%s)"):format(tostring(process.exit_code), why == "signal" and "signal " .. member.told or why)
end

local NO_RESTART = { stop = true, scale = true, reload = true, superseded = true }

-- What the status tells about the slot from now on.
local function note_end(self, member, code, signal)
  local slot = self.history[member.slot] or { restarts = 0 }
  self.history[member.slot] = slot
  if not NO_RESTART[member.reason] then
    slot.restarts = slot.restarts + 1
  end
  slot.last_exit = {
    id = member.id, pid = member.pid, code = code, signal = signal, reason = member.reason, at = clock.unix(),
  }
end

-- It may have died with a connection that it alone was woken for.
local function look_for_it(self)
  for _, other in pairs(self.group.members) do
    local run = other.process.run
    if run and run.peer then
      run.peer:post "look"
    end
  end
end

local function on_exit(self, member, code, signal)
  leave_place(self, member)
  if signal then
    look_for_it(self)
  end
  if not member.pid then
    return -- it was never forked: nobody has heard of it
  end
  if member.reason == "crash" and code and member.told then
    member.reason = "signal" -- somebody has told the worker itself to go
  end
  note_end(self, member, code, signal)
  -- A start that failed has told its own story already.
  if member.ready_at then
    local unasked = member.reason == "crash" or member.reason == "signal" or member.reason == "timeout"
    log[unasked and "warn" or "info"](("%s: worker %d (pid %d) ended: %s"):format(self.name, member.id,
      member.pid, describe_end(member)))
  end
  self:emit("exit", member.worker, code, signal)
end

--- A cluster of workers; nothing is started yet.
---@param options table as in the config, and name, hooks, master, sockets = brood.Sockets
---@return brood.WebCluster?, brood.Error? err
function M.new(options)
  local ok, err = identity.check(options)
  if not ok then
    return nil, err
  end
  local capacity, scoreboard = 2 * options.workers + SPARE
  scoreboard, err = core.scoreboard.create(capacity)
  if not scoreboard then
    return nil, err
  end
  local self = setmetatable({
    name = options.name, options = options, hooks = options.hooks or {}, sockets = options.sockets,
    master = options.master, scoreboard = scoreboard, capacity = capacity, places = 0, free_places = {}, history = {},
  }, Cluster)
  self.group = group.new {
    name = self.name, size = options.workers, next_id = options.next_id,
    hopeless = function(failure)
      return failure.code == "app" -- the file itself is at fault: missing, no Lua, or no app
    end,
    make = function(member)
      return make(self, member)
    end,
  }
  self.group:on("online", function(member)
    log.info(("%s: worker %d (pid %d) is ready"):format(self.name, member.id, member.worker.pid))
    self:emit("online", member.worker)
    sockets.cover(self)
  end)
  for _, event in ipairs { "respawn", "faulted" } do
    self.group:on(event, function()
      sockets.cover(self)
    end)
  end
  self.group:on("stopped", function()
    watch.remove(self)
  end)
  self.group:on("exit", function(...)
    on_exit(self, ...)
  end)
  return self
end

--- The workers that are alive, oldest first.
---@return brood.ClusterWorker[]
function Cluster:workers()
  local list = {}
  for _, member in pairs(self.group.members) do
    if member.process.pid then
      list[#list + 1] = member.worker
    end
  end
  table.sort(list, function(a, b)
    return a.id < b.id
  end)
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
  self.hurried = nil
  return task.run(cb, self.name .. ":start", function(done)
    if not self.options.preload or self.app then
      return start_group(self, done)
    end
    preload.load(self, function(err)
      if err then
        return done(err)
      end
      start_group(self, done)
    end)
  end)
end

--- Stop it gracefully: requests and connections finish within graceful_timeout.
---@async
---@param cb? fun(err: brood.Error?)
function Cluster:stop(cb)
  preload.cancel(self)
  return self.group:stop(cb)
end

--- Stop it now: TERM, and KILL for what is still there a moment later. Asked again, KILL at once.
---@async
---@param cb? fun(err: brood.Error?)
function Cluster:terminate(cb)
  preload.cancel(self)
  if self.hurried then
    self.group:kill()
  else
    self.hurried = true
    for _, member in pairs(self.group.members) do
      if member.process.hurry then
        member.process:hurry(signals.number("TERM"), QUICK)
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
  return { workers = self.group.size, ready = self.group:ready_count(), processes = processes }
end

return M
