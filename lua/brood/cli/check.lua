--- `brood check [CONFIG]`: all that is wrong with a config, or what it amounts to. It starts and opens nothing.
local config = require "brood.master.config"
local core = require "brood.core"
local emitter = require "brood.emitter"
local kinds = require "brood.rules.kinds"
local preflight = require "brood.cli.preflight"
local routes = require "brood.rules.routes"
local schema_keys = require "brood.rules.schema_keys"
local source = require "brood.rules.lua_source"

local M = {}

local Harmless = emitter.mixin {}
Harmless.__index = Harmless
for _, name in ipairs { "reload", "quit", "terminate", "upgrade", "reopen", "drain", "scale", "wait", "start",
  "broadcast" } do
  Harmless[name] = function()
    error(("master:%s: brood check starts nothing"):format(name), 2)
  end
end

function Harmless:status()
  return { pid = self.pid, state = self.state, clusters = {}, pools = {}, services = {} }
end

-- What a config that is a function is given: it can look, and it can listen.
local function harmless_master()
  return setmetatable({
    pid = core.posix.getpid(), state = "starting", workers = {}, clusters = {}, pools = {}, services = {},
  }, Harmless)
end

-- ---- the effective config -------------------------------------------------------------------------------------------

local function origin_of(key, given, origins)
  local origin = origins[key.name]
  if origin and origin ~= "the number of cpus" then
    return origin
  elseif not origin and given[key.name] ~= nil then
    return nil
  end
  local computed = key.default == nil and key.name ~= "listen" and key.default_doc
  return computed and "default: " .. computed or "default"
end

