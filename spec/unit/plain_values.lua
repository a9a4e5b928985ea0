--- The smallest rules: how values read in a message, how they are compared, and how tables are made of others.
local count = require "brood.rules.count"
local lu = require "luaunit"
local merged = require "brood.rules.merged"
local same = require "brood.rules.same"
local show = require "brood.rules.show"
local without = require "brood.rules.without"

return {
  ["one is singular, and so is nothing else"] = function()
    lu.assertEquals({ count(1, "worker"), count(0, "worker"), count(2, "worker") },
      { "1 worker", "0 workers", "2 workers" })
  end,

  ["text is shown on one line, quoted, and cut where it is long"] = function()
    lu.assertEquals(show 'a "b"\\\n\0', '"a \\"b\\"\\\\\\010\\000"')
    lu.assertEquals(show(("x"):rep(60)), '"' .. ("x"):rep(60) .. '"')
    lu.assertEquals(show(("x"):rep(61)), '"' .. ("x"):rep(57) .. '..."')
  end,

  ["other values are shown as what they are, and no address of theirs"] = function()
    lu.assertEquals({ show(1.5), show(1e15), show(false), show(nil) }, { "1.5", "1e+15", "false", "nil" })
    lu.assertEquals({ show {}, show { 1 }, show(print), show(io.stdout) },
      { "an empty table", "a table", "a function", "a userdata" })
  end,

  ["tables are joined in a third one, in which the second has the last word"] = function()
    local first, second = { a = 1, b = 2 }, { b = false, c = {} }
    local both = merged(first, second)
    lu.assertEquals(both, { a = 1, b = false, c = {} })
    lu.assertIs(both.c, second.c)
    lu.assertEquals({ first, second }, { { a = 1, b = 2 }, { b = false, c = {} } })
    lu.assertEquals(merged(first), first)
    lu.assertNotIs(merged(first), first)
  end,

  ["a list goes on without one of its items, in its order, and stays as it was"] = function()
    local list, item = { "a", {}, "b", "a" }, {}
    lu.assertEquals(without(list, "a"), { list[2], "b" })
    lu.assertEquals(without(list, item), list)
    lu.assertEquals(#list, 4)
    lu.assertEquals(without({}, 1), {})
  end,

  ["tables are the same where all in them is, on both sides and however deep"] = function()
    lu.assertTrue(same({ a = { 1, { b = false } } }, { a = { 1, { b = false } } }))
    lu.assertTrue(same(nil, nil))
    for _, pair in ipairs {
      { {}, { 1 } }, { { 1 }, {} }, { { a = false }, {} }, { { a = { 1 } }, { a = { 2 } } }, { {}, false }, { 1, "1" },
    } do
      lu.assertFalse(same(pair[1], pair[2]))
      lu.assertFalse(same(pair[2], pair[1]))
    end
  end,

  ["what are not both tables may be the same in another way, which is asked for what is not equal alone"] = function()
    local asked = {}
    local function equal(a, b)
      asked[#asked + 1] = { a, b }
      return tostring(a) == tostring(b)
    end
    lu.assertTrue(same({ 1, { "2" }, "3" }, { "1", { "2" }, "3" }, equal))
    lu.assertEquals(asked, { { 1, "1" } })
    lu.assertFalse(same({ 1 }, { 2 }, equal))
  end,
}
