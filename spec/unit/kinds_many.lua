--- The kinds of values with parts (brood.rules.kinds_many): lists, argument lists, maps, environments, limits,
--- records, ranges of ports. What is wrong in them is named by its path, all of it.
local kinds = require "brood.rules.kinds"
local lu = require "luaunit"

local T = {}

local function becomes(spec, given)
  local ok, normal = kinds.check(spec, given, "it", function(mistake)
    lu.fail(mistake.key .. " " .. tostring(mistake.problem))
  end)
  lu.assertTrue(ok)
  return normal
end

-- Each mistake as "path: why it is none", or its kind where nothing more is said.
local function mistakes(spec, given)
  local list = {}
  local ok = kinds.check(spec, given, "it", function(mistake)
    list[#list + 1] = ("%s: %s"):format(mistake.key, mistake.why or mistake.suggestion or mistake.kind)
  end)
  lu.assertFalse(ok)
  return list
end

local numbers = { type = "list", of = { type = "integer" } }
local single = { type = "list", single = true, of = { type = "record", fields = { a = { type = "integer" } } } }

T["a list has elements from 1 on, each checked"] = function()
  lu.assertEquals(becomes(numbers, { 1, 2 }), { 1, 2 })
  lu.assertEquals(becomes(numbers, {}), {})
  lu.assertEquals(mistakes(numbers, { "a", 2, 1.5 }), { "it[1]: type", "it[3]: type" })
  lu.assertEquals(mistakes(numbers, { 1, nil, 3 }), { "it: it has the key 3" })
  lu.assertEquals(mistakes(numbers, { 1, x = 2 }), { 'it: it has the key "x"' })
  lu.assertEquals(mistakes(numbers, 1), { "it: type" })
end

T["a list may have to be longer"] = function()
  local pair = { type = "list", of = numbers.of, min = 2 }
  lu.assertEquals(becomes(pair, { 1, 2 }), { 1, 2 })
  lu.assertEquals(mistakes(pair, { 1 }), { "it: type" })
end

T["where one element may stand alone, a table with names is one, and a mistake in it has no number"] = function()
  lu.assertEquals(becomes(single, { a = 1 }), { { a = 1 } })
  lu.assertEquals(becomes(single, {}), {})
  lu.assertEquals(becomes(single, { { a = 1 }, { a = 2 } }), { { a = 1 }, { a = 2 } })
  lu.assertEquals(mistakes(single, { a = "x" }), { "it.a: type" })
  lu.assertEquals(mistakes(single, { { a = "x" } }), { "it[1].a: type" })
end

T["an argument list begins with a program; numbers become words, and no word has a zero byte"] = function()
  local argv = { type = "argv" }
  lu.assertEquals(becomes(argv, { "sleep", 5, "" }), { "sleep", "5", "" })
  for _, given in ipairs { {}, "sleep 5", { x = 1 } } do
    lu.assertEquals(mistakes(argv, given), { "it: type" })
  end
  lu.assertEquals(mistakes(argv, { "", "a" }), { "it[1]: type" })
  lu.assertEquals(mistakes(argv, { "a", "b\0" }), { "it[2]: type" })
  lu.assertEquals(mistakes(argv, { "a", x = "b" }), { 'it: it has the key "x"' })
end

T["a map has names, and what a name may not be is said"] = function()
  local map = { type = "map", of = { type = "integer" } }
  lu.assertEquals(becomes(map, { a = 1, ["b c"] = 2 }), { a = 1, ["b c"] = 2 })
  lu.assertEquals(mistakes(map, { a = "x", ["b c"] = "y" }), { "it.a: type", 'it["b c"]: type' })
  lu.assertEquals(mistakes(map, { 5 }), { "it: each needs a name, and number 1 has none" })
  lu.assertEquals(mistakes(map, { [""] = 5 }), { 'it: the key "" is no name' })
end

T["an environment takes text, numbers as text, and false to remove; names have no '=' and no zero byte"] = function()
  local env = { type = "env" }
  lu.assertEquals(becomes(env, { A = "x", B = 1, C = false, D = "" }), { A = "x", B = "1", C = false, D = "" })
  lu.assertEquals(mistakes(env, { A = true, B = "\0", C = {} }), { "it.A: type", "it.B: type", "it.C: type" })
  lu.assertEquals(mistakes(env, { ["A=B"] = "x" }), { 'it: the name "A=B" cannot contain \'=\'' })
  lu.assertStrContains(mistakes(env, { ["A\0"] = "x" })[1], "cannot contain a zero byte")
end

T["a limit is a number, a size, unlimited or two of these, the soft one not above the hard"] = function()
  local limits = { type = "limits" }
  lu.assertEquals(becomes(limits, { nofile = 64, as = "1g", core = "unlimited", cpu = { soft = 1, hard = 2 } }), {
    nofile = { soft = 64, hard = 64 }, as = { soft = 2 ^ 30, hard = 2 ^ 30 },
    core = { soft = "unlimited", hard = "unlimited" }, cpu = { soft = 1, hard = 2 },
  })
  local open = { cpu = { soft = 1, hard = "unlimited" } }
  lu.assertEquals(becomes(limits, open), open)
  for _, pair in ipairs { { soft = 2, hard = 1 }, { soft = "unlimited", hard = 1 } } do
    lu.assertEquals(mistakes(limits, { cpu = pair }), { "it.cpu: the soft limit is above the hard one" })
  end
  lu.assertEquals(mistakes(limits, { cpu = { soft = 1 } }), { "it.cpu: type" })
  lu.assertEquals(mistakes(limits, { nofiles = 1 }), { "it.nofiles: nofile" })
end

T["a record names what is unknown, missing and wrong in it, and fills in defaults"] = function()
  local record = { type = "record", fields = {
    name = { type = "string", required = true }, size = { type = "integer", default = 3 },
  } }
  lu.assertEquals(becomes(record, { name = "x" }), { name = "x", size = 3 })
  lu.assertEquals(mistakes(record, { nam = "x", size = "y" }), { "it.nam: name", "it.name: missing", "it.size: type" })
  lu.assertEquals(mistakes(record, 5), { "it: type" })
end

T["a range of ports has two, the lower one first"] = function()
  local ports = { type = "ports" }
  lu.assertEquals(becomes(ports, { 7000, 7000 }), { 7000, 7000 })
  for _, given in ipairs { { 2, 1 }, { 0, 1 }, { 1 }, { 1, 2, 3 }, 1, { 1, 65536 } } do
    lu.assertEquals(mistakes(ports, given), { "it: type" })
  end
end

return T
