--- From the options of a process to its child: checking them, opening its
--- pipes, starting the program or forking the function, and waiting for its word.
--- It holds no state: that is the run's and the process's.
local core = require "brood.core"
local E = require "brood.error"
local child = require "brood.process.child"
local duration = require "brood.rules.duration"
local log = require "brood.log"
local options = require "brood.options"
local ready = require "brood.process.ready"
local signals = require "brood.signals"
local stdio = require "brood.process.stdio"
local timer = require "brood.timer"
local uv = require "luv"

local M = {}

local CHANNEL_FD = 3 -- where a program finds its channel; BROOD_CHANNEL_FD says so

---@class brood.ProcessOptions
---@field name? string for messages; default: the program's name
---@field command? string[] the program and its arguments, looked up in PATH
---@field main? fun(worker: brood.Worker): integer? in place of command: in a forked child; returns the exit code
---@field env? table<string, string|false> added to ours; false removes one
---@field cwd? string
---@field user? string|integer
---@field group? string|integer
---@field umask? string octal digits
---@field limits? table<string, integer> e.g. {nofile = 1024}
---@field stdin? false|"pipe"|"inherit"|string|integer default false: /dev/null
---@field stdout? false|string|integer|fun(line: string) default: ours
---@field stderr? false|string|integer|fun(line: string) default: ours
---@field ready? "spawn"|"channel"|"notify"|table default "spawn"
---@field watchdog? number|string with ready = "notify": it must send WATCHDOG=1 that often
---@field start_timeout? number|string|false default 30 s
---@field stop_timeout? number|string|false default 30 s; 0 kills at once, false never
---@field stop_signal? string|integer default "TERM"
---@field kill_group? boolean default true: signals go to its whole process group, and stopped means that it is empty
---@field survive? boolean default false: a program gets its stop_signal when we are killed
local spec = {
  name = { type = "name" },
  command = { type = "argv" },
  main = { type = "function" },
  env = { type = "env" },
  cwd = { type = "path" },
  user = { type = "user" },
  group = { type = "group" },
  umask = { type = "mode" },
  limits = { type = "limits" },
  stdin = { type = "any" },
  stdout = { type = "any" },
  stderr = { type = "any" },
  ready = { type = "any", default = "spawn" },
  watchdog = { type = "duration" },
  start_timeout = { type = "duration", default = 30, off = true },
  stop_timeout = { type = "duration", default = 30, off = true },
  stop_signal = { type = "signal", default = "TERM" },
  kill_group = { type = "boolean", default = true },
  survive = { type = "boolean", default = false },
}

local function bad(level, fmt, ...)
  error(fmt:format(...), level + 1)
end

local function check_stream(level, name, value)
  local kind = type(value)
  local good = value == nil or value == false or kind == "string" or (kind == "number" and value >= 0)
    or (kind == "function" and name ~= "stdin")
  if not good then
    bad(level + 1, "option '%s' must be a path, a descriptor, false%s, got %s", name,
      name == "stdin" and ', "pipe" or "inherit"' or " or a function", tostring(value))
  end
end

local words = { spawn = true, channel = true, notify = true }

local function check_ready(level, value)
  if type(value) == "string" and words[value] then
    return
  elseif type(value) == "table" then
    if type(value.http) == "string" then
      local target, why = ready.http_target(value)
      return target or bad(level + 1, "option 'ready': %s", why)
    elseif type(value.port) == "number" or type(value.socket) == "string" then
      return
    end
  end
  bad(level + 1, [[option 'ready' must be "spawn", "channel", "notify", {port=}, {socket=} or {http=}, got %s]],
    type(value) == "table" and "a table without one of these" or tostring(value))
end

