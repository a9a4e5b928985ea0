--- The config as a whole: checking it against `schema_keys`, and the rules between keys.
--- It opens no file and reads no environment: they are arguments. Where the values come
--- from is `schema_merge`'s, how mistakes read is `mistakes`'.
local address = require "brood.rules.address"
local clusters = require "brood.rules.clusters"
local keys = require "brood.rules.schema_keys"
local kinds = require "brood.rules.kinds"
local nearest = require "brood.rules.nearest"
local places = require "brood.rules.schema_places"

local M = {
  keys = keys.keys,
  order = keys.order,
  fields = keys.fields,
  cluster_fields = keys.cluster_fields,
  listen_fields = keys.listen_fields,
}

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

local of_config = {}

-- What an entry has that its kind of address cannot have.
local function misplaced(entry, parsed)
  if parsed.kind == "unix" then
    local wrong = entry.reuseport and "reuseport" or entry.ipv6only and "ipv6only"
    return wrong and ("can have %s only with a TCP address, and %s is a Unix socket"):format(wrong, entry.address)
  end
  return (entry.mode or entry.owner or entry.group)
    and ("can have mode, owner and group only with a Unix socket, and %s is none"):format(entry.address)
end

-- Each kind of address has what belongs to it.
local function settle(entry, parsed)
  if parsed and parsed.kind == "unix" then
    entry.mode, entry.reuseport, entry.ipv6only = entry.mode or keys.UNIX_MODE, nil, nil
  end
  return entry
end

of_config.listen_entry = {
  many = function(spec, value, where, report)
    local ok, entry, parsed = address_record(spec, keys.listen_fields, value, where, report)
    local problem = parsed and misplaced(entry, parsed)
    if parsed and parsed.kind == "fd" and not keys.fd_available then
      report { key = where, kind = "unavailable", problem = ('with "%s" is not available yet'):format(entry.address) }
      return false
    elseif problem then
      report { key = where, kind = "conflict", problem = problem }
      return false
    end
    return ok, settle(entry, parsed)
  end,
}

