--- The state machine of a service.
local lu = require "luaunit"
local states = require "brood.rules.service_states"

local function is_state(name)
  for _, state in ipairs(states.states) do
    if state == name then
      return true
    end
  end
  return false
end

return {
  ["every state has a row for every event, and no row is for an unknown one"] = function()
    for _, state in ipairs(states.states) do
      for event in pairs(states.events) do
        lu.assertNotNil(states.table[state][event], state .. " x " .. event)
      end
    end
    for state, row in pairs(states.table) do
      lu.assertTrue(is_state(state), state)
      for event, entry in pairs(row) do
        lu.assertNotNil(states.events[event], event)
        if type(entry) == "table" then
          lu.assertTrue(is_state(entry[1]), state .. " x " .. event)
          lu.assertEquals({ type(entry[2]), #entry }, { "string", 2 })
        else
          lu.assertTrue(entry == "ignored" or entry == "illegal", state .. " x " .. event)
        end
      end
    end
  end,

  ["what a user may call is never illegal"] = function()
    for _, state in ipairs(states.states) do
      for _, call in ipairs { "start", "stop", "restart", "touch", "change", "due", "idle", "retry" } do
        lu.assertNotEquals(states.table[state][call], "illegal", state .. " x " .. call)
      end
      for _, call in ipairs { "start", "stop", "restart", "touch" } do
        lu.assertIsTable(states.table[state][call], "each such call is answered: " .. state .. " x " .. call)
      end
    end
  end,

  ["each call in each state"] = function()
    for line in ([[
      stopped  start   starting launch | stopped  stop stopped  answer | stopped  restart starting launch
      starting start   starting join   | starting stop stopping end    | starting restart starting anew
      ready    start   ready    answer | ready    stop stopping end    | ready    restart ready    renew
      stopping start   stopping later  | stopping stop stopping join   | stopping restart stopping later
      faulted  start   faulted  try    | faulted  stop stopped  answer | faulted  restart starting launch
      stopped  touch   stopped  refuse | starting touch starting note  | ready    touch   ready    note
      stopping touch   stopping refuse | faulted  touch faulted refuse | stopped  change  starting launch
      starting change  starting anew   | ready    change ready  renew  | stopping change  stopping later
      faulted  change  starting launch | ready    idle stopping end    | faulted  retry   starting launch
    ]]):gmatch "[^|\n]+" do
      local state, event, new, action = line:match "(%a+)%s+(%a+)%s+(%a+)%s+(%a+)"
      if state then
        lu.assertEquals({ states.next(state, event) }, { new, action }, state .. " x " .. event)
      end
    end
  end,

  ["a late word changes nothing, and an impossible one raises with both names"] = function()
    lu.assertEquals({ states.next("stopping", "up") }, { "stopping", "ignored" })
    lu.assertEquals({ states.next("stopped", "idle") }, { "stopped", "ignored" })
    lu.assertErrorMsgContains("a service that is stopped cannot have the event 'up'", states.next, "stopped", "up")
    lu.assertErrorMsgContains("'explode'", states.next, "ready", "explode")
  end,
}
