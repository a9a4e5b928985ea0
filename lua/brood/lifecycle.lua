--- A lifecycle: things that are started in order and stopped in reverse. It calls their functions, one after the other,
--- and knows what has been started; what they start, and how, is theirs.
---
--- Its life is the table below, state x call. Whoever calls is answered once.
---
---              start                          stop
---   stopped    starts all items               answered at once
---   starting   joins                          stopping: once the current item has started, all in reverse
---   ready      starts what was added since,   stops all, in reverse
---              and where that fails stops it
---   stopping   starts when the stop is done   joins; starts that wait end with "stopped"
---   faulted    starts all that is not ready   stopped: what could not be stopped is given up
local core = require "brood.core"
local E = require "brood.error"
local emitter = require "brood.emitter"
local log = require "brood.log"
local options = require "brood.options"
local ours = require "brood.ours"
local task = require "brood.task"
local timer = require "brood.timer"

---@class brood.LifecycleItem
---@field title string
---@field start? function
---@field stop? function
---@field start_timeout? number|false seconds
---@field stop_timeout? number|false seconds
---@field state "stopped"|"starting"|"ready"|"stopping"|"faulted"

---@class brood.Lifecycle: brood.Emitter
---@field name string
---@field state "stopped"|"starting"|"ready"|"stopping"|"faulted"
---@field items brood.LifecycleItem[] in the order of their adding
local Lifecycle = emitter.mixin {}
Lifecycle.__index = Lifecycle

local M = {}

local item_spec = {
  start_timeout = { type = "duration", off = true },
  stop_timeout = { type = "duration", off = true },
}

--- A lifecycle without items.
---@param name? string for messages
---@return brood.Lifecycle
function M.new(name)
  if name ~= nil and type(name) ~= "string" then
    error("Lifecycle.new: the name must be a string, got " .. type(name), 2)
  end
  return setmetatable({
    name = name or "lifecycle", state = "stopped", items = {},
    running = {}, -- in the order in which they were started: what a stop has to stop
    starters = {}, stoppers = {}, next_starters = {},
  }, Lifecycle)
end

-- ---- items ----

local function position(list, title)
  for i, item in ipairs(list) do
    if item.title == title then
      return i
    end
  end
end

local function check_function(what, title, fn)
  if fn ~= nil and type(fn) ~= "function" then
    error(("lifecycle:add: the %s of '%s' must be a function, got %s"):format(what, title, type(fn)), 3)
  end
end

--- Add an item at the end. Where items are being started it has its turn with them; otherwise it waits for the next
--- `start`, which in a lifecycle that is ready already starts what was added since.
---@param title string
---@param start? fun(done: fun(err: any?)?) over when it returns or, where it declares `done`, when that is called
---@param stop? fun(done: fun(err: any?)?)
---@param given? { start_timeout?: brood.duration|false, stop_timeout?: brood.duration|false } none by default
---@return brood.LifecycleItem
function Lifecycle:add(title, start, stop, given)
  if type(title) ~= "string" or title == "" then
    error("lifecycle:add: the title must be a string that is not empty, got " .. type(title), 2)
  elseif position(self.items, title) then
    error(("lifecycle:add: there is an item '%s' already"):format(title), 2)
  end
  check_function("start", title, start)
  check_function("stop", title, stop)
  local checked = options.check(2, given, item_spec, "lifecycle:add")
  local item = {
    title = title, start = start, stop = stop, state = "stopped",
    start_timeout = checked.start_timeout, stop_timeout = checked.stop_timeout,
  }
  table.insert(self.items, item)
  self:emit("add", item)
  return item
end

--- Take an item out. One that has been started is still stopped with the others, and never started again.
---@param title string
---@return boolean removed false where there is none of that title
function Lifecycle:remove(title)
  local at = position(self.items, title)
  if not at then
    return false
  end
  self:emit("remove", table.remove(self.items, at))
  return true
end

-- ---- one function ----

-- Waits until its function is over, or has had its time: what it does after that is its own business.
---@async
---@return true? ok, brood.Error? err
local function run(self, item, what)
  local fn, seconds = item[what], item[what .. "_timeout"]
  self:emit(what, item)
  if not fn then
    return true
  end
  return task.run(nil, "lifecycle", function(done)
    local over = false
    local function finish(err)
      err = err and E.from(err) or nil
      if over then
        return err and log.error(("%s: its %s failed after its time: %s"):format(item.title, what, E.text(err)))
      end
      over = true
      if err and rawget(err, "item") == nil then
        rawset(err, "item", item.title)
      end
      done(err)
    end
    task.call_done(fn, timer.limit(seconds, function()
      finish(E.new("timeout", "%s: its %s took longer than %g s", item.title, what, seconds))
    end, finish))
  end)
end

-- ---- several errors as one ----

