--- One service: a name, its options, and the run that there is of it. It joins what can be asked of it (spinner.calls)
--- with what becomes of it (spinner.life), and shows it. A run is one process from its start to its end (spinner.run);
--- watching over it (idle, memory, files, health) is spinner.care's business.
local calls = require "brood.spinner.calls"
local core = require "brood.core"
local emitter = require "brood.emitter"
local lazy = require "brood.lazy"
local life = require "brood.spinner.life"
local ours = require "brood.ours"
local runs = require "brood.spinner.run"

local care = lazy.room "brood.spinner.care"
local gate = lazy.room "brood.spinner.gate"

---@class brood.LastExit
---@field code integer?
---@field signal string?
---@field at number seconds since 1970
---@field why string what it ended for: "stop" "idle" "restart" "change" "memory" "health" "crash" "end" "start"

---What `list` shows of a service.
---@class brood.ServiceEntry
---@field name string
---@field state brood.ServiceState
---@field port integer|string|true|nil as `start` returned it, while it is ready
---@field listening string? its address: "127.0.0.1:7001" or "unix:/path"
---@field pid integer? while it runs
---@field restarts integer runs that followed another one without a start
---@field started_at number? when it became ready, in seconds since 1970
---@field last_exit brood.LastExit?
---@field error brood.Error? why it is faulted, or what its last start failed with
---@field options table

---@class brood.Service: brood.Emitter, brood.ServiceEntry
---@field spinner brood.Spinner
---@field run brood.ServiceRun?
---@field asked string? somebody has asked for the end that is under way: why
---@field later "started"|"restarted"|nil it is to start when nothing is left of the run
---@field kind "started"|"restarted" what it will have done when it is ready
---@field attempt integer failed starts in a row
local Service = emitter.mixin {}
for _, methods in ipairs { life.methods, calls } do
  for name, method in pairs(methods) do
    Service[name] = method
  end
end

local M = { class = Service }

local meta = {
  __index = function(self, key)
    if key == "pid" then
      local run = rawget(self, "run")
      return run and run.process and run.process.pid
    end
    return Service[key]
  end,
}

ours.guard(Service, "service", { "start", "stop", "restart", "touch", "signal", "send", "write", "close_stdin" },
  function(self) return getmetatable(self) == meta end,
  function(self) return self.spinner.born ~= core.generation() end)

--- What of the options its process takes is right, or this raises.
M.check = runs.check

--- A service that is stopped.
---@param spinner brood.Spinner
---@param name string
---@param options table normalised
---@param id integer its number among the spinner's
---@return brood.Service
function M.new(spinner, name, options, id)
  return setmetatable({
    spinner = spinner, name = name, options = options, id = id, state = "stopped", restarts = 0, attempt = 0,
  }, meta)
end

--- Options for its next run; at once where there is none.
---@param o table normalised
function Service:set_options(o)
  if self.state == "stopped" or self.state == "faulted" then
    self.options, self.plan, self.next_options = o, nil, nil
  else
    self.next_options = o
  end
end

--- Call done() once it is ready, or has done what it was there for: what those after it wait for. Starts it.
---@param done fun(err: brood.Error?)
function Service:await(done)
  gate(self, done)
end

--- All runs of it that there are.
---@param fn fun(run: brood.ServiceRun)
function Service:each_run(fn)
  -- A copy: what is done to one may well be its end.
  local list = { self.successor or self.run, self.successor and self.run }
  for run in pairs(self.leaving or {}) do
    list[#list + 1] = run
  end
  for _, run in ipairs(list) do
    fn(run)
  end
end

--- It ends now: this signal, and KILL after so many seconds, but not later than it would without this.
---@param signal integer
---@param patience number
---@param why? string for the log, should it come to KILL because of this
function Service:hurry(signal, patience, why)
  self:each_run(function(run)
    local process = run.process
    if process then
      local own = process.options.stop_timeout or math.huge
      process:hurry(signal, math.min(own, patience), own > patience and why or process.options.hurried)
    end
  end)
end

--- Where it can be asked: for `health`.
---@return { port: integer?, socket: string? }?
function Service:target()
  local port = self.port
  if type(port) == "string" then
    return { socket = port }
  end
  return type(port) == "number" and { port = port } or nil
end

--- What the list shows.
---@return brood.ServiceEntry
function Service:entry()
  return {
    name = self.name, state = self.state, port = self.port, listening = self.listening, pid = self.pid,
    restarts = self.restarts, started_at = self.started_at, last_exit = self.last_exit, error = self.error,
    options = self.options,
  }
end

--- Nobody needs it any more.
function Service:close()
  care.leave(self)
end

---@private
function Service:on_listen()
  if self.run and self.run.process then
    self.run.process:on_listen()
  end
end

return M
