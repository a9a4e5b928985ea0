--- What a proxy never does for anybody: routes that are none, backends that no route leads to. Neither is wrong, and
--- each is worth knowing. It reports no mistakes: those are rules.proxy's.
local kinds = require "brood.rules.kinds"

local NOWHERE = "is never asked: %s"

--- Advice on a config, or on what of it is sound.
---@param config table proxy, backends
---@return { key: string, text: string }[]
return function(config)
  local list, led, why = {}, {}, "there is no proxy"
  local routes = type(config.proxy) == "table" and config.proxy.routes
  if type(routes) == "table" then
    why = "no route of the proxy leads there"
    if next(routes) == nil then
      list[1] = { key = "proxy.routes", text = "is empty: every request is answered with 404" }
    end
    for _, target in pairs(routes) do
      led[target] = true
    end
  end
  for _, name in ipairs(kinds.sorted_keys(type(config.backends) == "table" and config.backends or {})) do
    if not led[name] then
      list[#list + 1] = { key = kinds.join("backends", name), text = NOWHERE:format(why) }
    end
  end
  return list
end
