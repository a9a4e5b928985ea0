--- Starts that fail tell one story: the cluster, the file, the reason. What cannot heal is not tried again, what can
--- is tried a few times and told in full once. Nothing is left, and the status is 1.
local lu = require "luaunit"
local masters = require "spec.support.master"
local s = require "spec.support"

local LEFT = { "web.sock", "control.sock", "m.pid" }

local function fails(options)
  options.config = 'listen = "unix:web.sock", pidfile = "m.pid", ' .. (options.config or "")
  local master = masters.start(options)
  local seconds = s.timed(master.program.wait, master.program, 20)
  lu.assertEquals(master.program.code, 1, master:log())
  for _, name in ipairs(LEFT) do
    lu.assertFalse(s.exists(master.dir .. "/" .. name), name)
  end
  lu.assertEquals(s.child_pids(master.program.pid), {})
  return master:log(), seconds, master
end

-- One record, at once.
local function at_once(options, ...)
  local log, seconds = fails(options)
  local _, records = ("\n" .. log):gsub("\n%d%d%d%d%-%d%d%-%d%dT", "")
  lu.assertEquals(records, 1, log)
  for _, part in ipairs { ... } do
    lu.assertStrContains(log, part)
  end
  lu.assertTrue(seconds < 0.8 * s.slow, seconds)
end

return {
  ["an app that is missing, no Lua or no app is told once, at once, however many workers there are"] = function()
    at_once({ workers = 3, config = "app = 'nowhere.lua'" }, "cannot start: web: cannot load the app: ",
      "/nowhere.lua: No such file or directory")
    at_once({ workers = 3, app = "return {\n  = 1 }" }, "cannot start: web: cannot load the app: ", "app.lua:2: ")
    at_once({ workers = 3, app = "return 42" }, "cannot start: web: ", "app.lua must return a handler")
    at_once({ workers = 3, app = "return { server = function() end, start = 1 }" }, "cannot start: web: ", "`start`")
  end,

  ["what an app file returns in place of an app is told with what was probably meant"] = function()
    at_once({ app = "local x = 1" }, "app.lua returns nothing: is `return` missing?")
    at_once({ app = "return { serve = print }" },
      "got a table without `server`: unknown key 'serve' (did you mean 'server'?)")
    at_once({ app = "return { handler = print }" }, "unknown key 'handler' (did you mean 'server'?)")
  end,

  ["mistakes in the options of a server are told at the line of the app, all of them, once"] = function()
    local app = 'local http = require "brood.http"\n%s http.server(print, { max_bod = 1, idle_timeout = "x" })%s'
    for _, how in ipairs { { "return", "" }, { "local server =", " return server" } } do
      at_once({ workers = 2, app = app:format(how[1], how[2]) },
        "/app.lua:2: http.server: option 'idle_timeout' must be",
        "; unknown option 'max_bod' (did you mean 'max_body'?)")
    end
    local log = fails { config = "preload = true",
      app = 'return require("brood.net").server(print, { idle_timeou = 1 })' }
    lu.assertStrContains(log, "/app.lua:1: net.server: unknown option 'idle_timeou'")
    lu.assertNotStrContains(log, "lua/brood/")
  end,

  ["where a module that is missing was looked for is told once, and nothing of brood's own follows"] = function()
    local log = fails { app = "require 'no.such_module'" }
    lu.assertEquals(select(2, log:gsub("no field package.preload", "")), 1)
    lu.assertStrMatches(log, ".*cannot start: web: [^\n]*/app.lua:1: module 'no.such_module' not found\n")
    lu.assertNotStrContains(log, "lua/brood/")
  end,

  ["with preload as well"] = function()
    at_once({ config = "preload = true, app = 'nowhere.lua'" }, "cannot start: web: ", "nowhere.lua")
    at_once({ config = "preload = true", app = "return 42" }, "cannot start: web: ", "app.lua must return a handler")
    local log = fails { config = "preload = true", app = "error 'no database'" }
    lu.assertStrMatches(log, ".*cannot start: web: [^\n]*app.lua:1: no database\n")
    lu.assertEquals(select(2, log:gsub("stack traceback", "")), 1, log)
  end,

  ["of several clusters it names the one"] = function()
    local log = fails { workers = 1, config = [[
      clusters = { admin = { app = "nowhere.lua", listen = "127.0.0.1:0" } }]] }
    lu.assertStrContains(log, "cannot start: admin: cannot load the app: ")
    lu.assertEquals(select(2, log:gsub(" error ", "")), 1, log)
  end,

  ["a user or group that there is not is told once, at once"] = function()
    at_once({ config = "user = 'nobody-at-all'" }, "cannot start: web: ", "'nobody-at-all'")
    at_once({ config = "group = 'nobody-at-all'" }, "cannot start: web: ", "'nobody-at-all'")
  end,

  ["a mistake in the config is told once, at once"] = function()
    at_once({ config = "workers = 'many'" }, "workers")
    at_once({ config = "working_directory = 'nowhere'" }, "working_directory")
  end,

  ["an app that raises is tried three times a worker, and told in full once"] = function()
    local log = fails { workers = 2, app = "local x = nil\nx.y = 1" }
    lu.assertEquals(select(2, log:gsub("stack traceback", "")), 1, log)
    lu.assertEquals(select(2, log:gsub(" error ", "")), 7, log)
    lu.assertEquals(select(2, log:gsub("%(as before%)", "")), 5, log)
    lu.assertStrMatches(log, ".*cannot start: web: [^\n]*app.lua:2: attempt to index [^\n]*\n")
  end,

  ["an app whose dependency is there at the second try serves"] = function()
    local master = masters.start { workers = 1, app = [[
      if not io.open("tried") then
        io.open("tried", "w"):close()
        error "the database is not there yet"
      end
      return function(req, res) res:finish("served") end]] }
    lu.assertEquals(master:get().body, "served")
    lu.assertStrContains(master:log(), "the database is not there yet")
  end,

  ["once it has served, an app file that is broken is tried on and on"] = function()
    local master = masters.start { workers = 1 }
    local pid = master:pids()[1]
    s.write_file(master.dir .. "/app.lua", "return {")
    require("luv").kill(pid, "sigkill")
    master.program:expect "cannot load the app: [^\n]*app.lua"
    s.write_file(master.dir .. "/app.lua", 'return function(req, res) res:finish("mended") end')
    master:ready(1)
    lu.assertEquals(master:get().body, "mended")
  end,
}
