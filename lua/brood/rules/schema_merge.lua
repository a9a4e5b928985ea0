--- Where the values of a config come from: the command line beats the config, the config
--- beats PORT and WEB_CONCURRENCY, and they beat the defaults. Nothing is checked here.
local copy = require "brood.rules.merged"
local paths = require "brood.rules.path"
local passed = require "brood.rules.passed"
local places = require "brood.rules.schema_places"

local function port_address(port)
  -- Whoever starts us may hand down the path of a Unix socket where a port is usual.
  if port:match("^%d+$") and tonumber(port) <= 65535 then
    return ":" .. port
  end
  return port:match("^/") and "unix:" .. port or port
end

local function command_line_listen(cli, directory)
  local list = {}
  for i, text in ipairs(cli.listen or {}) do
    list[i] = places.place(text, directory, "listen")
  end
  if cli.port then
    list[#list + 1] = port_address(tostring(cli.port))
  end
  return list[1] and list or nil
end

---@class brood.CommandLine
---@field app? string
---@field listen? string[]
---@field port? string|integer
---@field workers? integer
---@field pidfile? string
---@field daemonize? boolean
---@field control? string|false
---@field passed? brood.PassedSocket[] not of the command line: sockets that a supervisor has passed

---@class brood.Beaten
---@field value any
---@field origin? string where it comes from, when not from the config

---@param cli? brood.CommandLine
---@param config any the config file's table; nil where there is none
---@param environ? table<string, string>
---@param cpus? integer the default of `workers`
---@param directory? string absolute: what paths on the command line are relative to
---@return any merged
---@return table<string, string> origins by key, of what does not come from the config
---@return table<string, brood.Beaten> beaten by key, of what the command line has put aside
return function(cli, config, environ, cpus, directory)
  cli, environ = cli or {}, environ or {}
  local origins, beaten = {}, {}
  if config ~= nil and type(config) ~= "table" then
    return config, origins, beaten
  end
  local merged = copy(config or {})
  local function set_default(key, value, origin)
    if merged[key] == nil and value ~= nil then
      merged[key], origins[key] = value, origin
    end
  end
  local function set(key, value, origin)
    if value ~= nil then
      beaten[key] = merged[key] ~= nil and { value = merged[key], origin = origins[key] } or nil
      merged[key], origins[key] = value, origin
    end
  end
  if cli.app then
    set("app", paths.absolute(directory, cli.app), "-s")
    merged.command = nil
  end
  local port, concurrency = environ.PORT, environ.WEB_CONCURRENCY
  if port and port ~= "" and (merged.app ~= nil or merged.command ~= nil) then
    set_default("listen", port_address(port), "PORT in the environment")
  end
  if concurrency and concurrency ~= "" then
    set_default("workers", tonumber(concurrency:match("^%d+$")) or concurrency, "WEB_CONCURRENCY in the environment")
  end
  if cli.passed and (merged.app ~= nil or merged.command ~= nil) then
    set_default("listen", passed.default_listen(cli.passed, merged.clusters), "LISTEN_FDS in the environment")
  end
  set_default("workers", cpus, "the number of cpus")
  -- What other clusters inherit is what the number was before the command line.
  set("workers", cli.workers, "-w")
  set("listen", command_line_listen(cli, directory), cli.listen and cli.listen[1] and "-l" or "-p")
  set("pidfile", cli.pidfile and paths.absolute(directory, cli.pidfile), "-P")
  set("daemonize", cli.daemonize, "-D")
  set("control", cli.control and places.place(cli.control, directory, "control") or cli.control, "--control")
  return merged, origins, beaten
end
