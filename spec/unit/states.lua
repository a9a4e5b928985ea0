--- The state machine of a process.
local lu = require "luaunit"
local states = require "brood.rules.states"

local T = {}

local function is_state(name)
  for _, state in ipairs(states.states) do
    if state == name then
      return true
    end
  end
  return false
end

local function walk(state, ...)
  local action
  for _, event in ipairs { ... } do
    state, action = states.next(state, event)
  end
  return state, action
end

function T.test_every_state_has_a_row_for_every_event()
  for _, state in ipairs(states.states) do
    for event in pairs(states.events) do
      lu.assertNotNil(states.table[state][event], state .. " x " .. event)
    end
  end
end

function T.test_no_row_is_for_an_unknown_state_or_event()
  for state, row in pairs(states.table) do
    lu.assertTrue(is_state(state), state)
    for event, entry in pairs(row) do
      lu.assertNotNil(states.events[event], event)
      if type(entry) == "table" then
        lu.assertTrue(is_state(entry[1]), state .. " x " .. event)
        lu.assertIsString(entry[2])
        lu.assertEquals(#entry, 2)
      else
        lu.assertTrue(entry == "ignored" or entry == "illegal", state .. " x " .. event)
      end
    end
  end
end

function T.test_a_life_goes_from_stopped_to_stopped()
  lu.assertEquals({ walk("stopped", "start", "spawned", "ready") }, { "ready", "announce" })
  lu.assertEquals({ walk("ready", "work", "rest", "stop") }, { "stopping", "terminate" })
  lu.assertEquals({ walk("stopping", "stop_timeout", "exited", "ended") }, { "stopped", "settle" })
end

function T.test_every_state_leads_back_to_stopped()
  for _, state in ipairs { "starting", "ready", "busy", "stopping" } do
    lu.assertEquals((walk(state, "kill", "exited", "ended")), "stopped")
  end
  lu.assertEquals((walk("faulted", "stop")), "stopped")
end

function T.test_no_process_is_stopped_while_something_of_it_may_be_left()
  for _, state in ipairs { "starting", "ready", "busy" } do
    for event in pairs(states.events) do
      if event ~= "ended" and states.legal(state, event) then
        lu.assertNotEquals((states.next(state, event)), "stopped", state .. " x " .. event)
      end
    end
  end
end

function T.test_what_is_stopped_while_it_is_being_spawned_is_terminated_once_it_exists()
  lu.assertEquals({ walk("starting", "stop", "spawned") }, { "stopping", "terminate" })
end

function T.test_a_start_during_a_stop_comes_later_and_a_second_start_joins()
  lu.assertEquals({ states.next("stopping", "start") }, { "stopping", "later" })
  lu.assertEquals({ states.next("starting", "start") }, { "starting", "join" })
  lu.assertEquals({ states.next("ready", "start") }, { "ready", "answer" })
end

function T.test_only_what_has_ended_can_be_faulted()
  for _, state in ipairs(states.states) do
    lu.assertEquals(states.legal(state, "fault"), state == "stopped" or state == "faulted", state)
  end
end

function T.test_a_late_word_changes_nothing()
  lu.assertEquals({ states.next("stopping", "ready") }, { "stopping", "ignored" })
  lu.assertEquals({ states.next("stopped", "ready") }, { "stopped", "ignored" })
  lu.assertEquals({ states.next("ready", "stop_timeout") }, { "ready", "ignored" })
end

function T.test_an_illegal_or_unknown_event_raises_and_names_both()
  lu.assertErrorMsgContains("a process that is stopped cannot have the event 'exited'",
    states.next, "stopped", "exited")
  lu.assertErrorMsgContains("'explode'", states.next, "ready", "explode")
  lu.assertFalse(states.legal("stopped", "exited"))
end

return T
