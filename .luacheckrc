-- luacheck: the Lua of brood is LuaJIT's, with no globals of its own.
std = "luajit"
max_line_length = 120
max_string_line_length = false
cache = false
codes = true
self = false
exclude_files = { "build/", ".luacheckcache" }

files["spec"] = { std = "+luajit", globals = {}, read_globals = { "arg" } }
files["examples"] = { read_globals = { "arg" } }
