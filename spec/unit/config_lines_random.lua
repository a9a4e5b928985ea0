--- Configs made at random, with every way to write a key that the generator knows, honest and devious ones: the line
--- that is told for a mistake is never wrong, and plain configs get all of theirs. Each value carries the line on
--- which it is given to its key, so the config itself tells the truth once it has run.
--- PROGRAMS= makes more of them, SEED= others.
local kinds = require "brood.rules.kinds"
local lines = require "brood.rules.config_lines"
local lu = require "luaunit"

local T = {}

local PROGRAMS, SEED = tonumber(os.getenv "PROGRAMS") or 800, tonumber(os.getenv "SEED") or 1000

-- ---- luck that is the same each time ------------------------------------------------------------------------------

local seed = 1

local function random(n)
  seed = (seed * 16807) % 2147483647
  return math.floor(seed / 65536) % n + 1
end

local function pick(list)
  return list[random(#list)]
end

-- ---- what a program can call --------------------------------------------------------------------------------------

local function v(line)
  return "v" .. line
end

local function same(...)
  return ...
end

-- A copy that belongs to this line.
local function at(line, t)
  local copy = {}
  for key, value in pairs(t or {}) do
    copy[key] = value
  end
  copy.at = v(line)
  return copy
end

local function environment()
  return setmetatable({ v = v, same = same, at = at, coin = function() return random(2) == 1 end }, { __index = _G })
end

-- The line that a value says it was written on; nil where it cannot say.
local function truth(value)
  if type(value) == "function" then
    return debug.getinfo(value, "S").linedefined
  elseif type(value) == "table" then
    value = rawget(value, "at")
  end
  return type(value) == "number" and math.abs(value) or type(value) == "string" and tonumber(value:match("%d+")) or nil
end

-- ---- the generator ------------------------------------------------------------------------------------------------

local P = {} -- a program
P.__index = P

local function program()
  return setmetatable({ text = {}, fresh = 0, name = pick { "c", "config", "t" }, honesty = pick { 2, 3, 6 } }, P)
end

-- Lines; `@` is the number of its own.
function P:add(...)
  for _, text in ipairs { ... } do
    for line in (text .. "\n"):gmatch("([^\n]*)\n") do
      self.text[#self.text + 1] = (line:gsub("@", tostring(#self.text + 1)):gsub("%%c", self.name))
    end
  end
end

local names = { "app", "workers", "umask", "listen", "env", "clusters", "timeout", "hook" }
local parts = { "a", "b", "workers" }

-- A name; where no key may be written twice, a new one.
function P:key()
  if not self.plain then
    return pick(names)
  end
  self.fresh = self.fresh + 1
  return "k" .. self.fresh
end

local plain_values = {
  '"v@"', "'v@'", "[[v@]]", "@", "-@", "0@", "function(a, b) return { workers = @ } end", "{}", '{ at = "v@" }',
  '{ at = "v@", a = @, b = { at = "v@", [1] = @ } }', '{ "v@", "v@" }', '{ at = "v@", "v@"; @ }',
}
local other_values = {
  "v(@)", '"v" .. @', '(v(@))', 'coin() and "v@" or v(@)', "@ + 0", '("v@"):rep(1)', 'v "@"',
  'same { at = "v@", a = v(@) }', "at(@, { a = @ })", 'nil or "v@"', '{ at = "v@", same(v(@), v(@)) }',
  "same(@, 1)", '{ at = "v@", a = v(@), ["b"] = v(@), [same "workers"] = v(@) }', '{ at = "v@", a = 1 and v(@) }',
  '"\\118@"', '{ at = "v@", a = @, a = v(@) }', '{ at = "v@", [1] = v(@), v(@) }', "at(@)",
  '{ at = "v@", a = v(@), b = v(@), workers = v(@) }',
}

function P:value()
  return (self.plain or random(2) == 1) and pick(plain_values) or pick(other_values)
end

local lookalikes = {
  "-- %c.workers = 1", "--[[ %c.app = 1 ]]", "--[==[\n%c.workers = 2 ]]\n]==]", "local _ = 'return { app = 1 }'",
  'local _ = "\\\nreturn %c --[["', "local _ = [[\n%c = { workers = 1 }\n]]", "", "",
  "local _ = { %c = { workers = 1 } }", "local _ = function() return { workers = 1 } end",
  "if false then same(1) else same(2) end", "do local _ = 1 end",
}

-- The fields of a constructor, a line each.
function P:fields()
  for _ = 1, random(5) - 1 do
    if random(4) == 1 then
      self:add(pick { "  -- app = 1,", "", "  --[[ }, ]]" })
    end
    local key = self:key()
    self:add(("  %s = %s%s"):format(pick { key, key, '["' .. key .. '"]' }, self:value(), pick { ",", ";" }))
    if random(4) == 1 then
      self:add(("  %s = { at = 'v@',"):format(self:key()), "    a = " .. self:value() .. ",",
        "    b = { at = 'v@',", "      workers = " .. self:value() .. "}", "  },")
    elseif not self.plain and random(12) == 1 then
      self:add(("  [same '%s'] = %s,"):format(self:key(), self:value()))
    elseif not self.plain and random(8) == 1 then
      self:add(("  %s = { at = 'v@', [2] = v(@),"):format(self:key()), "    same(v(@), v(@)) },")
    end
  end
end

function P:constructor(before, after)
  self:add(before .. "{")
  self:fields()
  self:add("}" .. (after or ""))
end

-- What changes the table %c: KEY is a key, PART one of a table in it, VALUE a value. The honest ones come first.
local plain_statements = {
  "%c.KEY = VALUE", "%c['KEY'] = VALUE", "function %c.KEY(a) return { app = a } end",
  "if not coin then same(1) end %c.KEY = VALUE", "do\n  %c.KEY = VALUE\nend",
}
local statements = {
  "if coin() then\n  %c.KEY = VALUE\nelse\n  %c.KEY = VALUE\nend", "if coin() then %c.KEY = VALUE end",
  "%c.KEY = %c.KEY or VALUE", "%c.KEY, _G.x = v(@), 1", "_G.x, %c.KEY = 1, v(@)", "%c[same 'KEY'] = VALUE",
  "local d = %c\nd.KEY = VALUE", "local function set(x)\n  x.KEY = VALUE\nend\nset(%c)",
  "rawset(%c, 'KEY', VALUE)", "local function set()\n  %c.KEY = VALUE\nend\nset()",
  "local function set() local d = %c\n  d.KEY = VALUE end\nset()",
  "for _, t in ipairs { %c } do\n  t.KEY = VALUE\nend", "local w = { %c = %c }\nw.%c.KEY = VALUE", "%c.KEY = nil",
  "do local %c = { KEY = VALUE }\n  %c.KEY = VALUE\nend", "local function get() return %c end\nget().KEY = VALUE",
  "for _ = 1, 2 do\n  %c.KEY = VALUE\nend", "if type(%c.KEY) == 'table' then\n  %c.KEY.PART = VALUE\nend",
  "local s = %c.KEY\nif type(s) == 'table' then\n  s.PART = VALUE\nend", "%c.KEY = {}\n%c.KEY.PART = VALUE",
  "if type(%c.KEY) == 'table' then\n  table.insert(%c.KEY, v(@))\nend",
  "%c.KEY = { PART = v(@) } and {\n  PART = v(@) }",
  "%c.KEY = { PART = v(@) }\n%c.KEY = same { PART = v(@) }",
  "%c.KEY = { at = 'v@',\n  PART = v(@) }\nlocal s = %c.KEY\ns.PART = VALUE",
  "%c.KEY = v(@)\nlocal function get() return %c end\nget().KEY = VALUE",
  "local s = {}\n%c.KEY = s\n%c.KEY.PART = v(@)\ns.PART = VALUE",
  "local s = { PART = VALUE }\n%c.KEY = s\ns.PART = VALUE",
  "local s = { PART = VALUE }\n%c.KEY = s\n%c.KEY.PART = VALUE",
  "if type(%c.KEY) == 'table' then\n  %c.KEY[1] = VALUE\nend", "(%c).KEY = VALUE",
  "%c.self = function(s) s.KEY = VALUE end\n%c:self() %c.self = nil", "%c.KEY = same(VALUE)",
  "(function(t) t.KEY = VALUE end)(%c)", "local h = { %c = function() return { KEY = VALUE } end }",
  "_G.%c = { KEY = VALUE }", "same { %c }[1].KEY = VALUE", "local %c = %c\n%c.KEY = VALUE", "%c = { KEY = VALUE }",
  "%c = same(%c)", "do goto %c\n::%c:: end",
  "for k in pairs(%c) do\n  if type(%c[k]) == 'string' then %c[k] = v(@) end\nend", "%c\n  .KEY = VALUE",
  "%c.KEY = at(@, type(%c.PART) == 'table' and %c.PART)", "while true do %c.KEY = VALUE break end",
  "repeat local d = %c\n  d.KEY = VALUE\nuntil true", "function %c:KEY() self.KEY = VALUE end\nlocal _ = %c:KEY()",
  "local x, y = %c, 1\nx.KEY = VALUE", "local x = coin() and %c or {}\nx.KEY = VALUE",
  "if type(%c.KEY) == 'table' and type(%c.KEY.PART) == 'table' then\n  local s = %c.KEY.PART s.a = VALUE\nend",
}

local function filled(self, text)
  local key, part = self:key(), pick(parts)
  return (text:gsub("KEY", key):gsub("PART", part):gsub("VALUE", function()
    return self:value()
  end))
end

function P:statement(text)
  -- A semicolon keeps a line that begins with a bracket from calling what stands before it.
  self:add((text:find("^%(") and ";" or "") .. filled(self, text))
end

function P:statements(n)
  for _ = 1, n do
    self:statement(pick((self.plain or random(self.honesty) > 1) and plain_statements or statements))
    if random(4) == 1 then
      self:add(pick(lookalikes))
    end
  end
end

local devious_returns = {
  "return (%c)", "return same(%c)", "return %c or {}", "do return %c, 1 end", "local d = %c\ndo return d end",
  "return (function() return %c end)()", "if coin() then return %c end\ndo return %c end",
}

function P:variable()
  local way = self.plain and 1 or random(8)
  if way == 7 then
    self:constructor("%c = ")
  elseif way == 8 then
    self:constructor("local %c, other = ", ", 1")
  elseif way == 6 then
    self:add("local function %c() return { app = v(@) } end")
    self:constructor("do local %c = ", " end\nlocal %c = { app = v(@) }")
  else
    self:constructor("local %c = ")
  end
  self:statements(random(6) - 1)
  self:add(not self.plain and random(5) == 1 and pick(devious_returns) or "do return %c end")
end

-- What gives a config, perhaps in one of several ways.
function P:body()
  self:add(pick(lookalikes))
  if not self.plain and random(3) == 1 then
    self:constructor("if coin() then return ", " end")
  end
  if not self.plain and random(8) == 1 then
    self:add("if coin() then")
    self:variable()
    self:add("end")
  end
  if random(3) == 1 then
    self:constructor("do return ", not self.plain and random(8) == 1 and " or {} end" or " end")
  else
    self:variable()
  end
end

function P:whole()
  local way = random(self.plain and 4 or 6)
  if way == 1 then
    self:add(pick { "return function(master)", "do return function()" })
    self:body()
    self:add(self.text[1]:find("^do") and "end end" or "end")
  elseif way == 2 then
    self:add("local function make(master)")
    self:body()
    self:add("end", "return make")
  elseif way == 6 then
    self:add("local function make(master)")
    self:body()
    self:add("end", pick { "return same(make)", "local d = make({})\nd.app = v(@)\nreturn d", "return make()",
      "return function() return make() end", "local r = make\nmake = same(r)\nreturn make" })
  else
    self:body()
  end
  return table.concat(self.text, "\n")
end

-- A table, and one thing that is done to it.
function P:one(text)
  self:constructor("local %c = ")
  self:statement(text)
  self:add("return %c")
  return table.concat(self.text, "\n")
end

-- ---- the check ----------------------------------------------------------------------------------------------------

-- Ask for the line of each key that there is, and of one below each that there is not.
local function check(text, config, finder, wanted)
  local given, asked = 0, 0
  local function ask(key, value, missing)
    local told, line = finder(key), truth(value)
    asked = asked + (missing and 0 or 1)
    given = given + (told and not missing and 1 or 0)
    if told and line and told ~= line or wanted and not told then
      lu.fail(("%s: told %s, truly %s, in\n%s"):format(key, tostring(told), tostring(line), text))
    end
  end
  local function walk(path, node)
    for key, value in pairs(node) do
      local where = kinds.join(path, key)
      ask(where, value)
      if type(value) == "table" then
        walk(where, value)
        ask(where .. ".missing", value, true)
      end
    end
  end
  walk("", config)
  return given, asked
end

local function run(text)
  local chunk, why = loadstring(text, "=config")
  if not chunk then
    lu.fail(("%s in\n%s"):format(why, text))
  end
  setfenv(chunk, environment())
  local ok, value = pcall(chunk)
  if ok and type(value) == "function" then
    ok, value = pcall(value, {})
  end
  return ok and type(value) == "table" and value or nil
end

local function try(plain, first)
  local given, asked, ran = 0, 0, 0
  for n = 1, PROGRAMS do
    seed = first + n
    random(2)
    local p = program()
    p.plain = plain
    local text = p:whole()
    local config = run(text)
    if config then
      local some, all = check(text, config, lines.finder(text, config), plain)
      given, asked, ran = given + some, asked + all, ran + 1
    end
  end
  return given, asked, ran
end

function T.test_no_single_change_makes_a_line_wrong()
  local ran = 0
  for n, change in ipairs(statements) do
    for round = 1, PROGRAMS / 20 do
      seed = SEED + n * PROGRAMS + round
      local text = program():one(change)
      local config = run(text)
      if config then
        check(text, config, lines.finder(text, config), false)
        ran = ran + 1
      end
    end
  end
  lu.assertTrue(ran > #statements * PROGRAMS / 40, ran)
end

function T.test_a_plain_config_gets_all_its_lines_and_each_is_right()
  local _, asked, ran = try(true, SEED)
  lu.assertEquals(ran, PROGRAMS)
  lu.assertTrue(asked > 2 * PROGRAMS, asked)
end

function T.test_a_line_is_never_wrong_whatever_the_config_does()
  local given, asked, ran = try(false, SEED)
  lu.assertTrue(ran > PROGRAMS / 2, ran)
  lu.assertTrue(given > asked / 10 and given < asked, ("%d of %d"):format(given, asked))
end

return T
