--- How a master ends: what it runs first (brood.master.order), then the hooks that still run and on_stop,
--- then what it has open. Who asks for it, and how often, is brood.master's business.
local clock = require "brood.clock"
local core = require "brood.core"
local E = require "brood.error"
local hooks = require "brood.master.hooks"
local lazy = require "brood.lazy"
local log = require "brood.log"
local task = require "brood.task"
local timer = require "brood.timer"
local transition = require "brood.master.transition"

local order = lazy.passing "brood.master.order"
local predecessor = lazy.room "brood.master.predecessor"
local upgrade = lazy.room "brood.master.upgrade"

local M = {}

--- Sockets and socket files are the last to go: they belong to the master alone.
---@param self brood.Master
function M.release(self)
  if self.old_pid then
    predecessor.hear_all(self)
  end
  if self.successor then
    upgrade.hear_all(self)
  end
  timer.drop(self, "held")
  if self.control then
    self.control:close()
    self.control = nil
  end
  self.listeners:close()
  self.logs:close()
  if self.pid_holder then
    self.pid_holder:close()
    self.pid_holder, self.pidfile = nil, nil
  end
end

local function close(self)
  M.release(self)
  self.state = "stopped"
  self:emit("stopped")
  -- Whoever asked for the end hears of it before those who end the process with it.
  for _, field in ipairs { "stoppers", "waiters" } do
    local list = self[field]
    self[field] = {}
    for _, done in ipairs(list) do
      done()
    end
  end
end

-- The workers are gone: what hooks still do has graceful_timeout, or until a quick stop is asked for.
local function finish(self)
  local patience = self.config and self.config.graceful_timeout
  local limit
  local function over()
    if self.cut then
      self.cut = nil
      if limit then
        limit:cancel()
      end
      close(self)
    end
  end
  self.cut = function()
    timer.after(0, over) -- it may be a hook that asks: it goes on first
  end
  if patience then
    limit = timer.after(patience, function()
      local running = hooks.running(self)
      log.warn(("not waiting any longer for %s: it still runs %g s (graceful_timeout) after the last worker's end")
        :format(#running > 0 and table.concat(running, ", ") or "on_stop", patience))
      over()
    end)
  end
  task.spawn(function()
    hooks.excuse_with(self, self.cut)
    local ok, err = task.call(function()
      hooks.wait(self)
      if self.begun then
        hooks.run(self, self.config.hooks, "on_stop")
      end
    end)
    if not ok then
      core.uncaught(E.text(err)) -- a hook may have done anything to the master's tables: it ends all the same
    end
    hooks.excuse_with(self, nil)
    over()
  end)
end

--- Begin to stop, or go on quicker than before; done() when all has ended.
---@param self brood.Master
---@param how "stop"|"terminate"
---@param done fun()
function M.begin(self, how, done)
  if self.state == "stopped" then
    return done()
  end
  table.insert(self.stoppers, done)
  local first = self.state ~= "stopping"
  self.state = "stopping"
  if first then
    self.stop_began, self.ending = clock.now(), how
    self:emit("stopping")
    transition.stop(self) -- what a reload has tried is undone
    if self.old_pid then
      predecessor.leaving(self)
    end
    -- Idle connections may ask once more where somebody serves on the same sockets: the new master, or the old one.
    self.elsewhere = self.successor and upgrade.hand_over(self) or self.old_pid ~= nil
    -- The workers close theirs as well: whoever connects from now on is refused at once, and not left to wait. What a
    -- proxy leads to it still needs.
    self.listeners:close(self.proxy and "proxy")
  end
  if how == "terminate" then
    self.ending = how
    order.hurry(self)
  end
  if self.cut and how == "terminate" then
    return self.cut()
  elseif first then
    order.stop(self, function()
      finish(self)
    end)
  end
end

return M
