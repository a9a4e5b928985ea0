--- What a reload does to the services: those whose options are others, by value, get another run; those that are not in
--- the config any more stop; new ones start. Nothing of it happens before the reload is decided, but that everybody who
--- is forked from now on knows the new names, and may start one. What becomes of a service is brood.master.services'.
local clusters = require "brood.master.clusters"
local E = require "brood.error"
local emitter = require "brood.emitter"
local files = require "brood.files"
local join = require "brood.join"
local kinds = require "brood.rules.kinds"
local log = require "brood.log"
local merged = require "brood.rules.merged"
local named = require "brood.spinner.named"
local same = require "brood.rules.same"

local M = {}

-- ---- what has changed -----------------------------------------------------------------------------------------------

-- Functions of two readings of the same file are the same where their code is.
local function same_code(a, b)
  if type(a) ~= "function" or type(b) ~= "function" then
    return false
  end
  local ok, first, second = pcall(function()
    return string.dump(a), string.dump(b)
  end)
  return ok and first == second
end

-- What says nothing of the program, and comes into force without another run.
local ABOUT_OTHERS = { after = true, essential = true, autostart = true }

local function program_of(options)
  local rest = merged(options)
  for name in pairs(ABOUT_OTHERS) do
    rest[name] = nil
  end
  return rest
end

--- Whether a service with these options is another one than with those.
---@param old table
---@param new table
---@return boolean
function M.differs(old, new)
  return not same(program_of(old), program_of(new), same_code)
end

--- What the former config has told services to listen to is taken back where the new one comes into force, and what the
--- new one has told them where it does not.
---@param self brood.MasterServices
---@param reload brood.Reload before the config is read
function M.mark_listeners(self, reload)
  local before = {}
  for _, entry in pairs(self.entries) do
    before[entry] = emitter.listening(entry)
  end
  local function keep_only(former)
    for entry, listening in pairs(before) do
      emitter.only(entry, function(one)
        return (listening[one] or false) == former or clusters.is_ours(one)
      end)
    end
  end
  reload:or_else(function()
    keep_only(true)
  end)
  reload:then_do(function()
    keep_only(false)
  end)
end

-- ---- before it is decided -------------------------------------------------------------------------------------------

-- A program that is not there would only be found out when it is too late.
local function check(config, name, options)
  local why
  if options.script then
    why = not files.read(options.script) and ("names a script that cannot be read: %s"):format(options.script)
  elseif options.command then
    why = select(2, files.program(options.command[1], options.cwd or config.working_directory, options.env))
  end
  return not why and true or nil, why and E.new("config", "services.%s %s", name, why) or nil
end

-- A reload that fails leaves nothing of what it has brought.
local function take_back(self, entry)
  entry.left_out = true
  if not entry.service then
    return self:remove(entry)
  end
  entry.service:begin_stop(function()
    if self.entries[entry.name] == entry then
      self:remove(entry)
    end
  end)
end

local function sort_out(self, reload)
  local config, plan = reload.config, { born = {}, changed = {}, gone = {} }
  for _, name in ipairs(kinds.sorted_keys(config.services)) do
    local options, entry = config.services[name], self.entries[name]
    if not entry or entry.left_out then
      table.insert(plan.born, { name = name, options = options, former = entry })
    elseif M.differs(entry.options, options) then
      table.insert(plan.changed, { entry = entry, options = options })
    end
  end
  for _, name in ipairs(kinds.sorted_keys(self.entries)) do
    if not config.services[name] and not self.entries[name].left_out then
      table.insert(plan.gone, self.entries[name])
    end
  end
  return plan
end

