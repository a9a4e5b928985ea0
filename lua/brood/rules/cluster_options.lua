--- What a script's cluster can be told: every option of `Cluster.new`, with its kind, default, documentation and
--- example. Most are those of a config's clusters, two of them under names of their own. Nothing here checks anything.
local clusters = require "brood.rules.clusters"
local keys = require "brood.rules.schema_keys"
local merged = require "brood.rules.merged"

local M = {}

--- The wait before another try where starts fail, and when to give up.
---@type table<string, brood.Spec>
M.backoff_fields = {
  delay = { type = "duration", default = 0.1, doc = "the first wait", example = "1" },
  max_delay = { type = "duration", default = 30, doc = "no wait is longer", example = '"1m"' },
  factor = { type = "number", min = 1, default = 2, doc = "each wait is so many times the one before", example = "2" },
  jitter = { type = "number", min = 0, max = 1, default = 0.2, doc = "by what part of itself a wait varies" },
  max_exits = {
    type = "integer", min = 1, off = true, default = false,
    doc = "a worker that would be the one after so many ends within `window` is not started any more", example = "5",
  },
  window = { type = "duration", default = 60, doc = "of max_exits", example = "60" },
}

---@class brood.Backoff
---@field delay? number|string
---@field max_delay? number|string
---@field factor? number
---@field jitter? number
---@field max_exits? integer|false
---@field window? number|string

---@class brood.ScriptClusterOptions
---@field app? string in place of the first argument
---@field command? string[] in place of `app`: a program, which has the sockets from descriptor 3 on (LISTEN_FDS)
---@field ready? string|table of a command
---@field stop_signal? string|integer of a command
---@field watchdog? number|string|false of a command
---@field name? string
---@field listen? brood.ListenAddress|brood.ListenAddress[]
---@field count? integer
---@field respawn? boolean
---@field respawn_delay? number|string
---@field backoff? brood.Backoff
---@field max_requests? integer|false
---@field max_requests_jitter? integer|false
---@field max_memory? integer|string|false
---@field max_memory_gain? number|false
---@field max_lifetime? number|string|false
---@field stop_timeout? number|string|false
---@field recycle_timeout? number|string|false
---@field start_timeout? number|string|false
---@field timeout? number|string|false
---@field preload? boolean
---@field env? table<string, string|number|false>
---@field args? (string|number)[]
---@field working_directory? string
---@field user? string|integer
---@field group? string|integer
---@field umask? string
---@field limits? table<string, any>
---@field access_log? string|function|false
---@field rollout? { surge: integer?, pause: (number|string)? }
---@field before_fork? fun(cluster: brood.Cluster, worker: brood.ClusterWorker)
---@field after_fork? fun(cluster: brood.Cluster, worker: brood.ClusterWorker)

local own = {
  name = { type = "name", default_doc = "the app's file", doc = "what ps, the log and `worker.cluster` call it" },
  count = merged(keys.cluster_fields.workers, { name = "count" }),
  respawn = {
    type = "boolean", default = true, doc = "another worker comes in place of one that has ended unasked",
  },
  respawn_delay = {
    type = "duration", default = 0, doc = "the wait before that; 0: at once, but for many ends in a row",
  },
  backoff = {
    type = "record", fields = M.backoff_fields,
    doc = "the wait before a worker is tried again that could not start, and when to give up",
    example = '{ delay = "1s", max_exits = 5 }',
  },
  max_memory_gain = {
    type = "number", min = 1, off = true,
    doc = "a worker is replaced when its share of the memory (PSS) is so many times what it was when it became ready",
    example = "4",
  },
  stop_timeout = merged(keys.cluster_fields.graceful_timeout, { name = "stop_timeout" }),
  recycle_timeout = {
    type = "duration", off = true, min = 0.001, default = 5,
    doc = "how long a request of a worker that is recycled may take from then on; then it is answered with 503, or cut",
    example = '"10s"',
  },
  args = {
    type = "list", of = { any_of = { { type = "string" }, { type = "number" } } }, default = {},
    doc = "`arg` and `...` of the app", example = '{ "--verbose" }',
  },
}

-- What a script has events for.
local EVENTS = { worker_ready = "online", worker_exit = "exit" }

--- Every option by name.
---@type table<string, brood.Spec>
M.fields = {}
for name, key in pairs(keys.cluster_fields) do
  M.fields[name] = not EVENTS[name] and key or nil
end
for name, key in pairs(own) do
  M.fields[name] = key
end

--- The names that a config has for two of them, which may be used here as well.
---@type table<string, string>
M.renamed = { workers = "count", graceful_timeout = "stop_timeout" }
for former, name in pairs(M.renamed) do
  M.fields[former] = merged(M.fields[name])
  M.fields[former].default = nil
end

--- What is for workers with an app, and what for those that are programs.
---@type string[], string[]
M.of_apps, M.of_commands = { "args", "after_fork", "recycle_timeout" }, clusters.of_commands
for _, name in ipairs(clusters.of_apps) do
  table.insert(M.of_apps, name)
end

--- What may be meant by names that are none.
---@type table<string, string>
M.called_elsewhere = {
  worker_processes = "count", processes = "count", concurrency = "count",
  instances = "count", size = "count", max_workers = "count", shutdown_timeout = "stop_timeout",
  kill_timeout = "stop_timeout", max_connections = "max_requests", script = "app", file = "app", module = "app",
  exec = "app", arguments = "args", argv = "args", delay = "respawn_delay", restart = "respawn",
}
for wrong, name in pairs(keys.called_elsewhere) do -- of a config: it has a pidfile, and no stop_timeout
  if M.fields[name] and not M.fields[wrong] and not M.called_elsewhere[wrong] then
    M.called_elsewhere[wrong] = name
  end
end

--- What an option that is none is called as an event.
---@type table<string, string>
M.events = EVENTS

return M
