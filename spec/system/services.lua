--- Services in a config: started before the pools and clusters, each behind those it comes after, and stopped last;
--- kept running, ended with the master when they are essential, and asked for by the control server.
-- time limit: 180 s
local lu = require "luaunit"
local s = require "spec.support"
local services = require "spec.support.services"
local uv = require "luv"

local T = {}

local start = services.start

local function times(text, pattern)
  return (select(2, text:gsub(pattern, "")))
end

-- ---- start ----------------------------------------------------------------------------------------------------------

T["a config with services and nothing else is a config"] = function()
  local master = start([[services = { db = { command = noting "db" } }]]):started()
  local service = master:services "db"
  lu.assertEquals({ service.state, service.restarts, service.port }, { "ready", 0 })
  lu.assertTrue(s.alive(service.pid))
  lu.assertEquals(service.processes[1].kind, "service")
  lu.assertEquals(service.processes[1].name, "db")
  lu.assertStrContains(master:log(), "services: 1 of 1 run")
  lu.assertEquals((master:ask "/health"), 200)
  master:begun "db"
  lu.assertEquals((master:over "QUIT"), 0)
  lu.assertEquals(master:story(), { "db begin", "db end" })
end

T["services are ready before pools start, and pools before clusters"] = function()
  local master = start([[
    services = { api = { command = server("api", "0.3"), port = ]] .. services.free_port() .. [[ } },
    pools = { work = { worker = function() end, max_processes = 1 } },
    app = "app.lua", listen = "127.0.0.1:0", workers = 1,
    before_fork = function(m, w) note(w.pool and "pool" or "web", m.services.api.state) end,]], {
    files = { ["app.lua"] = "return function(_, res) res:finish 'x' end" },
  }):started()
  lu.assertEquals(master:story(), { "api begin", "pool ready", "web ready" })
  lu.assertEquals((master:over "QUIT"), 0)
  local story = master:story()
  lu.assertEquals(story[#story], "api end")
end

T["a service waits for those that it comes after, and ends before them"] = function()
  local master = start([[services = {
    c = { command = noting "c", after = { "a", "b" } },
    b = { command = server "b", port = ]] .. services.free_port() .. [[, after = "a" },
    a = { command = server("a", "0.2"), port = ]] .. services.free_port() .. [[ },
  }]]):started()
  master:begun "c"
  lu.assertEquals((master:over "QUIT"), 0)
  lu.assertEquals(master:story(), { "a begin", "b begin", "c begin", "c end", "b end", "a end" })
end

T["one that runs once gates those after it, and is not started again"] = function()
  local master = start([[services = {
    web = { command = noting "web", after = "migrate" },
    migrate = { command = { "sh", "-c", "echo migrate begin >>notes; sleep 0.3; echo migrate end >>notes" },
      restart = false },
  }]]):started()
  master:begun "web"
  lu.assertEquals(master:story(), { "migrate begin", "migrate end", "web begin" })
  local service = master:services "migrate"
  lu.assertEquals({ service.state, service.last_exit.code, service.last_exit.why }, { "stopped", 0, "end" })
  lu.assertEquals((master:ask "/health"), 200)
  master:over "TERM"
  lu.assertEquals(master:count "migrate begin", 1)
end

T["one that fails once keeps those after it from starting, and the rest goes on"] = function()
  local master = start([[services = {
    web = { command = noting "web", after = "migrate" },
    migrate = { command = { "sh", "-c", "echo broken schema >&2; exit 3" }, restart = false },
    other = { command = noting "other" },
  }]]):started()
  lu.assertEquals(master:services("migrate").state, "faulted")
  lu.assertEquals(master:services("web").state, "faulted")
  lu.assertEquals(master:services("other").state, "ready")
  lu.assertEquals(master:count "web", 0)
  lu.assertStrContains(master:log(), "migrate ended with status 3")
  lu.assertStrMatches(master:log(), ".*warn +%[%d+%] web waits for migrate, which has failed\n.*")
  lu.assertStrContains(master:log(), "services: 1 of 3 run (faulted: migrate, web)\n")
  local status, body = master:ask "/health"
  lu.assertEquals(status, 503)
  lu.assertStrContains(body.reason, "service migrate is faulted")
  master:over "TERM"
end

T["a service that cannot start is faulted, tells why, and keeps no cluster from starting"] = function()
  local master = start([[services = {
      api = { command = { "no-such-program" }, attempts = 1 },
      late = { command = noting "late", port = ]] .. services.free_port() .. [[, timeout = 0.2, attempts = 2 },
    },
    app = "app.lua", listen = "127.0.0.1:0", workers = 1,]], {
    files = { ["app.lua"] = "return function(_, res) res:finish 'x' end" },
  }):started()
  lu.assertEquals(master:services("api").state, "faulted")
  lu.assertStrContains(master:services("api").error, "no-such-program")
  lu.assertEquals(master:services("late").state, "faulted")
  lu.assertStrContains(master:services("late").error, "0.2 s")
  lu.assertEquals(master:count "late begin", 2)
  lu.assertStrContains(master:log(), "services: 0 of 2 run (faulted: api, late)\n")
  local text = "warn +%[%d+%] api: its start has failed: exec no%-such%-program: [^\n]* %(not in PATH: "
  lu.assertEquals({ times(master:log(), text), times(master:log(), "no%-such%-program") }, { 1, 1 })
  lu.assertEquals(times(master:log(), "warn +%[%d+%] late: faulted after 2 failed starts: "), 1)
  lu.assertEquals(times(master:log(), "was not ready within"), 1)
  master:over "TERM"
end

T["one that has done what it was there for is told of as done"] = function()
  local master = start([[services = {
    m = { command = { "true" }, restart = false }, after_it = { command = noting "db", after = "m" },
  }]]):started()
  lu.assertStrContains(master:log(), "services: 1 of 2 run (done: m)\n")
  master:over "TERM"
end

T["a service that cannot be started when it is asked for is told of once"] = function()
  local master = start([[services = {
    api = { command = { "sh", "-c", "exit 3" }, port = true, attempts = 2, autostart = false },
  }, proxy = { listen = "127.0.0.1:0", workers = 1, routes = { ["/"] = "api" } }]]):started()
  local place = master:log():match "workers serve (%S+)"
  lu.assertEquals(require("brood.http").get("http://" .. place .. "/").status, 503)
  lu.assertEquals(times(master:log(), "warn +%[%d+%] api: faulted after 2 failed starts: it ended with status 3"), 1)
  lu.assertEquals(times(master:log(), "ended with status 3"), 1)
  master:over "TERM"
end

T["a faulted one is tried again by itself every fault_timeout"] = function()
  local master = start([[services = {
    api = { command = { "sh", "-c", "test -e here || exit 1; exec sleep 1000" }, ready = "spawn", attempts = 1,
      fault_timeout = 0.3, restart_tolerance = 30 },
  }]]):started()
  master:becomes("api", "faulted")
  s.write_file(master.dir .. "/here", "")
  local service = master:becomes("api", "ready")
  lu.assertTrue(service.restarts >= 1)
  master:over "TERM"
end

T["a service that dies is started again"] = function()
  local master = start([[services = { db = { command = noting "db" } }]]):started()
  local pid = master:services("db").pid
  uv.kill(pid, "sigkill")
  local service = master:becomes("db", function(it) return it.state == "ready" and it.pid ~= pid end)
  lu.assertEquals(service.restarts, 1)
  lu.assertEquals({ service.last_exit.signal, service.last_exit.why }, { "KILL", "crash" })
  lu.assertStrContains(master:log(), "db was killed by KILL: it is started again")
  master:over "TERM"
end

T["one that is not started by itself has a port when somebody asks for it"] = function()
  local master = start([[services = {
    api = { command = server "api", autostart = false },
    far = { command = noting "far", autostart = false },
  }]]):started()
  lu.assertEquals(master:services("api").state, "stopped")
  lu.assertStrContains(master:log(), "services: 0 of 0 run")
  local status, body = master:call("api", "start")
  lu.assertEquals(status, 200)
  lu.assertStrMatches(s.get("127.0.0.1:" .. body.port, "/").body, "api " .. body.pid)
  lu.assertEquals(master:services("api").listening, "127.0.0.1:" .. body.port)
  lu.assertEquals(master:services("far").state, "stopped")
  master:over "QUIT"
  lu.assertEquals(master:story(), { "api begin", "api end" })
end

T["a socket is a place for a service as well"] = function()
  local master = start([[services = { api = { command = server "api", port = "socket" } }]]):started()
  local service = master:services "api"
  lu.assertEquals(service.listening, "unix:" .. service.port)
  lu.assertStrMatches(s.get(service.listening, "/").body, "api " .. service.pid)
  master:over "QUIT"
  lu.assertFalse(s.exists(service.port))
end

T["a service takes only what its entry says, and the folder of the master"] = function()
  local master = start([[
    env = { COLOUR = "green" }, umask = "077", working_directory = here .. "/below",
    services = {
      plain = { command = { "sh", "-c", 'echo "plain $COLOUR $(umask) $PWD" >>../notes; exec sleep 1000' } },
      own = { command = { "sh", "-c", 'echo "own $COLOUR $(umask) $PWD $(ulimit -n)" >>notes; exec sleep 1000' },
        env = { COLOUR = "red" }, umask = "027", cwd = ".", limits = { nofile = 77 } },
    }]], { files = { ["below/x"] = "" } }):started()
  master:noted "own red"
  master:noted "plain"
  lu.assertStrContains(master:notes(), "own red 0027 " .. master.dir .. " 77\n")
  lu.assertStrContains(master:notes(), "plain  0022 " .. master.dir .. "/below\n")
  master:over "TERM"
end

-- ---- end ------------------------------------------------------------------------------------------------------------

T["TERM ends services at once, also those that want more time, and leaves nothing"] = function()
  local master = start([[services = {
    deaf = { command = deaf "deaf", stop_timeout = 60 },
    db = { command = noting "db" },
    api = { command = noting "api", after = "db" },
  }]]):started()
  master:begun("deaf", "db", "api")
  local pids = {}
  for _, service in pairs(master:services()) do
    table.insert(pids, service.pid)
  end
  local code, seconds = master:over "TERM"
  lu.assertEquals(code, 0)
  lu.assertTrue(seconds > 1 and seconds < 5 * s.slow)
  s.gone(pids, 1)
  lu.assertEquals(master:count "end", 2)
end

T["QUIT gives services what is left of graceful_timeout"] = function()
  local master = start([[graceful_timeout = 2.5, services = {
    deaf = { command = deaf "deaf", stop_timeout = 60 },
  }]]):started()
  master:begun "deaf"
  local pid = master:services("deaf").pid
  local code, seconds = master:over "QUIT"
  lu.assertEquals(code, 0)
  lu.assertTrue(seconds > 2 and seconds < 5 * s.slow)
  lu.assertStrContains(master:log(), "killed, as graceful_timeout is over: deaf")
  s.gone({ pid }, 1)
end

T["TERM cuts short a QUIT that waits for services, and a second one kills"] = function()
  local master = start([[services = {
    deaf = { command = deaf "deaf", stop_timeout = 60 },
  }]]):started()
  master:begun "deaf"
  master.program:kill "QUIT"
  master.program:expect("stopping gracefully", 5)
  master:becomes("deaf", "stopping")
  master.program:kill "TERM"
  master.program:expect("stopping quickly", 5)
  s.remains(function() return true end, 0.06) -- sooner it would be the same one, sent to the group as well
  local code, seconds = master:over "TERM"
  lu.assertEquals(code, 0)
  lu.assertTrue(seconds < 1.5 * s.slow, master:log())
end

T["TERM while services start ends them, and what was to come never starts"] = function()
  local master = start([[services = {
      slow = { command = noting "slow", port = ]] .. services.free_port() .. [[, timeout = 60 },
      next = { command = noting "next", after = "slow" },
    },
    app = "app.lua", listen = "127.0.0.1:0", before_fork = function() note "fork" end,]], {
    files = { ["app.lua"] = "return function() end" },
  })
  master:noted "slow begin"
  local code, seconds = master:over "TERM"
  lu.assertEquals(code, 0)
  lu.assertTrue(seconds < 5 * s.slow)
  lu.assertEquals(master:story(), { "slow begin", "slow end" })
end

T["a cluster that cannot start ends the services that had"] = function()
  local master = start([[services = { db = { command = server "db", port = ]] .. services.free_port() .. [[ } },
    app = "app.lua", listen = "127.0.0.1:0",]], { files = { ["app.lua"] = "return 5" } })
  lu.assertEquals(master.program:wait(20), 1)
  lu.assertStrContains(master:log(), "cannot start: web")
  lu.assertEquals(master:story(), { "db begin", "db end" })
end

T["a service is not started any more once they are being stopped"] = function()
  local master = start([[
    on_stop = function(m) note("tried", m.services.db:start()) end,
    services = { db = { command = noting "db" } }]]):started()
  master:noted "db begin"
  lu.assertEquals((master:over "QUIT"), 0)
  lu.assertStrMatches(master:notes(), "db begin %d+\ndb end %d+\ntried nil db: cannot be started: the master [^\n]*\n")
end

-- ---- essential ------------------------------------------------------------------------------------------------------

local function ends_with(script, code, more)
  local master = start(([[services = {
      job = { command = { "sh", "-c", %q }, essential = true%s },
      db = { command = noting "db" },
    },
    app = "app.lua", listen = "127.0.0.1:0", workers = 1,]]):format(script, more or ""), {
    files = { ["app.lua"] = "return function() end" },
  })
  lu.assertEquals(master.program:wait(20), code)
  lu.assertStrContains(master:log(), "job: it is essential, and ")
  lu.assertStrContains(master:log(), "stopping gracefully")
  lu.assertEquals(master:count "db begin", master:count "db end")
  return master
end

T["an essential service ends the master with its status"] = function()
  ends_with("sleep 0.3; exit 7", 7)
  ends_with("sleep 0.3; exit 0", 0)
  ends_with("sleep 0.3; exit 4", 4, ", restart = false")
end

T["an essential service that is killed ends the master with 1, and is not started again"] = function()
  local master = ends_with("echo begun >>notes; sleep 0.3; kill -9 $$", 1)
  lu.assertEquals(master:count "begun", 1)
end

T["an essential service that cannot start ends the master's start"] = function()
  local master = ends_with("exit 5", 5, ", port = " .. services.free_port() .. ", attempts = 2")
  lu.assertNil(master:log():find("workers serve", 1, true))
  local log = master:log()
  lu.assertStrContains(log, "job: it is essential, and is faulted: the master stops (faulted after 2 failed starts: it "
    .. "ended with status 5")
  lu.assertEquals(times(log, "status 5"), 1)
  lu.assertStrContains(ends_with("sleep 9", 1, ", ready = 'notify', timeout = 0.1, attempts = 1"):log(), "is faulted")
end

T["to stop an essential service by hand is no end of the master"] = function()
  local master = start([[services = { job = { command = noting "job", essential = true } }]]):started()
  lu.assertEquals((master:call("job", "stop")), 200)
  lu.assertEquals((master:call("job", "restart")), 200)
  lu.assertEquals((master:call("job", "restart")), 200)
  lu.assertEquals(master:services("job").state, "ready")
  lu.assertEquals((master:over "QUIT"), 0)
end

-- ---- the control server ---------------------------------------------------------------------------------------------

T["the control server starts, stops and restarts services, and names those that it knows"] = function()
  local master = start([[services = { api = { command = noting "api" }, db = { command = noting "db" } }]]):started()
  local pid = master:services("db").pid
  lu.assertEquals((master:call("db", "stop")), 200)
  lu.assertEquals(master:services("db").state, "stopped")
  lu.assertEquals((master:ask "/health"), 200) -- somebody wanted it
  lu.assertEquals((master:call("db", "stop")), 200)
  local status, body = master:call("db", "start")
  lu.assertEquals({ status, body.ok, body.port }, { 200, true })
  lu.assertNotEquals(body.pid, pid)
  local _, again = master:call("db", "start")
  lu.assertEquals(again.pid, body.pid)
  local _, anew = master:call("db", "restart")
  lu.assertNotEquals(anew.pid, body.pid)
  status, body = master:call("nodb", "start")
  lu.assertEquals({ status, body.error }, { 404, "there is no service 'nodb'; the services are: api, db" })
  status, body = master:order("GET", "/services/db/start")
  lu.assertEquals({ status, body.error }, { 405, "/services/db/start wants POST, not GET" })
  lu.assertEquals((master:order("POST", "/services/db/dance")), 404)
  master:over "TERM"
end

T["a start that fails is answered with the reason"] = function()
  local master = start([[services = {
    api = { command = { "sh", "-c", "exit 3" }, autostart = false, attempts = 1 } }]]):started()
  local status, body = master:call("api", "start")
  lu.assertEquals({ status, body.code }, { 500, "exit" })
  lu.assertStrContains(body.error, "status 3")
  lu.assertEquals(master:services("api").error, body.error)
  lu.assertEquals((master:ask "/health"), 200)
  master:over "TERM"
end

T["an operator's stop holds until an operator's start"] = function()
  local master = start([[services = { db = { command = noting "db", fault_timeout = 0.1 } }]]):started()
  master:call("db", "stop")
  lu.assertTrue((master:hup()))
  lu.assertEquals(master:services("db").state, "stopped")
  master:over "TERM"
end

-- ---- hooks ----------------------------------------------------------------------------------------------------------

T["hooks see the services by name, and hear of what becomes of them"] = function()
  local master = start([[
    services = { db = { command = noting "db" }, api = { command = server "api", autostart = false } },
    app = "app.lua", listen = "127.0.0.1:0", workers = 1,
    worker_ready = function(m)
      local db, api = m.services.db, brood.service "api"
      note("db", db.state, db.port, db.pid ~= nil)
      api:once("started", function(port) note("api started", port == api.port, api.state) end)
      db:once("restarted", function(port) note("db restarted", port) end)
      note("port", math.type == nil, api:start() == api.port)
      db:restart()
      note("stop", api:stop(), api.state, api.port)
      note(pcall(brood.service, "dbx"))
    end,]], { files = { ["app.lua"] = "return function() end" } }):started()
  master:noted "knows of no service 'dbx'; the services are: api, db"
  local notes = master:notes()
  lu.assertStrContains(notes, "db ready nil true\n")
  lu.assertStrContains(notes, "api started true ready\n")
  lu.assertStrContains(notes, "port true true\n")
  lu.assertStrContains(notes, "stop true stopped nil\n")
  lu.assertStrContains(notes, "db restarted true\n")
  lu.assertEquals((master:over "QUIT"), 0)
end

-- ---- checks ---------------------------------------------------------------------------------------------------------

local function check(text)
  local dir = s.temp_dir()
  s.write_file(dir .. "/brood.lua", "return { services = {" .. text .. "} }")
  return s.brood({ "check", dir .. "/brood.lua" }):finish()
end

T["brood check shows the services as they are in the end, and it reads as a config again"] = function()
  local result = check [[api = { command = { "sleep", "1" }, after = "db", health = { path = "/x" }, port = 5099 },
    db = { command = { "true" }, restart = false }, late = { command = { "true" }, autostart = false }]]
  lu.assertEquals(result.code, 0)
  local services_of = assert(loadstring(result.stdout))().services
  lu.assertEquals(services_of.api.after, { "db" })
  lu.assertEquals(services_of.api.timeout, "30s")
  lu.assertEquals({ services_of.db.port, services_of.db.idle, services_of.db.restart }, { false, false, false })
  lu.assertEquals({ services_of.late.port, services_of.late.idle }, { true, "30m" })
end

T["brood check finds programs and scripts that are not there"] = function()
  local result = check [[a = { command = { "no-such-program" } }, b = { script = "nowhere.lua" },
    c = { command = { "/etc/passwd" }, cwd = "below", user = "nobody-here" },
    d = { command = { "true" }, after = "z" }]]
  lu.assertEquals(result.code, 1)
  lu.assertStrContains(result.stderr, "'services.a.command' names a program that is not in PATH: 'no-such-program'")
  lu.assertStrContains(result.stderr, "'services.b.script' cannot be read: ")
  lu.assertStrContains(result.stderr, "'services.c.command' names a program that cannot be run: /etc/passwd")
  lu.assertStrContains(result.stderr, "'services.c.cwd' names a directory that cannot be used")
  lu.assertStrContains(result.stderr, "'services.c.user' cannot be used")
  lu.assertStrContains(result.stderr, "service 'd' is to come after 'z', which is no service; the others are: a, b, c")
end

-- ---- a lean master --------------------------------------------------------------------------------------------------

T["a master without services has loaded nothing of them"] = function()
  local master = start([[app = "app.lua", listen = "127.0.0.1:0", workers = 1,
    worker_ready = function()
      for name in pairs(package.loaded) do
        if name:find "spinner" or name:find "service" then note(name) end
      end
      note "looked"
    end,]], { files = { ["app.lua"] = "return function() end" } }):started()
  master:noted "looked"
  lu.assertEquals(master:notes(), "looked\n")
  lu.assertEquals(master:services(), {})
  master:over "QUIT"
end

T["brood.service raises where no master has services"] = function()
  local path = s.write_file("x.lua", "print(select(2, pcall(require('brood').service, 'api')))")
  lu.assertStrContains(s.brood({ "exec", path }):finish().stdout, "brood.service: this process knows of no service "
    .. "'api'; no master has started it with a config that has services")
end

return T
