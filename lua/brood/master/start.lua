--- How a master starts: what may fail before the first fork, one step after the
--- other, then what it runs, in the order of brood.master.order. A stop may come wherever it waits.
--- What is opened here, master.stop releases.
local clock = require "brood.clock"
local clusters = require "brood.master.clusters"
local control = require "brood.master.control"
local core = require "brood.core"
local E = require "brood.error"
local hooks = require "brood.master.hooks"
local lazy = require "brood.lazy"
local log = require "brood.log"
local signals = require "brood.master.signals"
local stop = require "brood.master.stop"
local supervised = require "brood.supervised"
local task = require "brood.task"
local timer = require "brood.timer"
local transition = require "brood.master.transition"

local inherit = lazy.passing "brood.master.inherit"
local niceness = lazy.passing "brood.master.niceness"
local order = lazy.passing "brood.master.order"

local DAY = 86400
local SETTLED = 1 -- seconds after a start in which all that follows from it has been done

local function called_off()
  return E.new("stopped", "stopped before it had started")
end

-- ---- the steps before the first fork --------------------------------------------------------------------------------

local function be_nice(self)
  niceness.apply(self.config)
  return true
end

local function enter_directory(self)
  local path = self.config.working_directory
  local ok, err = core.posix.chdir(path)
  return ok, err and E.of("working_directory " .. path, err)
end

local function take_pidfile(self)
  local path, err = self.config.pidfile, nil
  if path then
    self.pid_holder, err = core.pidfile.open(path, true)
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
  inherit.offer(self)
  local ok, err = self.listeners:open(self.config.clusters, function()
    return self.state ~= "starting"
  end)
  for _, options in ipairs(ok and self.config.clusters or {}) do
    log.debug(("%s: listening on %s"):format(options.name, table.concat(self.listeners:addresses(options.name), ", ")))
  end
  return ok, err
end

local function make_clusters(self)
  local list = {}
  for i, options in ipairs(self.config.clusters) do
    local web, err = clusters.make(self, options, self.listeners:of(options.name))
    if not web then
      return nil, err
    end
    list[i] = web
  end
  clusters.set(self, list)
  return true
end

-- It may take its time, but nobody is served meanwhile.
local function on_start(self)
  local every = self.config.start_timeout
  local began = clock.now()
  local reminder = every and self.config.hooks.on_start and timer.every(every, function()
    log.warn(("on_start still runs after %.0f s: nothing is served before it has ended"):format(clock.now() - began))
  end):unref()
  local hook, pools = self.config.hooks.on_start, next(self.config.pools) ~= nil and require "brood.pool"
  if pools then
    pools.coming = hook and true
  end
  local err = hooks.call(self, self.config.hooks, "on_start", self.inherited.upgrade and "upgrade" or "start")
  if pools then
    pools.coming = nil
  end
  if reminder then
    reminder:cancel()
  end
  self.begun = err == nil
  return err == nil, err
end

-- Before the first fork, for whoever is forked is to know their names.
local function make_services(self)
  if next(self.config.services) == nil then
    return true
  end
  local err
  self.programs, err = require("brood.master.services").new(self)
  if not self.programs then
    return nil, err
  end
  return self.programs:begin()
end

local function make_pools(self)
  if next(self.config.pools) == nil then
    return true
  end
  local err
  self.keeper, err = require("brood.master.pools").new(self)
  if not self.keeper then
    return nil, err
  end
  return self.keeper:begin()
end

local function make_proxy(self)
  if not self.config.proxy and next(self.config.backends) == nil then
    return true
  end
  return require("brood.master.proxy").begin(self)
end

local COLLECT = 1000 -- percent of what was allocated that each step of the collector looks at

-- Garbage would be copied into every worker, and its amount put off their first round of collecting. A round that takes
-- its time lets the heap grow meanwhile, by half again: short ones do the same work.
local function settle()
  lazy.forget()
  collectgarbage("setstepmul", COLLECT)
  collectgarbage()
  collectgarbage()
  return true
end

-- After the control server, which may have its socket from the old master.
local function settle_sockets(self)
  inherit.settle(self)
  return true
end

local steps = {
  be_nice, enter_directory, take_pidfile, open_logs, open_sockets, make_clusters, control.start, settle_sockets,
  on_start, make_services, make_pools, make_proxy, settle,
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

-- ---- what it runs ---------------------------------------------------------------------------------------------------

-- Nothing of it is to be left: whoever waits for the start hears of the failure when all has ended.
local function fail(self, err)
  if self.state == "starting" then
    self.failure = err
    stop.begin(self, "terminate", function() end)
  elseif err.code ~= "stopped" then
    core.uncaught(E.text(err))
  end
end

local function serves(self, done)
  self.state = "ready"
  self.held = timer.every(DAY, function() end) -- it stays, though it may have no worker and no control server
  timer.after(SETTLED, function()
    lazy.forget()
    require("brood.options").forget()
    core.release_memory()
  end):unref()
  self:emit("ready")
  done()
  transition.pump(self)
end

-- A failure has told its story, and so has whoever has called the start off.
local function begin(self, done)
  self.life = order.new(self, function(err)
    fail(self, err)
  end)
  self.life:start(function(err)
    if self.state ~= "starting" then
      return
    elseif err then
      return fail(self, err)
    end
    serves(self, done)
  end)
end

local function run(self, done)
  self.transitions.starting = coroutine.running()
  signals.apply(self)
  local ok, err = prepare(self)
  if self.state == "stopped" then
    stop.release(self) -- what was opened since
  elseif not ok then
    fail(self, err)
  else
    begin(self, done)
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
  self.transitions.starting = nil -- the same coroutine is somebody else's from now on
  if not whole then
    -- A config or a hook may have done anything to the master, or to what it uses.
    local told, again = task.call(fail, self, why)
    if not told then
      core.uncaught(E.text(why))
      core.uncaught(E.text(again))
      supervised.exit(1)
    end
  end
end
