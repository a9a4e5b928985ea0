--- What a worker of a cluster is: its process, what it inherits and keeps, and the hooks around
--- its fork. When one is made, and what becomes of it, is the group's business.
local await_before_fork = require "brood.group.before_fork"
local core = require "brood.core"
local inside = require "brood.cluster.inside"
local linger = require "brood.cluster.linger"
local lazy = require "brood.lazy"
local note = require "brood.cluster.note"
local preload = require "brood.cluster.preload"
local program = lazy.room "brood.cluster.program"
local request = require "brood.cluster.request"
local Process = require "brood.process"
local run_hook = require "brood.hook"
local serve = require "brood.serve"
local signals = require "brood.signals"
local sockets = require "brood.cluster.sockets"
local view = require "brood.cluster.worker"

local own = lazy.room "brood.serve.own"

local QUICK = 2 -- seconds that one which serves nobody yet has before KILL

-- Signals that are the master's beside those that are a worker's as well: by their default action some end a process,
-- and who sends them may send them to all that bear the name.
local function masters_signals(master)
  local names = { "HUP", "USR2" }
  for name in pairs(master and master.config and master.config.signals or {}) do
    names[#names + 1] = name ~= "HUP" and name ~= "USR2" and name or nil
  end
  return names
end

-- The child, between its fork and its app. Signals come first: a hook may wait, and they must be heard meanwhile.
local function prepare(self, member, inner)
  local notes = note.new(member.places.board, member.place)
  local serving = serve.begin(inner, member.fds, notes, masters_signals(self.master))
  local o = member.generation.options
  serving.patience, serving.recycle_timeout, serving.args = o.graceful_timeout, o.recycle_timeout, o.args
  serving.max_requests, serving.on_trial = member.limit, member.tentative
  if self.door then
    own.begin(serving, o.listen == nil)
  end
  core.posix.setproctitle(("brood: %s worker %d"):format(self.name, member.id))
  if member.place then
    member.places.board:attach(member.place)
  end
  notes:stage("after_fork")
  serving.known = inside.dress(inner, member, self)
  view.in_child(member.worker, inner)
  local err = run_hook(member.generation.hooks, "after_fork", self.master or self, member.worker)
  if err then
    error(err, 0)
  end
  return serving, view.settle(member.worker)
end

-- What a worker keeps of the master's: its sockets, and the file of its access log.
local function keeps(member)
  local fds, access_log = { unpack(member.fds) }, member.generation.options.access_log
  if access_log and access_log.fd > 2 then
    fds[#fds + 1] = access_log.fd
  end
  return fds
end

-- So many requests, and by chance some more, so that not all are replaced together.
local function limit_of(options)
  local jitter = options.max_requests_jitter
  return options.max_requests and options.max_requests + (jitter and math.random(0, jitter) or 0) or nil
end

-- What the workers of the proxy serve is brood's own.
local function own_app(options)
  return function()
    return require("brood.proxy.app").new(options)
  end
end

local function new_process(self, member)
  local generation, serving = member.generation, nil
  local o = generation.options
  member.fds, member.limit = sockets.for_member(self, member), limit_of(o)
  return Process.new({
    name = ("%s worker %d"):format(self.name, member.id),
    main = function()
      if generation.inherited then
        preload.tune(generation.inherited)
      end
      serving:run(o.proxy and own_app(o.proxy) or o.app, generation.app, o.access_log)
    end,
    env = o.env, cwd = o.working_directory, umask = o.umask, user = o.user, group = o.group, limits = o.limits,
    ready = "channel", stop_signal = "QUIT", stop_timeout = o.graceful_timeout, start_timeout = o.start_timeout,
  }, {
    keep = keeps(member), leader_alone = true, limit_name = self.door and "stop_timeout" or "graceful_timeout",
    frames = self.door and self.door:frames() or nil,
    busy = function()
      return request.text(member)
    end,
    where = function()
      return member.counters and note.where(member.counters("state"), o.app or self.name)
    end,
    prepare = function(inner)
      local dropped
      serving, dropped = prepare(self, member, inner)
      return dropped
    end,
  })
end

local function before_fork(self, member)
  local generation = member.generation
  local seconds = generation.hooks.before_fork and generation.options.start_timeout
  return await_before_fork(member, seconds, function()
    return run_hook(generation.hooks, "before_fork", self.master or self, member.worker)
  end)
end

--- Make the process of a member, which is of the generation in force unless it has one already.
---@async
---@param self brood.Cluster
---@param member brood.Member
---@return brood.Process?, brood.Error? err
return function(self, member)
  local worker = view.new(member, self.name)
  member.worker = worker
  member.generation = member.generation or self.generation
  local ok, err = before_fork(self, member)
  if not ok then
    return nil, err
  end
  if member.generation.options.command then
    return program.make(self, member)
  end
  self.places:take(member)
  local process = new_process(self, member)
  process:on("stopping", function()
    member.pid = process.pid
    if member.ready_at or member.counters and note.serves(member.counters("state")) then
      linger.told(self, member)
    else
      -- There is nothing to finish. But QUIT, not TERM: it may begin to serve at this very moment.
      process:hurry(signals.number("QUIT"), QUICK, "it serves nobody yet")
    end
  end)
  process:on("message", function(value, fd)
    self:emit("message", worker, value, fd)
  end)
  if self.door then
    process:on("error", function(failure)
      self:emit("error", failure, worker)
    end)
  end
  return process
end
