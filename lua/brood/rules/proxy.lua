--- The proxy of a config as a whole: whether its routes are routes and lead to somebody, and what they are in the end.
--- Loaded only where a config has a proxy. What one route means is rules.routes'.
local address = require "brood.rules.address"
local kinds = require "brood.rules.kinds"
local nearest = require "brood.rules.nearest"
local routes = require "brood.rules.routes"

local M = {}

--- The name of the cluster that a proxy is.
M.NAME = "proxy"

local KINDS = { { "services", "service" }, { "backends", "backend" }, { "clusters", "cluster" } }

local function as_table(value)
  return type(value) == "table" and value or {}
end

--- Who can be the target of a route, and what each is.
---@param config table as it was given, or effective
---@return table<string, string>
function M.names(config)
  local known = {}
  if config.app ~= nil or config.command ~= nil then
    known.web = "cluster"
  end
  for _, kind in ipairs(KINDS) do
    for name, one in pairs(as_table(config[kind[1]])) do
      if type(name) == "string" then
        known[name] = kind[2]
      elseif type(one) == "table" and type(one.name) == "string" then
        known[one.name] = kind[2] -- of the effective clusters, which are a list
      end
    end
  end
  known[M.NAME] = nil -- nobody is led to the proxy again
  return known
end

--- The names that routes lead to: whoever has no port by default needs one then.
---@param config table as it was given
---@return table<string, true>
function M.wanted(config)
  local wanted = {}
  for _, target in pairs(as_table(as_table(config.proxy).routes)) do
    if type(target) == "string" then
      wanted[target] = true
    end
  end
  return wanted
end

local function listed(known)
  local names = kinds.sorted_keys(known)
  return names[1] and "the names are " .. table.concat(names, ", ") or "the config names nobody"
end

local function check_target(config, value, known, where, report)
  local target, why = routes.target(value, known)
  local function complain(fmt, ...)
    report { key = where, kind = "conflict", problem = fmt:format(...) }
  end
  if value == M.NAME then
    return complain "leads to the proxy itself"
  elseif why == "unknown" then
    local near = nearest.find(value, kinds.sorted_keys(known))
    return complain("leads to '%s', and there is no service, backend or cluster of that name%s", value,
      near and nearest.hint(near) or as_table(config.pools)[value] ~= nil and ": a pool answers no requests"
        or ": " .. listed(known))
  elseif not target then
    return complain("leads to '%s', which is no address: %s", tostring(value), why)
  elseif target.kind == "service" then
    local service = as_table(as_table(config.services)[target.name])
    if service.port == false then
      complain("leads to 'services.%s', which has no port", target.name)
    end
  end
end

--- Report what is wrong with the routes of a config beyond the kinds of their values.
---@param config table as it was given
---@param report brood.Report
function M.check(config, report)
  local proxy = config.proxy
  if type(proxy) ~= "table" or type(proxy.routes) ~= "table" then
    return
  end
  local known, first = M.names(config), {}
  for _, text in ipairs(kinds.sorted_keys(proxy.routes)) do
    local value, where = proxy.routes[text], kinds.join("proxy.routes", text)
    if type(text) == "string" and text ~= "" then -- (of others their kind has told)
      local route, why = routes.parse(text)
      if not route then
        report { key = where, kind = "conflict", problem = "is no route: " .. why }
      elseif first[route.text] then
        report { key = where, kind = "conflict", problem = ("is the same route as '%s'"):format(first[route.text]) }
      else
        first[route.text] = where
      end
      if type(value) == "string" and value ~= "" or type(value) == "number" then
        check_target(config, value, known, where, report)
      end
    end
  end
end

local LOOPBACK = { localhost = true, ["127.0.0.1"] = true, ["::1"] = true }

local function is_own(listen, target)
  local own, other = address.parse(listen), address.parse(target)
  if not own or not other or own.kind ~= other.kind then
    return false
  elseif own.kind == "unix" then
    return own.path == other.path
  end
  local host = own.host or "0.0.0.0"
  local any = host == "0.0.0.0" or host:find "^[0:]+$" ~= nil
  return own.port == other.port and (host == other.host or (any or LOOPBACK[host]) and LOOPBACK[other.host] or false)
end

--- What is wrong once addresses are known: a proxy that would ask itself, for ever.
---@param effective brood.Config
---@param report brood.Report
function M.check_places(effective, report)
  local proxy = effective.proxy
  for _, text in ipairs(kinds.sorted_keys(proxy.routes or {})) do
    local target = routes.target(proxy.routes[text], {})
    for _, entry in ipairs(target and proxy.listen or {}) do
      if is_own(entry.address, target.address) then
        report {
          key = kinds.join("proxy.routes", text), kind = "conflict",
          problem = ("leads to the proxy itself, which listens at %s"):format(entry.address),
        }
      end
    end
  end
end

--- The routes of a sound config, each with its target.
---@param effective brood.Config
---@return brood.Route[]
function M.resolve(effective)
  local known, list = M.names(effective), {}
  for i, text in ipairs(kinds.sorted_keys(effective.proxy.routes)) do
    local route = routes.parse(text)
    route.target = routes.target(effective.proxy.routes[text], known)
    list[i] = route
  end
  return list
end

return M
