--- Every key that the config file can have, in the order of the reference: kind, default,
--- documentation, example, and the options of the command line that set it. From this table
--- configs are checked, and `brood check`, `brood init`, `brood run --help`, `brood help
--- config` and the README's table are made. Nothing here checks anything; `brood.rules.schema` does.
---
--- A key with `available = false` is known and typed, but this version does not act on it
--- yet: whoever gives it is told so by name.

local M = {}

---@class brood.Key: brood.Spec
---@field name string
---@field of_cluster? boolean whether an entry of `clusters` takes it as well
---@field of_command? boolean whether it is for clusters of programs alone
---@field is_hook? boolean
---@field doc string
---@field default_doc? string where the default is computed
---@field options? string[][] of the command line: { "-w N", documentation where the key's own does not do }
---@field keys? brood.Key[] of a key that holds tables by name: what each takes, in the order of the reference
---@field environ? string the variable that is looked at when the config does not say

--- The mode of a Unix socket that says none: who may connect is the business of its folder.
M.UNIX_MODE = "0666"

--- What a table in `listen` takes beside or in place of text.
---@type table<string, brood.Spec>
M.listen_fields = {
  address = { type = "address", required = true, doc = "where to listen", example = '"127.0.0.1:8080"' },
  backlog = {
    type = "integer", min = 1, max = 65535, default = 1024,
    doc = "how many connections may wait to be accepted", example = "1024",
  },
  reuseport = {
    type = "boolean", default = false,
    doc = "a socket of its own for each worker (TCP)", example = "true",
  },
  ipv6only = {
    type = "boolean", default = false,
    doc = "whether an IPv6 wildcard address refuses IPv4 clients", example = "true",
  },
  mode = {
    type = "mode", default_doc = ('"%s"'):format(M.UNIX_MODE),
    doc = "the mode of a Unix socket, whatever the umask is", example = '"0660"',
  },
  owner = { type = "user", doc = "the owner of a Unix socket", example = '"www-data"' },
  group = { type = "group", doc = "the group of a Unix socket", example = '"www-data"' },
}

--- An element of `listen`.
---@type brood.Spec
M.listen_entry = {
  type = "listen_entry",
  expected = 'an address (a port, "host:port", "[v6]:port" or "unix:/path") or a table with address =',
}

--- What `control` takes as a table.
---@type table<string, brood.Spec>
M.control_fields = {
  address = {
    type = "address", doc = "a Unix socket, or a TCP address together with a token",
    example = '"unix:/run/app/brood.sock"',
  },
  token = {
    type = "name", available = false, doc = "the bearer token that a TCP client must send",
    example = '"secret"',
  },
  eval = {
    type = "boolean", default = true, available = false, doc = "whether `brood eval` is allowed", example = "false",
  },
}

-- What a key of tables by name, or of one table, takes is read once somebody asks for it: few configs have all of them.
---@param key brood.Key
---@param read fun(): brood.Key[], table<string, brood.Key> keys in the order of the reference, and by name
local function of_class(key, read)
  return setmetatable(key, {
    __index = function(self, name)
      if name == "keys" or name == "fields" then
        self.keys, self.fields = read()
        return rawget(self, name)
      end
    end,
  })
end

local function options_of(class)
  return function()
    local options = require(class)
    return options.config_keys or options.keys, options.config_fields or options.fields
  end
end

local function proxy_options()
  local keys, fields = require "brood.rules.proxy_options"(M.listen_entry, M.listen_fields), {}
  for _, key in ipairs(keys) do
    fields[key.name] = key
  end
  return keys, fields
end

-- What `ready` takes as a table.
local ready_fields = {
  port = { type = "port", doc = "ready once something accepts on that port", example = "9000" },
  host = { type = "name", doc = "the address of that port (default: localhost)", example = '"127.0.0.1"' },
  socket = { type = "path", doc = "ready once something accepts on that Unix socket", example = '"/run/app.sock"' },
  http = {
    type = "name", doc = "ready once a GET of that URL, or of that path on the port, is answered with 2xx or 3xx",
    example = '"http://127.0.0.1:9000/healthz"',
  },
}

local rollout_fields = {
  surge = { type = "integer", min = 1, default = 1, doc = "how many replacements start at once", example = "2" },
  pause = {
    type = "duration", default = 0, doc = "the wait between one replacement and the next", example = '"1s"',
  },
}

local actions = { "reload", "quit", "terminate", "scale_up", "scale_down", "drain", "reopen", "upgrade" }

local function hook(name, doc, arguments, of_cluster)
  return {
    name = name, type = "function", doc = doc, example = ("function(%s) end"):format(arguments), is_hook = true,
    of_cluster = of_cluster,
  }
end

--- Every key, in the order of the reference.
---@type brood.Key[]
M.keys = {
  {
    name = "app", type = "path", of_cluster = true,
    doc = "the Lua file that each worker serves; without one there is no web cluster",
    example = '"app.lua"', options = { { "-s APP", "the Lua file that each worker serves" } },
  },
  {
    name = "command", type = "argv", of_cluster = true,
    doc = "in place of app: a program in any language, `workers` of it on the same sockets, which it finds from "
      .. "descriptor 3 on (LISTEN_FDS)",
    example = '{ "node", "server.js" }',
  },
  {
    name = "ready", of_cluster = true, of_command = true, default_doc = '"spawn"',
    any_of = {
      { type = "enum", values = { "spawn", "notify", "line", "channel" } }, { type = "record", fields = ready_fields },
    },
    expected = '"spawn", "notify", "line", "channel", or a table with port =, socket = or http =',
    doc = "when a command's worker counts as ready: once it runs, and the first one for a second "
      .. '("spawn"), by its own word ("notify": sd_notify; "line": {"ready": true} on BROOD_CHANNEL_FD; '
      .. '"channel": a script of brood), or '
      .. "when something answers there; only by its own word no worker goes before the next one serves",
    example = '"notify"', fields = ready_fields,
  },
  {
    name = "stop_signal", type = "signal", of_cluster = true, of_command = true, default_doc = '"TERM"',
    doc = "what tells a command's worker to finish and go, and its process group; KILL after graceful_timeout",
    example = '"INT"',
  },
  {
    name = "watchdog", type = "duration", off = true, min = 0.1, of_cluster = true, of_command = true,
    doc = 'with ready = "notify": a command\'s worker must send WATCHDOG=1 that often, or is ended by ABRT',
    example = '"10s"',
  },
  {
    name = "listen", type = "list", single = true, min = 1, of = M.listen_entry, of_cluster = true,
    default_doc = '"127.0.0.1:8080"',
    doc = "where to accept connections: one address or a list; a port alone means all interfaces, and a table adds "
      .. 'backlog, reuseport, ipv6only, or mode, owner and group of a Unix socket; "fd:NAME" is a socket that was '
      .. "passed (LISTEN_FDS), which its address means as well; without `listen` an app takes all of those",
    example = '{ "127.0.0.1:8080", "unix:/run/app/app.sock", { address = "[::]:80", backlog = 4096 } }',
    fields = M.listen_fields, environ = "PORT",
    options = {
      { "-l ADDR", 'listen on "host:port", "[v6]:port", a port or "unix:/path"; may be repeated' },
      { "-p PORT", "listen on this port, on all interfaces" },
    },
  },
  {
    name = "workers", type = "integer", min = 1, max = 65535, of_cluster = true, default_doc = "one per cpu",
    doc = "how many processes serve", example = "4", environ = "WEB_CONCURRENCY", options = { { "-w N" } },
  },
  {
    name = "timeout", type = "duration", off = true, min = 0.1, default = 60, of_cluster = true,
    doc = "a worker whose event loop has not turned for so long is killed", example = '"30s"',
  },
  {
    name = "preload", type = "boolean", default = false, of_cluster = true,
    doc = "load the app in the master before forking, so that workers share its memory", example = "true",
  },
  {
    name = "daemonize", type = "boolean", default = false,
    doc = "run in the background; the command returns once the daemon serves", example = "true",
    options = { { "-D" } },
  },
  {
    name = "working_directory", type = "path", of_cluster = true, default_doc = "the folder of the config",
    doc = "the directory that master and workers run in", example = '"/srv/app"',
  },
  {
    name = "pidfile", type = "path",
    doc = "where the master writes its pid, locked while it runs and removed at its end",
    example = '"/run/app/brood.pid"',
    options = { { "-P FILE", "write the master's pid there while it runs" } },
  },
  {
    name = "stdout_path", type = "path",
    doc = "the file that stdout goes to, appended to and made if need be", example = '"log/out.log"',
  },
  {
    name = "stderr_path", type = "path",
    doc = "the file that stderr and the log go to, appended to and made if need be", example = '"log/err.log"',
  },
  {
    name = "access_log", any_of = { { type = "path" }, { type = "function" } }, off = true, of_cluster = true,
    doc = 'a line for each request: a path, "-" for stdout, or a function(req, status, bytes, seconds) that returns it',
    example = '"-"',
  },
  {
    name = "user", type = "user", of_cluster = true,
    doc = "the user that workers become for good, with its groups, after `after_fork` and before the app is loaded",
    example = '"www-data"',
  },
  {
    name = "group", type = "group", of_cluster = true,
    doc = "the group that workers become for good", example = '"www-data"',
  },
  {
    name = "umask", type = "mode", of_cluster = true,
    doc = "the umask of the workers", example = '"022"',
  },
  {
    name = "limits", type = "limits", of_cluster = true,
    doc = "resource limits of the workers", example = "{ nofile = 65536 }",
  },
  {
    name = "env", type = "env", of_cluster = true,
    doc = "environment of the workers, added to the master's; false removes a variable",
    example = '{ KEY = "value", OTHER = false }',
  },
  {
    name = "graceful_timeout", type = "duration", off = true, default = 30, of_cluster = true,
    doc = "how long a worker may finish its requests when it is told to go", example = '"1m"',
  },
  {
    name = "start_timeout", type = "duration", off = true, min = 0.001, default = 30, of_cluster = true,
    doc = "a worker must be ready within it", example = '"10s"',
  },
  {
    name = "max_requests", type = "integer", min = 1, off = true, of_cluster = true,
    doc = "a worker is replaced after so many requests", example = "10000",
  },
  {
    name = "max_requests_jitter", type = "integer", min = 0, off = true, of_cluster = true,
    doc = "up to so many more requests, by chance, so that workers are not replaced together", example = "500",
  },
  {
    name = "max_memory", type = "size", off = true, of_cluster = true,
    doc = "a worker whose share of the memory (PSS) is beyond it is replaced; looked at every 2 seconds",
    example = '"512m"',
  },
  {
    name = "max_lifetime", type = "duration", off = true, min = 0.1, of_cluster = true,
    doc = "a worker is replaced after so long", example = '"12h"',
  },
  {
    name = "rollout", type = "record", fields = rollout_fields, default = { surge = 1, pause = 0 },
    of_cluster = true,
    doc = "how a reload replaces workers: how many at once, and the wait between them",
    example = '{ surge = 2, pause = "1s" }',
  },
  {
    name = "master_nice", type = "integer", min = -20, max = 0, default_doc = "-10 where it may",
    doc = "the niceness of the master, so that it is quick to replace workers when all cpus are busy; nothing that it "
      .. "starts has it, and one that was started with another keeps that; 0: as nice as its workers",
    example = "0",
  },
  {
    name = "control", type = "control", off = true, default_doc = "a private Unix socket",
    doc = "the address of the control server; false: none", example = '"unix:/run/app/brood.sock"',
    fields = M.control_fields,
    options = { { "--control ADDR", 'where the control server listens ("unix:/path"); false: nowhere' } },
  },
  {
    name = "signals", type = "signals", default = {},
    of = { any_of = { { type = "enum", values = actions }, { type = "function" } }, off = true },
    doc = "what signals do, where it is not the usual: an action (" .. table.concat(actions, ", ")
      .. "), a function(master), or false for nothing",
    example = '{ TERM = "quit" }',
  },
  hook("on_start", 'in the master before its first fork; why is "start", "reload" or "upgrade"', "master, why"),
  hook("before_exec", "in the master, before an upgrade executes the new binary; raising cancels it", "master"),
  hook("before_fork", "in the master, before each fork; raising cancels that fork", "master, worker", true),
  hook("after_fork", "in the new worker, before its app is loaded; raising ends it", "master, worker", true),
  hook("worker_ready", "in the master, when a worker serves", "master, worker", true),
  hook("worker_exit", "in the master, when a worker has ended", "master, worker, code, signal", true),
  hook("on_stop", "in the master, after the last worker has gone", "master"),
  {
    name = "clusters", type = "clusters", default = {},
    doc = "further groups of workers by name, the top-level one being web; what one lacks it takes from the top level, "
      .. "but app, command and listen",
    example = '{ admin = { app = "admin.lua", listen = "127.0.0.1:9000", workers = 1 } }',
  },
  of_class({
    name = "pools", type = "pools", default = {},
    doc = "job pools by name: processes that do one job after the other, started before the clusters; every process "
      .. "here reaches one with `brood.pool(name)`",
    example = '{ thumbs = { worker = "thumbs.lua", max_processes = 4 } }',
  }, options_of "brood.rules.pool_options"),
  of_class({
    name = "services", type = "services", default = {},
    doc = "supervised programs by name: started before the pools and the clusters, each when those it comes after are "
      .. "ready, started again when they end, and stopped last; every process here reaches one with "
      .. "`brood.service(name)`",
    example = '{ api = { command = { "node", "api.js" }, port = 3000 } }',
  }, options_of "brood.rules.service_options"),
  of_class({
    name = "backends", type = "backends", default = {},
    doc = "programs by name that speak HTTP and run only while a route of the proxy leads somebody to them: the first "
      .. "request starts one, and it quits when it has been idle",
    example = '{ files = { command = { "node", "files.js" }, idle = "5m" } }',
  }, options_of "brood.rules.backend_options"),
  of_class({
    name = "proxy", type = "record",
    doc = "an HTTP proxy in front of services, backends, clusters and other servers: workers of its own, in a cluster "
      .. "named proxy, send each request where its route leads, and start what does not run",
    example = '{ listen = 8000, routes = { ["/"] = "web", ["api.localhost"] = "127.0.0.1:3000" } }',
  }, proxy_options),
}

--- The same by name: what the top level takes, and what an entry of `clusters` takes.
---@type table<string, brood.Key>
M.fields, M.cluster_fields = {}, {}
M.order, M.order_of_cluster = {}, {}
for i, key in ipairs(M.keys) do
  M.order[i] = key.name
  M.fields[key.name] = key
  if key.of_cluster then
    M.cluster_fields[key.name] = key
    table.insert(M.order_of_cluster, key.name)
  end
end

--- Whether "fd:NAME" in listen can be used; what it means is known either way.
M.fd_available = true

--- What the top level says of the workers of pools too.
---@type table<string, true>
M.of_workers = {
  user = true, group = true, umask = true, limits = true, env = true, working_directory = true, before_fork = true,
  after_fork = true, worker_ready = true, worker_exit = true,
}

--- What may be thought an option of a pool, for the suggestion.
---@type table<string, string>
M.pools_called_elsewhere = {
  app = "worker", command = "worker", script = "worker", file = "worker", path = "worker", handler = "worker",
  workers = "max_processes", processes = "max_processes", size = "max_processes", concurrency = "max_processes",
  count = "max_processes", max_workers = "max_processes", timeout = "timeout_working",
  start_timeout = "timeout_initializing", max_requests = "max_jobs_per_process", max_jobs = "max_jobs_per_process",
  attempts = "retries", ttl = "result_ttl",
}

--- What other servers call the same thing, for the suggestion.
---@type table<string, string>
M.called_elsewhere = {
  bind = "listen", port = "listen", address = "listen", host = "listen", sockets = "listen",
  worker_processes = "workers", processes = "workers", count = "workers", concurrency = "workers",
  cwd = "working_directory", chdir = "working_directory", pid = "pidfile", environment = "env",
  daemon = "daemonize", stop_timeout = "graceful_timeout", shutdown_timeout = "graceful_timeout", cmd = "command",
  instances = "workers", kill_timeout = "graceful_timeout", kill_signal = "stop_signal",
  listen_timeout = "start_timeout", wait_ready = "ready", max_memory_restart = "max_memory",
}

return M