local function add(lines, indent, name, value, key, origin)
  local text = ("%s%s = %s,"):format(indent, source.key(name), source.value(value, key, indent))
  lines[#lines + 1] = origin and ("%s -- %s"):format(text, origin) or text
end

local listen_spec = { of = { fields = schema_keys.listen_fields } }

local function spec_of(key)
  return key.name == "listen" and listen_spec or key
end

local function add_cluster(lines, cluster, given)
  lines[#lines + 1] = ("    %s = {"):format(source.key(cluster.name))
  for _, name in ipairs(schema_keys.order_of_cluster) do
    local value = cluster[name]
    if value == nil then
      value = cluster.hooks[name]
    end
    if value == nil and given[name] == false then
      value = false -- left out, it would be the top level's
    end
    if value ~= nil then
      local origin = given[name] == nil and "as the top level" or nil
      add(lines, "      ", name, value, spec_of(schema_keys.fields[name]), origin)
    end
  end
  lines[#lines + 1] = "    },"
end

local function add_clusters(lines, effective, given)
  local begun = false
  for _, cluster in ipairs(effective.clusters) do
    local own = type(given.clusters) == "table" and rawget(given.clusters, cluster.name)
    if own then
      if not begun then
        lines[#lines + 1] = "  clusters = {"
        begun = true
      end
      add_cluster(lines, cluster, own)
    end
  end
  lines[#lines + 1] = begun and "  }," or nil
end

-- Tables by name, each complete: pools, services, backends.
local function add_named(lines, key, effective, given)
  local entries = effective[key.name] or {}
  local names = kinds.sorted_keys(entries)
  lines[#lines + 1] = names[1] and ("  %s = {"):format(source.key(key.name)) or nil
  for _, name in ipairs(names) do
    local entry, own = entries[name], type(given[key.name]) == "table" and given[key.name][name] or {}
    lines[#lines + 1] = ("    %s = {"):format(source.key(name))
    for _, part in ipairs(key.keys) do
      if entry[part.name] ~= nil then
        local computed = part.default == nil and part.default_doc
        add(lines, "      ", part.name, entry[part.name], part,
          own[part.name] == nil and (computed and "default: " .. computed or "default") or nil)
      end
    end
    lines[#lines + 1] = "    },"
  end
  lines[#lines + 1] = names[1] and "  }," or nil
end

local NAMED = { pools = true, services = true, backends = true }

local WHAT = {
  cluster = "cluster %s", service = "service %s", backend = "backend %s, which runs while it is used",
}

-- In the order in which they are tried.
local function add_routes(lines, proxy)
  lines[#lines + 1] = "    routes = {"
  for _, route in ipairs(routes.in_order(require("brood.rules.proxy").resolve(proxy))) do
    local target = route.target
    local what = WHAT[target.kind]
    lines[#lines + 1] = ("      %s = %s,%s"):format(source.key(route.text),
      source.quote(target.name or target.address), what and " -- the " .. what:format(target.name) or "")
  end
  lines[#lines + 1] = "    },"
end

local function add_proxy(lines, effective, given)
  local own = type(given.proxy) == "table" and given.proxy or {}
  lines[#lines + 1] = "  proxy = {"
  for _, part in ipairs(schema_keys.fields.proxy.keys) do
    local value = effective.proxy[part.name]
    if part.name == "routes" then
      add_routes(lines, effective)
    elseif value ~= nil then
      add(lines, "    ", part.name, value, spec_of(part), own[part.name] == nil and "default" or nil)
    else
      lines[#lines + 1] = ("    -- %s: %s (default)"):format(part.name, part.default_doc)
    end
  end
  lines[#lines + 1] = "  },"
end

-- On one line, as the comment that it stands in.
local function shown_path(path)
  return path:find("%c") and source.quote(path):gsub("%c", function(c)
    return ("\\%03d"):format(c:byte())
  end) or path
end

--- The effective config as a Lua table, with where its values come from. It can be read as a config again, but
--- for its functions.
---@param examined brood.Examined
---@return string
function M.print(examined)
  local effective, origins = examined.effective, examined.origins
  local given = examined.source.value or {}
  local lines = { ("-- The effective config of %s."):format(shown_path(effective.path)), "return {" }
  for _, key in ipairs(schema_keys.keys) do
    local name, value = key.name, effective[key.name]
    if name == "clusters" then
      add_clusters(lines, effective, given)
    elseif name == "proxy" and value then
      add_proxy(lines, effective, given)
    elseif NAMED[name] then
      add_named(lines, key, effective, given)
    elseif value ~= nil then
      add(lines, "  ", name, value, spec_of(key), origin_of(key, given, origins))
    elseif key.default_doc and name ~= "listen" and (not key.of_command or effective.command) then
      lines[#lines + 1] = ("  -- %s: %s (default)"):format(name, key.default_doc)
    end
  end
  lines[#lines + 1] = "}\n"
  return table.concat(lines, "\n")
end

-- ---- the command ----------------------------------------------------------------------------------------------------

-- stdout is for what the config amounts to: what its own code prints goes to stderr.
local function print_aside(...)
  local words = {}
  for i = 1, select("#", ...) do
    words[i] = tostring((select(i, ...)))
  end
  io.stderr:write(table.concat(words, "\t"), "\n")
end

-- What is printed, or nil and all mistakes; and what is worth knowing.
local function check(options)
  _G.print = print_aside -- the code of the config finds it there; ours has globals of its own
  local examined, why = config.examine(options, harmless_master())
  if not examined then
    return nil, why
  end
  local found, sound = preflight.all(examined)
  local text = found[1] and config.explain(examined.source, found)
  if not sound then
    return nil, text
  end
  return M.print(examined), text
end

-- What a config has started is stopped as well.
local function leave(status)
  require("brood.supervised").stop_all(function()
    os.exit(status)
  end)
end

--- Check, and print what was found.
---@param options brood.Arguments
function M.main(options)
  local text, said = check(options)
  if said then
    io.stderr:write(said, "\n")
  end
  return leave(not text and 1 or io.stdout:write(text) and io.stdout:flush() and 0 or 1)
end

return M
