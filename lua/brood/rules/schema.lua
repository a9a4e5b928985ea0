--- The config as a whole: checking it against `schema_keys`, the rules between keys, where
--- its values come from, and how its mistakes read. It opens no file and reads no
--- environment: they are arguments.
local address = require "brood.rules.address"
local keys = require "brood.rules.schema_keys"
local kinds = require "brood.rules.kinds"
local paths = require "brood.rules.path"

local M = {
  keys = keys.keys,
  order = keys.order,
  fields = keys.fields,
  cluster_fields = keys.cluster_fields,
  listen_fields = keys.listen_fields,
}

local DEFAULT_LISTEN = "127.0.0.1:8080"
local LONGEST_UNIX_PATH = 107 -- what sockaddr_un holds

-- ---- the kinds only a config has ----------------------------------------------------------------------------------

local function address_record(spec, fields, value, where, report)
  if type(value) ~= "table" then
    local normal, why = address.normal(value)
    if not normal then
      return kinds.wrong(spec, value, where, report, type(value) == "string" and why or nil)
    end
    value = { address = normal }
  end
  local ok, entry = kinds.record(fields, value, where, report)
  return ok, entry, entry.address and address.parse(entry.address)
end

kinds.kinds.listen_entry = {
  many = function(spec, value, where, report)
    local ok, entry, parsed = address_record(spec, keys.listen_fields, value, where, report)
    if parsed and parsed.kind == "fd" and not keys.fd_available then
      report { key = where, kind = "unavailable", problem = ('with "%s" is not available yet'):format(entry.address) }
      return false
    elseif parsed and parsed.kind ~= "unix" and (entry.mode or entry.owner or entry.group) then
      local problem = "can have mode, owner and group only with a Unix socket, and %s is none"
      report { key = where, kind = "conflict", problem = problem:format(entry.address) }
      return false
    end
    return ok, entry
  end,
}

kinds.kinds.control = {
  expected = 'an address like "unix:/path" or a table with address =',
  many = function(spec, value, where, report)
    local ok, control, parsed = address_record(spec, keys.control_fields, value, where, report)
    if parsed and parsed.kind ~= "unix" and not control.token then
      local later = keys.control_fields.token.available == false
      report {
        key = where, kind = later and "unavailable" or "conflict",
        problem = later and "over TCP is not available yet: use a Unix socket"
          or "over TCP needs a token beside the address",
      }
      return false
    end
    return ok, control
  end,
}

kinds.kinds.clusters = {
  expected = "a table of clusters by name, each a table like the config itself",
  many = function(_, value, where, report)
    local of = { type = "record", fields = keys.cluster_fields, expected = "a table like the config itself" }
    return kinds.check({ type = "map", of = of }, value, where, report)
  end,
}

-- ---- the rules between keys ---------------------------------------------------------------------------------------

-- What can be run, in the order in which it is suggested.
local runnable = { "app", "command", "clusters", "pools", "services", "backends" }

local function check_purpose(config, report)
  local any = false
  for _, name in ipairs(runnable) do
    any = any or config[name] ~= nil
  end
  if not any then
    local expected = kinds.expected(keys.fields.app)
    report {
      key = "app", kind = "missing", expected = expected,
      problem = ('is missing: there is nothing to run (e.g. app = %s)'):format(keys.fields.app.example),
    }
  elseif config.app ~= nil and config.command ~= nil and keys.fields.command.available ~= false then
    report { key = "command", kind = "conflict", problem = "and `app` exclude each other" }
  elseif config.app == nil and config.command == nil and config.listen ~= nil then
    report { key = "listen", kind = "conflict", problem = "needs an `app` that answers there" }
  end
end

