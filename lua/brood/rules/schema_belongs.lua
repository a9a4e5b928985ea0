--- Where a key belongs that stands in the wrong table of a config: a key of the proxy at the top level, one of the top
--- level inside `proxy`. Loaded only where a key is unknown; it finds, and reports nothing itself.
local keys = require "brood.rules.schema_keys"
local kinds = require "brood.rules.kinds"

local M = {}

-- What is no key of a config at all, though it is an option of what the app returns.
local of_http = {}
for _, name in ipairs { "max_header", "max_body", "header_timeout", "body_timeout", "write_timeout", "idle_timeout",
  "request_timeout" } do
  of_http[name] = true
end

-- What the top level says and a cluster takes is the proxy's as well, but what makes a cluster of programs.
local function holds_for_proxy(key)
  return key.of_cluster and not key.of_command and key.name ~= "app" and key.name ~= "command" and key.name ~= "preload"
end

local function of_top_level(name, container)
  local key = keys.fields[name]
  if container == "proxy" and key and holds_for_proxy(key) then
    return "that of the top level holds for the proxy as well"
  end
  return key and container ~= "" and "it belongs to the top level" or nil
end

-- An entry has keys of its own kind: one of a cluster would mean something else there.
local function means_something_else(name, container)
  local is_entry = container == "services" or container == "backends" or container == "pools"
  return is_entry and keys.cluster_fields[name] ~= nil
end

local function quoted(list)
  local last = table.remove(list)
  return list[1] and ("'%s' or '%s'"):format(table.concat(list, "', '"), last) or ("'%s'"):format(last)
end

local function of_others(name, container)
  local inside, entries, places = {}, {}, {}
  for _, other in ipairs { "proxy", "control", "rollout" } do
    if other ~= container and keys.fields[other].fields[name] then
      inside[#inside + 1] = other
    end
  end
  if container ~= "limits" and kinds.kinds.limits.knows(name) then
    inside[#inside + 1] = "limits"
  end
  if inside[1] then
    places[1] = "belongs into " .. quoted(inside)
  end
  if container ~= "listen" and name ~= "group" and keys.listen_fields[name] then
    places[#places + 1] = "belongs into a table in 'listen'"
  end
  for _, other in ipairs { "pools", "services", "backends" } do
    if other ~= container and keys.fields[other].fields[name] then
      entries[#entries + 1] = other
    end
  end
  if entries[1] then
    places[#places + 1] = "belongs into an entry of " .. quoted(entries)
  end
  if of_http[name] then
    places[#places + 1] = "is an option of http.server, in the app"
  end
  return places[1] and "it " .. table.concat(places, ", or ")
end

--- Where an unknown key would be known, as a phrase; nil where nowhere.
---@param path string the key, with all that it stands in
---@return string?
function M.find(path)
  local container, name = path:match "^(.-)%.?([%a_][%w_]*)$"
  if not name then
    return nil
  end
  container = container:match "^[%a_]+" or ""
  if means_something_else(name, container) then
    return nil
  end
  return of_top_level(name, container) or of_others(name, container)
end

return M
