--- What comes after what.
local after = require "brood.rules.after"
local lu = require "luaunit"

local function mistake(graph)
  local order, wrong = after.order(graph)
  lu.assertNil(order)
  local known = {}
  for name in pairs(graph) do
    table.insert(known, name)
  end
  table.sort(known)
  return after.sentence(wrong, known), wrong
end

return {
  ["each comes behind those that it names, else by name"] = function()
    lu.assertEquals(after.order {}, {})
    lu.assertEquals(after.order { b = {}, a = {}, c = {} }, { "a", "b", "c" })
    lu.assertEquals(after.order { api = { "db", "cache" }, cache = { "db" }, db = {}, zoo = { "api" } },
      { "db", "cache", "api", "zoo" })
  end,

  ["a circle is told by its names, from where it closes"] = function()
    local text, wrong = mistake { a = { "b" }, b = { "c" }, c = { "d" }, d = { "b" } }
    lu.assertEquals(text, "services come after each other in a circle: b after c after d after b")
    lu.assertEquals(wrong.kind, "circle")
    lu.assertEquals(mistake { a = { "a" } }, "service 'a' cannot come after itself")
  end,

  ["an unknown name is told with those that there are"] = function()
    lu.assertEquals(mistake { api = { "bd" }, db = {} },
      "service 'api' is to come after 'bd', which is no service; the others are: db")
    lu.assertEquals(mistake { api = { "bd" } },
      "service 'api' is to come after 'bd', which is no service; there are no others")
  end,

  ["a long chain is no matter of the stack"] = function()
    local graph = { n1 = {} }
    for i = 2, 5000 do
      graph["n" .. i] = { "n" .. (i - 1) }
    end
    lu.assertEquals(#after.order(graph), 5000)
  end,
}