--- Find out what is to be done, and whether it can be. It is undone by the reload's `or_else`, and comes into force by
--- its `then_do`.
---@param self brood.MasterServices
---@param reload brood.Reload
---@return true? ok, brood.Error? err
function M.prepare(self, reload)
  local plan = sort_out(self, reload)
  for _, list in ipairs { plan.born, plan.changed } do
    for _, one in ipairs(list) do
      local ok, err = check(reload.config, one.name or one.entry.name, one.options)
      if not ok then
        return nil, err
      end
    end
  end
  for _, one in ipairs(plan.born) do
    one.entry = self:add(one.name, one.options)
    one.entry.pending = true
    reload:or_else(function()
      take_back(self, one.entry)
      if one.former and not self.entries[one.name] then
        self.entries[one.name] = one.former -- which still stops
      end
    end)
  end
  for _, entry in ipairs(plan.gone) do
    named.hide(entry.name, true)
    reload:or_else(function()
      named.hide(entry.name, false)
    end)
  end
  reload.services_plan = plan
  reload:then_do(function()
    M.adopt(self, reload.config, plan)
  end)
  return true
end

-- ---- it comes into force --------------------------------------------------------------------------------------------

--- From now on the config says so. What is to be done about it takes its time: `commit`.
---@param self brood.MasterServices
---@param config brood.EffectiveConfig
---@param plan table
function M.adopt(self, config, plan)
  for name, options in pairs(config.services) do
    local entry = self.entries[name]
    entry.options, entry.pending = options, nil
  end
  for _, entry in ipairs(plan.gone) do
    entry.left_out = true
  end
  self:publish()
  self:set_orders()
end

local function is_running(entry)
  return entry.state == "ready" or entry.state == "starting" or entry.state == "stopping"
end

-- Stopped in their order; those that change with `tandem` are renewed instead.
local function stop(self, plan, done)
  local some = {}
  for _, entry in ipairs(plan.gone) do
    log.info(("%s: is not in the config any more"):format(entry.name))
    some[entry.name] = entry.service
  end
  for _, one in ipairs(plan.changed) do
    local entry = one.entry
    one.runs = entry.service and is_running(entry) or entry.state == "faulted"
    if one.runs and not entry.options.tandem then
      some[entry.name] = entry.service
    end
  end
  self.spinner:stop_some(some, done)
end

local function forget(self, plan)
  for _, entry in ipairs(plan.gone) do
    if self.entries[entry.name] == entry and entry.state == "stopped" then
      self:remove(entry)
    end
  end
end

local function start(self, plan, done)
  local all, born = join.new(done), {}
  local function one_of()
    local over = all:branch()
    return function(err)
      over(err and err.code ~= "stopped" and err or nil)
    end
  end
  for i, one in ipairs(plan.born) do
    born[i] = one.entry
    if one.former then
      one.former.service = nil -- the spinner's of that name is the new one's from now on
    end
  end
  for _, entry in ipairs(self:ours(born)) do
    self:declare(entry)
  end
  for _, one in ipairs(plan.changed) do
    if one.entry.service then
      self:declare(one.entry)
    end
  end
  self:set_orders()
  for _, list in ipairs { plan.born, plan.changed } do
    for _, one in ipairs(list) do
      local entry, service = one.entry, one.entry.service
      local ours = service and not self.closing
      if ours and one.runs and entry.options.tandem and is_running(entry) then
        service:begin_restart(one_of())
      elseif ours and (one.runs or entry:is_wanted()) then
        service:begin_start(one_of())
      end
    end
  end
  all.all_begun()
end

--- Do what the plan says. done(err) when those that are to run are ready; err: one is not.
---@param self brood.MasterServices
---@param plan table
---@param done fun(err: brood.Error?)
function M.commit(self, plan, done)
  -- One after the other: what a newer reload wants comes behind what this one has begun.
  if self.committing then
    return table.insert(self.committing, { plan, done })
  end
  if not (plan.born[1] or plan.changed[1] or plan.gone[1]) then
    return done()
  end
  self.committing = {}
  local function over(err)
    local later = self.committing
    self.committing = nil
    self.streams:sweep(self.entries)
    done(err)
    for _, one in ipairs(later or {}) do
      M.commit(self, one[1], one[2])
    end
  end
  stop(self, plan, function()
    forget(self, plan)
    if self.closing then
      return over()
    end
    start(self, plan, over)
  end)
end

return M
