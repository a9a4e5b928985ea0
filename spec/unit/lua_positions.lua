--- Where the keys of a config are written, found in the text of the file.
local lexer = require "brood.rules.lua_lexer"
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

-- "key=line" of all that was found; "?" where it is not certain.
local function found(text)
  local list = {}
  for key, line in pairs(positions.find(text)) do
    list[#list + 1] = ("%s=%s"):format(key, line or "?")
  end
  table.sort(list)
  return table.concat(list, " ")
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
  lu.assertEquals(found "return } { a = 1 (", "")
  lu.assertEquals(found "", "")
  lu.assertEquals(found "\255\254\0", "")
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
  lu.assertEquals(found "return function(master)\n return {\n app = 1 }\nend", "app=3")
  lu.assertEquals(found "local function make()\n return {\n app = 1 }\nend\nreturn make", "app=3")
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
  lu.assertEquals(found "local c = { app = 1, workers = 2 }\nc.workers = 3\nreturn c", "app=1 workers=?")
  lu.assertEquals(found "if x then return { app = 1 } end\nreturn { app = 2,\numask = 3 }", "app=? umask=3")
end

function T.test_what_cannot_be_seen_is_not_certain()
  lu.assertEquals(found "local c = { app = 1 }\nfor k, v in pairs(d) do c[k] = v end\nreturn c", "app=?")
  lu.assertEquals(found "local c = { app = 1 }\nextend(c)\nreturn c", "app=?")
  lu.assertEquals(found "local c = { listen = { 1 } }\ntable.insert(c.listen, 2)\nreturn c", "listen=1 listen[1]=?")
  lu.assertEquals(found "return { app = 1 } or {}", "app=?")
  lu.assertEquals(found "return { [name] = 1, app = 2 }", "app=?")
  lu.assertEquals(found "return setmetatable({ app = 1 }, {})", "")
  lu.assertEquals(found "return with{ app = 1 }", "")
  lu.assertEquals(found "local c = { app = 1 }\nc = other\nreturn c", "app=?")
end

function T.test_any_prefix_of_a_file_is_read_without_harm()
  local text = [==[
local c = { app = "a\"b", env = { [ [[x]] ] = 1 }, --[[ y ]] listen = { { mode = '1' } } }
c.env["a b"].c = function(x) return { 1 } end
return c]==]
  for length = 0, #text do
    lu.assertIsTable(positions.find(text:sub(1, length)))
  end
end

return T
