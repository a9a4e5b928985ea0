--- The clusters of a config: what `clusters = {...}` may say, and what each cluster is in the
--- end. The top-level one is named web; the others take from the top level what they
--- lack, but not what they serve and where.
local keys = require "brood.rules.schema_keys"
local copy = require "brood.rules.merged"
local kinds = require "brood.rules.kinds"

local M = {}

local own = { app = true, command = true, listen = true }

--- What a worker that is a program has no use for, and one with an app not.
M.of_apps = { "timeout", "preload", "access_log", "max_requests", "max_requests_jitter" }
M.of_commands = { "ready", "stop_signal", "watchdog" }

--- Names appear in process titles, in `NAME=N` and in routes.
local function is_name(name)
  return #name <= 64 and name:match("^[%a_][%w_.-]*$") ~= nil
end

local SHOWN = 64 -- bytes of a name that is too long

-- Whoever asks for a name must get one thing.
local function check_names(config, report)
  local first = {
    web = (config.app ~= nil or config.command ~= nil) and "the top level" or nil,
    proxy = config.proxy ~= nil and "the proxy" or nil,
  }
  for _, kind in ipairs { "clusters", "pools", "services", "backends" } do
    local group = type(config[kind]) == "table" and config[kind] or {}
    for _, name in ipairs(kinds.sorted_keys(group)) do
      local where = kinds.join(kind, type(name) == "string" and #name > SHOWN and name:sub(1, SHOWN) .. "..." or name)
      local other = first[name]
      if type(name) == "string" and name ~= "" and not is_name(name) then -- (of "" its kind has told)
        report {
          key = where, kind = "conflict",
          problem = 'has a name that cannot be used: it begins with a letter and goes on with letters, digits, "_", '
            .. '"-" and "."',
        }
      elseif other == "the top level" then
        report { key = where, kind = "conflict", problem = "has the name of the cluster that the top level makes" }
      elseif other == "the proxy" then
        report { key = where, kind = "conflict", problem = "has the name of the cluster that 'proxy' makes" }
      elseif other then
        report { key = where, kind = "conflict", problem = ("has the name of '%s'"):format(other) }
      end
      first[name] = other or where
    end
  end
end

local function check_entry(entry, where, report)
  if entry.app == nil and entry.command == nil then
    report {
      key = where .. ".app", kind = "missing",
      problem = "is missing: each cluster serves an app, or has a command, of its own",
    }
  elseif entry.app ~= nil and entry.command ~= nil and keys.fields.command.available ~= false then
    report { key = where .. ".command", kind = "conflict", problem = "and 'app' exclude each other" }
  end
  if entry.listen == nil then
    report {
      key = where .. ".listen", kind = "missing",
      problem = "is missing: only the top level has a default address",
    }
  end
end

local function says_of_programs(entry)
  for _, key in ipairs(M.of_commands) do
    if entry[key] ~= nil then
      return true
    end
  end
  return entry.command ~= nil
end

--- Whether a config has programs for workers, or says something of them.
---@param config table
---@return boolean
function M.has_programs(config)
  local found = says_of_programs(config)
  for _, entry in pairs(type(config.clusters) == "table" and config.clusters or {}) do
    found = found or type(entry) == "table" and says_of_programs(entry)
  end
  return found
end

--- Report what is wrong with the clusters of a config beyond the kinds of its values.
---@param config table as it was given
---@param report brood.Report
function M.check(config, report)
  check_names(config, report)
  local clusters = type(config.clusters) == "table" and config.clusters or {}
  for _, name in ipairs(kinds.sorted_keys(clusters)) do
    if type(name) == "string" and type(clusters[name]) == "table" then
      check_entry(clusters[name], kinds.join("clusters", name), report)
    end
  end
end

local function complete(name, entry, top)
  local cluster = { name = name, hooks = {} }
  for key, spec in pairs(keys.cluster_fields) do
    local value = entry[key]
    if value == nil and not own[key] then
      value = top[key]
    end
    if spec.is_hook then
      cluster.hooks[key] = value
    elseif key ~= "access_log" or value ~= false then
      cluster[key] = value -- a log that is switched off is none
    end
  end
  for _, key in ipairs(cluster.command and M.of_apps or M.of_commands) do
    cluster[key] = nil
  end
  return cluster
end

-- It comes last, for it leads to the others. Where there is no web cluster, what is said of workers means it.
local function proxy_of(effective, workers)
  local proxy = effective.proxy
  local web = effective.app or effective.command
  local cluster = complete("proxy", {
    listen = proxy.listen, workers = proxy.workers or web and workers or effective.workers, preload = false,
  }, effective)
  cluster.proxy = copy(proxy, { routes = require("brood.rules.proxy").resolve(effective) })
  return cluster
end

---@class brood.ClusterOptions: brood.Config
---@field name string
---@field hooks table<string, function> before_fork, after_fork, worker_ready, worker_exit
---@field proxy? brood.ProxyOptions of the proxy's: `routes` is a list of brood.Route

--- What each cluster is started with, the web cluster first.
---@param effective brood.Config sound
---@param workers? integer what a cluster without a number of its own takes, where that is not the web cluster's
---@return brood.ClusterOptions[]
function M.list(effective, workers)
  local list = {}
  if effective.app or effective.command then
    list[1] = complete("web", effective, effective)
  end
  local top = setmetatable({ workers = workers }, { __index = effective })
  for _, name in ipairs(kinds.sorted_keys(effective.clusters or {})) do
    list[#list + 1] = complete(name, effective.clusters[name], top)
  end
  if effective.proxy then
    list[#list + 1] = proxy_of(effective, workers)
  end
  return list
end

return M
