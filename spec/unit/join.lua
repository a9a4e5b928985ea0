--- Several things at once, and one end.
local lu = require "luaunit"
local join = require "brood.join"

local T = {}

function T.test_done_comes_once_when_the_last_branch_is_over_with_the_first_error()
  local calls = {}
  local all = join.new(function(err)
    calls[#calls + 1] = tostring(err)
  end)
  local first, second = all:branch(), all:branch()
  all.all_begun()
  second "broke"
  second "twice"
  lu.assertEquals(calls, {})
  first "later"
  lu.assertEquals(calls, { "broke" })
end

function T.test_without_branches_it_is_over_when_all_have_begun()
  local over = false
  local all = join.new(function()
    over = true
  end)
  lu.assertFalse(over)
  all.all_begun()
  lu.assertTrue(over)
end

function T.test_all_of_a_list_are_begun_before_it_can_be_over()
  local told = {}
  join.each({ "a", "b" }, function(item, over)
    told[#told + 1] = item
    over(item == "b" and "b broke" or nil)
  end, function(err)
    told[#told + 1] = err
  end)
  lu.assertEquals(told, { "a", "b", "b broke" })
  join.each({}, lu.fail, function(err)
    told = err
  end)
  lu.assertNil(told)
end

return T
