--- What this process looks after: every child that is alive, so that none is
--- left behind however the process ends; and the orphans that come home to it.
--- It decides nothing about a single child: that is brood.process.
local boot = require "brood.boot"
local clock = require "brood.clock"
local core = require "brood.core"
local fork = require "brood.fork"
local join = require "brood.join"
local signals = require "brood.signals"
local timer = require "brood.timer"
local uv = require "luv"

local M = {}

local HASTE = 1 -- seconds that Lua children have then to see to those that they supervise
local ORPHANS = 0.01 -- seconds for which a dead orphan may wait to be reaped
local OWN = 1 -- and one in our own group, of which others might have heard by then
local SHARE = 4 -- of the time goes to looks at those who wait for others' ends: a fifth at most
local GONE = 2 -- seconds that this process waits at its end for those it has killed

---@class brood.Supervised
---@field stop fun(self, cb: fun()) end it in its own time
---@field kept? boolean somebody who is supervised too stops it when he is told to stop
---@field limit? fun(self) this process was told to end: its stop, which follows, is not to take for ever
---@field hasten? fun(self): boolean told twice to end, where it is a Lua child that may supervise others
---@field destroy fun(self) KILL it and its group, without a word to anybody: this process is ending
---@field gone fun(self): boolean after destroy: whether nothing of it is left. Looks, and reaps; never waits

---@type table<brood.Supervised, true>
local alive = {}
local on_child = {} -- called at each SIGCHLD: groups that wait until they are empty
local to_close = setmetatable({}, { __mode = "k" }) -- what else has an end that is seen from outside
local watching = false
local looking = {} -- what is to be looked at soon: a timer by name
local guard -- signal watches that stop the children and then end this process

fork.on_child(function()
  alive, on_child, watching, guard, looking = {}, {}, false, nil, {}
  to_close = setmetatable({}, { __mode = "k" })
  M.ending = nil
end)

-- Thousands may end at once, and each look goes through thousands: there is one for many ends.
local function soon(name, seconds, fn)
  looking[name] = looking[name] or timer.after(seconds, function()
    looking[name] = nil
    fn()
  end):unref()
end

-- What a hook's os.execute left behind in our group looks like a program of io.popen that is dead and not closed yet.
local function reap_own()
  if not boot.reads_programs() then
    core.process.reap_orphans(true)
  end
end

local function reap_orphans()
  local _, hidden, left = core.process.reap_orphans()
  if hidden then
    soon("orphans", ORPHANS, reap_orphans)
  elseif left then
    soon("own orphans", OWN, reap_own)
  end
end

local next_look = 0

local function tell_watchers()
  local began = clock.now()
  if began < next_look then
    return soon("watchers", next_look - began, tell_watchers)
  end
  -- A copy: what is called may well take itself off, or put others there.
  local list = {}
  for fn in pairs(on_child) do
    list[#list + 1] = fn
  end
  for _, fn in ipairs(list) do
    fn()
  end
  local finished = clock.now()
  next_look = finished + SHARE * (finished - began)
end

local function on_sigchld()
  if next(on_child) then
    tell_watchers()
  end
  soon("orphans", ORPHANS, reap_orphans)
end

--- Call fn at each SIGCHLD until off.
---@param fn fun()
function M.watch_children(fn)
  on_child[fn] = true
end

function M.unwatch_children(fn)
  on_child[fn] = nil
end

--- Be the one to whom orphans below us come home.
function M.adopt_orphans()
  if not watching then
    watching = true
    core.process.subreaper()
    signals.on("CHLD", on_sigchld)
  end
end

--- End at once, as the default action of the signal would; PID 1 has none, and exits with 128 + n.
---@param number integer
function M.end_by(number)
  M.kill_all()
  if core.posix.getpid() ~= 1 then
    core.raise_signal(number)
  end
  core.exit(128 + number)
end

local function on_end_signal(name)
  local number = signals.check(name)
  -- The script has a handler of its own: what happens is its business.
  if core.signal_watchers(number) > 1 then
    return
  end
  if M.ending then
    return M.end_by(number)
  end
  M.ending = true
  for child in pairs(alive) do
    if child.limit then
      child:limit()
    end
  end
  M.stop_all(function()
    M.end_by(number)
  end)
end

--- TERM, INT and HUP stop what is supervised before they end this process. A
--- master and a worker have signals of their own.
function M.guard_signals()
  if guard then
    return
  end
  guard = {}
  for _, name in ipairs { "TERM", "INT", "HUP" } do
    guard[#guard + 1] = signals.on(name, function()
      on_end_signal(name)
    end)
  end
end

--- Take the default handling of TERM, INT and HUP off again, or never put it there.
function M.unguard_signals()
  for _, watch in ipairs(guard or {}) do
    watch:close()
  end
  guard = {}
end

---@param child brood.Supervised
function M.add(child)
  alive[child] = true
  M.adopt_orphans()
  M.guard_signals()
end

---@param child brood.Supervised
function M.remove(child)
  alive[child] = nil
end

--- Close it when this process ends, however it does. While it is in use, somebody else keeps it.
---@param object { close: fun(self) }
function M.close_at_end(object)
  to_close[object] = true
  M.guard_signals()
end

--- Stop all children, each with its own patience, then call done().
---@param done fun()
function M.stop_all(done)
  local all = join.new(function()
    done()
  end)
  local now = {}
  for child in pairs(alive) do
    now[#now + 1] = not child.kept and child or nil
  end
  for _, child in ipairs(now) do
    -- One that cannot even be asked must not keep the others from being stopped.
    local gone = all:branch()
    local ok, err = pcall(child.stop, child, gone)
    if not ok then
      core.uncaught(tostring(err))
      gone()
    end
  end
  all.all_begun()
end

--- KILL every child and its group, and stand still until they are gone: for the end of this process, after which
--- nobody could see to them.
function M.kill_all()
  local hasty, patience = {}, clock.now() + HASTE
  for child in pairs(alive) do
    if child.hasten and child:hasten() then
      hasty[child] = true
    end
  end
  for child in pairs(hasty) do
    while not child:gone() and clock.now() < patience do
      uv.sleep(1)
    end
  end
  for child in pairs(alive) do
    child:destroy()
  end
  local deadline = clock.now() + GONE
  for child in pairs(alive) do
    while not child:gone() and clock.now() < deadline do
      uv.sleep(1)
    end
  end
  -- Last: who looks at a pidfile or a socket sees somebody there while something of this process is left.
  local closing = to_close
  to_close = {}
  for object in pairs(closing) do
    object:close()
  end
end

--- End this process with a status; nothing that it supervises is left behind.
---@param code? integer
function M.exit(code)
  M.kill_all()
  core.exit(code or 0)
end

return M
