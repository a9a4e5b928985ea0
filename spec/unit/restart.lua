--- Backoff and giving up, as a pure policy.
local lu = require "luaunit"
local restart = require "brood.rules.restart"

local T = {}

-- The delays of so many exits without uptime, a second apart.
local function delays(state, n, rand)
  local list = {}
  for i = 1, n do
    list[i] = restart.exited(state, i, 0, rand).delay
  end
  return list
end

function T.test_delays_double_up_to_the_cap()
  local state = restart.new { delay = 1, max_delay = 10, jitter = 0 }
  lu.assertEquals(delays(state, 6), { 1, 2, 4, 8, 10, 10 })
end

function T.test_a_delay_of_0_stays_0()
  lu.assertEquals(delays(restart.new { delay = 0 }, 4, 1), { 0, 0, 0, 0 })
end

function T.test_the_first_exits_can_be_answered_at_once()
  local state = restart.new { delay = 1, immediate = 2, jitter = 0 }
  lu.assertEquals(delays(state, 5), { 0, 0, 1, 2, 4 })
end

function T.test_jitter_spreads_a_delay_both_ways_and_never_beyond_the_cap()
  local policy = { delay = 10, max_delay = 11, jitter = 0.2 }
  lu.assertAlmostEquals(restart.exited(restart.new(policy), 0, 0, 0).delay, 8, 1e-9)
  lu.assertAlmostEquals(restart.exited(restart.new(policy), 0, 0, 0.5).delay, 10, 1e-9)
  lu.assertEquals(restart.exited(restart.new(policy), 0, 0, 1).delay, 11)
end

function T.test_stable_running_resets_the_delay()
  local state = restart.new { delay = 1, jitter = 0, stable_after = 10 }
  delays(state, 5)
  lu.assertEquals(restart.exited(state, 20, 9.9).delay, 30)
  lu.assertEquals(restart.exited(state, 40, 10).delay, 1)
  lu.assertEquals(restart.exited(state, 41, 0).delay, 2)
end

function T.test_so_many_exits_within_so_long_are_faulted()
  local state = restart.new { max_exits = 3, window = 60 }
  lu.assertEquals(restart.exited(state, 0, 0).action, "restart")
  lu.assertEquals(restart.exited(state, 30, 0).action, "restart")
  lu.assertEquals(restart.exited(state, 59, 0), { action = "faulted" })
end

function T.test_exits_far_enough_apart_are_never_faulted()
  local state = restart.new { max_exits = 3, window = 60 }
  for i = 1, 100 do
    lu.assertEquals(restart.exited(state, i * 30, 0).action, "restart")
  end
  lu.assertTrue(#state.exits <= 3)
end

function T.test_stable_running_in_between_does_not_hide_a_crash_loop()
  local state = restart.new { max_exits = 2, window = 60, stable_after = 1 }
  lu.assertEquals(restart.exited(state, 0, 20).action, "restart")
  lu.assertEquals(restart.exited(state, 30, 20).action, "faulted")
end

function T.test_without_max_exits_nothing_is_ever_faulted()
  local state = restart.new { delay = 0.1 }
  for i = 1, 5000 do
    local decision = restart.exited(state, i / 1000, 0, 1)
    lu.assertEquals(decision.action, "restart")
    lu.assertTrue(decision.delay <= 30)
  end
  lu.assertEquals(#state.exits, 0)
end

function T.test_reset_forgets_everything()
  local state = restart.new { delay = 1, jitter = 0, max_exits = 3 }
  delays(state, 3)
  restart.reset(state)
  lu.assertEquals(restart.exited(state, 4, 0), { action = "restart", delay = 1 })
end

function T.test_a_clock_that_goes_backwards_does_not_excuse_a_crash_loop()
  local state = restart.new { max_exits = 3, window = 60 }
  restart.exited(state, 1000000, 0)
  restart.exited(state, 1000001, -999999)
  lu.assertEquals(restart.exited(state, 5, -999999).action, "faulted")
end

function T.test_a_clock_that_goes_backwards_does_not_fault_what_has_long_recovered()
  local state = restart.new { max_exits = 3, window = 60 }
  restart.exited(state, 1000000, 0)
  restart.exited(state, 1000001, 0)
  lu.assertEquals(restart.exited(state, 1000100, 90).action, "restart")
  lu.assertEquals(restart.exited(state, 500, 90).action, "restart")
  lu.assertEquals(restart.exited(state, 600, 90).action, "restart")
end

return T
