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

return T
