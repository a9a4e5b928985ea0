--- Spinners: named programs with ports, which run when they are asked for, are started again when they die or when
--- their files change, and are stopped when nobody uses them. A spinner knows its services by name and in what order
--- they come; the life of each is spinner.service's business.
local after = require "brood.rules.after"
local core = require "brood.core"
local E = require "brood.error"
local join = require "brood.join"
local kinds = require "brood.rules.kinds"
local lazy = require "brood.lazy"
local merged = require "brood.rules.merged"
local options = require "brood.options"
local paths = require "brood.rules.path"
local service_options = require "brood.rules.service_options"
local services = require "brood.spinner.service"
local show = require "brood.rules.show"
local sockets = lazy.room "brood.spinner.sockets"
local supervised = require "brood.supervised"
local task = require "brood.task"

---What only brood's own rooms pass to `make`.
---@class brood.SpinnerInner
---@field supervised? boolean its services are to run: a faulted one is tried again by itself every fault_timeout, and
--- at once when somebody starts it (one with autostart = false is on demand still)
---@field directory? string absolute: what paths are relative to; the working directory
---@field process? fun(service: brood.Service): table? more of what Process.new takes as `inner`, for each run: attach,
--- environ, frames, ...
---@field last_used? fun(service: brood.Service): number? for `idle`: monotonic seconds; math.huge while it is in use
---@field leave? fun(service: brood.Service, listening: string?, done: fun()) tandem: the new one is ready and its
--- address is the service's; done() once nobody uses the old address any more, which then stops
---@field quiet? boolean whoever made it tells in the log what becomes of its services

---@class brood.Spinner
---@field ports integer[] the lowest and the highest that it gives
---@field defaults table for start
---@field services table<string, brood.Service>
---@field inner brood.SpinnerInner
---@field live integer runs that there are
local Spinner = {}
Spinner.__index = Spinner

local M = { class = Spinner }

local not_default = service_options.of_one

local function defaults_spec()
  local spec = { ports = { type = "ports", default = service_options.PORTS } }
  for name, key in pairs(service_options.fields) do
    if not not_default[name] then
      spec[name] = merged(key)
      spec[name].default = nil
    end
  end
  return spec
end

-- ---- one for whoever asks -------------------------------------------------------------------------------------------

--- A spinner for brood's own rooms; nothing is checked.
---@param defaults table normalised: ports, and what `start` is to take where its options say nothing
---@param inner? brood.SpinnerInner
---@return brood.Spinner
function M.make(defaults, inner)
  local rest = merged(defaults)
  rest.ports = nil
  local self = setmetatable({
    ports = defaults.ports or service_options.PORTS, defaults = rest, services = {}, inner = inner or {},
    live = 0, born = core.generation(), width = 0, count = 0,
  }, Spinner)
  return self
end

--- A spinner: services that it starts get a port each, unless their options say otherwise.
---
---     local spinner = Spinner.new { ports = { 7000, 7999 } }
---     local port, err = spinner:start { command = { "node", "api.js" }, monitor = "api.js" }
---
---@param given? table `ports`, and defaults for what `start` takes
---@return brood.Spinner
function M.new(given)
  local checked = options.check(2, given, defaults_spec(), "Spinner.new")
  return M.make(checked, { directory = assert(core.cwd()) })
end

-- Called with a dot in place of the colon, or in a process that has no part in it.
local function refuse(self, what)
  error(getmetatable(self) ~= Spinner and options.no_self("spinner:" .. what)
    or ("spinner:%s: the spinner belongs to the process that this one was forked from"):format(what), 3)
end

local function is_ours(self)
  return getmetatable(self) == Spinner and self.born == core.generation()
end

-- ---- what there is --------------------------------------------------------------------------------------------------

