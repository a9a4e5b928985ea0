--- The backends of a master: made from the config, which starts nothing; used by whoever the proxy's workers ask for;
--- and ended after those workers. One that a reload has changed or left out ends once nobody uses it. It is loaded
--- where a config has backends, and nowhere else. What a backend is, and when its programs start and stop, is the room
--- brood.backend's business.
local Backend = require "brood.backend"
local clock = require "brood.clock"
local core = require "brood.core"
local E = require "brood.error"
local join = require "brood.join"
local kinds = require "brood.rules.kinds"
local log = require "brood.log"
local merged = require "brood.rules.merged"
local same = require "brood.rules.same"
local timer = require "brood.timer"
local unhooked = require "brood.rules.unhooked"
local without = require "brood.rules.without"

local QUICK = 2 -- seconds that a program has after TERM when all must go

---@class brood.MasterBackend one of them
---@field name string
---@field options brood.BackendOptions with what the top level says
---@field backend brood.Backend

---@class brood.MasterBackends
---@field master brood.Master
---@field current table<string, brood.MasterBackend> those of the config
---@field coming table<string, brood.MasterBackend> those that a reload tries
---@field leaving brood.MasterBackend[] those that a reload has left out or replaced
---@field stopping? boolean nobody gets one any more
local Backends = {}
Backends.__index = Backends

local M = {}

-- ---- one of them ----------------------------------------------------------------------------------------------------

-- Those who use it, or wait for it, are served until the deadline; done() when none of its programs is left.
local function finish(one, deadline, done)
  local patience, limit = deadline - clock.now(), nil
  if patience < math.huge then
    limit = timer.after(math.max(0, patience), function()
      one.backend:kill(function() end)
    end)
  end
  one.backend:close(function()
    if limit then
      limit:cancel()
    end
    done()
  end)
end

-- What the top level says of processes holds for programs too.
local function complete(name, config)
  local own = config.backends[name]
  local options = merged(own, {
    name = name, cwd = own.cwd or config.working_directory, umask = own.umask or config.umask,
    env = merged(config.env or {}, own.env), limits = own.limits or config.limits,
  })
  if own.user == nil then
    options.user, options.group = config.user, own.group or config.group
  end
  if own.max_backlog == nil and config.proxy then
    options.max_backlog = config.proxy.max_waiting
  end
  return options
end

local function make(name, config)
  local options = complete(name, config)
  local advice = unhooked({ command = options.command }, config.hooks.after_fork, options.user)
  if advice then
    log[core.posix.getuid() == 0 and "warn" or "info"](("%s: %s"):format(name, advice))
  end
  local backend = Backend.make(options, { name = name })
  backend:on("error", function(err)
    log.warn(err.reason and err.code == "exit" and ("%s: %s"):format(err.reason, err.message) or E.text(err))
  end)
  return { name = name, options = options, backend = backend }
end

-- ---- all of them ----------------------------------------------------------------------------------------------------

--- The one of that name; nil while all stop.
---@param name string
---@return brood.Backend?
function Backends:find(name)
  if self.stopping then
    return nil
  end
  local found = self.current[name] or self.coming[name]
  for i = #self.leaving, 1, -1 do
    found = found or self.leaving[i].name == name and self.leaving[i] or nil
  end
  return found and found.backend
end

local function every(self)
  local list = {}
  for _, set in ipairs { self.current, self.coming } do
    for _, name in ipairs(kinds.sorted_keys(set)) do
      list[#list + 1] = set[name]
    end
  end
  for _, one in ipairs(self.leaving) do
    list[#list + 1] = one
  end
  return list
end

--- Nothing runs before it is used.
---@param done fun(err: brood.Error?)
function Backends:start(_, done) -- luacheck: ignore 212
  done()
end

--- End them all, the proxy being gone; done() when nothing is left.
---@param deadline number monotonic seconds
---@param done fun()
function Backends:stop(deadline, done)
  self.stopping = true
  join.each(every(self), function(one, over)
    finish(one, deadline, over)
  end, done)
end

--- They end now, whatever they are doing.
function Backends:hurry()
  local again = self.hurried
  self.hurried = true
  for _, one in ipairs(every(self)) do
    local backend = one.backend
    if again then
      backend:kill(function() end)
    else
      backend:terminate(function() end)
      timer.after(QUICK, function()
        backend:kill(function() end)
      end):unref()
    end
  end
end

-- It is in no config any more: it ends once begun, and is known until then to those who still lead to it.
local function leave(self, one, when)
  table.insert(self.leaving, one)
  when(function()
    local patience = self.master.config.graceful_timeout
    finish(one, patience and clock.now() + patience or math.huge, function()
      self.leaving = without(self.leaving, one)
    end)
  end)
end

local function at_once(begin)
  begin()
end

--- What a reload does to them: what is as before goes on. `old_workers(fn)` calls fn once the workers are gone that
--- know the former config.
---@param reload brood.Reload
---@param old_workers fun(fn: fun())
---@return true? ok, brood.Error? err
function Backends:prepare(reload, old_workers)
  local config, list, born = reload.config, {}, {}
  for _, name in ipairs(kinds.sorted_keys(config.backends)) do
    local present = self.current[name]
    list[name] = present
    if not present or not same(present.options, complete(name, config)) then
      born[name] = make(name, config)
      list[name] = born[name]
    end
  end
  self.coming = born
  reload:or_else(function()
    self.coming = {}
    for _, one in pairs(born) do
      leave(self, one, at_once)
    end
  end)
  reload:then_do(function()
    local former = self.current
    self.current, self.coming = list, {}
    for _, name in ipairs(kinds.sorted_keys(former)) do
      if not list[name] then
        log.info(("%s: is not in the config any more"):format(name))
        leave(self, former[name], old_workers)
      elseif list[name] ~= former[name] then
        leave(self, former[name], at_once)
      end
    end
  end)
  return true
end

--- What runs, as plain values, by name.
---@param now number seconds since 1970
---@return table<string, table>
function Backends:status(now)
  local result = {}
  for _, one in ipairs(every(self)) do
    local status = one.backend:status()
    local known = result[one.name] or {
      state = status.state, size = status.size, served = status.served, waiting = status.waiting,
      last_error = status.error and status.error.message or nil, processes = {},
    }
    for _, program in ipairs(status.programs) do
      table.insert(known.processes, {
        name = program.name, kind = "backend", pid = program.pid, state = program.state, requests = program.served,
        uptime = program.started_at and now - program.started_at,
      })
    end
    result[one.name] = known
  end
  return result
end

--- The backends of a master, as its config has them.
---@param master brood.Master
---@param config brood.EffectiveConfig
---@return brood.MasterBackends
function M.new(master, config)
  local self = setmetatable({ master = master, current = {}, coming = {}, leaving = {} }, Backends)
  for _, name in ipairs(kinds.sorted_keys(config.backends)) do
    self.current[name] = make(name, config)
  end
  return self
end

return M
