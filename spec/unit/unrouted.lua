--- rules/unrouted: the advice on a proxy that leads nowhere, and on backends to which nothing leads.
local lu = require "luaunit"
local unrouted = require "brood.rules.unrouted"

local function backends(...)
  local config = {}
  for _, name in ipairs { ... } do
    config[name] = { command = { "x" } }
  end
  return config
end

return {
  ["a backend without a proxy is never asked, and each is named in turn"] = function()
    lu.assertEquals(unrouted { backends = backends("b", "a") }, {
      { key = "backends.a", text = "is never asked: there is no proxy" },
      { key = "backends.b", text = "is never asked: there is no proxy" },
    })
  end,

  ["a backend that no route leads to is told of, and one that a route leads to is not"] = function()
    lu.assertEquals(unrouted { backends = backends("a", "b"), proxy = { routes = { ["/"] = "a", ["/x"] = 3000 } } }, {
      { key = "backends.b", text = "is never asked: no route of the proxy leads there" },
    })
  end,

  ["a proxy without a route is told of before the backends are"] = function()
    local list = unrouted { backends = backends "a", proxy = { routes = {} } }
    lu.assertEquals({ list[1].key, list[2].key, #list }, { "proxy.routes", "backends.a", 2 })
    lu.assertStrContains(list[1].text, "404")
  end,

  ["what is wrong by its kind is nobody's advice, and a sound config has none"] = function()
    lu.assertEquals(unrouted { backends = "x", proxy = { routes = "y" } }, {})
    lu.assertEquals(unrouted { proxy = 1 }, {})
    lu.assertEquals(unrouted { backends = backends "a", proxy = { routes = { ["/"] = "a" } } }, {})
  end,
}
