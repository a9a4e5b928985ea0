--- From the options of a process to its child: checking them, opening its
--- pipes, starting the program or forking the function, and waiting for its word.
--- It holds no state: that is the run's and the process's.
local core = require "brood.core"
local E = require "brood.error"
local child = require "brood.process.child"
local duration = require "brood.rules.duration"
local environment = require "brood.process.environment"
local fork = require "brood.fork"
local lazy = require "brood.lazy"
local merged = require "brood.rules.merged"
local options = require "brood.options"
local ready = require "brood.process.ready"
local signals = require "brood.signals"
local stdio = require "brood.process.stdio"

local programs = lazy.room "brood.files"
local identity = lazy.room "brood.process.identity"
local input = lazy.room "brood.process.input"
local notify_protocol = lazy.room "brood.process.notify"
local output = lazy.room "brood.process.output"

local M = {}

local FIRST_FD = environment.FIRST_FD
local OURSELVES = {} -- an identity that nobody has to become

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

--- What Process.new takes, for those that take the same and more.
M.spec = spec

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
local places = { port = true, host = true, socket = true, http = true }

local function check_ready(level, value)
  if type(value) == "string" and words[value] then
    return
  elseif type(value) == "table" and (value.http or value.port or value.socket) then
    for name in pairs(value) do
      if not places[name] then
        bad(level + 1, "unknown option 'ready.%s'", tostring(name))
      end
    end
    local target, why = ready.target(value)
    return target or bad(level + 1, "option 'ready': %s", why)
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
  if o.limits then
    local limits = {}
    for name, limit in pairs(o.limits) do
      limits[#limits + 1] = { name = name, soft = limit.soft, hard = limit.hard }
    end
    o.limits = limits
  end
  return o
end

-- What every process has that was not told otherwise stands once.
local DEFAULTS = { limits = {} }
for name, field in pairs(spec) do
  DEFAULTS[name] = field.default
end
DEFAULTS.stop_signal = signals.number(DEFAULTS.stop_signal)
local default_meta = { __index = DEFAULTS }

local function without_defaults(o)
  local own = {}
  for name, value in pairs(o) do
    if value ~= DEFAULTS[name] then
      own[name] = value
    end
  end
  if own.limits and not own.limits[1] then
    own.limits = nil
  end
  return setmetatable(own, default_meta)
end

--- The options, checked; the defaults are in a metatable.
---@param given brood.ProcessOptions
---@param level integer stack level to blame
---@param what string the function, for the message
---@param more? table<string, brood.Spec> what that function takes beside these
---@return table
function M.check(given, level, what, more)
  local o = options.check(level + 1, given, more and merged(spec, more) or spec, what)
  if (o.command == nil) == (o.main == nil) then
    bad(level + 1, "either option 'command' or option 'main' is needed%s", o.command and ", not both" or "")
  end
  for _, name in ipairs { "stdin", "stdout", "stderr" } do
    check_stream(level + 1, name, o[name])
  end
  check_ready(level + 1, o.ready)
  return without_defaults(M.normalise(o))
end

--- The same for options of which each has been checked already, as what it is here.
---@param given table changed
---@return table
function M.complete(given)
  return without_defaults(M.normalise(given))
end

--- What must be so before anything is started. done(err).
function M.before(self, _, done)
  local how = self.options.ready
  if type(how) == "table" then
    return ready.check_free(how, done)
  end
  done()
end

--- Both ends of a channel, in the run.
---@param run table
---@return true? ok, brood.Error? err
function M.open_channel(run)
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
  return notify:watch(function(text)
    notify_protocol.hear(self, run, text)
  end)
end

--- The start has failed: what was opened for it is closed.
---@param run table
---@param files brood.Stdio
function M.abandon(run, files)
  files:discard()
  for _, reader in ipairs(run.outputs or {}) do
    reader:discard()
  end
  run.outputs = nil
  for _, name in ipairs { "child_channel", "our_channel" } do
    if run[name] then
      core.fd.close(run[name])
      run[name] = nil
    end
  end
end

-- A name without a folder was looked for.
local function why_missing(o)
  local name, env = o.command[1], type(o.env) == "table" and o.env or {}
  if name:find("/", 1, true) or programs.program(name, o.cwd or ".", env) then
    return "" -- a script whose interpreter is missing, or its directory
  end
  return (" (not in PATH: %s)"):format(env.PATH or env.PATH == nil and os.getenv "PATH" or "there is none")
end

local function start_program(self, run, files, id)
  local o = self.options
  local fds = files.fds
  if o.sockets or run.child_channel then
    fds = { unpack(fds) }
    for i, socket in ipairs(o.sockets or {}) do
      fds[#fds + 1] = { socket.fd, FIRST_FD + i - 1 }
    end
    if run.child_channel then
      fds[#fds + 1] = { run.child_channel, FIRST_FD + #(o.sockets or {}) }
    end
  end
  local proc, err = core.process.spawn {
    argv = o.command, path = o.program,
    env = environment.of(self, run),
    cwd = o.cwd, umask = o.umask, limits = o.limits, uid = id.uid, gid = id.gid, groups = id.groups, fds = fds,
    new_group = run.grouped, session = o.session, death_signal = o.survive and 0 or o.stop_signal,
    listen_pid = o.sockets ~= nil,
  }
  if err and err.code == "ENOENT" and not o.program and err.message:find("^exec ") then
    err = E.new("ENOENT", "%s%s", err.message, why_missing(o))
  end
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
  require "brood.worker" -- once, here, in place of once in each child
  local pid, err = fork.main(keep, function()
    child.run {
      name = self.name, main = o.main, id = id, master = master, channel = run.child_channel,
      stdio = files, options = o, env = environment.changes(self, run), grouped = run.grouped,
    }
  end)
  if not pid then
    return nil, err
  end
  return fork.adopt(pid, run.grouped)
end

-- Messages of the child reach the listeners of the process.
local function attach_peer(self, run)
  local peer, err = require("brood.peer").new(run.our_channel, {
    role = "parent", name = self.name, target = self.options.target or self,
    disconnect = function()
      if run.on_end then -- else its exit tells as much
        run.on_end()
      end
    end,
    doomed = function()
      return run.stop_asked or run.killed
    end,
    overflow = function()
      self:kill_now()
    end,
  })
  if not peer then
    return nil, err
  end
  run.our_channel = nil
  run.peer = peer
  peer:handle("ready", function()
    if run.on_ready then
      run.on_ready()
    end
  end)
  peer:handle("failed", function(failure)
    if not run.stop_asked then
      run.failure = failure
    end
  end)
  for name, fn in pairs(self.options.frames or {}) do
    peer:handle(name, fn)
  end
  return true
end

--- Our ends of its pipes and its channel. It may fail, so it comes before there is a child.
---@param self brood.Process
---@param run table
---@param files brood.Stdio
---@return true? ok, brood.Error? err
function M.attach(self, run, files)
  while files.readers[1] do
    local reader = files.readers[1]
    local out, err = output.new(self.name, reader.fd, reader.fn, reader.raw)
    if not out then
      return nil, err
    end
    run.outputs = run.outputs or {}
    table.insert(run.outputs, out)
    table.remove(files.readers, 1)
  end
  if files.stdin then
    local stdin, err = input.new(self.name, files.stdin)
    if not stdin then
      return nil, err
    end
    run.stdin = stdin
    core.fd.release(files.stdin)
    files.stdin = nil
  end
  if run.our_channel then
    return (self.options.attach or attach_peer)(self, run)
  end
  return true
end

--- Start the child. On failure nothing of it is left.
---@return true? ok, brood.Error? err
function M.start(self, run)
  local o = self.options
  local id, err = OURSELVES, nil
  if o.user ~= nil or o.group ~= nil then
    id, err = identity(o)
  end
  if not id then
    return nil, E.of(self.name, err)
  end
  local files
  files, err = stdio.open(o)
  if not files then
    return nil, E.of(self.name, err)
  end
  run.grouped = o.kill_group and o.stdin ~= "inherit"
  local ok, proc = true, nil
  if o.main or o.attach or o.talks or o.ready == "channel" then
    ok, err = M.open_channel(run)
  end
  if ok and o.ready == "notify" then
    ok, err = open_notify(self, run)
  end
  if ok then
    ok, err = M.attach(self, run, files)
  end
  if ok then
    proc, err = (o.command and start_program or start_function)(self, run, files, id)
  end
  if not proc then
    M.abandon(run, files)
    return nil, E.of(self.name, err)
  end
  run.proc = proc
  files:handed_over()
  if run.child_channel then
    core.fd.close(run.child_channel)
    run.child_channel = nil
  end
  return true
end

--- Whether it is ready as soon as it is there.
---@param self brood.Process
---@return boolean
function M.is_ready(self)
  return self.options.ready == "spawn" and not self.options.main
end

--- Wait until the child is ready. done(err) once.
function M.await_ready(self, run, done)
  local how = self.options.ready
  -- A function is there once it runs in the child that was asked for: in that folder, as that user.
  run.give_up_waiting = ready.wait(self.options.main and how == "spawn" and "channel" or how, run, done)
end

--- What the start has not come beyond, as a part of a sentence.
---@return string
function M.where(self)
  local where = self.options.where and self.options.where()
  return where and ": " .. where or ""
end

--- The error of a start whose child ended too early.
---@param name string
---@param code integer?
---@param signal string?
---@return brood.Error
function M.early_end(name, code, signal)
  local how = signal and ("was killed by " .. signal) or ("ended with status %s"):format(tostring(code))
  local err = E.new("exit", "%s %s before it was ready", name, how)
  err.exit_code, err.exit_signal = code, signal
  return err
end

return M
