--- What is kept of a program's output (brood.backend.tail) for the error of a start that goes wrong.
local lu = require "luaunit"
local tail = require "brood.backend.tail"

local T = {}

local function with(lines)
  local kept = tail.new()
  for _, line in ipairs(lines) do
    kept:add(line[1], line[2])
  end
  return kept:text()
end

local function many(fd, count)
  local lines = {}
  for i = 1, count do
    lines[i] = { fd, ("%07d\n"):format(i) }
  end
  return lines
end

T["a short output is kept whole, in the order in which it came, without the empty lines around it"] = function()
  lu.assertEquals(with { { 1, "\n" }, { 1, "one\n" }, { 2, "two\n" }, { 1, "three\n" }, { 2, "\n" } },
    "one\ntwo\nthree")
  lu.assertNil(with {})
  lu.assertNil(with { { 1, "\n" }, { 2, "  \n" } })
end

T["of a long one the last lines are kept, whole, and dots stand for the others"] = function()
  local text = with(many(1, 5000))
  lu.assertTrue(#text <= 8200 and #text > 8000, #text)
  lu.assertStrMatches(text, "%.%.%.\n%d%d%d%d%d%d%d\n.*0005000")
end

T["much on one stream does not push out what the other one said, whichever came first"] = function()
  for fd = 1, 2 do
    local lines = many(fd, 5000)
    table.insert(lines, 1, { 3 - fd, "the reason\n" })
    local text = with(lines)
    lu.assertStrContains(text, "the reason\n")
    lu.assertStrContains(text, "0005000")
    lu.assertTrue(#text <= 8200, #text)
  end
end

T["two long streams have a half each"] = function()
  local lines = {}
  for i = 1, 5000 do
    lines[#lines + 1] = { 1, ("a%06d\n"):format(i) }
    lines[#lines + 1] = { 2, ("b%06d\n"):format(i) }
  end
  local text = with(lines)
  local _, a = text:gsub("a%d+", "")
  local _, b = text:gsub("b%d+", "")
  lu.assertEquals({ a, b }, { 512, 512 })
end

T["of a line that is longer than what is kept its end stays"] = function()
  local text = with { { 1, "first\n" }, { 1, ("x"):rep(60000) .. "end\n" }, { 2, "short\n" } }
  lu.assertStrMatches(text, "%.%.%.\nx+end\nshort")
  lu.assertTrue(#text <= 8200 and #text > 8000, #text)
end

return T
