--- Durations, sizes and modes.
local d = require "brood.rules.duration"
local lu = require "luaunit"

local T = {}

local function accepts(parse, cases)
  for _, case in ipairs(cases) do
    lu.assertEquals({ parse(case[1]) }, { case[2] }, tostring(case[1]))
  end
end

local function refuses(parse, values)
  for _, value in ipairs(values) do
    local n, why = parse(value)
    lu.assertNil(n, tostring(value))
    lu.assertIsString(why)
  end
end

function T.test_a_duration_of_5m_is_300_seconds()
  accepts(d.parse_duration, { { "5m", 300 } })
end

function T.test_durations_have_four_units_and_may_have_fractions()
  accepts(d.parse_duration, {
    { "250ms", 0.25 }, { "5s", 5 }, { "2m", 120 }, { "1h", 3600 }, { "1.5s", 1.5 }, { ".5h", 1800 }, { "0s", 0 },
    { "100ms", 0.1 },
  })
end

function T.test_a_number_is_seconds()
  accepts(d.parse_duration, { { 0, 0 }, { 0.25, 0.25 }, { 60, 60 } })
end

function T.test_what_is_no_duration_is_refused_with_a_reason()
  refuses(d.parse_duration, {
    "", "abc", "5", "5 s", "s", "-5s", "5S", "5d", "1.2.3s", "0x5s", "1e3s", "5s ", -1, 0 / 0, 1 / 0, true, {},
  })
  lu.assertNil((d.parse_duration(nil)))
  lu.assertNil((d.parse_duration(false)))
end

function T.test_a_size_of_64k_is_65536_bytes()
  accepts(d.parse_size, {
    { "64k", 65536 }, { "10m", 10485760 }, { "1g", 1073741824 }, { "1.5K", 1536 }, { 0, 0 }, { 100, 100 },
  })
end

function T.test_what_is_no_size_is_refused()
  refuses(d.parse_size, { "", "k", "10", "10kb", "10t", "-1k", -1, 1.5, 1 / 0, 0 / 0, true, {} })
end

function T.test_a_mode_is_octal_digits()
  accepts(d.parse_mode, { { "0666", 438 }, { "666", 438 }, { "022", 18 }, { "0", 0 } })
  accepts(d.parse_mode, { { "1777", 1023 }, { "01777", 1023 } })
  refuses(d.parse_mode, { "", "0888", "rw-r--r--", "77777", "0o22", " 22", true, {} })
end

function T.test_a_number_as_a_mode_is_an_error_that_says_so()
  local mode, why = d.parse_mode(666)
  lu.assertNil(mode)
  lu.assertStrContains(why, "a number does not say whether it is octal")
  lu.assertStrContains(why, '"0666"')
end

function T.test_what_is_printed_reads_back_as_the_same()
  for _, seconds in ipairs { 0, 0.001, 0.1, 0.25, 0.0005, 1, 1.5, 59, 60, 90, 3600, 5400, 86400, 1 / 3, 123456.789 } do
    local text = d.format_duration(seconds)
    lu.assertAlmostEquals(d.parse_duration(text), seconds, 1e-12, text)
  end
  for _, bytes in ipairs { 0, 1, 1023, 1024, 65536, 10485760, 1073741824, 1073741825 } do
    local text = d.format_size(bytes)
    lu.assertEquals(d.parse_size(tonumber(text) or text), bytes, text)
  end
end

function T.test_printed_amounts_are_short_and_false_is_off()
  lu.assertEquals(d.format_duration(300), "5m")
  lu.assertEquals(d.format_duration(0.25), "250ms")
  lu.assertEquals(d.format_duration(5400), "90m")
  lu.assertEquals(d.format_duration(0), "0s")
  lu.assertEquals(d.format_duration(false), "off")
  lu.assertEquals(d.format_size(10485760), "10m")
  lu.assertEquals(d.format_size(false), "off")
end

return T
