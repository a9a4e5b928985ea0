--- One service of the config, as the master and everybody in it knows it: the spinner's service of that name or, beside
--- another master of an upgrade, the one that runs there. It tells of it (log, events, what processes share), and asks
--- whoever it is that runs it; what runs when is the keeper's business (brood.master.services).
local clock = require "brood.clock"
local E = require "brood.error"
local emitter = require "brood.emitter"
local log = require "brood.log"
local named = require "brood.spinner.named"
local task = require "brood.task"

---@class brood.MasterService: brood.Emitter
---@field name string
---@field keeper brood.MasterServices
---@field options table what the config in force says of it
---@field service brood.Service? the spinner's, once it is this master's to run
---@field lent brood.LentService? how it is where the other master runs it
---@field pending boolean? a reload brings it, which is not decided yet
---@field left_out boolean? the config names it no more
---@field told_to_stop boolean? somebody has stopped it, and nobody has started it since
local Entry = emitter.mixin {}

local M = {}

local VIEWED = {
  state = true, port = true, pid = true, listening = true, restarts = true, started_at = true, last_exit = true,
  error = true,
}
local UNKNOWN = { state = "stopped", restarts = 0 }

local meta = {
  __index = function(self, key)
    if VIEWED[key] then
      return (rawget(self, "lent") or rawget(self, "service") or UNKNOWN)[key]
    end
    return Entry[key]
  end,
}

--- An entry that nobody runs yet.
---@param keeper brood.MasterServices
---@param name string
---@param options table
---@return brood.MasterService
function M.new(keeper, name, options)
  return setmetatable({ keeper = keeper, name = name, options = options }, meta)
end

-- ---- what is told of it ---------------------------------------------------------------------------------------------

--- Its fields may be others than before: whoever sees them elsewhere is to see these.
function Entry:changed()
  named.note(self.name, self)
  self:emit "changed"
  self.keeper:with_other("tell", self)
end

local function place(self)
  local text = self.listening and " on " .. self.listening or ""
  return ("%s%s"):format(self.pid and (" (pid %d)"):format(self.pid) or "", text)
end

local said = {}

function said.started(self)
  log.info(("%s: started%s"):format(self.name, place(self)))
end

function said.restarted(self)
  log.info(("%s: started again%s"):format(self.name, place(self)))
end

function said.stopped(self, service)
  local last = service.last_exit
  if not last then
    return
  end
  log.info(last.why == "end" and ("%s: done, it has ended with status 0"):format(self.name)
    or ("%s: stopped"):format(self.name))
end

local TOLD = {
  started = true, restarted = true, stopped = true, faulted = true, exit = true, state = true, error = true,
  message = true,
}

local function hear(self, service, event, ...)
  if event == "state" then
    self:changed()
  elseif said[event] then
    self:changed() -- the port comes with the event
    said[event](self, service)
  end
  if event == "exit" then
    self.keeper:ended(self, ...)
  elseif event == "faulted" then
    self:changed()
    self.keeper:faulted(self, (...))
  end
  -- (Of an error that nobody listens to the log has told already.)
  if TOLD[event] and (event ~= "error" or emitter.has_listener(self, "error") or emitter.has_listener(self, "*")) then
    self:emit(event, ...)
  end
end

--- This master runs it from now on.
---@param service brood.Service the spinner's
function Entry:take(service)
  if self.service ~= service then
    self.service = service
    service:on("*", function(event, ...)
      if self.service == service then
        hear(self, service, event, ...)
      end
    end)
  end
  self.lent = nil
  self:changed()
end

--- How the other master's is now; its events come from there.
---@param view brood.LentService
function Entry:borrow(view)
  local before = self.lent
  self.lent = view
  self:changed()
  if before and before.state ~= view.state then
    self:emit("state", view.state, before.state)
  end
end

-- ---- calls ----------------------------------------------------------------------------------------------------------

local function refuse(self, what)
  if self.keeper.closing then
    return E.new("stopped", "%s: cannot be %s: the master is stopping", self.name, what)
  elseif self.left_out then
    return E.new("stopped", "there is no service '%s' any more", self.name)
  end
end

local PAST = { start = "started", stop = "stopped", restart = "restarted", touch = "touched" }

-- What the other master runs is asked there; of what nobody runs any more, or yet, the keeper sees to it.
local function call(what, begin)
  return function(self, cb)
    return task.run(cb, "service:" .. what, function(done)
      local err = what ~= "stop" and refuse(self, PAST[what])
      if err then
        return done(err)
      end
      if what ~= "touch" then
        self.told_to_stop = what == "stop"
      end
      if self.lent then
        return self.keeper:with_other("ask", self, what, done)
      end
      local service, failure = self.keeper:own(self)
      if failure then
        return done(failure)
      end
      service[begin](service, done)
    end)
  end
end

--- Start it; its port (or path, or true) once it is ready, at once where it is already. It also counts as `touch`.
---@async
---@param cb? fun(err: brood.Error?, port: integer|string|true?)
---@return integer|string|true? port, brood.Error? err
Entry.start = call("start", "begin_start")

--- Stop it: it stays so until somebody starts it, or a reload brings another one.
---@async
---@param cb? fun(err: brood.Error?)
---@return true? ok, brood.Error? err
Entry.stop = call("stop", "begin_stop")

--- Another run in place of this one, or the first.
---@async
---@param cb? fun(err: brood.Error?, port: integer|string|true?)
---@return integer|string|true? port, brood.Error? err
Entry.restart = call("restart", "begin_restart")

--- It is used: `idle` counts from now.
---@async
---@param cb? fun(err: brood.Error?)
---@return true? ok, brood.Error? err code "stopped" where it does not run
Entry.touch = call("touch", "begin_touch")

-- ---- what is asked of it --------------------------------------------------------------------------------------------

--- Whether it is to run, whatever it does.
---@return boolean
function Entry:is_wanted()
  return self.options.autostart ~= false and not self.told_to_stop and not self.left_out and not self.pending
end

--- It, as plain values.
---@param now number seconds since 1970
---@return table
function Entry:status(now)
  local last, err, lent = self.last_exit, self.error, self.lent
  local uptime = self.pid and self.started_at and now - self.started_at or nil
  local port = self.port
  local process = self.pid and {
    name = self.name, kind = "service", pid = self.pid, state = self.state, uptime = uptime, restarts = self.restarts,
    last_exit = last,
  }
  return {
    state = self.state, port = port ~= true and port or nil, listening = self.listening, pid = self.pid,
    restarts = self.restarts, uptime = uptime, last_exit = last, error = err and E.describe(err) or nil,
    after = self.options.after, autostart = self.options.autostart ~= false, essential = self.options.essential == true,
    master = lent and self.keeper.master.old_pid or lent and self.keeper.master.new_pid or nil,
    processes = { process },
  }
end

--- The same for the other master, which may use it.
---@return brood.LentService
function Entry:view()
  local err = self.error
  return {
    name = self.name, state = self.state, port = self.port, pid = self.pid, listening = self.listening,
    restarts = self.restarts, started_at = self.started_at, last_exit = self.last_exit,
    error = err and E.describe(err) or nil, stop_timeout = self.options.stop_timeout,
    idle = self.options.idle or false, grouped = self.options.kill_group ~= false, at = clock.unix(),
  }
end

return M