local function list_errors(errors)
  local texts, traces = {}, {}
  for i, err in ipairs(errors) do
    local text = E.describe(err)
    local named = err.item and text:sub(1, #err.item + 2) ~= err.item .. ": "
    texts[i] = named and ("%s: %s"):format(err.item, text) or text
    traces[i] = named and ("%s: %s"):format(err.item, E.text(err)) or E.text(err)
  end
  local err = E.new(errors[1].code or "error", "%s", table.concat(texts, "; "))
  err.traceback = table.concat(traces, "\n")
  err.errors = errors
  return err
end

-- ---- stopping ----

local function answer(list, ...)
  for _, done in ipairs(list) do
    done(...)
  end
end

local begin_start

-- All that was to be stopped is. Where something runs that was online before this start, it stays so.
local function stopped(self, errors, failure)
  local err = errors[1] and list_errors(errors) or nil
  -- Taken first: a listener may well start it again at once.
  local starters, stoppers, later = self.starters, self.stoppers, self.next_starters
  self.starters, self.stoppers, self.next_starters = {}, {}, {}
  if self.running[1] then
    self.state = "ready"
  else
    self.state = err and "faulted" or "stopped"
    local offline = self.online and not err
    self.online = false
    if offline then
      self:emit "offline"
    end
  end
  if failure and err then
    failure = list_errors { failure, unpack(errors) }
  end
  answer(starters, failure or E.new("stopped", "%s was stopped before it was online", self.name))
  answer(stoppers, err)
  for _, done in ipairs(later) do
    begin_start(self, done)
  end
end

-- The last that was started first, down to what is to stay, of which there is nothing where somebody has called stop.
-- What cannot be stopped does not keep the others from it.
---@async
local function stop_down_to(self, stay, failure)
  self.state, self.moving = "stopping", core.generation()
  local errors = {}
  while #self.running > (self.stoppers[1] and 0 or stay) do
    local item = table.remove(self.running)
    item.state = "stopping"
    local ok, err = run(self, item, "stop")
    item.state = ok and "stopped" or "faulted"
    table.insert(errors, err)
  end
  stopped(self, errors, failure)
end

-- ---- starting ----

local function next_to_start(self)
  for _, item in ipairs(self.items) do
    if item.state ~= "ready" then
      return item
    end
  end
end

local function online(self)
  local before = self.online
  self.state, self.online = "ready", true
  local starters = self.starters
  self.starters = {}
  if not before then
    self:emit "online"
  end
  answer(starters)
end

---@async
local function start_all(self)
  self.state, self.moving = "starting", core.generation()
  local before = #self.running
  for item in next_to_start, self do
    if self.stoppers[1] then
      break
    end
    item.state = "starting"
    local ok, err = run(self, item, "start")
    if not ok then
      item.state = "stopped"
      return stop_down_to(self, before, err)
    end
    item.state = "ready"
    table.insert(self.running, item)
  end
  if self.stoppers[1] then
    return stop_down_to(self, 0)
  end
  online(self)
end

function begin_start(self, done)
  if self.state == "stopping" then
    return table.insert(self.next_starters, done)
  elseif self.state == "ready" and not next_to_start(self) then
    return done()
  end
  table.insert(self.starters, done)
  if self.state ~= "starting" then
    task.spawn(start_all, self)
  end
end

--- Start the items one after the other, in the order of their adding; returns true once all are. Where one fails, what
--- this has started is stopped in reverse, and its error is returned as it was raised (where stops failed as well, one
--- that names all).
---@async
---@param cb? fun(err: brood.Error?)
function Lifecycle:start(cb)
  return task.run(cb, "lifecycle:start", function(done)
    begin_start(self, done)
  end)
end

-- What could not be stopped has had its turn.
local function give_up(self)
  self.state = "stopped"
  for _, item in ipairs(self.items) do
    item.state = "stopped"
  end
end

--- Stop what was started, in reverse. Where stops fail the others still run; what is returned names all of them, and
--- has them in `errors`.
---@async
---@param cb? fun(err: brood.Error?)
function Lifecycle:stop(cb)
  return task.run(cb, "lifecycle:stop", function(done)
    local later = self.next_starters
    self.next_starters = {}
    if self.state == "stopped" or self.state == "faulted" then
      give_up(self)
      return done()
    end
    table.insert(self.stoppers, done)
    if self.state == "ready" then
      task.spawn(stop_down_to, self, 0)
    else
      self.state = "stopping" -- the start that is under way sees to it
    end
    answer(later, E.new("stopped", "%s was stopped", self.name))
  end)
end

-- What was ready when a process forked is so in both. What was under way goes on in the parent alone: the child has
-- none of its tasks.
ours.guard(Lifecycle, "lifecycle", { "add", "remove", "start", "stop" },
  function(self) return getmetatable(self) == Lifecycle end,
  function(self)
    return (self.state == "starting" or self.state == "stopping") and self.moving ~= core.generation()
  end)

return M
