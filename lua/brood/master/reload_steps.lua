--- The steps of a reload up to its decision: each prepares something beside what runs, and leaves behind how it is
--- undone, and what is to be done when the new config comes into force. In which order they are taken, and what
--- becomes of a failure, is master.reload's business.
local clusters = require "brood.master.clusters"
local config = require "brood.master.config"
local control = require "brood.master.control"
local core = require "brood.core"
local E = require "brood.error"
local emitter = require "brood.emitter"
local environment = require "brood.master.environment"
local hook = require "brood.hook"
local jit = require "jit"
local join = require "brood.join"
local no_exit = require "brood.no_exit"
local pidfile = require "brood.master.pidfile"
local signals = require "brood.master.signals"
local task = require "brood.task"
local timer = require "brood.timer"
local uv = require "luv"

local MUCH = 1536 -- KiB that a config may leave over before workers are forked: soon each has as much of its own
local LATER = 0.1 -- seconds

---@class brood.Reload
---@field master brood.Master
---@field wish brood.Wish
---@field config brood.EffectiveConfig the new one
---@field former brood.EffectiveConfig
---@field undo fun()[] what puts all back as it was
---@field commits fun()[] what lets it come into force
---@field sockets brood.ListenersPlan
---@field changes { web: brood.Cluster, change: brood.Change }[]
---@field born brood.Cluster[] clusters that are new
---@field order brood.Cluster[]
---@field memory number KiB that were in use before
local Reload = {}
Reload.__index = Reload

-- What was compiled of a config's code, and of what reads it, holds on to that code: each reload would leave some
-- behind.
local function collect()
  jit.flush()
  collectgarbage()
end

local tidying -- the timer

local function no_tidying()
  if tidying then
    tidying:cancel()
    tidying = nil
  end
end

--- Nothing has been done yet.
---@param master brood.Master
---@param wish brood.Wish
---@return brood.Reload
function Reload.new(master, wish)
  no_tidying()
  return setmetatable({
    master = master, wish = wish, former = master.config, undo = {}, commits = {}, changes = {}, born = {}, order = {},
    memory = collectgarbage "count",
  }, Reload)
end

--- It is over: what it has left behind goes, a little later, so that the workers which go need not wait for that.
function Reload:tidy() -- luacheck: ignore 212
  no_tidying()
  tidying = timer.after(LATER, function()
    tidying = nil
    collect()
    core.release_memory()
  end):unref()
end

-- One that was called off while a step of it waited has been undone already, but for that step.
function Reload:or_else(undo)
  if self.wish.over then
    return undo()
  end
  table.insert(self.undo, undo)
end

function Reload:then_do(commit)
  table.insert(self.commits, commit)
end

function Reload:put_back()
  local list = self.undo
  self.undo = {}
  for i = #list, 1, -1 do
    local ok, err = xpcall(list[i], task.on_raise)
    if not ok then
      core.uncaught(E.text(err))
    end
  end
end

-- ---- what the config says -------------------------------------------------------------------------------------------

-- What the former config has told the master to listen to, the new one tells it anew.
local function mark_listeners(self)
  local master = self.master
  local before = emitter.listening(master)
  master.former_listeners = before
  self:or_else(function()
    master.former_listeners = nil
    emitter.only(master, function(entry)
      return before[entry] or clusters.is_ours(entry)
    end)
  end)
  self:then_do(function()
    master.former_listeners = nil
    emitter.only(master, function(entry)
      return not before[entry] or clusters.is_ours(entry)
    end)
  end)
  if master.programs then
    master.programs:mark_listeners(self)
  end
end

local function examine(self)
  local examined, why = config.examine(self.master.options, self.master)
  if examined and examined.mistakes then
    why = self.master.explain(examined)
  end
  if why then
    return nil, E.new("config", "%s", why)
  end
  return (config.settle(examined))
end

function Reload:read()
  self:or_else(environment.fresh())
  mark_listeners(self)
  environment.hold_compiler()
  local ok, effective, err = no_exit.call(examine, self)
  environment.release_compiler()
  if not ok then
    return nil, effective
  end
  self.config = effective
  return effective ~= nil, err
end

-- ---- what belongs to the master -------------------------------------------------------------------------------------

-- The way back, whatever has become of the path.
local function way_back()
  local fd = uv.fs_open(".", "r", 0)
  if fd then
    core.fd.own(fd)
  end
  return fd, "/proc/self/fd/" .. tostring(fd)
end

