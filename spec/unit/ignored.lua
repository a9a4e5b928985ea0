--- Which names below a monitored directory do not count.
local ignored = require "brood.rules.ignored"
local lu = require "luaunit"

local T = {}

function T.test_version_control_editors_and_interpreters_leave_nothing_that_counts()
  local is = ignored.compile()
  for _, path in ipairs {
    ".git", "lib/.git", ".hg", ".svn", "node_modules", "a/__pycache__", "a/b.pyc", ".app.lua.swp", "app.lua~",
    "#app.lua#", ".#app.lua", "4913", "app.js___jb_tmp___", ".DS_Store", ".goutputstream-ABC123",
  } do
    lu.assertTrue(is(path), path)
  end
  for _, path in ipairs { "app.lua", ".env", "lib", "git", "a.git.lua", "swp", "49134", "x.pycc", "tmp" } do
    lu.assertFalse(is(path), path)
  end
end

function T.test_names_patterns_and_paths_of_the_callers_own()
  local is = ignored.compile { "log", "*.sqlite?", "build/*.o", "./tmp/", "public/assets/" }
  lu.assertTrue(is("log"))
  lu.assertTrue(is("a/log"))
  lu.assertFalse(is("logs"))
  lu.assertTrue(is("db/data.sqlite3"))
  lu.assertFalse(is("db/data.sqlite"))
  lu.assertTrue(is("build/main.o"))
  lu.assertFalse(is("src/build/main.o"))
  lu.assertTrue(is("tmp"))
  lu.assertTrue(is("public/assets"))
  lu.assertFalse(is("assets"))
end

function T.test_what_means_something_in_a_pattern_of_lua_means_itself()
  local is = ignored.compile { "a.b", "x-?", "(c)*" }
  lu.assertTrue(is("a.b"))
  lu.assertFalse(is("aXb"))
  lu.assertTrue(is("x-1"))
  lu.assertFalse(is("xx1"))
  lu.assertTrue(is("(c) 2020"))
end

return T
