--- Lines of JSON: what becomes of values on the way out, and of pieces of text on the way in.
local lu = require "luaunit"
local brood = require "brood"
local lines = require "brood.json_line"

local function encoded(value)
  local text, err = lines.encode(value, "data")
  return text or tostring(err)
end

-- The lines of these pieces, and what is left of the last one.
local function cut(...)
  local all, list = lines.lines(), {}
  for _, piece in ipairs { ... } do
    assert(all:feed(piece, function(line) table.insert(list, line) end))
  end
  return list, all:last()
end

return {
  ["plain values are JSON, with all the digits of their numbers"] = function()
    lu.assertEquals(encoded(nil), "null")
    lu.assertEquals(encoded(true), "true")
    lu.assertEquals(encoded(0.1), "0.1")
    lu.assertEquals(encoded(9007199254740993LL), "9007199254740993")
    lu.assertEquals(encoded { 1, { a = "\226\130\172" }, brood.json.null }, '[1,{"a":"\226\130\172"},null]')
    lu.assertEquals(encoded {}, "{}")
  end,

  ["a table with a hole, or with other keys than names, is an object; its numbers are names"] = function()
    lu.assertEquals(encoded { [2] = "b" }, '{"2":"b"}')
    lu.assertStrContains(encoded { [true] = 1 }, "data has a boolean as a key")
    lu.assertStrContains(encoded { [1] = "a", ["1"] = "b", x = 1 }, 'data has both 1 and "1" as keys')
  end,

  ["what JSON cannot carry is refused with its path"] = function()
    lu.assertStrContains(encoded { list = { 1, { ["a b"] = 0 / 0 } } }, 'data.list[2]["a b"] is NaN')
    lu.assertStrContains(encoded { x = -math.huge }, "data.x is minus infinite")
    lu.assertStrContains(encoded { f = print }, "data.f is a function")
    lu.assertStrContains(encoded { s = "a\255" }, "data.s is no UTF-8 text (its byte 2)")
    lu.assertStrContains(encoded { ["\255"] = 1 }, "no UTF-8")
    local deep = {}
    for _ = 1, 200 do
      deep = { deep }
    end
    lu.assertStrContains(encoded(deep), "nested too deep")
    local _, err = lines.encode(print, "data")
    lu.assertEquals(err.code, "json")
  end,

  ["lines are the same however the text is cut into pieces"] = function()
    local text = "one\n\ntwo\nthr"
    for at = 0, #text do
      local list, rest = cut(text:sub(1, at), text:sub(at + 1))
      lu.assertEquals({ list, rest }, { { "one", "", "two" }, "thr" }, at)
    end
  end,

  ["who takes a line may end it there"] = function()
    local taken = {}
    lu.assertTrue(lines.lines():feed("a\nb\nc\n", function(line)
      table.insert(taken, line)
      return line ~= "b"
    end))
    lu.assertEquals(taken, { "a", "b" })
  end,

  ["a line without end is an error before it fills the memory"] = function()
    local all, piece = lines.lines(), ("x"):rep(1024 * 1024)
    local ok, err
    for _ = 1, lines.LINE_MAX / #piece + 1 do
      ok, err = all:feed(piece, error)
    end
    lu.assertNil(ok)
    lu.assertEquals({ err.code, err.message }, { "protocol", "a line of more than 64 MB" })
  end,

  ["a failure that a program tells of is a text or a table, and always has a message and a code"] = function()
    lu.assertEquals(lines.failure "no disk", { message = "no disk", code = "error" })
    lu.assertEquals(lines.failure { message = 7, code = "E1", retry = false, x = brood.json.null },
      { message = "7", code = "E1", retry = false })
    lu.assertEquals(lines.failure(brood.json.null).message, "the program gave no reason")
    lu.assertEquals(lines.failure({}).message, "the program gave no reason")
  end,

  ["a wrong line is quoted on one line, cut, with its bytes as numbers"] = function()
    lu.assertEquals(lines.quote 'a"\n\255', [["a\"\n\255"]])
    lu.assertTrue(#lines.quote(("x"):rep(10000)) < 250)
  end,
}
