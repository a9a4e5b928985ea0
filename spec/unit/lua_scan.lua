--- The shape of Lua source (brood.rules.lua_scan): which brackets and blocks belong together, what is around each
--- token, where a field or a value ends, and where a name is a variable.
local lu = require "luaunit"
local scan = require "brood.rules.lua_scan"

local T = {}

-- A text, and the number of the first token that reads so, from `from` on.
local function at(self, word, from)
  for i = from or 1, #self.tokens do
    if self.tokens[i].text == word then
      return i
    end
  end
end

local function scanned(text)
  return assert(scan.scan(text), text)
end

T["brackets and blocks that do not close each other are not understood, nor is an unfinished token"] = function()
  for _, text in ipairs {
    "(", ")", "{ ( } )", "[ }", "do", "end", "if x then", "repeat end", "function() until", "else end", 'a = "b',
    "for i = 1, 2 end", "if x then end end",
  } do
    lu.assertNil(scan.scan(text), text)
  end
  for _, text in ipairs {
    "", "f { (1), [2] = 3 }", "for i = 1, 2 do end", "while x do end", "repeat until x",
    "if a then b() elseif c then d() else e() end", "local function f() if x then return end end",
  } do
    lu.assertNotNil(scan.scan(text), text)
  end
end

T["the partner of what opens is what ends it, of each branch as well"] = function()
  local self = scanned "if a then b { 1 } else c() end"
  local first, other, last = at(self, "if"), at(self, "else"), at(self, "end")
  lu.assertEquals({ self.partner[first], self.partner[other] }, { other, last })
  lu.assertEquals(self.partner[at(self, "{")], at(self, "}"))
end

T["around a token is the innermost block, and the function that owns it"] = function()
  local self = scanned "local a = { b = function() do c = (d) end end } e = 1"
  local fn = at(self, "function")
  lu.assertEquals({ self.inside[at(self, "a")], self.owner[at(self, "a")] }, { 0, 0 })
  lu.assertEquals({ self.inside[at(self, "b")], self.owner[at(self, "b")] }, { at(self, "{"), 0 })
  lu.assertEquals({ self.inside[at(self, "c")], self.owner[at(self, "c")] }, { at(self, "do"), fn })
  lu.assertEquals({ self.inside[at(self, "d")], self.owner[at(self, "d")] }, { at(self, "(", at(self, "c")), fn })
  lu.assertEquals({ self.inside[at(self, "e")], self.owner[at(self, "e")] }, { 0, 0 })
  lu.assertTrue(self:in_brackets(at(self, "b")))
  lu.assertFalse(self:in_brackets(at(self, "c")))
  lu.assertFalse(self:in_brackets(at(self, "e")))
end

T["a field of a table ends at its own comma, not at one inside it"] = function()
  local self = scanned "{ a = f(1, 2), b = { 3; 4 }; c = function() return 5, 6 end }"
  local last = self.partner[1]
  for name, stop in pairs { a = { ",", "b" }, b = { ";", "c" }, c = { "}" } } do
    local found = self:field_end(at(self, name), last)
    lu.assertEquals(self.tokens[found].text, stop[1], name)
    lu.assertEquals(self.tokens[found + 1] and self.tokens[found + 1].text, stop[2], name)
  end
end

T["a value is whole where no operator follows it"] = function()
  for text, whole in pairs {
    ["x = 1"] = true, ["x = 1 y = 2"] = true, ["x = 1; y = 2"] = true, ["x = 1 return"] = true, ["x = 1, 2"] = true,
    ["x = 1 and 2"] = false, ["x = 1 or 2"] = false, ["x = 1 + 2"] = false, ["x = 1 .. 2"] = false,
    ["x = 1 == 2"] = false,
  } do
    local self = scanned(text)
    lu.assertEquals(self:value_ends(at(self, "1") + 1) and true or false, whole, text)
  end
end

T["a return is over at the end of its block, at a semicolon, or with values behind the first"] = function()
  for text, over in pairs {
    ["return x"] = true, ["do return x end"] = true, ["if a then return x else end"] = true, ["return x;"] = true,
    ["repeat return x until a"] = true, ["return x, 1"] = true, ["return x or 1"] = false, ["return x(1)"] = false,
    ["return x.y"] = false,
  } do
    local self = scanned(text)
    lu.assertEquals(self:return_ends(at(self, "x") + 1) and true or false, over, text)
  end
end

T["a key in brackets is plain when it is one string or number"] = function()
  for text, key in pairs {
    ['x["a b"]'] = "a b", ["x[12]"] = 12, ["x[y]"] = false, ["x[1 + 1]"] = false, ["x[inf]"] = false,
  } do
    local self = scanned(text)
    lu.assertEquals(self:plain_key(at(self, "[")) or false, key, text)
  end
  lu.assertNil(scanned("x(1)"):plain_key(2))
end

T["a name is a variable but for behind a dot or colon, and as the key of a table"] = function()
  for text, count in pairs {
    ["c = 1"] = 1, ["c.c:c()"] = 1, ["x = { c = 1, c = 2; c = 3 }"] = 0, ["x = { c, [c] = c }"] = 3,
    ["x = { function() c = 1 end }"] = 1, ["f(c == 1)"] = 1, ["x = 'c' -- c"] = 0,
  } do
    lu.assertEquals(#scanned(text):uses "c", count, text)
  end
end

T["a local variable is seen behind its declaration, up to the end of its block"] = function()
  local self = scanned "do local c = 1 a() end b()"
  local first = at(self, "local")
  local last = at(self, "1")
  lu.assertEquals({ self:sees(last, first, last), self:sees(at(self, "a"), first, last),
    self:sees(at(self, "b"), first, last) }, { false, true, false })
  self = scanned "local c = 1 do a() end"
  lu.assertTrue(self:sees(at(self, "a"), 1, at(self, "1")))
end

return T
