--- What a service can be told: every option of `Spinner.start`, most of them also of `Spinner.new` as defaults, and
--- what an entry of `services` in a config takes, where some defaults are others: there it is supervised, not on
--- demand. Each with its kind, default, documentation and example. Nothing here checks anything.
local merged = require "brood.rules.merged"

local M = {}

--- The ports that services get, where nothing else is said.
M.PORTS = { 7000, 7999 }

local stream = { { type = "path" }, { type = "fd" }, { type = "function" } }
local STREAM = "a path, a descriptor, or a function(line)"

--- What `health` takes.
---@type table<string, brood.Spec>
M.health_fields = {
  path = { type = "name", default = "/", doc = "what is asked for", example = '"/healthz"' },
  interval = { type = "duration", default = 10, min = 0.001, doc = "the wait between two looks", example = '"5s"' },
  failures = {
    type = "integer", min = 1, default = 3, doc = "so many bad answers in a row mean a restart", example = "5",
  },
  timeout = { type = "duration", default = 2, min = 0.001, doc = "how long an answer may take", example = '"500ms"' },
}

--- What `ready` takes as a table; the service's own port or socket is meant where it names none.
---@type table<string, brood.Spec>
M.ready_fields = {
  port = { type = "port", doc = "ready once it accepts there", example = "7001" },
  host = { type = "name", doc = "the address of that port", example = '"127.0.0.1"' },
  socket = { type = "path", doc = "ready once it accepts on that Unix socket", example = '"/run/api.sock"' },
  http = { type = "name", doc = "ready once a GET is answered with 2xx or 3xx", example = '"/healthz"' },
}

---@class brood.ServiceOptions: brood.ProcessOptions
---@field name? string default: the script, or the words of the command
---@field command? string[]
---@field script? string in place of command: a Lua file that `brood exec` runs
---@field args? string[] of the script
---@field port? boolean|integer|"socket"
---@field timeout? number|string|false
---@field attempts? integer
---@field monitor? string|string[]|false
---@field tandem? boolean
---@field idle? number|string|false
---@field restart? "always"|"failure"|false
---@field restart_tolerance? number|string
---@field fault_timeout? number|string
---@field max_memory? number|string|false
---@field after? string|string[]
---@field health? table|false

