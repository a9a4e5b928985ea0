--- A reload: the config is read again, and everything that it asks for is prepared beside what runs, up to one new
--- worker of each cluster. Until then each step can be undone, and is when one fails or a newer
--- wish comes; then all of it comes into force at once, and the workers are replaced.
--- What the steps do is told by master.reload_steps.
local clock = require "brood.clock"
local clusters = require "brood.master.clusters"
local core = require "brood.core"
local count = require "brood.rules.count"
local E = require "brood.error"
local join = require "brood.join"
local log = require "brood.log"
local niceness = require "brood.master.niceness"
local Reload = require "brood.master.reload_steps"
local signals = require "brood.master.signals"
local task = require "brood.task"
local timer = require "brood.timer"

local function called_off()
  return E.new("stopped", "the reload was called off")
end

local steps = {
  { "read", "the config" }, { "directory" }, { "pidfile" }, { "logs" }, { "listen" }, { "control" }, { "clusters" },
  { "on_start", "on_start" }, { "collect" }, { "services" }, { "pools" }, { "proxy" }, { "try" },
}

-- A step that may take as long as it likes says so now and then.
local function remind(self, what)
  local every = self.master.config.start_timeout
  if not what or not every then
    return nil
  end
  local began = clock.now()
  return timer.every(every, function()
    if not self.wish.over then
      log.warn(("the reload still waits for the end of %s after %.0f s"):format(what, clock.now() - began))
    end
  end):unref()
end

local function prepare(self)
  for _, step in ipairs(steps) do
    local reminder = remind(self, step[2])
    local whole, ok, err = task.call(self[step[1]], self)
    if reminder then
      reminder:cancel()
    end
    if self.wish.over then
      return nil, called_off()
    elseif not whole then
      return nil, ok
    elseif not ok then
      return nil, err
    end
  end
  return true
end

-- ---- it comes into force --------------------------------------------------------------------------------------------

local function leave_out(self)
  local master = self.master
  for _, web in ipairs(clusters.set(master, self.order)) do
    log.info(("%s: is not in the config any more"):format(web.name))
    web:stop(true, function()
      clusters.gone(master, web)
    end)
  end
end

-- done(err, replaced) when the workers of all clusters are new.
local function replace(self, done)
  local replaced, master = 0, self.master
  local all = join.new(function(err)
    if err then
      err.replaced = replaced
    end
    done(err, replaced)
  end)
  for _, each in ipairs(self.changes) do
    local over = all:branch()
    each.change:commit(function(err, n)
      replaced = replaced + ((err and err.replaced or n) or 0)
      over(err and E.of(each.web.name, err))
    end)
  end
  for _, trial in ipairs(self.pool_trials or {}) do
    local over = all:branch()
    trial:commit(function(err, n)
      replaced = replaced + ((err and err.replaced or n) or 0)
      over(err and E.of(trial.pool.name, err))
    end)
  end
  if self.services_plan then
    local over = all:branch()
    master.programs:commit(self, function(err)
      self.service_failure = err
      over(err)
    end)
  end
  for _, pool in ipairs(self.pools_born or {}) do
    replaced = replaced + pool.crew.group:ready_count()
  end
  all.all_begun()
end

local function addresses(master)
  local list = {}
  for name in pairs(master.clusters) do
    list[name] = master.listeners:addresses(name)
  end
  return list
end

-- What of a list is not in another one, as text.
local function beyond(list, other)
  local known, rest = {}, {}
  for _, item in ipairs(other) do
    known[item] = true
  end
  for _, item in ipairs(list) do
    rest[#rest + 1] = not known[item] and item or nil
  end
  return table.concat(rest, ", ")
end

local function tell_addresses(master, before)
  local after = addresses(master)
  for _, web in ipairs(master.order) do
    local old, new = before[web.name], after[web.name]
    local came, went = beyond(new, old or {}), beyond(old or {}, new)
    if came ~= "" or went ~= "" then
      log.info(("%s: listening on %s%s"):format(web.name, table.concat(new, ", "),
        went ~= "" and ", no longer on " .. went or ""))
    end
  end
end

-- What a running master cannot become.
local function tell_unchanged(self)
  local master, keys = self.master, {}
  if self.config.daemonize ~= self.former.daemonize then
    keys[1] = "daemonize"
  end
  for _, key in ipairs(master.logs:kept(self.config)) do
    keys[#keys + 1] = key .. " (what went to that file still does)"
  end
  if keys[1] then
    log.warn("only a restart brings about what the config says now of " .. table.concat(keys, ", "))
  end
end

-- Let it come into force. Whatever happens on the way, there is no way back from here.
local function commit(self, done)
  local master, wish = self.master, self.wish
  wish.cancel = nil
  local before = addresses(master)
  for _, fn in ipairs(self.commits) do
    local ok, err = xpcall(fn, task.on_raise)
    if not ok then
      core.uncaught(E.text(err))
    end
  end
  local release = self.sockets:commit()
  master.drained = {}
  leave_out(self)
  tell_addresses(master, before)
  tell_unchanged(self)
  if self.config.master_nice ~= self.former.master_nice then
    niceness.apply(self.config)
  end
  signals.apply(master)
  wish:decided()
  replace(self, function(err, replaced)
    release()
    done(err, replaced)
  end)
  wish:repeat_later()
end

-- ---- the whole ------------------------------------------------------------------------------------------------------

-- What the status tells of it.
local function remember(master, err, replaced)
  master.last_reload = {
    ok = err == nil, at = clock.unix(), error = err and E.from(err).message or nil, replaced = replaced,
  }
end

local function tell(self, began, err, replaced)
  if self.wish.over or self.master.state ~= "ready" then
    return -- whoever superseded or stopped it tells the rest
  end
  local workers = ("%s %s"):format(count(replaced, "worker"), replaced == 1 and "is" or "are")
  remember(self.master, err, replaced)
  if err and err == self.service_failure then
    local _, others = self.master.programs:summary() -- (why, the log has told)
    log.error(("reloaded in %.2f s: %s new, but not all services are ready: %s"):format(clock.now() - began, workers,
      others or err.message))
  elseif err then
    log.error(("the reload was halted, %s new, the others go on: %s"):format(workers, err.message))
  else
    log.info(("reloaded in %.2f s: %s new"):format(clock.now() - began, workers))
  end
  self:tidy()
  self.master:emit("reloaded", err)
end

local function fail(self, err)
  self:put_back()
  self:tidy()
  remember(self.master, err)
  log.error(("the reload failed, all goes on as before: %s"):format(E.text(err)))
  self.master:emit("reloaded", err)
end

--- Reload a master. done(err, replaced): err.replaced where it was halted on its way.
---@async
---@param master brood.Master
---@param wish brood.Wish
---@param why string what has prompted it, as the end of a phrase
---@param done fun(err: brood.Error?, replaced: integer?)
return function(master, wish, why, done)
  local began = clock.now()
  local self = Reload.new(master, wish)
  wish.cancel = function()
    self:put_back()
    self:tidy()
    master:emit("reloaded", called_off())
  end
  log.info("reloading" .. why)
  master:emit "reloading"
  local ok, err = prepare(self)
  if wish.over then
    return
  elseif not ok then
    wish.cancel = nil
    fail(self, err)
    return done(err)
  end
  commit(self, function(halted, replaced)
    tell(self, began, halted, replaced)
    done(halted, replaced)
  end)
end
