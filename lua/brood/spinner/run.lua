--- One run of a service: a place to listen, a process that finds it in PORT, and a look whether it is really that
--- process which answers there. Its ends are told to the service (up, dying, down), which decides what follows.
local E = require "brood.error"
local lazy = require "brood.lazy"
local Process = require "brood.process"
local service_options = require "brood.rules.service_options"
local spawn = require "brood.process.spawn"
local uv = require "luv"

local listening = lazy.room "brood.spinner.listening"
local ports = lazy.room "brood.spinner.ports"
local sockets = lazy.room "brood.spinner.sockets"
local prefix = lazy.room "brood.spinner.prefix"
local reader = lazy.room "brood.spinner.reader"
local child_plan = lazy.room "brood.child.plan"

local M = {}

local STDOUT, STDERR = 1, 2

---@class brood.ServiceRun
---@field service brood.Service
---@field process brood.Process
---@field port integer|string|nil what it finds in PORT
---@field listening string? "127.0.0.1:7001", "unix:/path"
---@field ready boolean
---@field began boolean there is, or was, a process
---@field why string? what it ends for
---@field hopeless "here"|"ever"|nil another attempt would be in vain: there is no place for it, or nothing to run
---@field private lease brood.Port?
---@field private avoid table<integer, true>? ports that turned out to be others'
---@field private misplaced brood.Error? the port is another's
local Run = {}
Run.__index = Run

-- A process that tells its run what happens, in place of listeners.
local Watched = setmetatable({ kept = true }, { __index = Process.class }) -- the spinner stops it
Watched.__index = Watched

function Watched:emit(event, ...)
  self.owner:heard(self, event, ...)
end

-- ---- what the process is to be --------------------------------------------------------------------------------------

local SAME = {
  "cwd", "user", "group", "umask", "limits", "stdin", "stdout", "stderr", "watchdog", "stop_timeout", "stop_signal",
  "kill_group", "survive", "main",
}
local PLACES = { "stdin", "stdout", "stderr", "cwd" }

local function ready_of(o, absolute, port)
  local ready = o.ready
  if type(ready) == "string" then
    return ready
  elseif type(ready) == "table" then
    local full = {
      port = ready.port, host = ready.host, socket = ready.socket and absolute(ready.socket), http = ready.http,
    }
    if not (full.port or full.socket or full.http and full.http:find "^http://") then
      full.port = type(port) == "number" and port or nil
      full.socket = type(port) == "string" and port or nil
    end
    return full
  elseif type(port) == "string" then
    return { socket = port }
  end
  return port and { port = port } or "spawn"
end

