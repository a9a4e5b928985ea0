--- Services from start to stop: ports, answers, and what the list shows.
local lu = require "luaunit"
local p = require "spec.support.process"
local s = require "spec.support"
local sp = require "spec.support.spinner"
local uv = require "luv"

return {
  teardown = sp.cleanup,

  ["start returns a port of the range once the program accepts there, and the program finds it in PORT"] = function()
    local spinner = sp.new()
    local port = spinner:start { name = "api", command = sp.server() }
    local range = sp.ports()
    lu.assertTrue(port >= range[1] and port <= range[2])
    lu.assertEquals(sp.ask(port), tostring(spinner:get("api").pid))
    local entry = spinner:list().api
    lu.assertEquals({ entry.name, entry.state, entry.port, entry.listening, entry.restarts },
      { "api", "ready", port, "127.0.0.1:" .. port, 0 })
    lu.assertAlmostEquals(entry.started_at, os.time(), 10)
    lu.assertEquals(entry.options.command[1], s.binary)
  end,

  ["a second start of a name returns the same, and starts nothing"] = function()
    local spinner = sp.new()
    local port = spinner:start { name = "api", command = sp.server() }
    local pid = spinner:get("api").pid
    lu.assertEquals(spinner:start { name = "api", command = sp.server() }, port)
    lu.assertEquals(spinner:start "api", port)
    lu.assertEquals(spinner:get("api").pid, pid)
  end,

  ["stop ends it, all of its group, and it stays listed as stopped; its name alone starts it again"] = function()
    local spinner = sp.new()
    local lines = p.lines()
    spinner:start { name = "sh", command = { "sh", "-c", "sleep 60 & echo $!; sleep 60 & wait" }, port = false,
      stdout = lines.add }
    s.wait(function() return lines[1] end)
    local events = sp.record(spinner:get "sh")
    lu.assertTrue(spinner:stop "sh")
    lu.assertFalse(s.alive(tonumber(lines[1])))
    local entry = spinner:get("sh"):entry()
    lu.assertEquals({ entry.state, entry.pid, entry.port }, { "stopped" })
    lu.assertEquals({ entry.last_exit.signal, entry.last_exit.why }, { "TERM", "stop" })
    lu.assertEquals(sp.names(events), "exit stopped")
    lu.assertTrue(spinner:stop "sh")
    lu.assertTrue(spinner:start "sh")
    lu.assertEquals(sp.names(events), "exit stopped started")
  end,

  ["with a callback start returns the service, whose events are told"] = function()
    local spinner = sp.new()
    local got
    local service = spinner:start({ name = "api", command = sp.server() }, function(err, port) got = { err, port } end)
    local events = sp.record(service)
    lu.assertEquals(service.state, "starting")
    s.wait(function() return got end)
    lu.assertEquals(got, { nil, service.port })
    s.wait(function() return #events > 0 end)
    lu.assertEquals(events, { { "started", service.port } })
    lu.assertIs(spinner:get "api", service)
  end,

  ['with port = "socket" nobody connects to see whether it is ready'] = function()
    local spinner = sp.new()
    local path, lines = sp.journal()
    local server = sp.server(([[
      local pipe = uv.new_pipe(false)
      assert(pipe:bind(where))
      assert(pipe:listen(8, function()
        local file = io.open(%q, "a")
        file:write "somebody\n"
        file:close()
        os.exit(1)
      end))
      brood.sleep(60)
    ]]):format(path))
    lu.assertIsString(spinner:start { name = "once", command = server, port = "socket" })
    s.remains(function() return not lines()[1] and spinner:get("once").state == "ready" end, 0.1)
  end,

  ['port = "socket" is the path of a Unix socket, which is gone with the service'] = function()
    local spinner = sp.new()
    local path = spinner:start { name = "api", command = sp.server(), port = "socket" }
    lu.assertEquals(path:sub(1, 1), "/")
    lu.assertEquals(sp.ask(path), tostring(spinner:get("api").pid))
    lu.assertEquals(spinner:get("api").listening, "unix:" .. path)
    spinner:stop_all()
    lu.assertFalse(s.exists(path))
    lu.assertFalse(s.exists(path:match "^(.*)/"))
  end,

  ["a user's sockets are in a folder of that user's, which goes as well"] = function()
    lu.skipIf(require("brood.posix").getuid() ~= 0, "needs root")
    local spinner = sp.new { user = "nobody", cwd = "/", port = "socket" }
    local path = spinner:start { name = "api", command = { "sleep", "60" }, ready = "spawn" }
    lu.assertStrMatches(path, "/.+/65534/1")
    lu.assertEquals(uv.fs_stat(path:match "^(.*)/").uid, 65534)
    spinner:stop_all()
    lu.assertFalse(s.exists(path:match "^(.*)/%d+/%d+$"))
  end,

  ["a socket of `ready` is relative to where we were, whatever directory the program runs in"] = function()
    local dir, here = s.temp_dir(), uv.cwd()
    uv.chdir(dir)
    local spinner = sp.new { port = false }
    uv.chdir(here)
    lu.assertTrue(spinner:start { name = "api", cwd = "/", ready = { socket = "a.sock" }, command = { "python3", "-c",
      "import socket, sys, time; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(); time.sleep(60)",
      dir .. "/a.sock" } })
    spinner:stop_all()
    uv.fs_unlink(dir .. "/a.sock")
  end,

  ["port = N is that port, and port = false none, also where PORT is in our own environment"] = function()
    local text = [[
      local Spinner = require "brood.spinner"
      local spinner = Spinner.new {}
      local port = tonumber(arg[1])
      print(spinner:start { name = "n", port = port, command = { "python3", "-m", "http.server", "-b", "127.0.0.1",
        tostring(port) }, stderr = false, stdout = false, timeout = 20 } == port)
      local command = { "sh", "-c", "echo PORT=${PORT-unset}; sleep 60" }
      print(spinner:start { name = "none", command = command, port = false })
      print(spinner:start { name = "own", command = command, port = false, env = { PORT = "x" } })
      require("brood").sleep(0.2)
      spinner:stop_all()
    ]]
    local result = s.script(text, { tostring(s.free_port()) }, { env = { PORT = "99" } }):finish(30)
    lu.assertEquals({ result.code, result.stderr }, { 0, "" })
    lu.assertStrContains(result.stdout, "PORT=unset\n")
    lu.assertStrContains(result.stdout, "PORT=x\n")
  end,

  ["without a port it is ready as soon as it runs, or by its own word"] = function()
    local spinner = sp.new()
    lu.assertTrue(spinner:start { name = "plain", command = { "sleep", "60" }, port = false })
    local notify = ([[
      local send = require("brood.core").notify.send
      require("brood").sleep(0.1)
      assert(send(os.getenv "NOTIFY_SOCKET", "READY=1"))
      require("brood").sleep(60)
    ]])
    local began = uv.hrtime()
    lu.assertTrue(spinner:start { name = "notify", port = false, ready = "notify",
      command = { s.binary, "exec", s.write_file("n.lua", notify) } })
    lu.assertTrue((uv.hrtime() - began) / 1e9 >= 0.1)
  end,

  ["ready = { http } is asked on the service's own port"] = function()
    local spinner = sp.new()
    local port = spinner:start { name = "api", ready = { http = "/up" }, command = sp.server [[
      local n = 0
      listen(nil, function(request)
        n = n + 1
        return request:find "^GET /up " and n > 3 and "yes" or false
      end)
    ]] }
    lu.assertEquals(spinner:get("api").port, port)
  end,

  ["a script runs on this brood, is named after its file, and is monitored"] = function()
    local spinner = sp.new()
    local path = s.write_file("api.lua", sp.SERVER .. "listen()")
    local port = spinner:start { script = path }
    local service = spinner:get(path)
    lu.assertEquals(service.port, port)
    lu.assertEquals(service.options.monitor, { path })
    local events, pid = sp.record(service), service.pid
    s.write_file(path, sp.SERVER .. 'listen(nil, function() return "second" end)')
    s.wait(function() return events[2] end)
    lu.assertEquals(sp.names(events), "exit restarted")
    lu.assertEquals(sp.ask(service.port), "second")
    lu.assertNotEquals(service.pid, pid)
    lu.assertEquals({ service.restarts, service.last_exit.why }, { 1, "change" })
  end,

  ["a command without a name is called by its words, so that two of one program are two"] = function()
    local spinner = sp.new { port = false }
    spinner:start { command = { "sleep", "61" } }
    spinner:start { command = { "sleep", "62" } }
    lu.assertEquals({ spinner:get("sleep 61").state, spinner:get("sleep 62").state }, { "ready", "ready" })
    lu.assertNotEquals(spinner:get("sleep 61").pid, spinner:get("sleep 62").pid)
  end,

  ["options of the spinner are defaults of its services, the environments joined"] = function()
    local spinner = sp.new { port = false, env = { A = "1", B = "1" } }
    local lines = p.lines()
    spinner:start { name = "x", command = { "sh", "-c", "echo $A$B$C" }, env = { B = "2", C = "3" }, stdout = lines.add,
      restart = false }
    s.wait(function() return lines[1] end)
    lu.assertEquals(lines[1], "123")
  end,

  ["foreign servers: python, node and one behind a shell"] = function()
    local spinner = sp.new { timeout = 20 * s.slow, stdout = false, stderr = false }
    local node = s.write_file("server.js",
      'require("http").createServer((q, r) => r.end("node")).listen(process.env.PORT)')
    local one = p.call(spinner, "start", { name = "node", command = { "node", node } })
    local two = p.call(spinner, "start", { name = "python",
      command = { "sh", "-c", "python3 -m http.server $PORT; true" } })
    local three = p.call(spinner, "start", { name = "ruby", command = { "ruby", "-rsocket", "-e",
      's = TCPServer.new("127.0.0.1", ENV["PORT"].to_i); loop { s.accept.close }' } })
    s.wait(function() return one.answers + two.answers + three.answers == 3 end, 30)
    lu.assertNil(one.err or two.err or three.err)
    lu.assertEquals(sp.ask(one.values[1]), "node")
    lu.assertStrContains(sp.ask(two.values[1]), "Directory listing")
  end,

  ["unknown names: stop, touch and restart return an error that lists the known ones; get returns nil"] = function()
    local spinner = sp.new { port = false }
    spinner:start { name = "api", command = { "sleep", "60" } }
    for _, method in ipairs { "stop", "touch", "restart", "start" } do
      local ok, err = spinner[method](spinner, "apo")
      lu.assertEquals({ ok, err.code }, { nil, "unknown" })
      lu.assertStrContains(err.message, "there is no service 'apo'; the services are: api")
    end
    lu.assertNil(spinner:get "apo")
  end,

  ["mistakes raise at the caller's line and name the option"] = function()
    local spinner = sp.new()
    local function raises(text, fn)
      local ok, err = pcall(fn)
      lu.assertFalse(ok)
      lu.assertStrContains(tostring(err), text)
      lu.assertStrContains(tostring(err), "spec/system/spinner.lua:")
    end
    raises("unknown option 'comand' (did you mean 'command'?)", function() spinner:start { comand = { "x" } } end)
    raises("option 'command' or option 'script' is needed", function() spinner:start { name = "x" } end)
    raises("the callback must be a function", function()
      local service = spinner:start({ name = "uncalled", command = { "sleep", "60" } }, "no function")
      return service
    end)
    lu.assertNil(spinner:get "uncalled")
    raises("only one of the options", function() spinner:start { command = { "x" }, script = "x.lua" } end)
    raises("option 'port' must be", function() spinner:start { command = { "x" }, port = "tcp" } end)
    raises("option 'ports' must be two ports", function() require("brood.spinner").new { ports = { 5, 4 } } end)
    raises("unknown option 'command'", function() require("brood.spinner").new { command = { "x" } } end)
    raises("needs a port that can change", function() spinner:start { command = { "x" }, port = 1, tandem = true } end)
    raises("option 'health' needs a port",
      function() spinner:start { command = { "x" }, port = false, health = {} } end)
    raises("unknown option 'health.pth'", function() spinner:start { command = { "x" }, health = { pth = "/" } } end)
    raises("a table of options or the name", function() spinner:start(5) end)
    raises("spinner:stop: call it with a colon", function() spinner.stop "x" end)
    raises("must be two ports, the lower one first (like {7000, 7999}), got {7010, 7000}",
      function() require("brood.spinner").new { ports = { 7010, 7000 } } end)
    for _, name in ipairs { "stop", "get", "touch", "restart" } do
      raises("spinner:" .. name .. ": the name of a service is needed, got nothing",
        function() local _ = spinner[name](spinner) return _ end)
    end
    raises("unknown option 'ready.prt'", function() spinner:start { command = { "x" }, ready = { prt = 1 } } end)
  end,

  ["options that change while it runs are those of its next start"] = function()
    local spinner = sp.new { port = false }
    local lines = p.lines()
    local function options(word)
      return { name = "x", command = { "sh", "-c", "echo " .. word .. "; sleep 60" }, stdout = lines.add }
    end
    spinner:start(options "one")
    s.wait(function() return lines[1] end)
    spinner:start(options "two")
    spinner:restart "x"
    s.wait(function() return lines[2] end)
    lu.assertEquals({ lines[1], lines[2] }, { "one", "two" })
  end,

  ["a function runs in a forked child, and finds its PORT"] = function()
    local spinner = sp.new()
    local port = spinner:start { name = "fn", main = function()
      local tcp = require("luv").new_tcp()
      assert(tcp:bind("127.0.0.1", tonumber(os.getenv "PORT")))
      tcp:listen(8, function() end)
      require("brood").sleep(60)
    end }
    s.connect("127.0.0.1:" .. port):close()
  end,

  ["what a process can be told, a service can: signals, and what it reads from a pipe"] = function()
    local spinner = sp.new { port = false, restart = false }
    local lines = p.lines()
    spinner:start { name = "cat", command = { "cat" }, stdin = "pipe", stdout = lines.add }
    local service = spinner:get "cat"
    lu.assertTrue(service:write "hello\n")
    s.wait(function() return lines[1] == "hello" end)
    lu.assertTrue(service:signal "STOP")
    lu.assertTrue(service:signal "CONT")
    lu.assertTrue(service:close_stdin())
    s.wait(function() return service.state == "stopped" end)
    lu.assertEquals(select(2, service:signal "TERM").code, "stopped")
    lu.assertEquals(select(2, service:write "x").code, "stopped")
  end,

  ["its memory and descriptors are not more after many starts and stops"] = function()
    local spinner = sp.new()
    local o = { name = "api", command = sp.server(), port = "socket" }
    local function round()
      spinner:start(o)
      spinner:stop "api"
    end
    round()
    local fds = s.fd_count()
    for _ = 1, 15 do
      round()
    end
    lu.assertEquals(s.fd_count(), fds)
  end,
}