of_config.control = {
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

-- Without defaults: what an entry lacks it takes from the top level.
of_config.cluster_entry = {
  expected = "a table like the config itself",
  many = function(spec, value, where, report)
    if type(value) ~= "table" then
      return kinds.wrong(spec, value, where, report)
    end
    return kinds.record(keys.cluster_fields, value, where, report, keys.order_of_cluster, true)
  end,
}

of_config.clusters = {
  expected = "a table of clusters by name, each a table like the config itself",
  many = function(_, value, where, report)
    return kinds.check({
      type = "map", of = { type = "cluster_entry" }, expected = of_config.clusters.expected,
    }, value, where, report)
  end,
}

-- Tables by name, each of a class's options with the same defaults as there. What these are is read where a config has
-- some, and nowhere else.
local function by_name(kind, entry, what, options)
  of_config[entry] = {
    expected = "a table with " .. what,
    many = function(spec, value, where, report)
      if type(value) ~= "table" then
        return kinds.wrong(spec, value, where, report)
      end
      local class = require(options)
      return kinds.record(class.config_fields or class.fields, value, where, report, class.config_order or class.order)
    end,
  }
  of_config[kind] = {
    expected = ("a table of %s by name, each a table with %s"):format(kind, what),
    many = function(_, value, where, report)
      return kinds.check({ type = "map", of = { type = entry }, expected = of_config[kind].expected }, value, where,
        report)
    end,
  }
end

by_name("pools", "pool_entry", "worker =", "brood.rules.pool_options")
by_name("services", "service_entry", "command = or script =", "brood.rules.service_options")
by_name("backends", "backend_entry", "command =", "brood.rules.backend_options")

of_config.signals = require "brood.rules.schema_signals"

for name, kind in pairs(of_config) do
  kinds.kinds[name] = kind
end

-- Of a config with a proxy alone.
local function proxy()
  return require "brood.rules.proxy"
end

-- Of a config with a command alone.
local function programs()
  return require "brood.rules.programs"
end

-- Of a config with services alone.
local function services()
  return require "brood.rules.services"
end

--- The schema is read once in a master's life and once more at each reload: in between nothing holds on to it, and
--- neither the master nor its workers carry it. Whoever requires it again gets it afresh.
function M.forget()
  for name in pairs(of_config) do
    kinds.kinds[name] = nil
  end
  for name in pairs(package.loaded) do
    if name:match("^brood%.rules%.schema") then
      package.loaded[name] = nil
    end
  end
  for _, name in ipairs { "after", "backend_options", "clusters", "pool_options", "programs", "proxy", "proxy_options",
    "ready_place", "service_options", "services" } do
    package.loaded["brood.rules." .. name] = nil
  end
end

-- ---- the rules between keys ---------------------------------------------------------------------------------------

-- What can be run, in the order in which it is suggested.
local runnable = { "app", "command", "clusters", "pools", "services", "backends", "proxy" }

local function runs_something(config)
  for _, name in ipairs(runnable) do
    local value = config[name]
    if value ~= nil and (type(value) ~= "table" or next(value) ~= nil) then
      return true
    end
  end
  return false
end

local function check_purpose(config, origins, report)
  local web = config.app ~= nil or config.command ~= nil
  if not runs_something(config) then
    report {
      key = "app", kind = "missing", expected = kinds.expected(keys.fields.app),
      problem = ('is missing: there is nothing to run (e.g. app = %s)'):format(keys.fields.app.example),
    }
  elseif config.app ~= nil and config.command ~= nil and keys.fields.command.available ~= false then
    report { key = "command", kind = "conflict", problem = "and 'app' exclude each other" }
  elseif not web and config.listen ~= nil then
    report { key = "listen", kind = "conflict", problem = "needs an 'app' or a 'command' that answers there" }
  end
  if not web and config.proxy == nil and origins.workers == "-w" and runs_something(config) then
    report {
      key = "workers", kind = "conflict",
      problem = "of the cluster web cannot be set: the config has no 'app', and so no cluster web",
    }
  end
end

-- What the command line has put aside is read again without it one day.
local function check_beaten(beaten, report)
  for _, name in ipairs(keys.order) do
    local it = beaten[name]
    if it and keys.fields[name].available ~= false then
      kinds.check(keys.fields[name], it.value, name, function(mistake)
        report(mistake, it.origin or false)
      end)
    end
  end
end

-- ---- the front door -----------------------------------------------------------------------------------------------

---@class brood.SchemaContext
---@field cpus? integer the default of `workers`
---@field directory? string absolute, of the config: what its paths are relative to
---@field origins? table<string, string> where a value comes from that is not the config's own, as `merge` returns it
---@field beaten? table<string, brood.Beaten> what the command line has put aside, as `merge` returns it

---@class brood.Config the effective config: normal forms, absolute paths, defaults filled in
---@field app? string
---@field listen? brood.ListenEntry[]
---@field workers integer
---@field working_directory string
---@field env? table<string, string|false>
---@field graceful_timeout number|false
---@field start_timeout number|false
---@field control? {address: string?}|false nil: the default place
---@field clusters? table<string, table> what each entry itself says
---@field pools? table<string, brood.PoolOptions> by name, complete
---@field services? table<string, brood.ServiceOptions> by name, complete
---@field backends? table<string, brood.BackendOptions> by name, complete
---@field proxy? brood.ProxyOptions
---@field before_fork? fun(master: table, worker: table)
---@field after_fork? fun(master: table, worker: table)
---@field worker_ready? fun(master: table, worker: table)
---@field worker_exit? fun(master: table, worker: table, code: integer?, signal: string?)

---@class brood.ListenEntry
---@field address string in normal form
---@field backlog integer
---@field reuseport? boolean of TCP
---@field ipv6only? boolean of TCP
---@field mode? string of a Unix socket: octal digits
---@field owner? string|integer
---@field group? string|integer

-- What others call something that this table has under another name.
local function meant_here(key, name, top)
  local meant = keys.called_elsewhere[name]
  if key:find "listen[%[%]%d]*%.[%a_][%w_]*$" then
    return meant == "listen" and "address" or nil
  elseif top == "services" or top == "pools" then
    return (top == "services" and services().called_elsewhere or keys.pools_called_elsewhere)[name]
  elseif key == name or top == "clusters" or top == "proxy" and keys.fields.proxy.fields[meant] then
    return meant
  end
end

-- What an entry cannot have, though the top level has it; what it is called here; or where it belongs.
local function improve_unknown(mistake, top)
  local leaf = mistake.key:match("^clusters[^%s]+%.([%a_][%w_]*)$") or mistake.key:match("^pools[^%s]+%.([%a_][%w_]*)$")
  if leaf and top == "clusters" and keys.fields[leaf] then
    mistake.kind, mistake.problem = "conflict", "is the master's own: only the top level takes it"
  elseif leaf and top == "pools" and keys.of_workers[leaf] then
    mistake.kind, mistake.problem = "conflict", "is the top level's, and holds for the workers of pools as well"
  else
    local name = mistake.key:match "[%a_][%w_]*$"
    local meant = name and meant_here(mistake.key, name, top)
    mistake.suggestion = meant or mistake.suggestion
    if not meant and not (mistake.suggestion and nearest.distance(name or "", mistake.suggestion) <= 1) then
      mistake.belongs = require("brood.rules.schema_belongs").find(mistake.key)
    end
  end
end

local function reporter(mistakes, origins)
  return function(mistake, origin)
    local top = mistake.key:match("^[%a_][%w_]*")
    if mistake.kind == "unknown" then
      improve_unknown(mistake, top)
    end
    if origin == nil then
      origin = origins[top]
    end
    mistake.source = origin or nil
    mistakes[#mistakes + 1] = mistake
  end
end

--- Check a config. Keys that are not available yet are mistakes, and have no default.
---@param config any what the config file returned, merged with what beats it
---@param context? brood.SchemaContext
---@return brood.Config? effective
---@return brood.Mistake[]? mistakes all of them
---@return brood.Config? sound when there are mistakes: the effective config without what is wrong
function M.validate(config, context)
  context = context or {}
  local origins, mistakes = context.origins or {}, {}
  local report = reporter(mistakes, origins)
  if type(config) ~= "table" then
    report { key = "", kind = "type", expected = "a table", got = kinds.show(config) }
    return nil, mistakes, {}
  end
  local _, effective = kinds.record(keys.fields, config, "", report, keys.order)
  for _, name in ipairs { "pools", "services" } do
    if effective[name] == nil then -- what is sound of those with a mistake can be looked at all the same
      local _, sound = kinds.check(keys.fields[name], config[name], name, function() end)
      effective[name] = sound
    end
  end
  check_beaten(context.beaten or {}, report)
  check_purpose(config, origins, report)
  clusters.check(config, report)
  for _, name in ipairs(kinds.sorted_keys(effective.backends or {})) do
    local problem = require("brood.rules.backend_options").conflict(effective.backends[name])
    if problem then
      report { key = kinds.join("backends", name) .. ".port", kind = "conflict", problem = problem }
    end
  end
  if config.proxy ~= nil then
    proxy().check(config, report)
  end
  if type(config.services) == "table" and next(config.services) ~= nil then
    services().check(config.services, effective.services or {}, config.proxy ~= nil and proxy().wanted(config) or {},
      report)
  end
  if clusters.has_programs(config) then
    programs().check(config, effective, report)
  end
  places.fill_in(effective, context, report)
  if effective.proxy then
    proxy().check_places(effective, report)
  end
  if mistakes[1] then
    return nil, mistakes, effective
  end
  return effective
end

--- Put together what a config is made of; see `brood.rules.schema_merge`.
---@param cli? brood.CommandLine
---@param config any the config file's table; nil where there is none
---@param environ? table<string, string>
---@param cpus? integer the default of `workers`
---@param directory? string absolute: what paths on the command line are relative to
---@return any merged for `validate`
---@return table<string, string> origins by key, of what does not come from the config
---@return table<string, brood.Beaten> beaten by key, of what the command line has put aside
function M.merge(cli, config, environ, cpus, directory)
  return require "brood.rules.schema_merge"(cli, config, environ, cpus, directory)
end

--- All mistakes of a config as text; see `brood.rules.mistakes`.
---@param mistakes brood.Mistake[]
---@param file? string the config
---@param line_of? fun(key: string): integer? where a key stands in it
---@return string
function M.format(mistakes, file, line_of)
  return require("brood.rules.mistakes").format(mistakes, file, line_of)
end

return M