--- Every option, in the order of the reference.
---@type brood.Key[]
M.keys = {
  {
    name = "name", type = "name", default_doc = "the script, or the words of the command",
    doc = "what it is called: there is one service of a name", example = '"api"',
  },
  {
    name = "command", type = "argv", doc = "the program and its arguments, looked up in PATH",
    example = '{ "node", "api.js" }',
  },
  {
    name = "script", type = "path",
    doc = "in place of command: a Lua file that brood exec runs; it is the name, and what is monitored, too",
    example = '"api.lua"',
  },
  {
    name = "args", type = "list", of = { any_of = { { type = "string" }, { type = "number" } } },
    doc = "more words for the script or the command", example = '{ "--verbose" }',
  },
  {
    name = "main", type = "function", doc = "in place of command: a function that runs in a forked child",
    example = "function(worker) end",
  },
  {
    name = "port", any_of = { { type = "boolean" }, { type = "port" }, { type = "enum", values = { "socket" } } },
    expected = 'true, "socket", a port (1 to 65535) or false', default = true,
    doc = 'what it finds in PORT: a free port (true), the path of a Unix socket ("socket"), that port, or nothing '
      .. "(false)",
    example = '"socket"',
  },
  {
    name = "timeout", type = "duration", off = true, default = 5,
    doc = "a start is a failed one when it has not bound its port, or become ready, within it", example = '"30s"',
  },
  {
    name = "attempts", type = "integer", min = 1, default = 3,
    doc = "so many failed starts in a row, and it is faulted", example = "1",
  },
  {
    name = "stop_timeout", type = "duration", off = true, default = 30,
    doc = "KILL so long after the stop_signal", example = '"5s"',
  },
  { name = "stop_signal", type = "signal", default = "TERM", doc = "what asks it to stop", example = '"INT"' },
  {
    name = "monitor", type = "list", single = true, off = true, of = { type = "path" },
    default_doc = "the script",
    doc = "files and directories: a change restarts it, also out of faulted", example = '{ "src", "config.json" }',
  },
  {
    name = "tandem", type = "boolean", default = false,
    doc = "on a restart the new one is started first, on a port of its own, and the old one stopped then",
    example = "true",
  },
  {
    name = "idle", type = "duration", off = true, default = 1800,
    doc = "stopped when not asked for by start or touch for so long", example = '"5m"',
  },
  {
    name = "restart", type = "enum", values = { "always", "failure" }, off = true, default = "always",
    doc = 'started again when it ends: "always", after a "failure" (a signal, or a status other than 0), or never '
      .. "(false)",
    example = '"failure"',
  },
  {
    name = "restart_tolerance", type = "duration", default = 60,
    doc = "one that dies twice within it is faulted; 0: never", example = "10",
  },
  {
    name = "fault_timeout", type = "duration", default = 60,
    doc = "a faulted one is not tried again before", example = '"5s"',
  },
  {
    name = "max_memory", type = "size", off = true,
    doc = "restarted when it takes more of the machine's memory, its children included", example = '"500m"',
  },
  {
    name = "after", type = "list", single = true, of = { type = "name" },
    doc = "the services that are started first and ready, and stopped after it; one that runs once (no port, no "
      .. "ready, not always restarted) has ended, or has had its timeout",
    example = '{ "db" }',
  },
  {
    name = "health", type = "record", fields = M.health_fields, off = true,
    doc = "restarted when it does not answer GETs with 2xx or 3xx: path, interval, failures, timeout",
    example = '{ path = "/healthz", interval = 10, failures = 3 }',
  },
  {
    name = "env", type = "env", doc = "added to the environment; false removes a variable",
    example = '{ NODE_ENV = "production" }',
  },
  { name = "cwd", type = "path", doc = "the directory that it runs in", example = '"/srv/api"' },
  { name = "user", type = "user", doc = "the user that it runs as", example = '"www-data"' },
  { name = "group", type = "group", doc = "the group that it runs as", example = '"www-data"' },
  { name = "umask", type = "mode", doc = "octal digits", example = '"022"' },
  { name = "limits", type = "limits", doc = "its resource limits", example = "{ nofile = 65536 }" },
  {
    name = "stdin", any_of = { { type = "path" }, { type = "fd" } }, off = true,
    expected = 'a path, a descriptor, "pipe" or "inherit"',
    doc = "what it reads: nothing, without a word", example = '"/etc/motd"',
  },
  {
    name = "stdout", any_of = stream, expected = STREAM, off = true,
    default_doc = "ours; on a terminal with its name before each line",
    doc = "where its output goes; false: nowhere", example = '"log/api.log"',
  },
  {
    name = "stderr", any_of = stream, expected = STREAM, off = true,
    default_doc = "ours; on a terminal with its name before each line",
    doc = "where its errors go; false: nowhere", example = '"log/api.err"',
  },
  {
    name = "ready",
    any_of = {
      { type = "enum", values = { "spawn", "channel", "notify" } }, { type = "record", fields = M.ready_fields },
    },
    expected = '"spawn", "channel", "notify", or a table of port, host, socket, http',
    default_doc = "once it accepts on its port or socket; without one, once it runs",
    doc = 'when it counts as ready: once it runs ("spawn"), by its own word ("notify": sd_notify; "channel": a '
      .. "script), or once it accepts or answers somewhere",
    example = '{ http = "/healthz" }',
  },
  {
    name = "watchdog", type = "duration", doc = 'with ready = "notify": it must send WATCHDOG=1 that often',
    example = '"10s"',
  },
  {
    name = "start_timeout", type = "duration", off = true, default_doc = "timeout",
    doc = "another name for timeout", example = '"30s"',
  },
  {
    name = "kill_group", type = "boolean", default = true,
    doc = "signals go to its whole process group, and stopped means that it is empty", example = "false",
  },
  {
    name = "survive", type = "boolean", default = false,
    doc = "it goes on when brood is killed", example = "true",
  },
}

