--- A reload and the services of a config: what has changed, by value, runs anew; what has not stays what it is; and a
--- reload that fails changes nothing.
-- time limit: 180 s
local lu = require "luaunit"
local s = require "spec.support"
local services = require "spec.support.services"

local T = {}

local start = services.start

local function pids(master)
  local list = {}
  for name, service in pairs(master:services()) do
    list[name] = service.pid
  end
  return list
end

T["only what has changed is started anew, what is new starts, and what is gone stops"] = function()
  local master = start([[services = {
    a = { command = noting "a", env = { X = "1" } }, b = { command = noting "b" }, c = { command = noting "c" } }]])
  master:started()
  master:begun("a", "b", "c")
  local before = pids(master)
  local ok, log = master:hup([[services = {
    a = { env = { X = "1" }, command = noting "a" }, b = { command = noting("b", "true") },
    d = { command = noting "d" } }]])
  lu.assertTrue(ok, log)
  lu.assertStrContains(log, "c: is not in the config any more")
  local after = pids(master)
  lu.assertEquals(after.a, before.a)
  lu.assertNotEquals(after.b, before.b)
  lu.assertNotNil(after.d)
  lu.assertNil(after.c)
  s.gone({ before.b, before.c }, 5)
  master:begun("d")
  s.wait(function() return master:count "b begin" == 2 end, 5)
  lu.assertEquals(master:count "a begin", 1)
  lu.assertEquals(master:count "c end", 1)
  lu.assertEquals((master:over "QUIT"), 0)
  lu.assertEquals(master:count "begin", master:count "end")
end

T["a reload with nothing new leaves every service alone, functions included"] = function()
  local config = [[services = {
    a = { command = noting("a", "echo line"), stdout = function(line) note("said", line) end, limits = { nofile = 99 },
      health = { path = "/" }, port = ]] .. services.free_port() .. [[, ready = "spawn", after = { "b" } },
    b = { command = noting "b", monitor = { "x" } } }]]
  local master = start(config):started()
  master:noted "said line"
  local before = pids(master)
  for _ = 1, 3 do
    lu.assertTrue((master:hup(config)))
  end
  lu.assertEquals(pids(master), before)
  master:over "QUIT"
end

T["what says nothing of the program changes without another run"] = function()
  local master = start [[services = { a = { command = noting "a" }, b = { command = noting "b" } }]]
  master:started()
  master:begun("a", "b")
  local before = pids(master)
  lu.assertTrue((master:hup [[services = { a = { command = noting "a", after = "b", essential = true },
    b = { command = noting "b" } }]]))
  lu.assertEquals(pids(master), before)
  lu.assertEquals((master:over "QUIT"), 0)
  local story = master:story()
  lu.assertEquals({ story[3], story[4] }, { "a end", "b end" })
end

T["those that change stop in the reverse of their order, and start in it"] = function()
  local function config(word)
    return ([[services = { db = { command = noting("db", "%s") }, api = { command = noting("api", "%s"), after = "db" },
      web = { command = noting("web", "%s"), after = "api" } }]]):format(word, word, word)
  end
  local master = start(config "true"):started()
  master:begun("db", "api", "web")
  lu.assertTrue((master:hup(config ":")))
  master:begun("web", "api", "db")
  local story = master:story()
  lu.assertEquals({ unpack(story, 4, 6) }, { "web end", "api end", "db end" })
  master:over "QUIT"
end

T["a service with tandem changes without a moment in which nobody answers"] = function()
  local function config(name)
    return ([[services = { api = { command = server %q, port = "socket", tandem = true } }]]):format(name)
  end
  local master = start(config "one"):started()
  local first = master:services "api"
  lu.assertTrue((master:hup(config "two")))
  local second = master:services "api"
  lu.assertNotEquals(second.pid, first.pid)
  lu.assertStrContains(s.get(second.listening, "/").body, "two ")
  local story = master:story()
  lu.assertEquals({ story[1], story[2] }, { "one begin", "two begin" })
  s.gone({ first.pid }, 10)
  master:over "QUIT"
end

T["a new name may have the port of one that is gone"] = function()
  local port = services.free_port()
  local function config(name)
    return ([[services = { %s = { command = server %q, port = %d } }]]):format(name, name, port)
  end
  local master = start(config "old"):started()
  lu.assertTrue((master:hup(config "new")))
  lu.assertStrContains(s.get("127.0.0.1:" .. port, "/").body, "new ")
  master:over "QUIT"
end

T["a reload that fails changes no service"] = function()
  local master = start [[services = { a = { command = noting "a" }, b = { command = noting "b" } },
    app = "app.lua", listen = "127.0.0.1:0", workers = 1,]]
  s.write_file(master.dir .. "/app.lua", "return function() end")
  master:started()
  master:begun("a", "b")
  local before = pids(master)
  local function fails(config, why)
    local ok, log = master:hup(config)
    lu.assertFalse(ok)
    lu.assertStrContains(log, "all goes on as before")
    lu.assertStrContains(log, why)
    lu.assertEquals(pids(master), before)
  end
  local app = [[, app = "app.lua", listen = "127.0.0.1:0", workers = 1,]]
  fails("services = { a = { command = noting('a', 'true'), after = 'zz' } }" .. app, "no service")
  fails("services = { a = { command = { 'no-such-program' } }, n = { command = noting 'n' } }" .. app,
    "services.a names a program that is not in PATH: 'no-such-program'")
  fails("services = { a = { script = 'nowhere.lua' } }" .. app, "services.a names a script that cannot be read: ")
  fails("services = { a = { command = noting('a', 'true') }, n = { command = noting 'n' } }, on_start = function() "
    .. "error 'no disk' end" .. app, "no disk")
  s.write_file(master.dir .. "/app.lua", "error 'no library'")
  fails("services = { a = { command = noting('a', 'true') }, n = { command = noting 'n' } }" .. app, "no library")
  s.write_file(master.dir .. "/app.lua", "return function() end")
  lu.assertEquals(master:count "n begin", 0)
  lu.assertEquals(master:count "begin", 2)
  master:over "QUIT"
