--- The services of a master: made from the config, started before its pools and clusters, each behind those it comes
--- after, and stopped last, in reverse. It is loaded where a config has services, and nowhere else. What a service is,
--- and when it is started again, is the room brood.spinner's business; what a reload changes, services_reload's; who
--- runs one while there are two masters, services_line's.
local after = require "brood.rules.after"
local clock = require "brood.clock"
local E = require "brood.error"
local entries = require "brood.master.service_entry"
local join = require "brood.join"
local kinds = require "brood.rules.kinds"
local lazy = require "brood.lazy"
local log = require "brood.log"
local merged = require "brood.rules.merged"
local named = require "brood.spinner.named"
local outcome = require "brood.spinner.outcome"
local room = require "brood.spinner.room"
local signals = require "brood.signals"
local spinner = require "brood.spinner"
local streams = require "brood.master.service_streams"
local timer = require "brood.timer"

local line = lazy.room "brood.master.services_line"
local reload = lazy.room "brood.master.services_reload"

local LINGER = 0.25 -- seconds that one which has moved goes on where it was: who has just asked still gets there
local QUICK = 2 -- seconds that a service has after its stop_signal before KILL, where there is no time (left)

---@class brood.MasterServices
---@field master brood.Master
---@field list brood.MasterService[] those of the config, in the order of their start
---@field entries table<string, brood.MasterService> by name: those of the config, and what a reload brings or takes
---@field spinner brood.Spinner
---@field streams brood.ServiceStreams
---@field closing boolean? they are being stopped for good
---@field quick boolean? at once
local Services = {}
Services.__index = Services

local M = {}

-- ---- who there is ---------------------------------------------------------------------------------------------------

--- The names of services in the order of their start.
---@param options table<string, table> by name
---@return string[]
local function in_order(options)
  local graph = {}
  for name, one in pairs(options) do
    graph[name] = one.after or {}
  end
  return assert(after.order(graph))
end
M.in_order = in_order

--- There is one more; nobody runs it yet.
---@param name string
---@param options table
---@return brood.MasterService
function Services:add(name, options)
  local entry = entries.new(self, name, options)
  self.entries[name] = entry
  named.add(name, entry)
  return entry
end

--- Nothing is left of one.
---@param entry brood.MasterService
function Services:remove(entry)
  if entry.service then
    self.spinner:forget(entry.name)
    entry.service = nil
  end
  self.entries[entry.name] = nil
  named.remove(entry.name, entry)
end

--- What `master.services` has: those of the config in force.
function Services:publish()
  self.list, self.master.services = {}, {}
  for i, name in ipairs(in_order(self.master.config.services)) do
    self.list[i] = self.entries[name]
    self.master.services[name] = named.find(name)
  end
end