-- Absolute, and short enough for the kernel, which would cut it silently.
local function place(text, directory, where, report)
  local parsed = address.parse(text)
  if not parsed or parsed.kind ~= "unix" then
    return text
  end
  parsed.path = paths.absolute(directory, parsed.path)
  if #parsed.path > LONGEST_UNIX_PATH then
    local problem = "must be the path of a Unix socket of at most %d bytes, got %d: %s"
    report { key = where, kind = "type", problem = problem:format(LONGEST_UNIX_PATH, #parsed.path, parsed.path) }
  end
  return address.format(parsed)
end

local function place_listeners(list, directory, report)
  local first = {}
  for i, entry in ipairs(list) do
    local where = #list == 1 and "listen" or kinds.join("listen", i)
    entry.address = place(entry.address, directory, where, report)
    local same = first[entry.address]
    if same and not entry.address:match(":0$") then
      report { key = where, kind = "conflict", problem = ("is the same address as listen[%d]"):format(same) }
    end
    first[entry.address] = first[entry.address] or i
  end
end

local path_keys = { "app", "working_directory", "pidfile", "stdout_path", "stderr_path", "access_log" }

local function fill_in(config, context, report)
  local directory = context.directory
  for _, name in ipairs(path_keys) do
    local value = config[name]
    if type(value) == "string" and value ~= "-" then
      config[name] = paths.absolute(directory, value)
    end
  end
  config.working_directory = config.working_directory or directory
  config.workers = config.workers or context.cpus
  if config.app or config.command then
    config.listen = config.listen or { select(2, kinds.check(keys.listen_entry, DEFAULT_LISTEN, "listen", report)) }
    place_listeners(config.listen, directory, report)
  end
  if config.control then
    config.control.address = config.control.address and place(config.control.address, directory, "control", report)
  end
end

-- ---- the front door -----------------------------------------------------------------------------------------------

---@class brood.SchemaContext
---@field cpus? integer the default of `workers`
---@field directory? string absolute, of the config: what its paths are relative to
---@field origins? table<string, string> where a value comes from that is not the config's own, as `merge` returns it

---@class brood.Config the effective config: normal forms, absolute paths, defaults filled in
---@field app? string
---@field listen? brood.ListenEntry[]
---@field workers integer
---@field working_directory string
---@field env? table<string, string|false>
---@field graceful_timeout number|false
---@field start_timeout number|false
---@field control? {address: string?}|false nil: the default place
---@field before_fork? fun(master: table, worker: table)
---@field after_fork? fun(master: table, worker: table)
---@field worker_ready? fun(master: table, worker: table)
---@field worker_exit? fun(master: table, worker: table, code: integer?, signal: string?)

---@class brood.ListenEntry
---@field address string in normal form
---@field backlog integer
---@field ipv6only boolean
---@field mode? string octal digits
---@field owner? string|integer
---@field group? string|integer

--- Check a config. Keys that are not available yet are mistakes, and have no default.
---@param config any what the config file returned, merged with what beats it
---@param context? brood.SchemaContext
---@return brood.Config? effective, brood.Mistake[]? mistakes all of them
function M.validate(config, context)
  context = context or {}
  local mistakes = {}
  local function report(mistake)
    local top = mistake.key:match("^[%a_][%w_]*")
    local origin = context.origins and context.origins[top]
    mistake.suggestion = mistake.kind == "unknown" and keys.called_elsewhere[mistake.key] or mistake.suggestion
    mistake.message = kinds.sentence(mistake, "`%s`", "`%s`"):gsub("^unknown `", "unknown key `")
    if origin then
      mistake.source = origin
      mistake.message = ("%s (from %s)"):format(mistake.message, origin)
    end
    mistakes[#mistakes + 1] = mistake
  end
  if type(config) ~= "table" then
    local problem = ("must return a table, got %s"):format(kinds.show(config))
    return nil, { {
      key = "", kind = "type", problem = problem, expected = "a table", message = "the config " .. problem,
    } }
  end
  local ok, effective = kinds.record(keys.fields, config, "", report, keys.order)
  check_purpose(config, report)
  if ok then
    fill_in(effective, context, report)
  end
  if mistakes[1] then
    return nil, mistakes
  end
  return effective
end

--- All mistakes of a config as text: one line each, below a line that counts them.
---@param mistakes brood.Mistake[]
---@param file? string the config
---@return string
function M.format(mistakes, file)
  local name = file or "the config"
  local lines = { #mistakes == 1 and name .. " has a mistake:" or ("%s has %d mistakes:"):format(name, #mistakes) }
  for _, mistake in ipairs(mistakes) do
    lines[#lines + 1] = "  " .. mistake.message
  end
  return table.concat(lines, "\n")
end

local function port_address(port)
  -- Whoever starts us may hand down the path of a Unix socket where a port is usual.
  if port:match("^%d+$") then
    return ":" .. port
  end
  return port:match("^/") and "unix:" .. port or port
end

local function command_line_listen(cli, directory)
  local list = {}
  for i, text in ipairs(cli.listen or {}) do
    list[i] = place(text, directory, "listen", function() end)
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
---@field control? string|false

--- Put together what a config is made of: the command line beats the config, the config
--- beats PORT and WEB_CONCURRENCY, and they beat the defaults.
---@param cli? brood.CommandLine
---@param config any the config file's table; nil where there is none
---@param environ? table<string, string>
---@param cpus? integer the default of `workers`
---@param directory? string absolute: what paths on the command line are relative to
---@return any merged for `validate`
---@return table<string, string> origins by key, of what does not come from the config
function M.merge(cli, config, environ, cpus, directory)
  cli, environ = cli or {}, environ or {}
  local origins = {}
  if config ~= nil and type(config) ~= "table" then
    return config, origins
  end
  local merged = {}
  for key, value in pairs(config or {}) do
    merged[key] = value
  end
  local function set(key, value, origin)
    if value ~= nil then
      merged[key], origins[key] = value, origin
    end
  end
  local function set_default(key, value, origin)
    if merged[key] == nil then
      set(key, value, origin)
    end
  end
  if cli.app then
    set("app", paths.absolute(directory, cli.app), "-s")
    merged.command = nil
  end
  set("listen", command_line_listen(cli, directory), cli.listen and cli.listen[1] and "-l" or "-p")
  set("workers", cli.workers, "-w")
  set("pidfile", cli.pidfile and paths.absolute(directory, cli.pidfile), "-P")
  set("control", cli.control and place(cli.control, directory, "control", function() end) or cli.control, "--control")
  local port, concurrency = environ.PORT, environ.WEB_CONCURRENCY
  if port and port ~= "" and (merged.app ~= nil or merged.command ~= nil) then
    set_default("listen", port_address(port), "PORT in the environment")
  end
  if concurrency and concurrency ~= "" then
    set_default("workers", tonumber(concurrency:match("^%d+$")) or concurrency, "WEB_CONCURRENCY in the environment")
  end
  set_default("workers", cpus, "the number of cpus")
  return merged, origins
end

return M