local function command_of(o, absolute)
  local command = o.command and { unpack(o.command) } or o.script and { "brood", "exec", absolute(o.script) }
  for _, arg in ipairs(command and o.args or {}) do
    command[#command + 1] = tostring(arg)
  end
  return command
end

-- What Process takes, as far as it is the same for every run.
local function process_options(o, absolute)
  local given = { name = service_options.name(o), command = command_of(o, absolute), start_timeout = o.timeout }
  for _, name in ipairs(SAME) do
    given[name] = o[name]
  end
  for _, name in ipairs(PLACES) do
    local path = given[name]
    if type(path) == "string" and not (name == "stdin" and (path == "pipe" or path == "inherit")) then
      given[name] = absolute(path)
    end
  end
  given.ready = ready_of(o, absolute, o.port == true and 1 or o.port == "socket" and "/" or o.port)
  return given
end

--- Raise where the options are wrong.
---@param o table
---@param level integer
function M.check(o, level)
  spawn.check(process_options(o, function(path) return path end), level + 1, "Spinner.start")
end

local function is_terminal(fd)
  return uv.guess_handle(fd) == "tty"
end

-- What the process says on a terminal stands behind the service's name; a function of the user's may wait, but not for
-- ever.
local function streams(service, base)
  local both = base.stdout == base.stderr
  for _, name in ipairs { "stdout", "stderr" } do
    if type(base[name]) == "function" then
      base[name] = both and name == "stderr" and base.stdout or reader.new(service.name, base[name])
    end
  end
  for name, fd in pairs { stdout = STDOUT, stderr = STDERR } do
    if base[name] == nil and base.stdin ~= "inherit" and is_terminal(fd) then
      base[name] = prefix.writer(service.name, fd, service.id, service.spinner.width)
    end
  end
end

-- What all runs of a service have in common is made once: an object's class in that of its options.
local function plan_of(service)
  if not service.plan then
    local base = process_options(service.options, function(path)
      return service.spinner:absolute(path)
    end)
    if type(service.options.ready) == "table" then -- what its parts may be has not been looked at in a config
      local ok, checked = pcall(spawn.check, base, 0, "ready")
      if not ok then
        return nil, E.new("config", "%s", tostring(checked))
      end
      base = checked
    else
      base = spawn.complete(base)
    end
    streams(service, base)
    base.__index = base
    service.plan = base
  end
  return service.plan
end

local function environment(o, port, base)
  local env = o.env
  if port or os.getenv "PORT" or o.script then
    local full = { PORT = port and tostring(port) or env and env.PORT or false }
    full.BROOD_STOP_TIMEOUT = o.script and base.stop_timeout and tostring(base.stop_timeout) or nil
    for name, value in pairs(env or {}) do
      if full[name] == nil then
        full[name] = value
      end
    end
    return full
  end
  return env
end

local function instead(self)
  local process, port = self.process, self.port
  local text = type(port) == "number" and ("nothing of it listens on port %d"):format(port)
    or type(port) == "string" and ("nothing of it listens on %s"):format(port) or nil
  local places = process.pid and listening.places(process.pid) or {}
  if not text or not places[1] then
    return text and text .. ", which is its PORT"
  end
  return ("%s, which is its PORT, but on %s"):format(text, table.concat(places, " and "))
end

local function make_process(self)
  local service = self.service
  local function absolute(path)
    return service.spinner:absolute(path)
  end
  local o = service.options
  local base, err = plan_of(service)
  if not base then
    return nil, err
  end
  local own = { env = environment(o, self.port, base), ready = ready_of(o, absolute, self.port), target = service }
  if o.script then
    own.program, own.lua, own.leader_alone = child_plan.runtime(), true, true
  end
  if type(own.ready) == "table" then
    own.where = function() return instead(self) end
  end
  local more = service.spinner.inner.process
  for name, value in pairs(more and more(service) or {}) do
    own[name] = value
  end
  self.process = setmetatable(Process.make(setmetatable(own, base)), Watched)
  self.process.owner = self
  return true
end

-- ---- a place to listen ----------------------------------------------------------------------------------------------

local function take_place(self)
  local service = self.service
  local wanted = service.options.port
  local err
  if wanted == true then
    local avoid = self.avoid or service.bad_port and { [service.bad_port] = true }
    self.lease, err = ports.take(service.spinner.ports, service.name, service.last_port, avoid, service.spinner)
    self.hopeless = err and "here"
    self.port = self.lease and self.lease.port
  elseif wanted == "socket" then
    self.port, err = sockets.take(service.spinner, service.options)
  else
    self.port = wanted or nil
  end
  if err then
    return nil, E.of(service.name, err)
  end
  if type(self.port) == "string" then
    self.listening = "unix:" .. self.port
  elseif self.port then
    self.listening = "127.0.0.1:" .. self.port
  end
  return true
end

local function leave_place(self)
  if self.lease then
    self.lease:free()
    self.lease = nil
  elseif self.service.options.port == "socket" and type(self.port) == "string" then
    sockets.free(self.port)
  end
end

-- The port is another's: the next one, where there is a choice.
local function elsewhere(self)
  self.avoid = self.avoid or {}
  self.avoid[self.port] = true
  leave_place(self)
  self.misplaced, self.process = nil, nil
  self:begin_at_a_place()
end

local function has_choice(self)
  if self.service.options.port ~= true or self.stop_asked then
    return false
  end
  local range, tried = self.service.spinner.ports, 1
  for _ in pairs(self.avoid or {}) do
    tried = tried + 1
  end
  return tried <= range[2] - range[1]
end

local function taken_by(self, who)
  local text = who and ("%s (pid %d)"):format(who.name, who.pid) or "another program"
  local cure = self.service.options.port == true and "no other port was left" or "stop that, or give it another port"
  return E.new("EADDRINUSE", "%s: port %d is %s's: %s", self.service.name, self.port, text, cure)
end

-- ---- its life -------------------------------------------------------------------------------------------------------

--- A run that has not begun.
---@param service brood.Service
---@return brood.ServiceRun
function M.new(service)
  return setmetatable({ service = service, ready = false, began = false }, Run)
end

-- The one place that leaves it.
local function over(self, err)
  self.ready = false
  leave_place(self)
  self.service.spinner:run_ended()
  self.service:down(self, err)
end

-- It is ready, by its own measure; whether by its own port is looked at.
local function is_up(self)
  local port = self.lease and self.port or type(self.service.options.port) == "number" and self.port
  local how = self.process.options.ready
  if port and type(how) == "table" and how.port == port then
    local mine, stranger, only_6 = listening.is_of(port, self.process.pid)
    if mine == false then
      self.misplaced = taken_by(self, stranger)
      self.process:begin_stop()
      return -- `heard` tells of its end
    elseif only_6 then
      self.listening = "[::1]:" .. port
    end
  end
  if self.lease then
    self.lease:bound()
    self.service.last_port, self.service.bad_port = self.port, nil
  end
  self.ready = true
  self.service:up(self)
end

local function came_to_nothing(self, err)
  self.began = self.process.exit_code ~= nil or self.process.exit_signal ~= nil
  if err.code == "EADDRINUSE" and self.port and not self.began then
    if has_choice(self) then
      return elsewhere(self)
    end
    err = type(self.port) == "number" and taken_by(self, listening.who(self.port)) or err
  end
  -- Where that was the port's fault, as far as one can see, the next attempt is elsewhere.
  if self.lease and (err.code ~= "exit" or listening.is_in_use(self.port)) then
    self.service.bad_port = self.port
  end
  over(self, err)
end

-- A script that is not there: brood exec would say so as well, each time.
local function find_script(self)
  local service = self.service
  local path = service.options.script and service.spinner:absolute(service.options.script)
  local code = path and select(3, uv.fs_stat(path))
  if code == "ENOENT" or code == "ENOTDIR" then
    self.hopeless = "ever"
    return nil, E.new("ENOENT", "%s: there is no script %s", service.name, path)
  end
  return true
end

--- Take a place and start a process there.
function Run:begin_at_a_place()
  local ok, err = find_script(self)
  if ok then
    ok, err = take_place(self)
  end
  if ok then
    ok, err = make_process(self)
  end
  if not ok then
    return over(self, err)
  end
  local process = self.process
  process:start(function(failure)
    if process ~= self.process then
      return
    elseif failure then
      return came_to_nothing(self, failure)
    end
    self.began = true
    if process.state == "ready" then
      is_up(self)
    end
  end)
end

--- Begin. The service hears of all that follows; of a failure perhaps at once.
function Run:begin()
  self.service.spinner:run_begun()
  self:begin_at_a_place()
end

--- It is to end; `down` follows.
---@param why? string
function Run:stop(why)
  self.why = self.why or why
  self.stop_asked = true
  if self.process then
    self.process:begin_stop()
  end
end

--- What its process tells.
---@private
function Run:heard(process, event, ...)
  if process ~= self.process then
    return
  elseif event == "state" then
    if (...) == "stopping" and self.ready and not self.stop_asked then
      self.service:dying(self)
    end
  elseif event == "exit" then
    if self.misplaced and has_choice(self) then
      return elsewhere(self)
    elseif self.misplaced then
      return over(self, self.misplaced)
    elseif self.ready then
      over(self, nil)
    end
  elseif event == "error" then
    self.service:emit("error", ...)
  elseif event == "message" or event == "drain" then
    self.service:emit(event, ...)
  end
end

return M
