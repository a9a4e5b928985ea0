--- A lifecycle: things that are started in order and stopped in reverse. It calls their functions, one after the other,
--- and knows what has been started; what they start, and how, is theirs. How it moves is lifecycle.moves'.
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
local lazy = require "brood.lazy"
local options = require "brood.options"
local ours = require "brood.ours"
local task = require "brood.task"

local moves = lazy.passing "brood.lifecycle.moves"

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
  local checked = given == nil and {} or options.check(2, given, item_spec, "lifecycle:add")
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

-- ---- start and stop ----

--- Start the items one after the other, in the order of their adding; returns true once all are. Where one fails, what
--- this has started is stopped in reverse, and its error is returned as it was raised (where stops failed as well, one
--- that names all).
---@async
---@param cb? fun(err: brood.Error?)
function Lifecycle:start(cb)
  return task.run(cb, "lifecycle:start", function(done)
    moves.begin_start(self, done)
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
      task.spawn(moves.stop_down_to, self, 0)
    else
      self.state = "stopping" -- the start that is under way sees to it
    end
    moves.answer(later, E.new("stopped", "%s was stopped", self.name))
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
