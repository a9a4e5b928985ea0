--- Timers: the one place where a luv timer is armed. The loop's clock stands
--- still while Lua runs, so it is brought up to date first; otherwise a timer
--- armed after 0.8 s of work fires 0.8 s early.
local clock = require "brood.clock"
local core = require "brood.core"
local uv = require "luv"

local M = {}

local STEPS, LONGEST = 16, 2 -- in what steps patience is counted, and how many seconds one has at most

---@class brood.Timer
local Timer = {}
Timer.__index = Timer

local function close(self)
  local handle = self.handle
  self.handle = nil
  -- After a fork the parent's handles are closed already.
  if handle and not handle:is_closing() then
    handle:close()
  end
end

-- The loop's clock counts whole milliseconds: to be never early, those begun count as well.
local function milliseconds(seconds)
  if seconds <= 0 then
    return 0
  end
  return math.max(1, math.ceil(uv.hrtime() / 1e6 + seconds * 1000) - uv.now())
end

--- Call fn once, after so many seconds.
---@param seconds number
---@param fn fun()
---@return brood.Timer
function M.after(seconds, fn)
  local self = setmetatable({ handle = uv.new_timer() }, Timer)
  uv.update_time()
  self.handle:start(milliseconds(seconds), 0, function()
    close(self)
    fn()
  end)
  return self
end

--- Call fn every so many seconds until it is cancelled.
---@param seconds number
---@param fn fun()
---@return brood.Timer
function M.every(seconds, fn)
  local self = setmetatable({ handle = uv.new_timer() }, Timer)
  local ms = math.max(1, math.ceil(seconds * 1000))
  uv.update_time()
  self.handle:start(ms, ms, fn)
  return self
end

-- ---- patience -------------------------------------------------------------------------------------------------------
-- A clock of the time in which this process was there to hear of others, and one timer for all that wait by it: who
-- supervises thousands may stop them all at once. Equal patience is due in the order of its beginning.

local heard = 0 -- seconds so far, up to the last tick
local queues = {} -- by the number of seconds: { first, last }, linked
local tick -- { timer, began, planned }
local generation = core.generation()

---@class brood.Patience
---@field private due number by `heard`
local Patience = {}
Patience.__index = Patience

-- In the child of a fork nothing of that is ours.
local function begin_again()
  generation, queues, tick = core.generation(), {}, nil
end

local function heard_now()
  return tick and heard + math.min(clock.now() - tick.began, 2 * tick.planned) or heard
end

local function remove(self)
  local queue = queues[self.seconds]
  local before, behind = self.before, self.behind
  self.queued = false
  if before then
    before.behind = behind
  else
    queue.first = behind
  end
  if behind then
    behind.before = before
  else
    queue.last = before
  end
  if not queue.first then
    queues[self.seconds] = nil
  end
end

local function soonest()
  local due, step
  for seconds, queue in pairs(queues) do
    due = math.min(due or queue.first.due, queue.first.due)
    step = math.min(step or LONGEST, seconds / STEPS)
  end
  return due, step
end

local on_tick

local function arm()
  local due, step = soonest()
  if tick then
    heard = heard_now()
    tick.timer:cancel()
    tick = nil
  end
  if due then
    local planned = math.max(0.001, math.min(step, due - heard))
    tick = { planned = planned, began = clock.now() }
    tick.timer = M.after(planned, on_tick)
  end
end

local function next_due()
  for _, queue in pairs(queues) do
    if queue.first.due <= heard then
      return queue.first
    end
  end
end

function on_tick()
  heard = heard_now()
  tick = nil
  for one in next_due do
    remove(one)
    local ok, err = xpcall(one.fn, debug.traceback)
    if not ok then
      core.uncaught(tostring(err))
    end
  end
  arm()
end

--- Call fn once, when another process has had so many seconds. The time in which this one stood still (stopped by a
--- signal, suspended with the machine, held up by Lua) does not count: the other may have stood still as well, and what
--- it has done since is yet to be heard.
---@param seconds number
---@param fn fun()
---@return brood.Patience
function M.patience(seconds, fn)
  if generation ~= core.generation() then
    begin_again()
  end
  local queue = queues[seconds] or {}
  local self = setmetatable({
    seconds = seconds, fn = fn, due = heard_now() + math.max(seconds, 0.001), before = queue.last, queued = generation,
  }, Patience)
  if queue.last then
    queue.last.behind = self
  else
    queue.first = self
    queues[seconds] = queue
  end
  queue.last = self
  -- Who has as much patience as others before him changes nothing about the next tick.
  if queue.first == self then
    arm()
  end
  return self
end

--- Cancelling twice, or after it is over, does nothing.
function Patience:cancel()
  if self.queued ~= core.generation() then
    return
  end
  remove(self)
  if next(queues) == nil and tick then
    arm()
  end
end

--- A deadline for `done`: what this returns is to be called in its place. Where that has not happened after so many
--- seconds, late() is called; what `done` still means then is its own business.
---@param seconds? number|false without it there is no limit
---@param late fun()
---@param done function
---@return function
function M.limit(seconds, late, done)
  local waiting = seconds and M.after(seconds, late)
  return waiting and function(...)
    waiting:cancel()
    return done(...)
  end or done
end

--- Cancelling twice, or after it has fired, does nothing.
function Timer:cancel()
  close(self)
end

--- Do not keep the process alive for this timer.
---@return brood.Timer
function Timer:unref()
  if self.handle then
    self.handle:unref()
  end
  return self
end

--- Cancel the timer that stands in a field, if one does, and forget it.
---@param owner table
---@param field any
function M.drop(owner, field)
  if owner[field] then
    owner[field]:cancel()
    owner[field] = nil
  end
end

return M