local function index(keys)
  local fields, order = {}, {}
  for i, key in ipairs(keys) do
    fields[key.name], order[i] = key, key.name
  end
  return fields, order
end

--- The same by name, and their names in that order.
---@type table<string, brood.Key>, string[]
M.fields, M.order = index(M.keys)

--- What one service alone can mean: no defaults for others.
---@type table<string, true>
M.of_one = { name = true, command = true, script = true, args = true, main = true }

--- What only a config says of a service.
---@type brood.Key[]
M.config_only = {
  {
    name = "autostart", type = "boolean", default = true,
    doc = "started with the master; false: when it is first asked for", example = "false",
  },
  {
    name = "essential", type = "boolean", default = false,
    doc = "when it ends or is faulted, the master stops gracefully and exits with its status (1 for a signal)",
    example = "true",
  },
}

-- What is otherwise in a config.
local CONFIG = {
  port = { default = false, default_doc = "true where a route leads to it or autostart = false, else false" },
  timeout = { default = 30 },
  idle = { default = false, default_doc = "false; 30m where autostart = false" },
}

local function config_keys()
  local keys = {}
  for _, key in ipairs(M.keys) do
    if key.name ~= "name" and key.name ~= "main" then
      local other = CONFIG[key.name]
      keys[#keys + 1] = other and merged(key, other) or key
      if other and other.default_doc then
        keys[#keys].default = nil -- M.complete_config knows it
      end
    end
  end
  for _, key in ipairs(M.config_only) do
    keys[#keys + 1] = key
  end
  return keys
end

--- An entry of `services` in a config.
---@type brood.Key[]
M.config_keys = config_keys()
---@type table<string, brood.Key>, string[]
M.config_fields, M.config_order = index(M.config_keys)

--- Fill in what depends on other options.
---@param o table normalised; changed
function M.complete(o)
  if o.script and o.monitor == nil then
    o.monitor = { o.script }
  end
end

--- Fill in what depends on the rest of a config.
---@param o table an entry as checked with config_fields; changed
---@param routed boolean whether a route leads to it
function M.complete_config(o, routed)
  M.complete(o)
  local on_demand = o.autostart == false
  if o.port == nil then
    o.port = routed or on_demand
  end
  if o.idle == nil then
    o.idle = on_demand and M.fields.idle.default
  end
end

--- What the options contradict each other in, as a sentence.
---@param o table normalised
---@return string? problem
---@return string? key that it is about
function M.conflict(o)
  local given = (o.command and 1 or 0) + (o.script and 1 or 0) + (o.main and 1 or 0)
  if given == 0 then
    return "option 'command' or option 'script' is needed", "command"
  elseif given > 1 then
    return "only one of the options 'command', 'script' and 'main' can be given", "command"
  elseif o.main and not o.name then
    return "option 'name' is needed beside 'main'", "name"
  elseif o.tandem and type(o.port) == "number" then
    return ("option 'tandem' needs a port that can change: port = true or \"socket\", not %d"):format(o.port), "tandem"
  elseif o.health and not o.port and not (type(o.ready) == "table" and (o.ready.port or o.ready.socket)) then
    return "option 'health' needs a port to ask: port = true, \"socket\" or a number", "health"
  elseif type(o.ready) == "table" and not (o.port or o.ready.port or o.ready.socket)
    and not (o.ready.http and o.ready.http:find "^http://") then
    return "option 'ready' names no port, and the service has none", "ready"
  end
end

--- What it is called, where it is not said.
---@param o table
---@return string
function M.name(o)
  return o.name or o.script or table.concat(o.command, " ")
end

return M
