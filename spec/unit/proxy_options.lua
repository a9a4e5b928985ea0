--- rules/proxy_options: the keys of `proxy`, as the reference has them and as a config is checked with them.
local keys = require "brood.rules.schema_keys"
local kinds = require "brood.rules.kinds"
local lu = require "luaunit"
require "brood.rules.schema" -- of which are the kinds that only a config has

local proxy = keys.fields.proxy

local function complaint(given)
  local first
  kinds.record(proxy.fields, given, "proxy", function(mistake)
    first = first or mistake
  end)
  return first and first.key, first and first.kind
end

return {
  ["without another word a proxy is patient, and bounds how many wait but not what they send"] = function()
    local ok, options = kinds.record(proxy.fields, { listen = 81, routes = { ["/"] = "web" } }, "proxy", lu.fail)
    lu.assertTrue(ok)
    lu.assertEquals({ options.timeout, options.connect_timeout, options.max_waiting, options.max_body },
      { 60, 5, 1000, false })
    lu.assertNil(options.workers)
    lu.assertEquals({ options.listen[1].address, options.routes }, { ":81", { ["/"] = "web" } })
  end,

  ["text stands for durations and sizes, and what can be switched off can"] = function()
    local _, options = kinds.record(proxy.fields, {
      listen = 81, routes = {}, timeout = false, connect_timeout = "1s", max_waiting = false, max_body = "2k",
    }, "proxy", lu.fail)
    lu.assertEquals({ options.timeout, options.connect_timeout, options.max_waiting, options.max_body },
      { false, 1, false, 2048 })
  end,

  ["where it listens and what it routes must be said, and a limit must be one"] = function()
    lu.assertEquals({ complaint { routes = {} } }, { "proxy.listen", "missing" })
    lu.assertEquals({ complaint { listen = 81 } }, { "proxy.routes", "missing" })
    lu.assertEquals({ complaint { listen = {}, routes = {} } }, { "proxy.listen", "type" })
    for name, wrong in pairs {
      workers = 0, timeout = 0, connect_timeout = false, max_waiting = -1, max_body = "much",
      routes = { ["/"] = 65536 },
    } do
      local given = { listen = 81, routes = {} }
      given[name] = wrong
      lu.assertStrContains(complaint(given), "proxy." .. name)
    end
    lu.assertNil(complaint { listen = { 81, "unix:/x" }, routes = { ["/"] = 3000 } })
  end,

  ["they are in one order, by name as well, and each is documented"] = function()
    lu.assertEquals({ proxy.keys[1].name, proxy.keys[2].name }, { "listen", "routes" })
    for _, key in ipairs(proxy.keys) do
      lu.assertIs(proxy.fields[key.name], key)
      lu.assertIsString(key.doc, key.name)
      lu.assertIsString(key.example, key.name)
    end
  end,
}