-- Those that it comes after, as far as they are this master's: the others' are there.
local function own_before(self, options)
  local list = {}
  for _, name in ipairs(options.after or {}) do
    local before = self.entries[name]
    list[#list + 1] = before and before.service and name or nil
  end
  return list
end

--- What its options say of others, and of when it runs, holds from now on.
---@param entry brood.MasterService
function Services:set_order(entry)
  local service = entry.service
  for _, options in ipairs(service and { service.options, service.next_options } or {}) do
    options.after = own_before(self, entry.options)
    options.essential, options.autostart = entry.options.essential, entry.options.autostart
  end
end

--- It is this master's to run from now on, with these options from its next run; those that it comes after are, too.
---@param entry brood.MasterService
---@return brood.Service
function Services:declare(entry)
  for _, name in ipairs(entry.options.after or {}) do
    local before = self.entries[name]
    if before and not (before.service or before.lent or before.awaited) then
      self:declare(before)
    end
  end
  local options, before = merged(entry.options), own_before(self, entry.options)
  options.name, options.after = entry.name, before[1] and before or nil
  local service = assert(self.spinner:declare(options))
  entry:take(service)
  return service
end

--- Those that come after one which could not be waited for before, do so from now on.
function Services:set_orders()
  for _, entry in pairs(self.entries) do
    self:set_order(entry)
  end
end

--- Who is asked for it in this master.
---@param entry brood.MasterService
---@return brood.Service? service, brood.Error? err
function Services:own(entry)
  if entry.service then
    return entry.service
  elseif self.closing or not self.begun then
    return nil, E.new("stopped", "%s: the services have not been started", entry.name)
  elseif entry.awaited then
    return nil, E.new("busy", "%s: what it needs belongs to the old master until that has ended", entry.name)
  end
  return self:declare(entry)
end

--- Those of a list that this master is to run: all, where it is alone.
---@param list brood.MasterService[]
---@return brood.MasterService[]
function Services:ours(list)
  return (self.theirs or self.master.line) and line.not_lent(self, list) or list
end

-- ---- start ----------------------------------------------------------------------------------------------------------

--- Make those of the config; every process that is forked from now on knows their names.
---@return true
function Services:begin()
  local config = self.master.config
  for _, name in ipairs(in_order(config.services)) do
    self:add(name, config.services[name])
  end
  self:publish()
  return true
end

--- Start some that this master runs, each behind those that it comes after. done() when each of those that are to run
--- is ready or faulted: what is faulted is tried again later, and keeps nobody from starting.
---@param list brood.MasterService[] in their order
---@param done fun()
function Services:start_some(list, done)
  local all = join.new(function()
    done()
  end)
  for _, entry in ipairs(list) do
    if not entry.service then
      self:declare(entry)
    end
  end
  if self.theirs then
    self:set_orders()
  end
  for _, entry in ipairs(list) do
    if entry:is_wanted() and not self.closing then
      local over = all:branch()
      entry.service:begin_start(function()
        over() -- (of what failed the log has told)
      end)
    end
  end
  all.all_begun()
end

--- Start those of the config, but what the other master runs.
---@param list brood.MasterService[]
---@param done fun()
function Services:start(list, done)
  self.begun = true
  if not self.master.line then
    return self:start_some(list, done)
  end
  line.meet(self, function()
    if self.closing then
      return done()
    end
    self:start_some(self:ours(list), done)
  end)
end

-- ---- an end of one --------------------------------------------------------------------------------------------------

local function end_master(self, entry, status, how, why)
  local master = self.master
  if master.state ~= "starting" and master.state ~= "ready" or self.closing then
    return false
  end
  master.exit_status = status
  log.error(("%s: it is essential, and %s: the master stops%s"):format(entry.name, how,
    why and (" (%s)"):format(why) or ""))
  master:quit(function() end)
  return true
end

--- A run of one has ended. One that is essential is not started again.
---@param entry brood.MasterService
---@param code integer?
---@param signal string?
function Services:ended(entry, code, signal)
  local last = entry.service.last_exit
  if entry.options.essential and last and (last.why == "crash" or last.why == "end") then
    entry.service:begin_stop()
    end_master(self, entry, signal and 1 or code or 1, signal and "was killed by " .. signal
      or ("has ended with status %d"):format(code or 1))
  end
end

--- One is faulted: the log tells why, once.
---@param entry brood.MasterService
---@param err brood.Error
function Services:faulted(entry, err)
  local last = entry.service.last_exit
  local code = last and not last.signal and last.code or 1
  local ends = entry.options.essential and end_master(self, entry, code ~= 0 and code or 1, "is faulted",
    outcome.without_name(entry, err))
  if not ends then
    local before = rawget(err, "waits_for")
    log.warn(before and ("%s waits for %s, which %s"):format(entry.name, before,
      err.code == "stopped" and "was stopped" or "has failed") or err.message)
  end
end

-- ---- end ------------------------------------------------------------------------------------------------------------

local KILL = signals.number "KILL"

local function each_backwards(self, fn)
  local list = self.spinner:in_order()
  for i = #list, 1, -1 do
    fn(list[i])
  end
end

-- Those that do not end in the time that there is.
local function cut_short(self)
  local names = {}
  each_backwards(self, function(service)
    if service.state ~= "stopped" and service.state ~= "faulted" then
      names[#names + 1] = service.name
    end
    service:hurry(KILL, 0)
    service:begin_stop()
  end)
  if names[1] and not self.quick then
    log.warn(("killed, as graceful_timeout is over: %s"):format(table.concat(names, ", ")))
  end
end

--- Stop all, each behind those that come after it. done() when nothing is left.
---@param deadline number monotonic seconds
---@param done fun()
function Services:stop(deadline, done)
  self.closing = true
  self:with_other "ending"
  local finish = timer.limit(deadline < math.huge and math.max(QUICK, deadline - clock.now()) or false, function()
    cut_short(self)
  end, function()
    self:with_other "free_all"
    self.streams:close()
    done()
  end)
  -- What is late is cut short, and waited for all the same.
  self.spinner:stop_some(self.spinner.services, finish)
end

--- They end now, without waiting for each other; asked again, KILL.
function Services:hurry()
  local again = self.quick
  self.closing, self.quick = true, true
  self:with_other "ending"
  if again then
    return cut_short(self)
  end
  each_backwards(self, function(service)
    service:hurry(signals.number(service.options.stop_signal or "TERM"), QUICK, "a quick stop")
    service:begin_stop()
  end)
end

-- ---- reload ---------------------------------------------------------------------------------------------------------

--- What the former config has told services to listen to, the new one tells them anew.
---@param plan brood.Reload
function Services:mark_listeners(plan)
  reload.mark_listeners(self, plan)
end

--- What a reload does to the services: it changes nothing before it is decided.
---@param plan brood.Reload
---@return true? ok, brood.Error? err
function Services:prepare(plan)
  return reload.prepare(self, plan)
end

--- It is decided. done(err) when those that are to run are ready; err: one is not.
---@param plan brood.Reload
---@param done fun(err: brood.Error?)
function Services:commit(plan, done)
  reload.commit(self, plan.services_plan, done)
end

-- ---- the other master -----------------------------------------------------------------------------------------------

--- Nothing where there is none: most masters are alone all their life.
---@param what string of services_line
function Services:with_other(what, ...)
  if self.master.line then
    line[what](self, ...)
  end
end

--- A new master is started beside this one: it will ask.
function Services:be_asked() -- luacheck: ignore 212
  require "brood.master.services_line"
end


--- There is no other master any more.
function Services:alone()
  if package.loaded["brood.master.services_line"] then
    line.alone(self)
  end
end

-- ---- what is asked of them ------------------------------------------------------------------------------------------

--- Log files were opened anew: theirs are as well.
function Services:reopen()
  self.streams:reopen()
end

--- Why one that is to run does not, as a sentence.
---@return string?
function Services:trouble()
  for _, entry in ipairs(self.list) do
    if entry.state == "faulted" and entry:is_wanted() then
      return ("the service %s is faulted: %s"):format(entry.name, entry.error and E.describe(entry.error) or "unknown")
    end
  end
end

--- How many of those that are to run do, which do not, and how these are.
---@return string "1 of 3 run (faulted: api; done: migrate)"
---@return string? others "faulted: api; done: migrate"
function Services:summary()
  local running, wanted, others, names = 0, 0, {}, {}
  for _, entry in ipairs(self.list) do
    if entry:is_wanted() then
      wanted = wanted + 1
      local service = entry.service
      local how = service and service.finished and entry.state == "stopped" and "done" or entry.state
      if how == "ready" then
        running = running + 1
      elseif names[how] then
        table.insert(names[how], entry.name)
      else
        names[how] = { entry.name }
        others[#others + 1] = how
      end
    end
  end
  for i, how in ipairs(others) do
    others[i] = ("%s: %s"):format(how, table.concat(names[how], ", "))
  end
  local rest = others[1] and table.concat(others, "; ")
  return ("%d of %d run%s"):format(running, wanted, rest and (" (%s)"):format(rest) or ""), rest
end

--- What runs, as plain values, by name.
---@param now number seconds since 1970
---@return table<string, table>
function Services:status(now)
  local result = {}
  for _, name in ipairs(kinds.sorted_keys(self.entries)) do
    result[name] = self.entries[name]:status(now)
  end
  return result
end

--- The services of a master; there are none yet.
---@param master brood.Master
---@return brood.MasterServices? keeper, brood.Error? err
function M.new(master)
  local ok, err = named.prepare()
  if not ok then
    return nil, err
  end
  room.open()
  local self = setmetatable({ master = master, list = {}, entries = {} }, Services)
  self.streams = streams.new(master)
  self.spinner = spinner.make({}, {
    supervised = true, tells_faults = true, directory = master.config.working_directory,
    process = function(service)
      return self.streams:of(service)
    end,
    last_used = function(service)
      return master.proxy and master.proxy:last_used(service.name, service.options.idle, service.touched)
    end,
    leave = function(service, _, done)
      if not master.proxy then
        return timer.after(LINGER, done)
      end
      master.proxy:leave(service.name, done)
    end,
  })
  return self
end

return M
