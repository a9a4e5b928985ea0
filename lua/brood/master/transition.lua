--- The transitions of a master: reloads, upgrades, drains and scales, of which the rules allow one at a
--- time. It keeps what runs and what waits, and answers those who wished; what a
--- transition does is told by whoever wishes it, what comes first is rules.wishes' business.
local core = require "brood.core"
local E = require "brood.error"
local log = require "brood.log"
local task = require "brood.task"
local wishes = require "brood.rules.wishes"

local M = {}

---@class brood.Wish
---@field kind brood.WishKind
---@field run fun(wish: brood.Wish, done: fun(err: brood.Error?, ...: any)) begins it; may raise
---@field waiters function[]
---@field cancel? fun() while it can be taken back: puts back what was done so far. Set by `run`
---@field over? boolean whether it has been answered, or taken back: it must not go on
---@field rolling? boolean whether it is decided, see `decided`
---@field later function[] other numbers of workers, wished for while it was not decided
---@field task? thread
local Wish = {}
Wish.__index = Wish

---@class brood.Transitions
---@field current? brood.Wish
---@field rolling table<brood.Wish, true>
---@field queue brood.Wish[]
---@field starting? thread the task of the master's start
---@field stopped? boolean

---@return brood.Transitions
function M.new()
  return { rolling = {}, queue = {} }
end

local function answer(wish, ...)
  local waiters = wish.waiters
  wish.waiters = {}
  for _, done in ipairs(waiters) do
    done(...)
  end
end

local function state_of(master)
  local t = master.transitions
  return {
    starting = master.state == "starting", current = t.current and t.current.kind, rolling = next(t.rolling) ~= nil,
  }
end

local pump

-- Only reloads and upgrades are ever current: the others have nothing to be decided.
local function finish(master, wish, ...)
  if wish.over then
    return
  end
  local t = master.transitions
  wish.over, wish.cancel = true, nil
  if t.current == wish then
    t.current = nil
  end
  t.rolling[wish] = nil
  answer(wish, ...)
  pump(master)
end

local function begin(master, wish)
  if wish.kind == "reload" or wish.kind == "upgrade" then
    master.transitions.current = wish
  end
  wish.master = master
  task.spawn(function()
    wish.task = coroutine.running()
    local ok, err = task.call(wish.run, wish, function(...)
      finish(master, wish, ...)
    end)
    wish.task = nil -- the same coroutine is somebody else's from now on
    if not ok then
      core.uncaught(E.text(err))
      if wish.cancel then
        wish.cancel()
      end
      finish(master, wish, err)
    end
  end)
end

--- Look again at what waits: the master serves now, or something is over.
---@param master brood.Master
function pump(master)
  local t = master.transitions
  while not t.stopped and t.queue[1] do
    local wish
    wish, t.queue = wishes.next(state_of(master), t.queue)
    if not wish then
      return
    end
    begin(master, wish)
  end
end
M.pump = pump

-- What it has done so far is undone; those who wait for it wait for the one that takes its place.
local function take_back(master, wish)
  local waiters = wish.waiters
  wish.waiters, wish.over = {}, true
  if master.transitions.current == wish then
    master.transitions.current = nil
  end
  if wish.cancel then
    wish.cancel()
    wish.cancel = nil
  end
  return waiters
end

--- It is decided: from now on it cannot be taken back, and what follows takes its time while newer wishes are granted.
--- Those who wait for an older one of its kind, which it supersedes, hear of this one's outcome.
function Wish:decided()
  local t = self.master.transitions
  self.cancel, self.rolling = nil, true
  t.current = nil
  for older in pairs(t.rolling) do
    if older.kind == self.kind then
      for _, done in ipairs(older.waiters) do
        table.insert(self.waiters, done)
      end
      older.waiters, older.over = {}, true
      t.rolling[older] = nil
    end
  end
  t.rolling[self] = true
end

--- It has set the numbers of workers that its config says: what was wished since it began is wished for after it.
function Wish:repeat_later()
  local later = self.later
  self.later = {}
  for _, run in ipairs(later) do
    run(self, function() end)
  end
  pump(self.master)
end

local function stopped(master, kind)
  return E.new("stopped", "master:%s: the master is %s", kind, master.state)
end

--- Wish for a transition: it begins now, or when what is under way allows it. done(err, ...) is called once, with the
--- outcome of this one or of the one that took its place.
---@param master brood.Master
---@param kind brood.WishKind
---@param run fun(wish: brood.Wish, done: fun(err: brood.Error?, ...: any))
---@param done fun(err: brood.Error?, ...: any)
function M.wish(master, kind, run, done)
  local t = master.transitions
  if t.stopped or master.state == "stopping" or master.state == "stopped" then
    return done(stopped(master, kind))
  end
  local wish = setmetatable({ kind = kind, run = run, waiters = { done }, later = {} }, Wish)
  local verdict, current = wishes.decide(state_of(master), kind), t.current
  -- What the task of a transition itself wishes can neither wait for that one, nor take its place.
  local here, owner = coroutine.running(), t.starting
  if current then
    owner = current.task
  end
  local within = here ~= nil and here == owner
  if within and verdict ~= "now" then
    if kind ~= "drain" then
      return done(E.new("busy", "a %s cannot be asked for by what it runs itself", kind))
    end
    verdict = "now"
  end
  if verdict == "join" then
    table.insert(current.waiters, done)
  elseif verdict == "wait" then
    log.info(("the %s waits for the %s"):format(kind, current and current.kind
      or master.state == "starting" and "start" or "reload"))
    t.queue = wishes.enqueue(t.queue, wish)
  elseif verdict == "replace" then
    log.info(("a newer %s takes the place of the one that was under way"):format(kind))
    for _, waiting in ipairs(take_back(master, current)) do
      table.insert(wish.waiters, waiting)
    end
    begin(master, wish)
  else
    if current and current.kind == "reload" then
      table.insert(current.later, run)
    end
    begin(master, wish)
  end
end

--- The master stops: what can be taken back is, and nothing waits any more.
---@param master brood.Master
function M.stop(master)
  local t = master.transitions
  if t.stopped then
    return
  end
  t.stopped = true
  if t.current then
    local kind = t.current.kind
    for _, done in ipairs(take_back(master, t.current)) do
      done(stopped(master, kind))
    end
  end
  local queue = t.queue
  t.queue = {}
  for _, wish in ipairs(queue) do
    answer(wish, stopped(master, wish.kind))
  end
end

return M
