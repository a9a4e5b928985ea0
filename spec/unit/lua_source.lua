--- Values as Lua source: what is printed reads back as the same.
local lu = require "luaunit"
local source = require "brood.rules.lua_source"

local T = {}

local function back(text)
  return assert(loadstring("return " .. text))()
end

function T.test_what_is_written_reads_back_as_the_same_value()
  for _, value in ipairs {
    "plain", 'quo"te\\', "line\nbreak\r\0end\t\200", "", 0, 1, -1.5, 1e15, 0.1, 2 ^ 53, true, false, {},
    { 1, 2, { "x" } },
    { a = 1, ["b c"] = 2, ["end"] = 3, [7] = 4, [1.5] = 5 }, { "x", a = { b = { c = false } } },
  } do
    lu.assertEquals(back(source.value(value)), value)
    lu.assertEquals(back(source.value(value, nil, "  ")), value)
  end
end

function T.test_durations_and_sizes_are_written_with_their_units()
  lu.assertEquals(source.value(90, { type = "duration" }), '"90s"')
  lu.assertEquals(source.value(0.25, { type = "duration" }), '"250ms"')
  lu.assertEquals(source.value(0, { type = "duration" }), "0")
  lu.assertEquals(source.value(false, { type = "duration", off = true }), "false")
  lu.assertEquals(source.value(65536, { type = "size" }), '"64k"')
  lu.assertEquals(source.value(1025, { type = "size" }), "1025")
  lu.assertEquals(source.value({ pause = 60 }, { fields = { pause = { type = "duration" } } }), '{ pause = "1m" }')
  lu.assertEquals(source.value({ nofile = { soft = 5, hard = 5 } }, { type = "limits" }), "{ nofile = 5 }")
  lu.assertEquals(source.value({ nofile = { soft = 5, hard = 6 } }, { type = "limits" }),
    "{ nofile = { hard = 6, soft = 5 } }")
end

function T.test_a_function_says_where_it_is()
  local text = source.value(function() end)
  lu.assertStrMatches(text, "function%(%.%.%.%) %-%-%[%[ .*spec/unit/lua_source.lua:%d+ %]%] end")
  lu.assertIsFunction(back(text))
end

function T.test_what_is_long_is_broken_into_lines()
  local long = {}
  for i = 1, 8 do
    long[i] = ("%d"):format(i):rep(20)
  end
  lu.assertStrMatches(source.value(long, nil, "  "), '{\n    "1+",\n.*\n  }')
  lu.assertEquals(back(source.value(long, nil, "  ")), long)
end

return T
