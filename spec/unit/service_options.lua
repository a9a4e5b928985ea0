--- What a service can be told, for a script and in a config.
local kinds = require "brood.rules.kinds"
local lu = require "luaunit"
local service_options = require "brood.rules.service_options"

local function mistakes(fields, given)
  local list = {}
  local _, checked = kinds.record(fields, given, "", function(mistake)
    table.insert(list, kinds.sentence(mistake, "%s", "'%s'"))
  end)
  return list, checked
end

return {
  ["every option has a kind, documentation and an example that is accepted"] = function()
    for _, keys in ipairs { service_options.keys, service_options.config_keys } do
      for _, key in ipairs(keys) do
        lu.assertTrue(key.type ~= nil or key.any_of ~= nil, key.name)
        lu.assertTrue(#key.doc > 10, key.name)
        local value = assert(loadstring("return " .. key.example))()
        lu.assertEquals(mistakes({ [key.name] = key }, { [key.name] = value }), {}, key.name)
        if key.default ~= nil then
          lu.assertEquals(mistakes({ [key.name] = key }, { [key.name] = key.default }), {}, key.name)
        end
      end
    end
  end,

  ["the defaults of start are the contract's"] = function()
    local _, o = mistakes(service_options.fields, { command = { "x" } })
    lu.assertEquals({ o.port, o.timeout, o.attempts, o.stop_timeout, o.stop_signal, o.tandem, o.idle },
      { true, 5, 3, 30, "TERM", false, 1800 })
    lu.assertEquals({ o.restart, o.restart_tolerance, o.fault_timeout, o.max_memory, o.monitor, o.health, o.after },
      { "always", 60, 60 })
  end,

  ["in a config a service is supervised, unless it says autostart = false"] = function()
    local function config(given, routed)
      given.command = { "x" }
      local list, o = mistakes(service_options.config_fields, given)
      lu.assertEquals(list, {})
      service_options.complete_config(o, routed or false)
      return { o.port, o.timeout, o.idle, o.autostart, o.essential }
    end
    lu.assertEquals(config {}, { false, 30, false, true, false })
    lu.assertEquals(config({}, true), { true, 30, false, true, false })
    lu.assertEquals(config { autostart = false }, { true, 30, 1800, false, false })
    lu.assertEquals(config { autostart = false, idle = false, port = 7 }, { 7, 30, false, false, false })
    lu.assertEquals(mistakes(service_options.config_fields, { name = "x" }), { "unknown name" })
  end,

  ["a config's defaults leave those of start as they are"] = function()
    lu.assertEquals({ service_options.fields.timeout.default, service_options.fields.port.default }, { 5, true })
  end,

  ["what contradicts itself is told"] = function()
    local function conflict(given)
      local _, o = mistakes(service_options.fields, given)
      return (service_options.conflict(o))
    end
    lu.assertNil(conflict { command = { "x" } })
    lu.assertNil(conflict { command = { "x" }, tandem = true, port = "socket" })
    lu.assertNil(conflict { command = { "x" }, tandem = true, port = false })
    lu.assertNil(conflict { command = { "x" }, port = false, ready = { http = "http://127.0.0.1:9/x" } })
    lu.assertStrContains(conflict { command = { "x" }, port = false, ready = { http = "/x" } }, "names no port")
    lu.assertStrContains(conflict { command = { "x" }, port = 8, tandem = true }, "tandem")
    lu.assertStrContains(conflict { main = print }, "'name'")
    lu.assertStrContains(conflict {}, "'command'")
  end,

  ["a service without a name is called after its script or its words"] = function()
    lu.assertEquals(service_options.name { command = { "node", "api.js" } }, "node api.js")
    lu.assertEquals(service_options.name { script = "api.lua" }, "api.lua")
    lu.assertEquals(service_options.name { script = "api.lua", name = "api" }, "api")
  end,
}
