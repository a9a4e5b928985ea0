--- The names of a config's pools as they are handed to a script that does not share its master's memory.
local lu = require "luaunit"

local T = {}

-- Each process has one list of names: here each test has.
local function fresh()
  package.loaded["brood.pool.named"] = nil
  return require "brood.pool.named"
end

function T.teardown()
  package.loaded["brood.pool.named"] = nil
end

function T.test_what_is_exported_is_known_where_it_is_adopted()
  local master = fresh()
  lu.assertTrue(master.prepare())
  lu.assertNil(master.export())
  master.add { name = "b", tag = "t2" }
  master.add { name = "a.x-1", tag = "t1" }
  lu.assertEquals({ master.next_seq(), master.next_seq() }, { 1, 2 })
  local one, two = master.export(), master.export()
  lu.assertTrue(master.next_seq() > 2 ^ 32)
  local script = fresh()
  lu.assertTrue(script.adopt(one))
  lu.assertEquals(script.names(), { "a.x-1", "b" })
  lu.assertEquals({ script.find("b").tag, script.find("a.x-1").tag }, { "t2", "t1" })
  lu.assertEquals({ script.find("b").next_seq(), script.find("a.x-1").next_seq() }, { 3, 4 })
  local other = fresh()
  lu.assertTrue(other.adopt(two))
  lu.assertEquals(other.find("b").next_seq(), 3 + 2 ^ 31)
end

function T.test_a_range_that_is_used_up_raises_and_never_repeats()
  local script = fresh()
  lu.assertTrue(script.adopt "7-8 work=abc")
  local seq = script.find("work").next_seq
  lu.assertEquals({ seq(), seq() }, { 7, 8 })
  lu.assertErrorMsgContains("as many jobs as it can", seq)
end

function T.test_what_makes_no_sense_is_not_adopted()
  local script = fresh()
  for _, text in ipairs { "", "x", "1-2", "1 work=a", "-1-2 a=b" } do
    lu.assertFalse(script.adopt(text))
  end
  lu.assertEquals(script.names(), {})
end

function T.test_one_that_is_leaving_is_not_found_by_name()
  local master = fresh()
  local pool = { name = "old", tag = "t" }
  master.add(pool)
  master.hide("old", true)
  lu.assertNil(master.find "old")
  lu.assertEquals(master.names(), {})
  lu.assertEquals(master.own "old", pool)
  master.hide("old", false)
  lu.assertEquals(master.names(), { "old" })
  master.remove("old", { name = "old" })
  lu.assertEquals(master.own "old", pool)
  master.remove("old", pool)
  lu.assertNil(master.own "old")
end

return T
