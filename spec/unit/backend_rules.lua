--- What a backend can be told, what its calls mean in each state, and when a program that does not start is tried
--- again.
local lu = require "luaunit"
local options = require "brood.options"
local backend_options = require "brood.rules.backend_options"
local rules = require "brood.rules.backend_states"
local states = require "brood.rules.states"

local T = {}

local function check(given)
  local checked = options.check(1, given, backend_options.fields, "Backend.new")
  return checked
end

function T.test_the_defaults_are_those_of_the_reference()
  lu.assertEquals(check { command = { "app" } }, {
    command = { "app" }, size = 1, port = false, idle = 900, start_timeout = 30, terminate_timeout = 10,
    quit_timeout = 3, run_once = false,
  })
end

function T.test_durations_may_be_text_or_off()
  local o = check { command = { "app" }, idle = "15m", start_timeout = false, quit_timeout = "250ms", port = true }
  lu.assertEquals({ o.idle, o.start_timeout, o.quit_timeout, o.port }, { 900, false, 0.25, true })
end

function T.test_mistakes_name_the_option()
  for _, case in ipairs {
    { { command = "app" }, "option 'command' must be" }, { {}, "option 'command' is missing" },
    { { command = { "a" }, sise = 2 }, "unknown option 'sise' (did you mean 'size'?)" },
    { { command = { "a" }, size = 0 }, "option 'size' must be a whole number from 1 to 1024, got 0" },
    { { command = { "a" }, port = "x" }, "option 'port' must be true, false or a port" },
    { { command = { "a" }, idle = -1 }, "option 'idle' must be" },
    { { command = { "a" }, stdout = {} }, "option 'stdout' must be a path, a descriptor or a function(line), or fals" },
  } do
    lu.assertErrorMsgContains(case[2], check, case[1])
  end
end

function T.test_what_a_config_takes_is_all_but_the_name()
  lu.assertNil(backend_options.config_fields.name)
  lu.assertEquals(#backend_options.config_order, #backend_options.order - 1)
  for _, key in ipairs(backend_options.keys) do
    lu.assertIsString(key.doc, key.name)
    lu.assertTrue(key.example ~= nil or key.default ~= nil, key.name)
  end
end

function T.test_every_state_has_a_row_for_every_call_and_no_other()
  lu.assertEquals(rules.states, states.states)
  for _, state in ipairs(rules.states) do
    for _, call in ipairs(rules.calls) do
      lu.assertIsString(rules.action(state, call), state .. " x " .. call)
    end
    local n = 0
    for _ in pairs(rules.table[state]) do
      n = n + 1
    end
    lu.assertEquals(n, #rules.calls)
  end
end

function T.test_a_backend_is_what_its_next_request_would_meet()
  for _, case in ipairs {
    { { "ready", "busy" }, "ready" }, { { "busy", "starting" }, "busy" }, { { "starting", "stopping" }, "starting" },
    { { "stopping" }, "stopping" }, { { "stopped" }, "stopped" }, { {}, "stopped" },
  } do
    local set = {}
    for _, state in ipairs(case[1]) do
      set[state] = true
    end
    lu.assertEquals(rules.of(set, false), case[2])
  end
  lu.assertEquals(rules.of({}, true), "faulted")
  lu.assertEquals(rules.of({ starting = true }, true), "starting")
end

function T.test_who_ends_by_itself_before_it_is_ready_fails_those_who_wait_and_the_pauses_grow()
  local failures, pauses = rules.new(), {}
  for i = 1, 8 do
    local what
    what, pauses[i] = rules.failed(failures, i, { was_ready = false, killed = false })
    lu.assertEquals(what, "fail")
  end
  lu.assertEquals(pauses, { 0, 0.5, 1, 2, 4, 8, 10, 10 })
end

function T.test_who_is_killed_or_dies_unused_is_started_again_a_few_times()
  for _, how in ipairs { { was_ready = false, killed = true }, { was_ready = true, killed = false } } do
    local failures = rules.new()
    for i = 1, rules.ATTEMPTS - 1 do
      lu.assertEquals({ rules.failed(failures, i, how) }, { "again", 0 })
    end
    lu.assertEquals({ rules.failed(failures, 3, how) }, { "fail", 1 })
  end
end

function T.test_failures_are_forgotten_after_a_use_or_a_minute()
  local failures = rules.new()
  local how = { was_ready = false, killed = false }
  rules.failed(failures, 1, how)
  rules.forget(failures)
  lu.assertEquals({ rules.failed(failures, 2, how) }, { "fail", 0 })
  lu.assertEquals({ rules.failed(failures, 3, how) }, { "fail", 0.5 })
  lu.assertEquals({ rules.failed(failures, 64, how) }, { "fail", 0 })
end

return T