end

T["a service that does not start after a reload is told of, and the rest is as the config says"] = function()
  local master = start [[services = { a = { command = noting "a" } }]]
  master:started()
  local status, body
  master:write [[services = { a = { command = { "sh", "-c", "exit 3" }, attempts = 1, port = 1023 + 9000 },
    b = { command = noting "b" } }]]
  status, body = master:order("POST", "/reload")
  lu.assertEquals(status, 500)
  lu.assertStrContains(body.error, "a: ")
  lu.assertStrContains(body.error, "status 3")
  lu.assertStrContains(master:log(), "not all services are ready")
  lu.assertEquals(master:services("b").state, "ready")
  lu.assertEquals(master:services("a").state, "faulted")
  lu.assertTrue((master:hup [[services = { a = { command = noting "a" }, b = { command = noting "b" } }]]))
  lu.assertEquals(master:services("a").state, "ready")
  master:over "QUIT"
end

T["services may come with a reload, and go with one"] = function()
  local app = [[app = "app.lua", listen = "127.0.0.1:0", workers = 1,]]
  local master = start(app, { files = { ["app.lua"] = "return function() end" } }):started()
  lu.assertTrue((master:hup(app .. [[services = { a = { command = noting "a" } },]])))
  master:begun("a")
  lu.assertEquals(master:services("a").state, "ready")
  lu.assertTrue((master:hup(app)))
  s.wait(function() return next(master:services()) == nil end, 5)
  lu.assertEquals(master:story(), { "a begin", "a end" })
  lu.assertTrue((master:hup(app .. [[services = { a = { command = noting "a" } },]])))
  lu.assertEquals(master:services("a").state, "ready")
  master:over "QUIT"
end

T["the new app's first worker knows the new services, and may start one; where the reload fails, that ends again"]
  = function()
    local app = [[app = "app.lua", listen = "127.0.0.1:0", workers = 1,]]
    local master = start(app, { files = { ["app.lua"] = "return function() end" } }):started()
    local config = app .. [[services = { a = { command = server "a", autostart = false } },]]
    local starts = [[
      local brood = require "brood"
      local a = brood.service "a"
      local port = assert(a:start())
      assert(port == a.port and a.state == "ready", a.state)
      return function(_, res) res:finish(tostring(a.port)) end]]
    lu.assertFalse((master:hup(config, { ["app.lua"] = starts .. " + 1" })))
    local ok, log = master:hup(config, { ["app.lua"] = starts:gsub("return function", "error 'late' return function") })
    lu.assertFalse(ok)
    lu.assertStrContains(log, "late")
    s.wait(function() return master:count "a end" == 2 end, 10, function() return master:log() .. master:notes() end)
    s.wait(function() return next(master:services()) == nil end, 5)
    ok, log = master:hup(config, { ["app.lua"] = starts })
    lu.assertTrue(ok, log)
    lu.assertEquals(master:services("a").state, "ready")
    master:over "QUIT"
    lu.assertEquals(master:most_at_a_time "a", 1)
  end

T["reloads that come fast behind each other end in what the last one says"] = function()
  local function config(n)
    local list = {}
    for i = n % 3, n % 3 + 3 do
      list[#list + 1] = ("s%d = { command = noting('s%d', ': %d') }"):format(i, i, n % 2)
    end
    return "services = { " .. table.concat(list, ", ") .. " }"
  end
  local master = start(config(0)):started()
  for n = 1, 12 do
    master:write(config(n))
    master.program:kill "HUP"
    s.remains(function() return true end, 0.03)
  end
  master:hup(config(7))
  s.wait(function()
    local ready, all = 0, 0
    for _, service in pairs(master:services()) do
      ready, all = ready + (service.state == "ready" and 1 or 0), all + 1
    end
    return ready == 4 and all == 4
  end, 15, function() return master:log() end)
  local list = master:services()
  lu.assertTrue(list.s1 and list.s2 and list.s3 and list.s4 and true)
  s.wait(function()
    for i = 1, 4 do
      if not master:notes():find("s" .. i .. " begin " .. list["s" .. i].pid, 1, true) then return false end
    end
    return true
  end, 5)
  lu.assertEquals((master:over "QUIT"), 0)
end

T["listeners of a former config are not called any more"] = function()
  local config = [[services = { a = { command = noting "a" } }, app = "app.lua", listen = "127.0.0.1:0", workers = 1,
    worker_ready = function(m) m.services.a:on("restarted", function() note("heard", %d) end) end,]]
  local master = start(config:format(1), { files = { ["app.lua"] = "return function() end" } }):started()
  lu.assertTrue((master:hup(config:format(2))))
  master:call("a", "restart")
  master:noted "heard 2"
  lu.assertNil(master:notes():find("heard 1", 1, true))
  master:over "QUIT"
end

return T
