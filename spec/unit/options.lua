--- Option tables: what they accept, and what they say to somebody who made a mistake.
local lu = require "luaunit"
local nearest = require "brood.rules.nearest"
local options = require "brood.options"

local T = {}

-- What check says about one option, without its position.
local function complaint(spec, value)
  local ok, err = pcall(function()
    options.check(2, { x = value }, { x = spec })
  end)
  return not ok and err:gsub("^[^:]*:%d+: ", "") or nil
end

local function normal(spec, value)
  return options.check(2, { x = value }, { x = spec }).x
end

local function line_here()
  return debug.getinfo(2, "l").currentline
end

local function new(given)
  local checked = options.check(2, given, { workers = { type = "integer" } }, "Thing.new")
  return checked
end

function T.test_a_mistake_raises_at_the_line_of_the_caller()
  local line = line_here() + 2
  local ok, err = pcall(function()
    new { worker = 1 }
  end)
  lu.assertFalse(ok)
  lu.assertStrContains(err, "options.lua:" .. line .. ": ")
  lu.assertStrContains(err, "Thing.new: unknown option 'worker' (did you mean 'workers'?)")
end

function T.test_an_unknown_option_far_from_every_name_has_no_suggestion()
  local _, err = pcall(new, { colour = 1 })
  lu.assertStrContains(err, "unknown option 'colour'")
  lu.assertNotStrContains(err, "did you mean")
end

function T.test_options_that_are_no_table_are_refused_and_nil_is_none()
  lu.assertErrorMsgContains('Thing.new: the options must be a table, got "x"', new, "x")
  lu.assertEquals(new(nil), {})
end

function T.test_defaults_are_filled_in_and_tables_among_them_are_copied()
  local spec = { a = { type = "duration", default = 5 }, b = { type = "list", of = { type = "string" }, default = {} } }
  local one, two = options.check(2, {}, spec), options.check(2, nil, spec)
  lu.assertEquals(one, { a = 5, b = {} })
  lu.assertFalse(rawequal(one.b, two.b))
end

function T.test_what_was_given_stays_as_it_was()
  local given = { x = "5s" }
  lu.assertEquals(options.check(2, given, { x = { type = "duration" } }), { x = 5 })
  lu.assertEquals(given, { x = "5s" })
end

function T.test_false_is_off_only_where_that_is_allowed()
  lu.assertEquals(normal({ type = "duration", off = true }, false), false)
  lu.assertStrContains(complaint({ type = "duration" }, false), "got false")
  lu.assertStrContains(complaint({ type = "duration", off = true }, "x"), ", or false, got")
end

function T.test_a_wrong_duration_is_explained()
  lu.assertEquals(complaint({ type = "duration" }, "abc"),
    [[option 'x' must be a duration (a number of seconds or a string like "5s"), got "abc"]])
end

function T.test_a_wrong_mode_is_explained()
  lu.assertEquals(normal({ type = "mode" }, "0666"), "0666")
  lu.assertStrContains(complaint({ type = "mode" }, 666), "a number does not say whether it is octal")
  lu.assertStrContains(complaint({ type = "mode" }, "999"), "octal digits")
end

function T.test_a_required_option_is_missed_by_name()
  lu.assertErrorMsgContains("option 'command' is missing: it must be a list of a program and its arguments",
    options.check, 2, {}, { command = { type = "argv", required = true } })
end

function T.test_an_option_that_comes_later_is_refused_by_name()
  local spec = { later = { type = "string", available = false, default = "x" } }
  lu.assertErrorMsgContains("option 'later' is not available yet", options.check, 2, { later = "y" }, spec)
  lu.assertEquals(options.check(2, {}, spec), {})
end

function T.test_an_argument_list_is_strings_and_numbers_become_text()
  lu.assertEquals(normal({ type = "argv" }, { "sleep", 5, "" }), { "sleep", "5", "" })
  for _, wrong in ipairs { {}, "sleep", { "" }, { "a", true }, { "a\0b" }, { "a", x = 1 }, { "a", nil, "c" } } do
    lu.assertIsString(complaint({ type = "argv" }, wrong))
  end
end

function T.test_an_environment_has_strings_numbers_and_false()
  lu.assertEquals(normal({ type = "env" }, { A = "1", B = 2, C = false }), { A = "1", B = "2", C = false })
  lu.assertStrContains(complaint({ type = "env" }, { A = true }), "option 'x.A' must be a string, or false, got true")
  lu.assertStrContains(complaint({ type = "env" }, { ["A=B"] = "x" }), [[the name "A=B" cannot contain '=']])
  lu.assertStrContains(complaint({ type = "env" }, { "A=1" }), "each needs a name, and number 1 has none")
end

