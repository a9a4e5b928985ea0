--- The services of a config as a whole: what one entry contradicts itself in, in what order they come, that no port is
--- given twice, and what their defaults and paths are in the end. Loaded only where a config has services. What one
--- option means is rules.service_options'.
local after = require "brood.rules.after"
local kinds = require "brood.rules.kinds"
local options = require "brood.rules.service_options"
local paths = require "brood.rules.path"

local M = {}

--- What may be thought an option of a service, for the suggestion.
---@type table<string, string>
M.called_elsewhere = {
  cmd = "command", exec = "command", program = "command", argv = "command", run = "command", app = "script",
  file = "script", depends_on = "after", requires = "after", needs = "after", depends = "after",
  environment = "env", directory = "cwd", dir = "cwd", working_directory = "cwd", chdir = "cwd", watch = "monitor",
  autorestart = "restart", respawn = "restart", retries = "attempts", startretries = "attempts", listen = "port",
  stopsignal = "stop_signal", kill_signal = "stop_signal", kill_timeout = "stop_timeout",
  graceful_timeout = "stop_timeout", healthcheck = "health", critical = "essential", required = "essential",
  stdout_path = "stdout", stderr_path = "stderr", log = "stdout", memory = "max_memory", enabled = "autostart",
  ondemand = "autostart",
}

local function check_conflict(name, service, where, report)
  local problem, key = options.conflict(setmetatable({ name = name }, { __index = service }))
  if not problem then
    return
  elseif service.command == nil and service.script == nil then
    report { key = where .. ".command", kind = "missing", problem = "is missing: there is no program to run" }
  elseif service.command ~= nil and service.script ~= nil then
    report { key = where .. ".script", kind = "conflict", problem = "and 'command' exclude each other" }
  else
    report { key = kinds.join(where, key), kind = "conflict", problem = "cannot be as it is: " .. problem }
  end
end

-- The names that an entry comes after, as far as they are names.
local function before(entry)
  local list = type(entry) == "table" and entry.after
  list = type(list) == "table" and list or { list or nil }
  local names = {}
  for _, name in ipairs(list) do
    names[#names + 1] = type(name) == "string" and name or nil
  end
  return names
end

-- All that is unknown, else a circle. An entry with another mistake is there all the same.
local function check_order(given, report)
  local graph, known, whole = {}, kinds.sorted_keys(given), true
  for _, name in ipairs(known) do
    if type(name) == "string" then
      graph[name] = before(given[name])
    end
  end
  for _, name in ipairs(known) do
    for i, other in ipairs(graph[name] or {}) do
      if not graph[other] then
        whole = false
        local where = kinds.join("services", name) .. ".after"
        report {
          key = type(given[name].after) == "table" and kinds.join(where, i) or where, kind = "conflict",
          problem = "cannot be kept: " .. after.sentence({ kind = "unknown", name = name, missing = other }, known),
        }
      end
    end
  end
  local mistake
  if whole then
    mistake = select(2, after.order(graph))
  end
  if mistake then
    report {
      key = kinds.join("services", mistake.name) .. ".after", kind = "conflict",
      problem = "cannot be kept: " .. after.sentence(mistake, known),
    }
  end
end

--- Report what is wrong with the services of a config beyond the kinds of their values.
---@param given table<any, any> as they were given
---@param sound table<string, table> what of them is right, by name; completed
---@param routed table<string, true> the names that routes lead to
---@param report brood.Report
function M.check(given, sound, routed, report)
  local ports = {}
  for _, name in ipairs(kinds.sorted_keys(sound)) do
    local service, where = sound[name], kinds.join("services", name)
    options.complete_config(service, routed[name] or false)
    if type(given[name]) == "table" then
      check_conflict(name, service, where, report)
    end
    local port = type(service.port) == "number" and service.port
    if port and ports[port] then
      report { key = where .. ".port", kind = "conflict", problem = ("is the same port as '%s'"):format(ports[port]) }
    elseif port then
      ports[port] = where .. ".port"
    end
  end
  check_order(given, report)
end

local path_keys = { "script", "cwd", "stdin", "stdout", "stderr" }
local words = { pipe = true, inherit = true }

--- Paths as seen from a directory, and what follows from them.
---@param service table normalised; changed
---@param directory? string
function M.place(service, directory)
  for _, name in ipairs(path_keys) do
    local value = service[name]
    if type(value) == "string" and not (name == "stdin" and words[value]) then
      service[name] = paths.absolute(directory, value)
    end
  end
  if service.script and service.monitor == nil then
    service.monitor = { service.script }
  end
  for i, path in ipairs(service.monitor or {}) do
    service.monitor[i] = paths.absolute(directory, path)
  end
  if type(service.ready) == "table" and service.ready.socket then
    service.ready.socket = paths.absolute(directory, service.ready.socket)
  end
  if service.start_timeout ~= nil then
    service.timeout, service.start_timeout = service.start_timeout, nil
  end
end

return M
