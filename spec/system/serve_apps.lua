--- What an app file may return, and its start and stop functions.
local lu = require "luaunit"
local masters = require "spec.support.master"
local s = require "spec.support"

local function serve(app, options)
  options = options or {}
  options.app, options.workers = masters.NOTE .. app, options.workers or 1
  return masters.start(options)
end

local function fails(app, config)
  local master = serve(app, { config = config })
  local code = master.program:wait(20)
  lu.assertEquals(code, 1)
  lu.assertEquals(#s.child_pids(master.program.pid), 0)
  return master:log()
end

return {
  ["a handler function, an http.server and a table with either"] = function()
    for _, app in ipairs {
      'return function(req, res) res:finish("it") end',
      'return require("brood.http").server(function(req, res) res:finish("it") end, { idle_timeout = 5 })',
      'return { server = function(req, res) res:finish("it") end }',
      'return { server = require("brood.http").server(function(req, res) res:finish("it") end) }',
    } do
      local master = serve(app)
      lu.assertEquals(master:get().body, "it")
      lu.assertEquals(master:stop "QUIT", 0)
    end
  end,

  ["a net.server serves connections"] = function()
    local master = serve(masters.ECHO)
    master:echoes()
    lu.assertEquals(master:stop "QUIT", 0)
  end,

  ["start comes before the first request, stop after the last, both get the worker and may wait"] = function()
    local master = serve [[return {
      start = function(worker)
        note("start", worker.id, worker.slot, worker.cluster, tostring(worker == brood.worker))
        brood.sleep(0.05)
        note "started"
      end,
      server = function(req, res) note "request" brood.sleep(0.2) note "answered" res:finish "it" end,
      stop = function(worker) note("stop", worker.id) brood.sleep(0.05) note "stopped" end,
    }]]
    local socket = s.connect(master:address())
    socket:send "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    master:noted "request"
    lu.assertEquals(master:stop "QUIT", 0)
    lu.assertEquals(socket:response().status, 200)
    lu.assertEquals(master:notes(),
      "start 1 1 web true\nstarted\nrequest\nanswered\nstop 1\nstopped\n")
  end,

  ["start and stop with done are over when it is called, not when they return"] = function()
    local master = serve [[return {
      start = function(worker, done) brood.sleep(0.05, function() note "ready" done() end) note "returned" end,
      server = function(req, res) res:finish "it" end,
      stop = function(worker, done) brood.sleep(0.05, function() note "over" done() end) note "asked" end,
    }]]
    lu.assertEquals(master:get().body, "it")
    lu.assertEquals(master:stop "QUIT", 0)
    lu.assertEquals(master:notes(), "returned\nready\nasked\nover\n")
  end,

  ["a stop that raises or calls done(err) is logged, and the rest ends as ever"] = function()
    for _, body in ipairs { "(worker) error('cannot stop')", "(worker, done) done('cannot stop')" } do
      local master = serve(([[return { server = function() end, stop = function%s end }]]):format(body))
      lu.assertEquals(master:stop "QUIT", 0)
      lu.assertStrContains(master:log(), "cannot stop")
    end
  end,

  ["TERM ends workers without their stop function"] = function()
    local master = serve [[return { server = function() end, stop = function() note "stop" brood.sleep(9) end }]]
    local code, _, seconds = master:stop "TERM"
    lu.assertEquals(code, 0)
    lu.assertTrue(seconds < 1.5 * s.slow)
    lu.assertEquals(master:notes(), "")
  end,

  ["brood.worker emits stopping once the worker accepts no more, so that long handlers may end"] = function()
    local master = serve [[return function(req, res)
      local stopping = false
      brood.worker:on("stopping", function() stopping = true end)
      res:write "begin\n"
      while not stopping do brood.sleep(0.01) end
      local refused, err = require("brood.net").connect(req.headers.host)
      res:finish(tostring(refused) .. " " .. tostring(err and err.code) .. "\n")
    end]]
    local at = master:address()
    local socket = s.connect(at)
    socket:send(("GET / HTTP/1.1\r\nHost: %s\r\n\r\n"):format(at))
    socket:receive "begin"
    local code, _, seconds = master:stop "QUIT"
    lu.assertEquals(code, 0)
    lu.assertTrue(seconds < 5 * s.slow)
    lu.assertStrContains(socket:receive_all(), "\r\n0\r\n")
  end,

  ["a program that the app runs ends with its worker, after the app's stop"] = function()
    for _, signal in ipairs { "QUIT", "TERM" } do
      local master = serve [[
        local child = require("brood.process").new { command = { "sleep", "60" } }
        return { start = function() assert(child:start()) note(child.pid) end, server = function() end }]]
      master:address()
      local pid = tonumber((master:noted "(%d+)"))
      lu.assertTrue(s.alive(pid))
      lu.assertEquals(master:stop(signal), 0)
      lu.assertFalse(s.alive(pid))
    end
  end,

  ["a syntax error, a raising app and a wrong value are the reason why the start fails"] = function()
    lu.assertStrContains(fails "return = 1", "cannot start: web: cannot load the app: ")
    lu.assertStrContains(fails "error('no database')", "no database")
    lu.assertStrContains(fails "return 42", "must return a handler function(req, res), a server, or {server=")
    lu.assertStrContains(fails "return { server = 1 }", "`server` must be a handler function or a server, got number")
    lu.assertStrContains(fails "return { server = print, start = 1 }", "`start` must be a function, got number")
    lu.assertStrContains(fails "require 'no_such_module'", "module 'no_such_module' not found")
    lu.assertStrContains(fails("", "app = 'none.lua'"), "none.lua: No such file")
  end,

  ["what a worker prints is there at once, wherever it goes"] = function()
    local master = serve "return function(req, res) print('asked for ' .. req.path) res:finish() end"
    master:get "/1"
    master.program:expect "asked for /1\n"
  end,

  ["a start that raises, or calls done(err), is the reason why the start fails"] = function()
    lu.assertStrContains(fails "return { server = print, start = function() error('no queue') end }", "no queue")
    lu.assertStrContains(fails "return { server = print, start = function(_, done) done('no cache') end }", "no cache")
    lu.assertStrContains(fails [[return { server = print, start = function(_, done)
      brood.sleep(0.01)
      done({ message = 'no mail' })
    end }]], "no mail")
    lu.assertStrContains(fails "os.exit(7)", "status 7")
    lu.assertStrContains(fails "require('brood.posix').kill(require('brood.posix').getpid(), 9)", "KILL")
  end,

  ["a start that never calls done fails within start_timeout, with that reason"] = function()
    local seconds, log = s.timed(fails, "return { server = function() end, start = function(_, done) end }",
      "start_timeout = 0.2")
    lu.assertStrMatches(log, ".*cannot start: web worker 3 was not ready within 0.2 s: the start function of /[^\n]*"
      .. "/app.lua has neither returned nor called done\n")
    lu.assertStrContains(fails("", "start_timeout = 0.2, after_fork = function() brood.sleep(9) end"),
      "was not ready within 0.2 s: after_fork has not returned\n")
    lu.assertTrue(seconds < 5 * s.slow)
  end,

  ["an app that is stuck while it loads is killed soon after start_timeout"] = function()
    local seconds, log = s.timed(fails, "while true do end", "start_timeout = 0.2")
    lu.assertStrMatches(log, ".*was not ready within 0.2 s: /[^\n]*/app.lua is still being loaded\n")
    lu.assertTrue(seconds < 12 * s.slow)
  end,
}