function T.test_a_signal_is_a_name_with_or_without_sig_or_a_number()
  lu.assertEquals(normal({ type = "signal" }, "SIGTERM"), "TERM")
  lu.assertEquals(normal({ type = "signal" }, "usr1"), "USR1")
  lu.assertEquals(normal({ type = "signal" }, 9), 9)
  for _, wrong in ipairs { "TERMINATE", "", 0, 65, 1.5, true } do
    lu.assertStrContains(complaint({ type = "signal" }, wrong), "must be a signal")
  end
end

function T.test_numbers_keep_their_bounds()
  lu.assertEquals(complaint({ type = "integer", min = 1 }, 0), "option 'x' must be a whole number of at least 1, got 0")
  lu.assertEquals(complaint({ type = "integer", min = 1, max = 3 }, 1.5),
    "option 'x' must be a whole number from 1 to 3, got 1.5")
  lu.assertIsString(complaint({ type = "number" }, 0 / 0))
  lu.assertIsString(complaint({ type = "number" }, 1 / 0))
  lu.assertIsString(complaint({ type = "integer" }, 0 / 0))
end

function T.test_a_list_names_the_element_that_is_wrong()
  local spec = { type = "list", of = { type = "duration" }, single = true }
  lu.assertEquals(normal(spec, "5s"), { 5 })
  lu.assertEquals(normal(spec, { "5s", 1 }), { 5, 1 })
  lu.assertStrContains(complaint(spec, { 1, "x" }), "option 'x[2]' must be a duration")
end

function T.test_limits_are_soft_and_hard()
  local spec = { type = "limits" }
  lu.assertEquals(normal(spec, { nofile = 100, core = "unlimited", data = { soft = "1k", hard = "unlimited" } }), {
    nofile = { soft = 100, hard = 100 }, core = { soft = "unlimited", hard = "unlimited" },
    data = { soft = 1024, hard = "unlimited" },
  })
  lu.assertStrContains(complaint(spec, { nofiles = 1 }), "unknown option 'x.nofiles' (did you mean 'nofile'?)")
  lu.assertStrContains(complaint(spec, { nofile = { soft = 2, hard = 1 } }), "the soft limit is above the hard one")
end

function T.test_alternatives_are_all_named_unless_the_shape_fits_one()
  local spec = { any_of = { { type = "path" }, { type = "record", fields = { port = { type = "port" } } } } }
  lu.assertEquals(complaint(spec, 5), "option 'x' must be a path or a table of port, got 5")
  lu.assertEquals(complaint(spec, { port = 0 }), "option 'x.port' must be a port (1 to 65535), got 0")
end

function T.test_checking_twice_is_checking_once()
  local spec = {
    a = { type = "duration" }, b = { type = "size" }, c = { type = "mode" }, d = { type = "signal" },
    e = { type = "env" }, f = { type = "limits" }, g = { type = "argv" }, h = { type = "address" },
  }
  local once = options.check(2, {
    a = "5s", b = "1k", c = "022", d = "SIGINT", e = { A = 1 }, f = { nofile = 5 }, g = { "a", 1 }, h = 80,
  }, spec)
  lu.assertEquals(options.check(2, once, spec), once)
end

function T.test_a_duration_argument_raises_at_the_caller_of_its_function()
  local function sleep(seconds)
    seconds = options.duration("brood.sleep", seconds, 3)
    return seconds
  end
  lu.assertEquals(sleep "2m", 120)
  local line = line_here() + 2
  local _, err = pcall(function()
    sleep "abc"
  end)
  lu.assertStrContains(err, ":" .. line .. ": brood.sleep: the time must be a duration")
end

function T.test_values_in_messages_are_short_and_on_one_line()
  local text = complaint({ type = "integer" }, ("x"):rep(1000) .. "\n")
  lu.assertTrue(#text < 150)
  lu.assertStrContains(complaint({ type = "integer" }, 'a\n"\\'), [["a\010\"\\"]])
end

function T.test_the_nearest_name_forgives_case_dashes_and_swapped_letters()
  local names = { "start_timeout", "workers", "listen" }
  lu.assertEquals(nearest.find("startTimeout", names), "start_timeout")
  lu.assertEquals(nearest.find("start-timeout", names), "start_timeout")
  lu.assertEquals(nearest.find("lsiten", names), "listen")
  lu.assertEquals(nearest.find("prio", { "priority", "retries", "id" }), "priority")
  lu.assertEquals(nearest.find("star", names), "start_timeout")
  lu.assertNil(nearest.find("x", names))
  lu.assertNil(nearest.find(1, names))
  lu.assertEquals(nearest.distance("kitten", "sitting"), 3)
  lu.assertEquals(nearest.distance("", "abc"), 3)
end

return T