--- From how options read to what system calls take.
---@param o table checked options
---@return table o the same
function M.normalise(o)
  o.stop_signal = signals.number(o.stop_signal)
  o.umask = o.umask and duration.parse_mode(o.umask)
  local limits = {}
  for name, limit in pairs(o.limits or {}) do
    limits[#limits + 1] = { name = name, soft = limit.soft, hard = limit.hard }
  end
  o.limits = limits
  return o
end

--- The options, checked and with their defaults.
---@param given brood.ProcessOptions
---@param level integer stack level to blame
---@return table
function M.check(given, level)
  local o = options.check(level + 1, given, spec, "Process.new")
  if (o.command == nil) == (o.main == nil) then
    bad(level + 1, "either option 'command' or option 'main' is needed%s", o.command and ", not both" or "")
  end
  for _, name in ipairs { "stdin", "stdout", "stderr" } do
    check_stream(level + 1, name, o[name])
  end
  check_ready(level + 1, o.ready)
  return M.normalise(o)
end

--- What must be so before anything is started. done(err).
function M.before(self, _, done)
  local how = self.options.ready
  if type(how) == "table" then
    return ready.check_free(how, done)
  end
  done()
end

-- Our environment with the additions, as a map.
local function environment(self, run)
  local env = core.posix.environ()
  -- What says how our own supervisor talks to us is not the child's.
  for _, name in ipairs { "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID",
    "LISTEN_FDNAMES", "BROOD_CHANNEL_FD" } do
    env[name] = nil
  end
  if run.notify then
    env.NOTIFY_SOCKET = run.notify:path()
    if self.options.watchdog then
      env.WATCHDOG_USEC = ("%d"):format(self.options.watchdog * 1e6)
    end
  end
  if run.child_channel then
    env.BROOD_CHANNEL_FD = tostring(CHANNEL_FD)
  end
  for name, value in pairs(self.options.env or {}) do
    if value == false then
      env[name] = nil
    else
      env[name] = tostring(value)
    end
  end
  return env
end

local function pairs_of(env)
  local list = {}
  for name, value in pairs(env) do
    list[#list + 1] = name .. "=" .. value
  end
  return list
end

local function open_channel(run)
  local ours, theirs = core.channel.pair()
  if not ours then
    return nil, theirs
  end
  run.child_channel = theirs
  run.our_channel = ours
  return true
end

local function open_notify(self, run)
  local notify, err = core.notify.open()
  if not notify then
    return nil, err
  end
  run.notify = notify
  notify:watch(function(text)
    M.on_notify(self, run, text)
  end)
  return true
end

local function abandon(run, files)
  files:discard()
  for _, name in ipairs { "child_channel", "our_channel" } do
    if run[name] then
      core.fd.close(run[name])
      run[name] = nil
    end
  end
end

local function identity(o)
  local id = {}
  if o.user ~= nil then
    local user, err = core.privileges.lookup_user(o.user)
    if not user then
      return nil, err
    end
    id.uid, id.gid, id.user = user.uid, user.gid, user.name
  end
  if o.group ~= nil then
    local group, err = core.privileges.lookup_group(o.group)
    if not group then
      return nil, err
    end
    id.gid = group.gid
  end
  if id.user then
    id.groups = core.privileges.groups(id.user, id.gid)
  elseif id.gid then
    id.groups = { id.gid }
  end
  return id
end

local function start_program(self, run, files, id)
  local o = self.options
  local fds = { unpack(files.fds) }
  if run.child_channel then
    fds[#fds + 1] = { run.child_channel, CHANNEL_FD }
  end
  local proc, err = core.process.spawn {
    argv = o.command, env = pairs_of(environment(self, run)), cwd = o.cwd, umask = o.umask, limits = o.limits,
    uid = id.uid, gid = id.gid, groups = id.groups, fds = fds, new_group = run.grouped,
    death_signal = o.survive and 0 or o.stop_signal,
  }
  return proc, err
end

local function start_function(self, run, files, id)
  local o = self.options
  local master = core.posix.getpid()
  local keep = { run.child_channel }
  for _, pair in ipairs(files.fds) do
    keep[#keep + 1] = pair[1]
  end
  for _, fd in ipairs(o.keep or {}) do
    keep[#keep + 1] = fd
  end
  local pid, err = require("brood.fork").main(keep, function()
    child.run {
      name = self.name, main = o.main, id = id, master = master, channel = run.child_channel,
      stdio = files.fds, options = o, env = environment(self, run), grouped = run.grouped,
    }
  end)
  if not pid then
    return nil, err
  end
  return core.process.adopt(pid, run.grouped)
end

local function attach(self, run, files)
  files:handed_over()
  for _, reader in ipairs(files.readers) do
    run.outputs[#run.outputs + 1] =
      require("brood.process.output").new(self.name, reader.fd, reader.fn, reader.raw)
  end
  if files.stdin then
    core.fd.release(files.stdin)
    run.stdin = uv.new_pipe(false)
    run.stdin:open(files.stdin)
    files.stdin = nil
  end
  if run.our_channel then
    core.fd.close(run.child_channel)
    run.child_channel = nil
    M.attach_peer(self, run)
  end
end

--- Messages of the child reach the listeners of the process.
function M.attach_peer(self, run)
  local peer = assert(require("brood.peer").new(run.our_channel, {
    role = "parent", name = self.name, target = self,
    disconnect = function() end, -- its exit tells as much
    overflow = function()
      self:kill_now()
    end,
  }))
  run.our_channel = nil
  run.peer = peer
  peer:handle("ready", function()
    if run.on_ready then
      run.on_ready()
    end
  end)
  peer:handle("failed", function(err)
    run.failure = err
  end)
end

--- Start the child. On failure nothing of it is left.
---@return true? ok, brood.Error? err
function M.start(self, run)
  local o = self.options
  local id, err = identity(o)
  if not id then
    return nil, E.new(err.code, "%s: %s", self.name, err.message)
  end
  local files
  files, err = stdio.open(o)
  if not files then
    return nil, E.new(err.code, "%s: %s", self.name, err.message)
  end
  run.grouped = o.kill_group and o.stdin ~= "inherit"
  local ok, proc = true, nil
  if o.main or o.ready == "channel" then
    ok, err = open_channel(run)
  end
  if ok and o.ready == "notify" then
    ok, err = open_notify(self, run)
  end
  if ok then
    proc, err = (o.command and start_program or start_function)(self, run, files, id)
  end
  if not proc then
    abandon(run, files)
    return nil, E.new(err.code, "%s: %s", self.name, err.message)
  end
  run.proc = proc
  attach(self, run, files)
  return true
end

--- Wait until the child is ready. done(err) once.
function M.await_ready(self, run, done)
  run.give_up_waiting = ready.wait(self.options.ready, run, done)
end

local function rearm_watchdog(self, run)
  if run.watchdog then
    run.watchdog:cancel()
  end
  run.watchdog = timer.after(run.watchdog_seconds, function()
    log.error(("%s: no WATCHDOG=1 for %s s: ABRT"):format(self.name, run.watchdog_seconds))
    self.watchdog_fired = true
    run.proc:signal(signals.number("ABRT"))
    run.watchdog = timer.after(5, function()
      self:kill_now()
    end)
  end)
end

--- From readiness on the child must be heard of regularly, if it was asked to be.
function M.arm_watchdog(self, run)
  run.watchdog_seconds = run.watchdog_seconds or (self.options.ready == "notify" and self.options.watchdog or nil)
  if run.watchdog_seconds then
    rearm_watchdog(self, run)
  end
end

--- One datagram of the sd_notify protocol.
function M.on_notify(self, run, text)
  for line in text:gmatch("[^\n]+") do
    local key, value = line:match("^([%w_]+)=(.*)$")
    if key == "READY" and value == "1" and run.on_ready then
      run.on_ready()
    elseif key == "STATUS" then
      self.status_text = value
    elseif key == "WATCHDOG" and value == "1" and run.watchdog then
      rearm_watchdog(self, run)
    elseif key == "WATCHDOG" and value == "trigger" then
      log.error(("%s: reports that it is broken (WATCHDOG=trigger): ABRT"):format(self.name))
      run.proc:signal(signals.number("ABRT"))
    elseif key == "WATCHDOG_USEC" and tonumber(value) then
      run.watchdog_seconds = tonumber(value) / 1e6
      if run.watchdog then
        rearm_watchdog(self, run)
      end
    elseif key == "EXTEND_TIMEOUT_USEC" and tonumber(value) and run.extend then
      run.extend(tonumber(value) / 1e6)
    end
  end
end

--- The error of a start whose child ended too early.
function M.early_end(self, stopped)
  if stopped then
    return E.new("stopped", "%s was stopped before it was ready", self.name)
  end
  local how = self.exit_signal and ("was killed by " .. self.exit_signal)
    or ("ended with status %s"):format(tostring(self.exit_code))
  local err = E.new("exit", "%s %s before it was ready", self.name, how)
  err.exit_code, err.exit_signal = self.exit_code, self.exit_signal
  return err
end

return M
