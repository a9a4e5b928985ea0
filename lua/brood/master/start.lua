--- How a master starts: what may fail before the first fork, one step after the
--- other, then all its clusters side by side. A stop may come wherever it waits.
--- What is opened here, master.stop releases.
local clock = require "brood.clock"
local cluster = require "brood.cluster"
local control = require "brood.master.control"
local core = require "brood.core"
local E = require "brood.error"
local emitter = require "brood.emitter"
local hooks = require "brood.master.hooks"
local join = require "brood.join"
local log = require "brood.log"
local signals = require "brood.master.signals"
local stop = require "brood.master.stop"
local supervised = require "brood.supervised"
local task = require "brood.task"
local timer = require "brood.timer"

local DAY = 86400

local function called_off()
  return E.new("stopped", "stopped before it had started")
end

-- ---- the steps before the first fork --------------------------------------------------------------------------------

local function enter_directory(self)
  local path = self.config.working_directory
  local ok, err = core.posix.chdir(path)
  return ok, err and E.new(err.code, "working_directory %s: %s", path, err.message)
end

local function take_pidfile(self)
  local path, err = self.config.pidfile, nil
  if path then
    self.pid_holder, err = core.pidfile.open(path)
    self.pidfile = self.pid_holder and path
  end
  return err == nil, err
end

local function open_logs(self)
  local ok, err = self.logs:redirect(self.config)
  if ok then
    signals.look_at_terminals(self)
  end
  return ok, err
end

local function open_sockets(self)
  local ok, err = self.listeners:open(self.config.clusters, function()
    return self.state ~= "starting"
  end)
  for _, options in ipairs(ok and self.config.clusters or {}) do
    log.debug(("%s: listening on %s"):format(options.name, table.concat(self.listeners:addresses(options.name), ", ")))
  end
  return ok, err
end

local function watch(self, web)
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
  -- It has been logged: only who listens hears of it again.
  web.group:on("failed", function(member, err)
    if not member.reason and (emitter.has_listener(self, "error") or emitter.has_listener(self, "*")) then
      self:emit("error", err, member.worker)
    end
  end)
end

local function make_cluster(self, options)
  local wanted = {}
  for key, value in pairs(options) do
    wanted[key] = value
  end
  wanted.master = self
  wanted.hooks = options.hooks or self.config.hooks
  wanted.next_id = function()
    self.last_worker = self.last_worker + 1
    return self.last_worker
  end
  wanted.sockets = self.listeners:of(options.name)
  local web, err
  wanted.access_log, err = self.logs:access(options.access_log, self.log_format)
  if not err then
    web, err = cluster.new(wanted)
  end
  if not web then
    return nil, E.new(err.code, "%s: %s", options.name, err.message)
  end
  watch(self, web)
  self.clusters[options.name] = web
  self.order[#self.order + 1] = web
  return true
end

local function make_clusters(self)
  for _, options in ipairs(self.config.clusters) do
    local ok, err = make_cluster(self, options)
    if not ok then
      return nil, err
    end
  end
  return true
end

-- It may take its time, but nobody is served meanwhile.
local function on_start(self)
  local every = self.config.start_timeout
  local began = clock.now()
  local reminder = every and self.config.hooks.on_start and timer.every(every, function()
    log.warn(("on_start still runs after %.0f s: nothing is served before it has ended"):format(clock.now() - began))
  end):unref()
  local err = hooks.call(self, self.config.hooks, "on_start", "start")
  if reminder then
    reminder:cancel()
  end
  self.begun = err == nil
  return err == nil, err
end

local COLLECT = 1000 -- percent of what was allocated that each step of the collector looks at

-- Garbage would be copied into every worker, and its amount put off their first round of collecting. A round that takes
-- its time lets the heap grow meanwhile, by half again: short ones do the same work.
local function settle()
  collectgarbage("setstepmul", COLLECT)
  collectgarbage()
  collectgarbage()
  return true
end

local steps = {
  enter_directory, take_pidfile, open_logs, open_sockets, make_clusters, control.start, on_start, settle,
}

local function prepare(self)
  for _, step in ipairs(steps) do
    local ok, err = step(self)
    if not ok or self.state ~= "starting" then
      return nil, err or called_off()
    end
  end
  return true
end

-- ---- the clusters ---------------------------------------------------------------------------------------------------

-- A process names itself "web worker 1" in its errors: that is name enough.
local function named(web, err)
  if err.message:find(web.name .. ": ", 1, true) == 1 or err.message:find(web.name .. " worker ", 1, true) == 1 then
    return err
  end
  -- Where a module was looked for has been logged with the failure.
  return E.new(err.code, "%s: %s", web.name, (err.message:gsub("not found:\n\tno .*$", "not found")))
end

-- Nothing of it is to be left: whoever waits for the start hears of the failure when all has ended.
local function fail(self, err)
  if self.state == "starting" then
    self.failure = err
    stop.begin(self, "terminate", function() end)
  elseif err.code ~= "stopped" then
    core.uncaught(E.text(err))
  end
end

-- All at once; one that cannot start ends the others as well, however far they are.
local function start_clusters(self, done)
  local all = join.new(function()
    if self.state == "starting" then
      self.state = "ready"
      self.held = timer.every(DAY, function() end) -- it stays, though it may have no worker and no control server
      core.release_modules() -- what is still to be loaded is little
      self:emit("ready")
      done()
    end
  end)
  for _, web in ipairs(self.order) do
    local over = all:branch()
    web:start(function(err)
      if err then
        fail(self, named(web, err))
      end
      over()
    end)
  end
  all.all_begun()
end

local function run(self, done)
  local ok, err = prepare(self)
  if self.state == "stopped" then
    stop.release(self) -- what was opened since
  elseif not ok then
    fail(self, err)
  else
    start_clusters(self, done)
  end
end

--- Start a master. done(err) once it serves, or once nothing is left of it; code "stopped": somebody asked for that.
---@param self brood.Master
---@param done fun(err: brood.Error?)
return function(self, done)
  -- A hook that still waits holds up nobody.
  table.insert(self.waiters, function()
    done(self.failure or called_off())
  end)
  -- However this process ends, by a hook's os.exit too, its sockets and its pidfile go with it.
  self.at_end = { close = function()
    stop.release(self)
  end }
  supervised.close_at_end(self.at_end)
  local whole, why = task.call(run, self, done)
  if not whole then
    -- A config or a hook may have done anything to the master, or to what it uses.
    local told, again = task.call(fail, self, why)
    if not told then
      core.uncaught(E.text(why))
      core.uncaught(E.text(again))
      os.exit(1)
    end
  end
end
