--- Where the keys of a config are written, found in the text of the file.
local kinds = require "brood.rules.kinds"
local lexer = require "brood.rules.lua_lexer"
local lines = require "brood.rules.config_lines"
local lu = require "luaunit"
local positions = require "brood.rules.lua_positions"

local T = {}

local function tokens(text)
  local list = {}
  for i, token in ipairs(lexer.tokens(text)) do
    list[i] = ("%s@%d"):format(token.text or "?", token.line)
  end
  return table.concat(list, " ")
end

local function add(list, node, path, unsure)
  unsure = unsure or node.unsure
  for key, part in pairs(node.keys) do
    local where = kinds.join(path, key)
    if part.line ~= nil then
      list[#list + 1] = ("%s=%s"):format(where, not unsure and part.line or "?")
    end
    add(list, part, where, unsure)
  end
end

-- "key=line" of all that was found; "?" where it is not certain.
local function found(text)
  local list = {}
  add(list, positions.find(text), "", false)
  table.sort(list)
  return table.concat(list, " ")
end

-- Texts, and what is found in each.
local function finds(cases)
  for text, expected in pairs(cases) do
    lu.assertEquals(found(text), expected, text)
  end
end

-- The line of a key of what the text gives, or false.
local function line(text, key)
  local config = assert(loadstring(text, "=config"))()
  if type(config) == "function" then
    config = config {}
  end
  return lines.finder(text, config)(key)
end

function T.test_strings_and_comments_hide_what_is_in_them()
  lu.assertEquals(tokens 'a = "x = 1" -- y = 2\nb', "a@1 =@1 x = 1@1 b@2")
  lu.assertEquals(tokens "--[[ a\nb ]] c --[==[ ]] \n ]==] d", "c@2 d@3")
  lu.assertEquals(tokens "x = [[\na\nb]] y", "x@1 =@1 a\nb@1 y@3")
  lu.assertEquals(tokens "[=[ ]] ]=] z", " ]] @1 z@1")
  lu.assertEquals(tokens [['it\'s' "a\\" b]], [[?@1 ?@1 b@1]])
  lu.assertEquals(tokens '"a\\\nb" c', "?@1 c@2")
end

function T.test_numbers_and_operators_are_taken_whole()
  lu.assertEquals(tokens "1e-5 0x1p+3 .5 a..b ... a==b", "1e-5@1 0x1p+3@1 .5@1 a@1 ..@1 b@1 ...@1 a@1 ==@1 b@1")
end

function T.test_text_that_is_no_lua_ends_the_list_early()
  lu.assertEquals(tokens 'a "b', "a@1")
  finds {
    ["return } { a = 1 ("] = "",
    [""] = "",
    ["\255\254\0"] = "",
  }
end

function T.test_the_keys_of_a_returned_table_have_lines()
  lu.assertEquals(found [[
return {
  app = "app.lua",

  workers = 4; ["umask"] = "022",
}]], "app=2 umask=4 workers=4")
end

function T.test_nested_keys_and_elements_have_lines()
  lu.assertEquals(found [[
return {
  listen = {
    80,
    { address = "unix:/x",
      mode = "0666" },
  },
  env = { ["A B"] = 1,
    C = 2 },
  clusters = { admin = {
    workers = 1 } },
}]], 'clusters.admin.workers=10 clusters.admin=9 clusters=9 env.C=8 env=7 env["A B"]=7 listen=2 listen[1]=3 '
    .. "listen[2].address=4 listen[2].mode=5 listen[2]=4")
end

function T.test_what_functions_contain_is_theirs()
  lu.assertEquals(found [[
local function f() return { workers = 1 } end
return {
  before_fork = function(a, b)
    local t = { timeout = 1 }
    if a then return { app = 2 } end
    for i = 1, 2 do b() end
    repeat local env = 1 until env
  end,
  env = f(),
}]], "before_fork=3 env=9")
end

function T.test_a_function_that_is_returned_returns_the_config()
  finds {
    ["return function(master)\n return {\n app = 1 }\nend"] = "app=3",
    ["local function make()\n return {\n app = 1 }\nend\nreturn make"] = "app=3",
  }
end

function T.test_a_variable_is_followed()
  lu.assertEquals(found [[
local config = { app = "a",
  env = {} }
config.workers = 4
config["listen"] = { 80,
  81 }
config.env.X = 5
if os.getenv("Y") then config.umask = "022" end
return config]], "app=1 env.X=6 env=2 listen=4 listen[1]=4 listen[2]=5 umask=7 workers=3")
  lu.assertEquals(found "local config = {}\nlocal x = { config = { app = 1 } }\nx.config.app = 2\nreturn config", "")
end

function T.test_what_is_written_twice_is_not_certain()
  finds {
    ["local c = { app = 1, workers = 2 }\nc.workers = 3\nreturn c"] = "app=1 workers=?",
    ["if x then return { app = 1 } end\nreturn { app = 2,\numask = 3 }"] = "app=? umask=3",
  }
end

function T.test_what_cannot_be_seen_is_not_certain()
  finds {
    ["local c = { app = 1 }\nfor k, v in pairs(d) do c[k] = v end\nreturn c"] = "app=?",
    ["local c = { app = 1 }\nextend(c)\nreturn c"] = "app=?",
    ["local c = { app = 1 }\nc.env = { X = 1 } and {\n X = f() }\nreturn c"] = "app=1 env=2",
    ["local c = { listen = { 1 } }\ntable.insert(c.listen, 2)\nreturn c"] = "listen=1 listen[1]=?",
    ["local c = { env = { X = f() } }\nc.env = g()\nreturn c"] = "env.X=? env=?",
    ["return { app = 1 } or {}"] = "",
    ["return { [name] = 1, app = 2 }"] = "app=?",
    ["return setmetatable({ app = 1 }, {})"] = "",
    ["return with{ app = 1 }"] = "",
    ["local c = { app = 1 }\nc = other\nreturn c"] = "app=?",
    ["return { listen = { 1, [1] = 2 }, app = 1 }"] = "app=1 listen=1 listen[1]=?",
    ["return { app = 1,\rworkers = 2 }"] = "",
  }
end

function T.test_another_name_for_the_table_makes_it_unsure()
  for _, text in ipairs {
    "local c = { a = 1 }\nlocal d = c\nd.a = 2\nreturn c",
    "local c = { a = 1 }\nlocal function set() local d = c; d.a = 2 end\nset()\nreturn c",
    "local c = { a = 1 }\nfor _, t in ipairs { c } do\n t.a = 2 end\nreturn c",
    "local c = { a = 1 }\nlocal t = { c = c }\nt.c.a = 2\nreturn c",
    "local c = { a = 1 }\nlocal function get() return c end\nget().a = 2\nreturn c",
    "local c = { a = 1 };\n(c).a = 2\nreturn c",
    "local c = { a = 1 }\nrawset(c, 'a', 2)\nreturn c",
    "local c = { a = 1, s = function(self) self.a = 2 end }\nc:s()\nreturn c",
    "local c, d = { a = 1 }, 2\nif d == 3 then c.a = 4 end\nreturn c",
    "local c = { a = 1 }\ndebug.setlocal(1, 1, { a = 2 })\nreturn c",
    "local c = { a = 1 }\nlocal x\nx, c.a = 1, 2\nreturn c",
    "local c = { a = 1 }\ndo local c = { a = 2 } end\nreturn c",
  } do
    lu.assertNotStrContains(found(text), "a=1", false, text)
    lu.assertIs(line(text, "a"), false)
  end
end

function T.test_a_part_of_the_table_under_another_name_makes_only_that_part_unsure()
  local text = "local c = { env = { X = 1 },\n umask = 2 }\nlocal e = c.env\ne.X = 3\nreturn c"
  lu.assertEquals(found(text), "env.X=? env=1 umask=2")
  lu.assertEquals({ line(text, "env.X"), line(text, "env"), line(text, "umask") }, { false, false, 2 })
end

function T.test_only_a_local_variable_that_the_return_sees_is_followed()
  finds {
    ["config = { a = 1 }\n_G.config.a = 2\nreturn config"] = "",
    ["do local config = { a = 1 } end\n_G.config = { a = 2 }\nreturn config"] = "a=?",
    ["if x then local c = { a = 1 } else return c end"] = "a=?",
    ["local h = { c = function() return { a = 1 } end }\nlocal c = { b = 2 }\nreturn c"] = "b=2",
    ["local function c() return { a = 1 } end\nc = other\nreturn c"] = "",
  }
end

function T.test_a_return_that_is_not_understood_makes_all_unsure()
  finds {
    ["if x then return { a = 1 } end\nreturn ({ b = 2 })"] = "a=?",
    ["local b = { a = 1 }\nif b then return (b) end\nreturn { c = 2 }"] = "c=?",
    ["if x then return { a = 1 } end\nreturn make()"] = "a=?",
    ["return function(m)\n if m then return end\n return { a = 1 }\nend"] = "a=3",
  }
end

function T.test_a_function_of_the_table_has_the_line_of_its_name()
  local text = "local c = {}\nfunction c.on_start(m)\n return m\nend\nreturn c"
  lu.assertEquals(found(text), "on_start=2")
  lu.assertEquals(line(text, "on_start"), 2)
end

function T.test_a_line_whose_text_is_not_the_value_is_none()
  local text = "return { app = 'a',\n workers = -4, env = { X = true },\n hook = function() end, list = { 1, 2 } }"
  lu.assertEquals(line(text, "workers"), 2)
  lu.assertEquals(line(text, "list[2]"), 3)
  local finder = lines.finder(text, { app = "b", workers = 4, env = { X = false }, hook = print, list = { 1, 3 } })
  for _, key in ipairs { "app", "workers", "env.X", "hook", "list[2]", "list[3].x", "other" } do
    lu.assertEquals({ key, finder(key) }, { key, key == "list[3].x" and 3 or false })
  end
end

function T.test_what_is_missing_has_the_line_of_what_surrounds_it()
  local text = "return {\n clusters = {\n admin = { workers = 1 } },\n listen = {\n { mode = '1' } } }"
  lu.assertEquals(line(text, "clusters.admin.app"), 3)
  lu.assertEquals(line(text, "listen.mode"), 5)
  lu.assertEquals(line(text, "app"), false)
end

function T.test_what_a_metatable_gives_is_neither_missing_nor_found()
  local text = "return {\n env = setmetatable({ A = 1 }, { __index = { X = 1 } }) }"
  lu.assertEquals({ line(text, "env.X"), line(text, "env") }, { false, 2 })
end

function T.test_names_that_look_like_paths_are_not_taken_for_them()
  local text = [[
local e = { X = 1 }
return { env = e,
  ["env.Y"] = 2,
  clusters = { ["a.b"] = { workers = 1 } },
  deep = { ["x].y"] = {
    z = 1 } },
  "one" }]]
  lu.assertEquals({ line(text, "env.Y"), line(text, "env.Z"), line(text, "env.X") }, { false, 2, false })
  lu.assertEquals(line(text, 'clusters["a.b"].workers'), 4)
  lu.assertEquals(line(text, 'deep["x].y"].z'), 6)
  lu.assertEquals(line(text, "1"), 7)
end

function T.test_any_prefix_of_a_file_is_read_without_harm()
  local text = [==[
local c = { app = "a\"b", env = { [ [[x]] ] = 1 }, --[[ y ]] listen = { { mode = '1' } } }
c.env["a b"].c = function(x) return { 1 } end
return c]==]
  for length = 0, #text do
    lu.assertIsTable(positions.find(text:sub(1, length)).keys)
  end
end

return T
