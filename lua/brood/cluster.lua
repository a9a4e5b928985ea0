--- A cluster: N forked workers that serve one app on the same listening sockets.
--- The number of them is the group's business, their life the process's; this
--- joins the two with the hooks and the worker objects that hooks are given.
local core = require "brood.core"
local E = require "brood.error"
local emitter = require "brood.emitter"
local group = require "brood.group"
local log = require "brood.log"
local Process = require "brood.process"
local serve = require "brood.serve"
local signals = require "brood.signals"
local task = require "brood.task"

local QUICK = 2 -- seconds a worker has after TERM before KILL
local SLOTS = 1024 -- of the scoreboard: more than ever run at once, replacements included

---@class brood.ClusterWorker
---@field pid integer? nil in before_fork
---@field id integer never reused
---@field slot integer 1 to workers; a replacement takes over its slot
---@field cluster string its cluster's name
---@field state string
---@field started_at number? seconds since 1970
---@field requests integer answered so far
---@field reason string? once it is ending
local Worker = {}

local worker_fields = {
  pid = function(m)
    return m.process and m.process.pid
  end,
  state = function(m)
    return m.process and m.process.state or "stopped"
  end,
  started_at = function(m)
    return m.process and m.process.started_at
  end,
  requests = function(m)
    return m.counters and m.counters:get("requests") or m.last_requests or 0
  end,
  id = function(m)
    return m.id
  end,
  slot = function(m)
    return m.slot
  end,
  reason = function(m)
    return m.reason
  end,
}

local worker_methods = {}

function Worker.__index(self, name)
  local field = worker_fields[name]
  if field then
    return field(rawget(self, "member"))
  end
  return worker_methods[name]
end

--- Send a message to the worker.
---@param value any
---@param fd? integer
function worker_methods:send(value, fd)
  return self.member.process:send(value, fd)
end

--- Send it a signal, TERM unless told otherwise.
---@param signal? string|integer
function worker_methods:kill(signal)
  return self.member.process:signal(signal or "TERM")
end

--- In after_fork: become this user and group now, for good.
---@param name string|integer
---@param group_name? string|integer
function worker_methods:user(name, group_name) -- luacheck: ignore 212
  local user, err = core.privileges.lookup_user(name)
  if not user then
    error(err, 2)
  end
  local gid = user.gid
  if group_name ~= nil then
    local found
    found, err = core.privileges.lookup_group(group_name)
    if not found then
      error(err, 2)
    end
    gid = found.gid
  end
  local ok
  ok, err = core.privileges.drop(user.uid, gid, user.name)
  if not ok then
    -- Half a drop must not serve a single request.
    log.error("worker:user: " .. tostring(err))
    core.exit(1)
  end
  rawset(self, "dropped", true)
end

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
  local ok, err = xpcall(fn, task.on_raise, ...)
  if not ok then
    return nil, E.new("hook", "%s", name .. ": " .. E.text(err))
  end
  return true
end

local function make(self, member)
  local o = self.options
  local worker = setmetatable({ member = member, cluster = self.name }, Worker)
  member.worker = worker
  local ok, err = run_hook(self, "before_fork", self.master, worker)
  if not ok then
    return nil, err
  end
  local index = (member.id - 1) % SLOTS + 1
  local process = Process.new({
    name = ("%s worker %d"):format(self.name, member.id),
    main = function(self_worker)
      serve.run(self_worker, { app = o.app, fds = self.fds() })
    end,
    env = o.env, cwd = o.working_directory, umask = o.umask, user = o.user, group = o.group, limits = o.limits,
    ready = "channel", stop_signal = "QUIT", stop_timeout = o.graceful_timeout, start_timeout = o.start_timeout,
  }, {
    keep = self.fds(),
    prepare = function(inner)
      core.posix.setproctitle(("brood: %s worker %d"):format(self.name, member.id))
      self.scoreboard:attach(index)
      inner.id, inner.slot, inner.cluster = member.id, member.slot, self.name
      rawset(worker, "pid", inner.pid)
      local hooked, why = run_hook(self, "after_fork", self.master, worker)
      if not hooked then
        error(why, 0)
      end
      return rawget(worker, "dropped")
    end,
  })
  member.counters = {
    get = function(_, field)
      return self.scoreboard:get(index, field)
    end,
  }
  process:on("message", function(value, fd)
    self:emit("message", worker, value, fd)
  end)
  return process
end

local function describe_end(process)
  if process.exit_signal then
    return "killed by " .. process.exit_signal
  end
  return "status " .. tostring(process.exit_code)
end

local function connect_events(self)
  self.group:on("online", function(member)
    log.info(("%s: worker %d (pid %d) is ready"):format(self.name, member.id, member.worker.pid))
    self:emit("online", member.worker)
  end)
  self.group:on("exit", function(member, code, signal)
    member.last_requests = member.counters and member.counters:get("requests")
    local process = member.process
    -- A start that failed has told its own story already.
    if member.ready_at then
      local unasked = member.reason == "crash" or member.reason == "signal"
      log[unasked and "warn" or "info"](("%s: worker %d ended: %s (%s)"):format(self.name, member.id,
        describe_end(process), member.reason))
    end
    self:emit("exit", member.worker, code, signal)
  end)
end

--- A cluster of workers; nothing is started yet.
---@param options table as in the config, and name, hooks, master, fds = fn() -> descriptors
---@return brood.WebCluster
function M.new(options)
  local self = setmetatable({
    name = options.name, options = options, hooks = options.hooks or {}, fds = options.fds,
    master = options.master, scoreboard = assert(core.scoreboard.create(SLOTS)),
  }, Cluster)
  self.group = group.new {
    name = self.name, size = options.workers,
    make = function(member)
      return make(self, member)
    end,
  }
  connect_events(self)
  return self
end

--- The workers that are alive, oldest first.
---@return brood.ClusterWorker[]
function Cluster:workers()
  local list = {}
  for _, member in pairs(self.group.members) do
    if member.worker and member.process and member.process.pid then
      list[#list + 1] = member.worker
    end
  end
  table.sort(list, function(a, b)
    return a.id < b.id
  end)
  return list
end

--- Start it: ends well once each worker is ready or keeps being tried, and one at least serves.
---@async
---@param cb? fun(err: brood.Error?)
function Cluster:start(cb)
  return self.group:start(cb)
end

--- Stop it gracefully: requests and connections finish within graceful_timeout.
---@async
---@param cb? fun(err: brood.Error?)
function Cluster:stop(cb)
  return self.group:stop(cb)
end

--- Stop it now: TERM, and KILL for what is still there a moment later.
---@async
---@param cb? fun(err: brood.Error?)
function Cluster:terminate(cb)
  for _, member in pairs(self.group.members) do
    if member.process and member.process.hurry then
      member.process:hurry(signals.number("TERM"), QUICK)
    end
  end
  return self.group:stop(cb)
end

--- Send a message to every worker.
---@param value any
function Cluster:send(value)
  for _, worker in ipairs(self:workers()) do
    worker:send(value)
  end
end

return M
