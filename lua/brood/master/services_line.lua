--- Services while there are two masters of an upgrade: each belongs to one of them, and the other one knows how it is,
--- uses it, and has it started and stopped there. It becomes this master's own when the other one has stopped it, or is
--- gone; never are there two of one, but with `tandem`. Loaded where the services of two masters meet.
local clock = require "brood.clock"
local E = require "brood.error"
local lines = require "brood.master.line"
local log = require "brood.log"
local merged = require "brood.rules.merged"
local message = require "brood.message"
local stranger = require "brood.process.stranger"
local timer = require "brood.timer"

local M = {}

local PATIENCE = 30 -- seconds that the old master has to say what it runs

---@class brood.LentService how a service of the other master is
---@field name string
---@field state brood.ServiceState
---@field port integer|string|true|nil
---@field pid integer?
---@field stop_timeout number|false|nil
---@field idle number|false|nil after which it is stopped; an older brood does not say
---@field grouped boolean whether its processes are a group

-- ---- what we tell ---------------------------------------------------------------------------------------------------

local function post(self, what, value)
  local line = self.master.line
  if line then
    line:post(what, value)
  end
end

local function is_own(entry)
  return entry.service ~= nil and not entry.lent
end

--- The other master is to know how one of ours is now.
---@param self brood.MasterServices
---@param entry brood.MasterService
function M.tell(self, entry)
  if is_own(entry) and not entry.freed then
    post(self, "service", entry:view())
    if self.closing and (entry.state == "stopped" or entry.state == "faulted") then
      M.free(self, entry)
    end
  end
end

--- One is not ours any more.
---@param self brood.MasterServices
---@param entry brood.MasterService
function M.free(self, entry)
  if not entry.freed then
    entry.freed = true
    post(self, "service_free", entry.name)
  end
end

--- All of ours are about to stop for good: what the other master starts after them waits for those before.
---@param self brood.MasterServices
function M.ending(self)
  if self.told_ending then
    return
  end
  self.told_ending = true
  post(self, "services_end")
  for _, entry in pairs(self.entries) do
    M.tell(self, entry)
  end
end

--- Nothing of ours is left.
---@param self brood.MasterServices
function M.free_all(self)
  for _, entry in pairs(self.entries) do
    if is_own(entry) then
      M.free(self, entry)
    end
  end
end