-- By name those that come before it; what is not there (any more) is left out.
local function graph_of(self)
  local graph = {}
  for name, service in pairs(self.services) do
    local known = {}
    for _, before in ipairs(service.options.after or {}) do
      known[#known + 1] = self.services[before] and before or nil
    end
    graph[name] = known
  end
  return graph
end

local function unknown(self, what, name)
  local names = kinds.sorted_keys(self.services)
  local which = names[1] and "the services are: " .. table.concat(names, ", ") or "there are no services"
  return E.new("unknown", "%s: there is no service '%s'; %s", what, tostring(name), which)
end

-- What is wrong with the order, if these options come into force.
local function order_mistake(self, name, wanted)
  if not wanted[1] then
    return nil
  end
  local graph = graph_of(self)
  graph[name] = wanted
  local order, mistake = after.order(graph)
  return not order and E.new(mistake.kind, "%s", after.sentence(mistake, kinds.sorted_keys(self.services))) or nil
end

--- There is such a service from now on; it is not started. Those that it comes after have to be there already (see
--- rules/after's order). One of that name that runs goes on as it is, and has these options from its next start.
---@param o table normalised options
---@return brood.Service? service, brood.Error? err
function Spinner:declare(o)
  local name = service_options.name(o)
  local err = order_mistake(self, name, o.after or {})
  if err then
    return nil, err
  end
  local present = self.services[name]
  if present then
    present:set_options(o)
    return present
  end
  self.count = self.count + 1
  self.width = math.max(self.width, #name)
  present = services.new(self, name, o, self.count)
  self.services[name] = present
  return present
end

--- There is no such service any more. It has to be stopped.
---@param name string
function Spinner:forget(name)
  local service = self.services[name]
  if service then
    assert(service.state == "stopped", "a service that is not stopped cannot be forgotten")
    service:close()
    self.services[name] = nil
  end
end

--- The services in the order in which they start: each behind those that it comes after.
---@return brood.Service[]
function Spinner:in_order()
  local list = {}
  for i, name in ipairs(assert(after.order(graph_of(self)))) do
    list[i] = self.services[name]
  end
  return list
end

local function complete(self, given, level)
  local env = self.defaults.env and given.env and merged(self.defaults.env, given.env)
  local o = merged(self.defaults, given)
  o.env = env or o.env
  local checked = options.check(level + 1, o, service_options.fields, "Spinner.start")
  if checked.start_timeout ~= nil then
    checked.timeout = checked.start_timeout
  end
  local problem = service_options.conflict(checked)
  if problem then
    error("Spinner.start: " .. problem, level + 1)
  end
  service_options.complete(checked)
  services.check(checked, level + 1)
  return checked
end

-- The service that `start` means, or nil and why not.
local function meant(self, given, level)
  if type(given) == "string" then
    local service = self.services[given]
    if not service then
      return nil, unknown(self, "Spinner.start", given)
    end
    return service
  elseif type(given) ~= "table" then
    error("Spinner.start: a table of options or the name of a service is needed, got " .. type(given), level + 1)
  end
  local checked = complete(self, given, level + 1)
  return self:declare(checked)
end

-- ---- calls ----------------------------------------------------------------------------------------------------------

--- Start a service: its port, or the path of its socket, or true once it is ready. Where it runs already this is its
--- port, at once; while it starts this joins, while it stops it starts afterwards. It also counts as `touch`.
---@async
---@param given brood.ServiceOptions|string the name alone of one that was started before
---@param cb? fun(err: brood.Error?, port: integer|string|true?)
---@return integer|string|true? port with a callback: the service
---@return brood.Error? err
function Spinner:start(given, cb)
  if not is_ours(self) then
    refuse(self, "start")
  elseif cb ~= nil and type(cb) ~= "function" then
    return task.run(cb, "spinner:start", function() end) -- raises, before there is such a service
  end
  local service, err = meant(self, given, 2)
  if cb then
    task.run(cb, "spinner:start", function(done)
      if not service then
        return done(err)
      end
      service:begin_start(done, true)
    end)
    return service, err
  end
  return task.run(nil, "spinner:start", function(done)
    if not service then
      return done(err)
    end
    service:begin_start(done)
  end)
end

local function one(self, what, name, cb, fn)
  if type(name) ~= "string" then
    error(("spinner:%s: the name of a service is needed, got %s"):format(what, name == nil and "nothing" or show(name)),
      2) -- it is called by a tail call
  end
  return task.run(cb, "spinner:" .. what, function(done)
    local service = self.services[name]
    if not service then
      return done(unknown(self, "spinner:" .. what, name))
    end
    fn(service, done)
  end)
end

--- Stop a service; true once nothing of it is left. It stays known as stopped.
---@async
---@param name string
---@param cb? fun(err: brood.Error?)
---@return true? ok, brood.Error? err code "unknown" where there is none of that name
function Spinner:stop(name, cb)
  if not is_ours(self) then
    refuse(self, "stop")
  end
  return one(self, "stop", name, cb, services.class.begin_stop)
end

--- Another run in place of the one that there is; starts it where there is none. Returns its port.
---@async
---@param name string
---@param cb? fun(err: brood.Error?, port: integer|string|true?)
---@return integer|string|true? port, brood.Error? err
function Spinner:restart(name, cb)
  if not is_ours(self) then
    refuse(self, "restart")
  end
  return one(self, "restart", name, cb, services.class.begin_restart)
end

--- Somebody uses it: `idle` counts from now.
---@async
---@param name string
---@param cb? fun(err: brood.Error?)
---@return true? ok, brood.Error? err code "stopped" where it does not run
function Spinner:touch(name, cb)
  if not is_ours(self) then
    refuse(self, "touch")
  end
  return one(self, "touch", name, cb, services.class.begin_touch)
end

--- Stop all services, in the reverse of their order, side by side where it may be. True once nothing is left.
---@async
---@param cb? fun(err: brood.Error?)
function Spinner:stop_all(cb)
  if not is_ours(self) then
    refuse(self, "stop_all")
  end
  return task.run(cb, "spinner:stop_all", function(done)
    self:stop_some(self.services, done)
  end)
end

--- Stop these, each when those of them are stopped that come after it.
---@param some table<string, brood.Service>
---@param done fun()
function Spinner:stop_some(some, done)
  local waits_for, all = {}, join.new(function()
    done()
  end)
  local function each_before(service, fn)
    for _, name in ipairs(service.options.after or {}) do
      if some[name] then
        fn(name)
      end
    end
  end
  for _, service in pairs(some) do
    each_before(service, function(name)
      waits_for[name] = (waits_for[name] or 0) + 1
    end)
  end
  local function stop(service)
    local over = all:branch()
    service:begin_stop(function()
      each_before(service, function(name)
        waits_for[name] = waits_for[name] - 1
        if waits_for[name] == 0 then
          stop(some[name])
        end
      end)
      over()
    end)
  end
  local first = {}
  for name, service in pairs(some) do
    first[#first + 1] = not waits_for[name] and service or nil
  end
  for _, service in ipairs(first) do
    stop(service)
  end
  all.all_begun()
end

--- They end now: their processes get this signal, and KILL after so many seconds.
---@param signal integer
---@param patience number
function Spinner:hurry(signal, patience)
  for _, service in pairs(self.services) do
    service:hurry(signal, patience)
  end
end

--- The service of that name: its state, port, pid, options, restarts, and its events.
---@param name string
---@return brood.Service?
function Spinner:get(name)
  if getmetatable(self) ~= Spinner then
    refuse(self, "get")
  elseif type(name) ~= "string" then
    error("spinner:get: the name of a service is needed, got " .. (name == nil and "nothing" or show(name)), 2)
  end
  return self.services[name]
end

--- All services by name: plain values as they are now.
---@return table<string, brood.ServiceEntry>
function Spinner:list()
  if getmetatable(self) ~= Spinner then
    refuse(self, "list")
  end
  local list = {}
  for name, service in pairs(self.services) do
    list[name] = service:entry()
  end
  return list
end

-- ---- what services ask ----------------------------------------------------------------------------------------------

--- Call done() once those that come before it are ready, done(err) where one cannot become it.
---@param service brood.Service
---@param done fun(err: brood.Error?)
function Spinner:await_before(service, done)
  local names = service.options.after or {}
  if not names[1] then
    return done()
  end
  local all = join.new(function(err)
    done(err)
  end)
  for _, name in ipairs(names) do
    local before, over = self.services[name], all:branch()
    if before then
      before:await(function(err)
        local late = err and E.new(err.code, "%s comes after %s: %s", service.name, name, err.message)
        if late then
          late.waits_for = name
        end
        over(late)
      end)
    else
      over(E.new("unknown", "%s", after.sentence({ kind = "unknown", name = service.name, missing = name },
        kinds.sorted_keys(self.services))))
    end
  end
  all.all_begun()
end

--- A path as it is meant here.
---@param path string
---@return string
function Spinner:absolute(path)
  return paths.absolute(self.inner.directory, path)
end

--- There is one run more; this process does not end without asking the spinner, so that they stop in their order.
function Spinner:run_begun()
  self.live = self.live + 1
  if self.live == 1 then
    self.keeper = self.keeper or {
      stop = function(_, done) self:stop_all(done) end,
      destroy = function() end, -- the processes are known by themselves
      gone = function() return true end,
    }
    supervised.add(self.keeper)
  end
end

--- One run less.
function Spinner:run_ended()
  self.live = self.live - 1
  if self.live == 0 then
    supervised.remove(self.keeper)
    if self.socket_folder then
      sockets.close(self)
    end
  end
end

return M
