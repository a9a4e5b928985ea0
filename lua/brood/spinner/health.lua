--- Looking at a service now and then, whether it still answers. What follows from its not answering is the caller's
--- business; a look never keeps the process alive, and there are never two at once.
local E = require "brood.error"
local clock = require "brood.clock"
local probe = require "brood.process.probe"
local task = require "brood.task"
local timer = require "brood.timer"

local M = {}

local INTERVAL, FAILURES, TIMEOUT = 10, 3, 2

---@class brood.HealthOptions
---@field path? string what to ask for with GET; without it a connection is enough
---@field interval? number seconds between two looks; default 10
---@field failures? integer how many in a row; default 3
---@field timeout? number seconds for each; default 2

---@class brood.Health
---@field failures integer in a row, so far
---@field last_error brood.Error? of the last look, nil when it was good
local Health = {}
Health.__index = Health

local function judge(self, err)
  self.last_error = err
  if not err then
    self.failures = 0
    return
  end
  self.failures = self.failures + 1
  if self.failures >= self.limit then
    self.failures = 0
    task.spawn(self.on_unhealthy, E.new("unhealthy", "%s (%d times in a row)", err.message, self.limit))
  end
end

local function look(self)
  local target = not self.looking and self.service:target()
  if not target then
    if not self.looking then
      self.failures = 0 -- nothing runs that could fail
    end
    return
  end
  local began = clock.now()
  self.looking = true
  probe.look({ port = target.port, host = target.host, socket = target.socket, path = self.path }, {
    within = self.timeout, background = true,
  }, function(err)
    self.looking = false
    -- Where this process stood still, or the machine did, the service may have as well.
    if not self.closed and not (err and clock.now() - began > 3 * self.timeout) then
      judge(self, err)
    end
  end)
end

--- Look every so often, and call on_unhealthy(err) after so many failures in a row: no connection, no answer in time,
--- or one with another status than 2xx and 3xx. It runs in a task, and again after as many more failures, until closed.
---@param service { target: fun(self): { port: integer?, host: string?, socket: string? }? } nil: it does not run now
---@param options brood.HealthOptions
---@param on_unhealthy fun(err: brood.Error) code "unhealthy"
---@return brood.Health
function M.watch(service, options, on_unhealthy)
  local self = setmetatable({
    service = service, on_unhealthy = on_unhealthy, failures = 0, looking = false, closed = false,
    path = options.path, limit = options.failures or FAILURES, timeout = options.timeout or TIMEOUT,
  }, Health)
  self.timer = timer.every(options.interval or INTERVAL, function()
    look(self)
  end):unref()
  return self
end

--- on_unhealthy is not called any more. Twice does nothing.
function Health:close()
  self.closed = true
  self.timer:cancel()
end

return M