-- Even where the path is the same: it may lead through a symlink that has moved.
function Reload:directory()
  local path, fd, back = self.config.working_directory, way_back()
  local function forget()
    if fd then
      core.fd.close(fd)
    end
  end
  local ok, err = core.posix.chdir(path)
  if not ok then
    forget()
    return nil, E.of("working_directory " .. path, err)
  end
  self:or_else(function()
    core.posix.chdir(fd and back or self.master.config.working_directory)
    forget()
  end)
  self:then_do(forget)
  return true
end

-- A plan of another room: what it prepared is made, or taken back.
function Reload:follow(plan, err)
  if not plan then
    return nil, err
  end
  self:or_else(function()
    plan:cancel()
  end)
  self:then_do(function()
    plan:commit()
  end)
  return true
end

function Reload:pidfile()
  return self:follow(pidfile.change(self.master, self.config.pidfile))
end

function Reload:logs()
  local master, wanted, former = self.master, self.config, self.master.config
  local plan, err = master.logs:change(wanted)
  local ok
  ok, err = self:follow(plan, err)
  if ok and (wanted.stdout_path ~= former.stdout_path or wanted.stderr_path ~= former.stderr_path) then
    self:then_do(function()
      signals.look_at_terminals(master)
    end)
  end
  return ok, err
end

function Reload:control()
  return self:follow(control.change(self.master, self.config))
end

function Reload:listen()
  local plan, err = self.master.listeners:change(self.config.clusters, function()
    return self.wish.over
  end)
  if not plan then
    return nil, err
  end
  self.sockets = plan
  self:or_else(function()
    plan:cancel()
  end)
  return true
end

-- ---- the clusters ---------------------------------------------------------------------------------------------------

-- It is not one of the master's clusters yet, but whoever ends the master has to know of it.
local function bear(self, options, sockets)
  local master = self.master
  local web, err = clusters.make(master, options, sockets)
  if not web then
    return nil, err
  end
  clusters.keep_in_sight(master, web)
  self:or_else(function()
    web:terminate(function()
      clusters.gone(master, web)
    end)
  end)
  self:then_do(function()
    clusters.gone(master, web)
  end)
  table.insert(self.born, web)
  return web
end

local function alter(self, web, options, sockets)
  local wanted, err = clusters.options(self.master, options, sockets)
  if not wanted then
    return nil, err
  end
  local change = web:change(wanted)
  self:or_else(function()
    change:cancel()
  end)
  table.insert(self.changes, { web = web, change = change })
  return web
end

function Reload:clusters()
  for i, options in ipairs(self.config.clusters) do
    local present, sockets = self.master.clusters[options.name], self.sockets.by_cluster[options.name]
    local web, err
    if present then
      web, err = alter(self, present, options, sockets)
    else
      web, err = bear(self, options, sockets)
    end
    if not web then
      return nil, err
    end
    self.order[i] = web
  end
  return true
end

-- From here on the config is the master's, as at a start.
function Reload:on_start()
  local master, former = self.master, self.master.config
  master.config = self.config
  self:or_else(function()
    master.config = former
  end)
  local ok, err = no_exit.call(hook, self.config.hooks, "on_start", master, "reload")
  err = err or nil
  return ok and err == nil, err
end

-- What a config has left over would be copied into every worker. To look for a little of it takes longer than all else
-- here: that is done when the workers are new.
function Reload:collect()
  if collectgarbage "count" - self.memory > MUCH then
    collect()
  end
  return true
end

-- What is decided later is found out, and the new names are known to whoever is forked from now on.
function Reload:services()
  local master = self.master
  if not master.programs then
    if next(self.config.services) == nil then
      return true
    end
    local err
    master.programs, err = require("brood.master.services").new(master)
    if not master.programs then
      return nil, err
    end
    master.programs.begun = true
  end
  return master.programs:prepare(self)
end

-- One worker of each pool, before the clusters: their new workers may have jobs for new ones at once.
function Reload:pools()
  local master = self.master
  if not master.keeper then
    if next(self.config.pools) == nil then
      return true
    end
    local err
    master.keeper, err = require("brood.master.pools").new(master)
    if not master.keeper then
      return nil, err
    end
  end
  return master.keeper:prepare(self)
end

function Reload:proxy()
  local wanted = self.config
  if not wanted.proxy and next(wanted.backends) == nil and not self.master.backend_keeper then
    return true
  end
  return require("brood.master.proxy").reload(self)
end

-- All at once; the first that fails ends it.
function Reload:try()
  return task.run(nil, "reload", function(done)
    local all = join.new(done)
    local function one()
      local over = all:branch()
      return function(err)
        if err then
          done(err)
        end
        over()
      end
    end
    for _, each in ipairs(self.changes) do
      each.change:probe(one())
    end
    for _, web in ipairs(self.born) do
      web:start(one())
    end
    all.all_begun()
  end)
end

return Reload
