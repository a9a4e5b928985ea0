--- The kinds of one value (brood.rules.kinds_one): what each accepts, what it becomes, and why it is none.
local kinds = require "brood.rules.kinds_one"
local lu = require "luaunit"

local T = {}

local function becomes(kind, given, spec)
  local ok, normal = kinds[kind].one(given, spec or {})
  lu.assertTrue(ok, kind .. " " .. tostring(given))
  return normal
end

local function refuses(kind, values, spec)
  for _, value in ipairs(values) do
    lu.assertFalse((kinds[kind].one(value, spec or {})), kind .. " " .. tostring(value))
  end
end

local function why(kind, given, spec)
  local ok, _, reason = kinds[kind].one(given, spec or {})
  lu.assertFalse(ok)
  return reason
end

T["a number is finite and within its bounds, and a whole one has no fraction and is exact"] = function()
  lu.assertEquals(becomes("number", -1.5), -1.5)
  lu.assertEquals(becomes("number", 1, { min = 1, max = 1 }), 1)
  refuses("number", { 0 / 0, 1 / 0, -1 / 0, "1", true })
  refuses("number", { 0.9, 2.1 }, { min = 1, max = 2 })
  lu.assertEquals(becomes("integer", 2 ^ 53 - 1), 2 ^ 53 - 1)
  refuses("integer", { 1.5, 2 ^ 53, 1 / 0, "1" })
end

T["what it expects says the bounds"] = function()
  local expected = kinds.integer.expected
  lu.assertEquals(expected {}, "a whole number")
  lu.assertEquals(expected { min = 1 }, "a whole number of at least 1")
  lu.assertEquals(expected { max = 9 }, "a whole number of at most 9")
  lu.assertEquals(expected { min = 1, max = 9 }, "a whole number from 1 to 9")
end

T["text that goes to the system is neither empty nor cut at a zero byte"] = function()
  lu.assertEquals(becomes("path", "a b"), "a b")
  lu.assertEquals(becomes("string", ""), "")
  for _, kind in ipairs { "path", "name", "user", "group" } do
    refuses(kind, { "", "a\0b", true, {} })
  end
end

T["a signal is a name in any case, with or without SIG, or a number"] = function()
  for _, name in ipairs { "TERM", "term", "SIGTERM", "sigTerm" } do
    lu.assertEquals(becomes("signal", name), "TERM")
  end
  lu.assertEquals(becomes("signal", 64), 64)
  refuses("signal", { "SIG", "NONE", "", 0, 65, 1.5, false })
end

T["a user or group is a name or an id, and the id that means nobody at all is none"] = function()
  lu.assertEquals(becomes("user", 0), 0)
  lu.assertEquals(becomes("group", 2 ^ 32 - 2), 2 ^ 32 - 2)
  refuses("user", { -1, 2 ^ 32 - 1, 0.5 })
end

T["a port is from 1 to 65535, a descriptor from 0"] = function()
  lu.assertEquals(becomes("port", 65535), 65535)
  refuses("port", { 0, 65536, "80" })
  lu.assertEquals(becomes("fd", 0), 0)
  refuses("fd", { -1, 0.5 })
end

T["an enum takes its values and lists them"] = function()
  local spec = { values = { "a", "b" } }
  lu.assertEquals(becomes("enum", "b", spec), "b")
  refuses("enum", { "c", 1 }, spec)
  lu.assertStrMatches(kinds.enum.expected(spec), '.*"a".*"b".*')
end

T["a mode stays text, and a number is told why it is none"] = function()
  lu.assertEquals(becomes("mode", "0660"), "0660")
  lu.assertNotNil(why("mode", 660))
  lu.assertNil(why("mode", "rw"))
end

T["amounts become numbers; one out of bounds is told which"] = function()
  lu.assertEquals(becomes("duration", "1m"), 60)
  lu.assertEquals(becomes("size", "1k"), 1024)
  lu.assertEquals(why("duration", "2m", { max = 60 }), "it must be at most 1m")
  lu.assertEquals(why("duration", 1, { min = 5 }), "it must be at least 5s")
  lu.assertEquals(why("duration", 0, { min = 5 }), "it must be above 0")
  lu.assertEquals(why("duration", -3, { min = 5, off = true }), "it must be above 0 (false switches it off)")
end

T["an amount that says nothing of a number needs no reason, one that nearly is one does"] = function()
  lu.assertNil(why("duration", "soon"))
  lu.assertNil(why("size", {}))
  lu.assertNotNil(why("duration", "5x"))
end

T["an address comes in normal form, and text that is none is told why"] = function()
  lu.assertEquals(becomes("address", 80), ":80")
  lu.assertEquals(becomes("address", "/x"), "unix:/x")
  lu.assertEquals(why("address", "nowhere"), "the port is missing")
  lu.assertNil(why("address", true))
end

return T
