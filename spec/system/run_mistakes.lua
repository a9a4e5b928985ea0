--- What `brood run` refuses: a config with mistakes (status 1; of those that keep it from being looked at tells
--- brood.master.config_errors), a wrong command line (status 2).
local lu = require "luaunit"
local s = require "spec.support"

local function refused(args, options)
  local result = s.brood(args, options):finish()
  lu.assertEquals(result.stdout, "")
  return result.code, result.stderr
end

local function config(text)
  return refused { "run", s.write_file("brood.lua", "return " .. text) }
end

-- What is said of a config in the working directory, without the head of the log's line.
local function says(text, name)
  local dir = s.temp_dir()
  name = name or "brood.lua"
  s.write_file(dir .. "/" .. name, text)
  local result = s.brood({ "run", name }, { cwd = dir }):finish()
  lu.assertEquals({ result.code, result.stdout }, { 1, "" })
  local said = result.stderr:match("^%S+ error [^%s]* (.*)\n$")
  return (said:gsub("\n    ", "\n"))
end

return {
  ["all mistakes of a config are listed, by key, file and line, with status 1"] = function()
    lu.assertEquals(says [[
return {
  app = "/dev/null", worker = 2,
  listen = { "nowhere:x" },
  graceful_timeout = "soon",

  env = { A = {} },
  before_fork = "x",
}]], [[
brood.lua has 5 mistakes:
  brood.lua:2: unknown key 'worker' (did you mean 'workers'?)
  brood.lua:3: listen[1]: expected an address (a port, "host:port", "[v6]:port" or "unix:/path") or a table with ]]
      .. [[address =, got "nowhere:x": 'x' is not a port (0 to 65535)
  brood.lua:4: graceful_timeout: expected a duration (a number of seconds or a string like "5s"), or false, got "soon"
  brood.lua:6: env.A: expected a string, or false, got an empty table
  brood.lua:7: before_fork: expected a function, got "x"]])
  end,

  ["all that keeps it from starting is told at once, whether the config is sound or not"] = function()
    local text = [[
return {
  app = "no.lua",
  workers = %s,
  pidfile = "gone/x.pid", listen = 0,
  clusters = { b = { app = "none.lua", listen = 0 } },
}]]
    local said = says(text:format "0")
    for _, line in ipairs {
      "brood.lua has 4 mistakes:", "brood.lua:2: 'app' cannot be read: ", "brood.lua:3: workers: expected",
      "brood.lua:4: 'pidfile' is in a directory that cannot be used: ",
      "brood.lua:5: 'clusters.b.app' cannot be read: ",
    } do
      lu.assertStrContains(said, line)
    end
    said = says(text:format "1")
    lu.assertStrMatches(said, "cannot start: pidfile /[^\n]*\nbrood.lua has 2 more mistakes:\n"
      .. "  brood.lua:2: 'app' [^\n]*\n  brood.lua:5: 'clusters.b.app' [^\n]*")
  end,

  ["a single mistake is a single line"] = function()
    lu.assertEquals(says 'local config = { app = "/dev/null" }\nconfig.workers = "four"\nreturn config',
      'brood.lua:2: workers: expected a whole number from 1 to 65535, got "four"')
  end,

  ["where the line is not certain only the file is named"] = function()
    lu.assertEquals(says [[
local c = { app = "/dev/null", workers = 1 }
for k in pairs { workers = 1 } do c[k] = 0 end
return c]], "brood.lua: workers: expected a whole number from 1 to 65535, got 0")
  end,

  ["a key that comes later is refused by name, never ignored"] = function()
    for name, value in pairs { token = "'x'", eval = "false" } do
      local code, text = config(("{ app = 'app.lua', control = { address = 'unix:c.sock', %s = %s } }")
        :format(name, value))
      lu.assertEquals(code, 1, name)
      lu.assertStrContains(text, ("'control.%s' is not available yet"):format(name))
    end
  end,

  ["a config that is no table says what it is"] = function()
    lu.assertEquals(says "return 42",
      "brood.lua: the config must return a table, or a function(master) that returns one; it returns 42")
    lu.assertEquals(says "local x = 1",
      "brood.lua: the config must return a table, or a function(master) that returns one; it returns nothing")
    lu.assertEquals(says "return function() end",
      "brood.lua: the function that the config returns must return a table; it returns nothing")
    lu.assertEquals(says "return {}", "brood.lua: 'app' is missing: there is nothing to run (e.g. app = \"app.lua\")")
  end,

  ["an app in place of a config is told from one"] = function()
    for _, app in ipairs {
      "return function(req, res) end", "return { server = function() end, start = function() end }",
      'return require("brood.http").server(function() end)', 'return { server = require("brood.net").server(print) }',
    } do
      lu.assertEquals(says(app, "app.lua"), "app.lua: this looks like an app: serve it with brood -s app.lua")
    end
  end,

  ["an error of the file itself has its place once"] = function()
    lu.assertEquals(says "return {\n  app = = 1\n}", "brood.lua:2: unexpected symbol near '='")
    lu.assertEquals(says "error('no database')", "brood.lua:1: no database")
    lu.assertEquals(says "\nerror('no database', 0)", "brood.lua:2: no database")
    lu.assertEquals(says "error { message = 'no database' }", "brood.lua:1: no database")
    lu.assertEquals(says "#!/bin/x\nlocal x\nreturn x.y",
      "brood.lua:3: attempt to index local 'x' (a nil value)")
    lu.assertEquals(says "coroutine.wrap(function() error('in there') end)()", "brood.lua:1: in there")
    lu.assertEquals(says "local f = coroutine.wrap(function() error('in there') end)\nf()", "brood.lua:1: in there")
    lu.assertEquals(says "return coroutine.wrap(function()\n  error('in there')\nend)()", "brood.lua:2: in there")
    lu.assertStrMatches(says "local function f() return f() + 1 end f()", "brood.lua:.*stack overflow.*")
    lu.assertStrMatches(says 'return { app = require "not_there" }', "brood.lua:1: module 'not_there' not found:\n.*")
    lu.assertStrMatches(says 'return require "not_there"', "brood.lua: module 'not_there' not found:\n.*")
    lu.assertEquals(says "return function() return error('last') end", "brood.lua: last")
    lu.assertEquals(says("error('far')", ("x"):rep(80) .. ".lua"), ("x"):rep(80) .. ".lua:1: far")
  end,

  ["a value that raises when it is looked at has the place of its own code"] = function()
    local raising = "setmetatable({}, { __index = function()\n  error('mine')\nend })"
    lu.assertEquals(says("return " .. raising), "brood.lua:2: mine")
    lu.assertEquals(says("return { app = 'a', listen = " .. raising .. " }"), "brood.lua:2: mine")
    lu.assertEquals(says("return { app = 'a', clusters = { b = " .. raising .. " } }"), "brood.lua:2: mine")
    lu.assertEquals(says "error(setmetatable({}, { __tostring = function() error('x') end }))",
      "brood.lua: a table that cannot be shown")
    lu.assertEquals(says "error(setmetatable({}, { __index = function() error('x') end }))":gsub("table: .*", "table"),
      "brood.lua: table")
    lu.assertEquals(says "error { message = setmetatable({}, { __tostring = function() error('x') end }) }",
      "brood.lua:1: a table that cannot be shown")
  end,

  ["an error further down comes with the way there, and nothing of ours"] = function()
    -- What brood itself calls the function is told only where it reads its own source (BROOD_LUA).
    local text = says [[
local function inner() error("no database") end
local function outer() inner() return 1 end
return function(master)
  local x = outer()
  return x
end]]
    lu.assertEquals(text:gsub("'value'", "<brood.lua:3>"), [[
brood.lua:1: no database
stack traceback:
	[C]: in function 'error'
	brood.lua:1: in function 'inner'
	brood.lua:2: in function 'outer'
	brood.lua:4: in function <brood.lua:3>]])
  end,

  ["a config that is not there, is a folder or leads nowhere is said in one line"] = function()
    local dir = s.temp_dir()
    s.write_file(dir .. "/conf/brood.lua", "return {}")
    s.write_file(dir .. "/production.lua", "return {}")
    assert(require("luv").fs_symlink("gone", dir .. "/link.lua"))
    for args, text in pairs {
      [""] = "no brood.lua here; name a CONFIG, or serve an app with -s APP, or write a starter with brood init\n",
      ["x.lua"] = "x.lua: there is no such file\n",
      ["producton.lua"] = "producton.lua: there is no such file (did you mean 'production.lua'?)\n",
      ["frobnicate"] = "frobnicate: there is no such file, and no command of that name (see brood --help)\n",
      ["conf"] = "conf: is a directory, not a config file (did you mean 'conf/brood.lua'?)\n",
      ["link.lua"] = "link.lua: is a symlink to nothing\n",
      ["production.lua/x"] = "production.lua/x: cannot be read: Not a directory\n",
    } do
      local code, said = refused(args == "" and {} or { "run", args }, { cwd = dir })
      lu.assertEquals(code, 1)
      lu.assertStrContains(said, " " .. text)
    end
  end,

  ["in a folder that has been removed each command says so in one line"] = function()
    local dir = s.temp_dir()
    for _, args in ipairs { "run " .. dir .. "/brood.lua", "-s app.lua", "check", "init" } do
      local script = 'mkdir gone && cd gone && rmdir ../gone && exec "$0" ' .. args
      local result = s.start({ "/bin/sh", "-c", script, s.binary }, { cwd = dir }):finish()
      lu.assertEquals({ result.code, result.stdout, result.stderr },
        { 1, "", "brood: working directory: No such file or directory\n" }, args)
    end
  end,

  ["a bare word that is neither a command nor a config is wrong usage"] = function()
    local dir = s.temp_dir()
    local code, said = refused({ "frobnicate" }, { cwd = dir })
    lu.assertEquals({ code, said }, { 2, "brood: unknown command 'frobnicate', and there is no config of that name\n"
      .. "Try 'brood --help'.\n" })
    s.write_file(dir .. "/frobnicate", "return { nonsense = 1 }")
    code, said = refused({ "frobnicate" }, { cwd = dir })
    lu.assertEquals(code, 1)
    lu.assertStrContains(said, "frobnicate:1: unknown key 'nonsense'")
  end,

  ["a config that may not be read says so"] = function()
    if require("brood.posix").getuid() == 0 then
      lu.skip("root may read everything")
    end
    local code, text = refused { "run", s.write_file("brood.lua", "return {}", 0) }
    lu.assertEquals(code, 1)
    lu.assertStrContains(text, "cannot be read: Permission denied")
  end,

  ["wrong usage is status 2, one line and a hint"] = function()
    for _, args in ipairs {
      { "--frobnicate" }, { "-w", "none", "-s", "app.lua" }, { "-p", "70000", "-s", "app.lua" },
      { "-l", "nonsense:x:y", "-s", "a" }, { "-l", "nonsense host", "-s", "a" }, { "-l", "[::g]:80", "-s", "a" },
      { "-l", "256.0.0.1:80", "-s", "a" },
      { "run", "a.lua", "b.lua" }, { "-q", "-v" }, { "--log-level", "loud" }, { "reload" }, { "exec" }, { "statsu" },
      { "-c" }, { "-D", "yes", "no" },
    } do
      local code, text = refused(args)
      lu.assertEquals(code, 2, table.concat(args, " ") .. ": " .. text)
      lu.assertStrContains(text, "Try 'brood")
    end
  end,

  ["an address that is well formed and cannot be had is status 1"] = function()
    local app = s.write_file("app.lua", "return function() end")
    for _, address in ipairs { "no-such-host.invalid:8080", "192.0.2.1:8080" } do
      local code, text = refused({ "-s", app, "-w", "1", "--control", "false", "-l", address })
      lu.assertEquals(code, 1)
      lu.assertStrContains(text, "cannot listen on " .. address)
    end
  end,

  ["a mistake in the environment or an option names its source"] = function()
    local app = s.write_file("app.lua", "return function() end")
    local code, text = refused({ "-s", app }, { env = { WEB_CONCURRENCY = "many" } })
    lu.assertEquals(code, 1)
    lu.assertStrContains(text, 'WEB_CONCURRENCY in the environment: workers: expected a whole number')
    code, text = refused({ "-s", app }, { env = { PORT = "99999" } })
    lu.assertEquals(code, 1)
    lu.assertStrContains(text, 'PORT in the environment must be a port (or the path of a Unix socket), got "99999"')
    code, text = refused { "-s", app, "-l", "unix:/" .. ("x"):rep(120) }
    lu.assertEquals(code, 1)
    lu.assertStrContains(text, "-l: listen: expected the path of a Unix socket of at most 107 bytes, got 121: /xxx")
  end,
}
