--- The inside of a child's script: its start and stop functions, and when they run. The parent (a Child elsewhere) is
--- told over the channel; without one the script is a program like any other, which TERM, INT and HUP end.
local boot = require "brood.boot"
local brood = require "brood"
local core = require "brood.core"
local E = require "brood.error"
local fork = require "brood.fork"
local log = require "brood.log"
local signals = require "brood.signals"
local supervised = require "brood.supervised"
local task = require "brood.task"
local timer = require "brood.timer"
local uv = require "luv"

local M = {}

local FLUSH = 30 -- seconds that the parent has to take what has been sent

---@class brood.ChildInside
---@field title string
---@field worker brood.Worker? the line to the parent
---@field state "starting"|"ready"|"stopping"
---@field asked boolean? its end has been asked for while it started
---@field told table<string, integer> how often by which signal it has been told to end
---@field stop? function
local Inside = {}
Inside.__index = Inside

local current ---@type brood.ChildInside? one a process

fork.on_child(function()
  current = nil
end)

local function post(self, name, value)
  return self.worker and self.worker.peer:post(name, value)
end

-- What goes wrong is the parent's to know; where there is none (any more) the log has it.
local function tell_failure(self, frame, what, err)
  if not post(self, frame, err) then
    log.error(("%s: %s: %s"):format(self.title, what, E.text(err)))
  end
end

-- What it supervises ends in its own time, what it has sent arrives, then it is gone.
local function leave(self, status)
  local function exit()
    supervised.exit(status)
  end
  supervised.stop_all(function()
    if not self.worker then
      return exit()
    end
    -- The loop turns meanwhile: a parent that has asked us to hold back says when it has room again.
    self.worker.peer:flush(timer.limit(FLUSH, exit, exit))
  end)
end

-- `done(false)` is as good as none.
local function failure_of(err)
  return err and E.from(err) or nil
end

local function stop(self)
  self.state = "stopping"
  local function finished(err)
    err = failure_of(err)
    if err then
      tell_failure(self, "stop_failed", "the stop failed", err)
    else
      post(self, "stopped")
    end
    leave(self, err and 1 or 0)
  end
  if self.stop then
    return task.call_done(self.stop, finished)
  end
  finished()
end

local function ask(self)
  if self.state == "ready" then
    stop(self)
  else
    self.asked = true -- what is half begun is not fit to be stopped
  end
end

local function started(self, err)
  err = failure_of(err)
  if err then
    self.state = "stopping"
    tell_failure(self, "failed", "the start failed", err)
    return leave(self, 1)
  end
  self.state = "ready"
  if self.worker then
    self.worker:ready()
  end
  if self.asked then
    stop(self)
  end
end

-- Whether it is to end at once. Alone, that is the second signal, of whatever kind. A parent has patience of its own,
-- and whoever tells all processes of a service to end (systemd) tells the child once more: it says it in another way.
local function is_urgent(self)
  local told = self.told
  if self.worker and not self.worker.peer.closed then
    return told.TERM > 0 and told.INT > 0
  end
  return told.TERM + told.INT + told.HUP > 1
end

local function watch_signals(self)
  for name in pairs(self.told) do
    signals.on(name, function()
      self.told[name] = self.told[name] + 1
      if is_urgent(self) then
        return supervised.end_by(signals.number(name))
      end
      ask(self)
    end)
  end
end

local function check_function(what, name, fn)
  if fn ~= nil and type(fn) ~= "function" then
    error(("%s: the %s must be a function, got %s"):format(what, name, type(fn)), 3)
  end
end

local function begin(what, title, once)
  if type(title) ~= "string" or title == "" then
    error(("%s: the title must be a string, got %s"):format(what, title == "" and "an empty one" or type(title)), 3)
  elseif current then
    error(("%s: this script has called it, or the other one, before"):format(what), 3)
  end
  current = setmetatable({ title = title, worker = brood.worker, state = "starting" }, Inside)
  current.told = { TERM = 0, INT = 0, HUP = 0 }
  post(current, "begun", { title = title, once = once })
  return current
end

--- As Child.main says.
---@param title string
---@param start? function
---@param stop_fn? function
function M.main(title, start, stop_fn)
  check_function("Child.main", "start", start)
  check_function("Child.main", "stop", stop_fn)
  local self = begin("Child.main", title, false)
  self.stop = stop_fn
  self.keeper = uv.new_async(function() end) -- it runs on though nothing else is there to wait for
  watch_signals(self)
  core.posix.setproctitle(title) -- now, for whoever sees it may send a signal
  if self.worker then
    function self.worker.master_gone()
      ask(self)
    end
  end
  if not start then
    return started(self)
  end
  task.call_done(start, function(err)
    started(self, err)
  end)
end

--- As Child.once says.
---@param title string
---@param fn function
function M.once(title, fn)
  if type(fn) ~= "function" then
    error(("Child.once: a function is needed, got %s"):format(type(fn)), 2)
  end
  local self = begin("Child.once", title, true)
  self.state = "ready"
  supervised.guard_signals()
  core.posix.setproctitle(title)
  local over = boot.expect(("%s: nothing is left that could end the function of Child.once"):format(title))
  if self.worker then
    function self.worker.master_gone()
      leave(self, 1)
    end
    self.worker:ready()
  end
  task.call_done(fn, function(err)
    over()
    err = failure_of(err)
    if err then
      tell_failure(self, "failed", "failed", err)
    else
      post(self, "stopped")
    end
    leave(self, err and 1 or 0)
  end)
end

return M