local function all_of(self)
  local list = {}
  for _, entry in pairs(self.entries) do
    if is_own(entry) and not entry.freed then
      list[#list + 1] = entry:view()
    end
  end
  return list
end

-- ---- what belongs to whom -------------------------------------------------------------------------------------------

local function fixed_port(options)
  return type(options.port) == "number" and options.port or nil
end

-- Another service of the other master's is where this one is to be.
local function place_taken(self, options)
  local port = fixed_port(options)
  for name, view in pairs(self.theirs or {}) do
    if port and view.port == port and name ~= options.name then
      return true
    end
  end
  return false
end

-- Whether one that is ours by name still has to wait: for its place or, where the other master is ending, for those
-- that it comes after.
local function must_wait(self, entry)
  if place_taken(self, merged(entry.options, { name = entry.name })) then
    return true
  end
  for _, name in ipairs(self.other_ends and entry.options.after or {}) do
    local before = self.entries[name]
    if before and (before.lent or before.awaited) then
      return true
    end
  end
  return false
end

--- Those of a list that this master is to run now; the others are the other master's, or wait for one of its.
---@param self brood.MasterServices
---@param list brood.MasterService[]
---@return brood.MasterService[]
function M.not_lent(self, list)
  local ours = {}
  for _, entry in ipairs(list) do
    local view = self.theirs and self.theirs[entry.name]
    if entry.service then
      ours[#ours + 1] = entry
    elseif view and not entry.options.tandem then
      entry.awaited = nil
      entry:borrow(view)
      log.info(("%s: the other master runs it%s"):format(entry.name, view.listening and " on " .. view.listening or ""))
    elseif must_wait(self, entry) then
      entry.awaited = true
    else
      ours[#ours + 1], entry.awaited = entry, nil
    end
  end
  return ours
end

-- What has become ours, or may now be started.
local function take_over(self)
  if self.closing or not self.begun then
    return
  end
  local list = {}
  for _, entry in ipairs(self.list) do
    if not entry.service and not entry.lent then
      list[#list + 1] = entry
    end
  end
  list = M.not_lent(self, list)
  for _, entry in ipairs(list) do
    log.info(("%s: it is this master's from now on"):format(entry.name))
  end
  self:start_some(list, function() end)
end

-- The other master has stopped it.
local function freed(self, name)
  if self.theirs then
    self.theirs[name] = nil
  end
  local entry = self.entries[name]
  if entry and entry.lent then
    entry:borrow { name = name, state = "stopped", restarts = 0 }
    entry.lent, entry.awaited = nil, true
    entry:changed()
  end
  take_over(self)
end

local function hear_one(self, view)
  if type(view) ~= "table" or type(view.name) ~= "string" then
    return
  end
  self.theirs = self.theirs or {}
  self.theirs[view.name] = view
  if type(view.error) == "string" then
    view.error = E.new("faulted", "%s", view.error)
  end
  local entry = self.entries[view.name]
  if entry and entry.lent then
    entry:borrow(view)
  end
end

-- ---- meeting --------------------------------------------------------------------------------------------------------

--- Before ours are started: what does the other master run? done() once that is known.
---@param self brood.MasterServices
---@param done fun()
function M.meet(self, done)
  local master = self.master
  if not master.line or not (master.new_pid or master.inherited.services) then
    return done()
  end
  local began = clock.now()
  local finish
  finish = timer.limit(PATIENCE, function()
    log.warn(("the other master has not said within %g s which services it runs: they are started here as well"):format(
      clock.now() - began))
    self.on_met = nil
    finish()
  end, done)
  self.on_met = finish
  post(self, "services?")
end

local function met(self)
  local fn = self.on_met
  self.on_met = nil
  if fn then
    fn()
  end
end

--- The other master is gone, perhaps without a word: what it has left ends first.
---@param self brood.MasterServices
function M.alone(self)
  self.other_ends, self.told_ending = nil, nil
  for id, done in pairs(self.asking or {}) do
    self.asking[id] = nil
    done(E.new("stopped", "the other master is gone"))
  end
  local theirs = self.theirs or {}
  for name, view in pairs(theirs) do
    stranger.await_end(view.pid, view.grouped, view.stop_timeout, function(killed)
      if killed then
        log.warn(("%s (pid %d), which the other master has left, did not end: it was killed"):format(name, view.pid))
      end
      if self.theirs == theirs then
        freed(self, name)
      end
    end)
  end
  met(self)
end

-- ---- what is asked there --------------------------------------------------------------------------------------------

--- Have the other master do it.
---@param self brood.MasterServices
---@param entry brood.MasterService
---@param what string
---@param done fun(err: brood.Error?, value: any)
function M.ask(self, entry, what, done)
  self.asking, self.last_asked = self.asking or {}, (self.last_asked or 0) + 1
  self.asking[self.last_asked] = done
  post(self, "service_call", { self.last_asked, entry.name, what })
end

local function of_services(fn)
  return function(master, value)
    if master.programs then
      fn(master.programs, value)
    end
  end
end

lines.handle("services?", of_services(function(self)
  post(self, "services", all_of(self))
end))

lines.handle("services", of_services(function(self, list)
  for _, view in ipairs(type(list) == "table" and list or {}) do
    hear_one(self, view)
  end
  met(self)
end))

lines.handle("service", of_services(hear_one))

lines.handle("service_free", of_services(freed))

lines.handle("services_end", of_services(function(self)
  self.other_ends = true
end))

lines.handle("service_call", of_services(function(self, asked)
  local id, name, what = unpack(asked)
  local entry = self.entries[name]
  if not entry or not is_own(entry) then
    return post(self, "service_answer", {
      id, false, message.encode_error(E.new("stopped", "%s: the other master does not run it", tostring(name))),
    })
  end
  entry[what](entry, function(err, value)
    post(self, "service_answer", err and { id, false, message.encode_error(err) } or { id, true, value })
  end)
end))

lines.handle("service_answer", of_services(function(self, told)
  local done = self.asking and self.asking[told[1]]
  if not done then
    return
  end
  self.asking[told[1]] = nil
  if told[2] then
    return done(nil, told[3])
  end
  done(message.decode_error(told[3]))
end))

return M
