--- Services that do not start, or do not stay: attempts, tolerance, and when a faulted one is tried again.
local lu = require "luaunit"
local p = require "spec.support.process"
local s = require "spec.support"
local sp = require "spec.support.spinner"
local uv = require "luv"

-- A program that adds a line to its journal and goes on with `rest`, with the number of its run in $n.
local function counted(rest)
  local path, lines = sp.journal()
  return { "sh", "-c", ("echo $$ >>%s; n=$(wc -l <%s); %s"):format(path, path, rest) }, lines
end

local function kill(service)
  uv.kill(service.pid, "sigkill")
end

return {
  teardown = sp.cleanup,

  ["one that dies at once is tried attempts times, and is faulted then, with how it ended"] = function()
    local spinner = sp.new()
    local command, lines = counted "exit 7"
    local events
    local call = p.call(spinner, "start", { name = "x", command = command, attempts = 3 })
    events = sp.record(spinner:get "x")
    p.answered(call)
    lu.assertEquals({ call.err.code, call.err.exit_code, #lines() }, { "exit", 7, 3 })
    lu.assertEquals(tostring(call.err), "x: faulted after 3 failed starts: it ended with status 7 before it was ready")
    lu.assertEquals(sp.names(events), "exit exit exit faulted")
    lu.assertEquals(spinner:get("x"):entry().error, call.err)
    lu.assertEquals(spinner:get("x").last_exit.why, "start")
  end,

  ["a script that is not there fails the start at once and by name, and is run by the next start once it is there"] =
    function()
      local spinner = sp.new()
      local path = s.temp_dir() .. "/nope.lua"
      local began, runs = require("brood.clock").now(), 0
      local call = p.call(spinner, "start", { name = "x", script = path, port = false, monitor = false })
      spinner:get("x"):on("exit", function() runs = runs + 1 end)
      p.answered(call)
      lu.assertEquals({ call.err.code, tostring(call.err), runs }, { "ENOENT", "x: there is no script " .. path, 0 })
      lu.assertTrue(require("brood.clock").now() - began < 0.1 * s.slow)
      local file = io.open(path, "w")
      file:write 'require("brood").sleep(60)'
      file:close()
      lu.assertTrue(spinner:start "x")
    end,

  ["an attempt that succeeds is a start like any other"] = function()
    local spinner = sp.new()
    local server = sp.server()
    local command, lines = counted(("[ $n -lt 3 ] && exit 1; exec %s exec %s"):format(server[1], server[3]))
    local port = spinner:start { name = "x", command = command }
    lu.assertEquals({ type(port), #lines() }, { "number", 3 })
    lu.assertEquals({ spinner:get("x").restarts, spinner:get("x").error }, { 0 })
  end,

  ["what a script's start function fails with arrives whole"] = function()
    local spinner = sp.new { port = false, ready = "channel", attempts = 1 }
    local _, err = spinner:start { name = "api", script = s.write_file("api.lua", [[
      require("brood.child").main("api", function() error { message = "no db", code = "EDB", host = "here" } end)
    ]]) }
    lu.assertEquals({ err.message, err.code, err.host }, { "api: its start has failed: no db", "EDB", "here" })
    _, err = spinner:start { name = "web", script = s.write_file("web.lua", [[
      require("brood.child").main("web", function() error "deep" end)
    ]]) }
    lu.assertStrMatches(err.traceback, "web: its start has failed: /.*/web%.lua:1: deep\n.*stack traceback:.*")
  end,

  ["a program that is not there is named"] = function()
    local spinner = sp.new()
    local _, err = spinner:start { name = "x", command = { "no-such-program" }, attempts = 1 }
    lu.assertEquals(err.code, "ENOENT")
    lu.assertStrContains(err.message, "no-such-program")
  end,

  ["one that never binds is ended after timeout; the error says which port was its own"] = function()
    local spinner = sp.new()
    local _, err = spinner:start { name = "x", command = { "sleep", "60" }, timeout = 0.2, attempts = 1 }
    lu.assertEquals(err.code, "timeout")
    lu.assertStrMatches(err.message, "x: its start has failed: it was not ready within 0.2 s: nothing of it listens on "
      .. "port %d+, which is its PORT")
    lu.assertNil(spinner:get("x").pid)
  end,

  ["one that binds another port, itself or by a child, is told where it listens"] = function()
    local spinner = sp.new()
    local port = s.free_port()
    local server = sp.server(('listen("%d")'):format(port))
    for _, command in ipairs { server, { "sh", "-c", ("%s exec %s; true"):format(server[1], server[3]) } } do
      local _, err = spinner:start { name = "x", command = command, timeout = 0.5 * s.slow, attempts = 1 }
      lu.assertStrMatches(err.message, ".*which is its PORT, but on 127.0.0.1:" .. port)
      spinner:stop "x"
    end
  end,

  ["one that binds late is waited for"] = function()
    local spinner = sp.new()
    lu.assertIsNumber((spinner:start { name = "x", command = sp.server "brood.sleep(0.4) listen()" }))
  end,

  ["one that ignores TERM is killed after stop_timeout, and its grandchildren with it"] = function()
    local spinner = sp.new { port = false }
    local lines = p.lines()
    spinner:start { name = "x", stop_timeout = 0.2, stdout = lines.add,
      command = { "sh", "-c", "trap '' TERM; (trap '' TERM; sleep 60) & echo $!; wait; wait" } }
    s.wait(function() return lines[1] end)
    lu.assertTrue(spinner:stop "x")
    lu.assertEquals(spinner:get("x").last_exit.signal, "KILL")
    lu.assertFalse(s.alive(tonumber(lines[1])))
  end,

  ["the last line of one that prints no newline is heard"] = function()
    local spinner = sp.new { port = false }
    local lines = p.lines()
    spinner:start { name = "x", command = { "sh", "-c", "printf last" }, restart = false, stdout = lines.add }
    s.wait(function() return lines[1] end)
    lu.assertEquals(lines[1], "last")
  end,

  ["one that dies is started again at once, on the same port; twice within restart_tolerance faults it"] = function()
    local spinner = sp.new()
    local port = spinner:start { name = "x", command = sp.server(), restart_tolerance = 60 }
    local service = spinner:get "x"
    local events, errors = sp.record(service), {}
    service:on("error", function(err) table.insert(errors, tostring(err)) end)
    kill(service)
    s.wait(function() return #events >= 3 end)
    lu.assertEquals(sp.names(events), "exit error restarted")
    lu.assertEquals(events[3], { "restarted", port })
    lu.assertEquals(errors, { "x was killed by KILL" })
    lu.assertEquals({ service.restarts, service.last_exit.signal, service.last_exit.why }, { 1, "KILL", "crash" })
    kill(service)
    s.wait(function() return service.state == "faulted" end)
    lu.assertEquals(sp.names(events), "exit error restarted exit faulted")
    lu.assertEquals(tostring(service.error), "x was killed by KILL, for the second time within 60 s: it is faulted")
    lu.assertEquals(service.error.code, "exit")
  end,

  ["deaths that lie apart do not fault it, nor any where restart_tolerance is 0"] = function()
    local spinner = sp.new { port = false }
    spinner:start { name = "apart", command = { "sleep", "60" }, restart_tolerance = 0.1 }
    spinner:start { name = "never", command = { "sleep", "60" }, restart_tolerance = 0 }
    for n = 1, 3 do
      kill(spinner:get "apart")
      kill(spinner:get "never")
      s.wait(function()
        return spinner:get("apart").restarts == n and spinner:get("never").restarts == n
      end)
      s.remains(function() return true end, 0.15)
    end
  end,

  ["a faulted one refuses a start until fault_timeout is over, and then tries again"] = function()
    local spinner = sp.new()
    local command, lines = counted "exit 1"
    local o = { name = "x", command = command, attempts = 1, fault_timeout = 0.3 }
    lu.assertNil((spinner:start(o)))
    local _, err = spinner:start(o)
    lu.assertEquals({ err.code, #lines() }, { "faulted", 1 })
    lu.assertStrContains(err.message, "x is faulted, and is tried again by a start in 1 s")
    lu.assertStrContains(err.message, "ended with status 1")
    s.wait(function()
      _, err = spinner:start(o)
      return err.code == "exit"
    end)
    lu.assertEquals(#lines(), 2)
  end,

  ["a change of its files starts a faulted one at once"] = function()
    local spinner = sp.new()
    local path = s.write_file("api.lua", "os.exit(3)")
    lu.assertNil((spinner:start { script = path, attempts = 1 }))
    local service = spinner:get(path)
    local events = sp.record(service)
    lu.assertStrContains(tostring(select(2, spinner:start(path))), "or when its files change")
    s.write_file(path, sp.SERVER .. "listen()")
    s.wait(function() return service.state == "ready" end)
    lu.assertEquals(sp.names(events), "restarted")
    lu.assertNil(service.error)
  end,

  ['restart = "failure" follows a failure alone; restart = false follows nothing'] = function()
    local spinner = sp.new { port = false, restart_tolerance = 0 }
    local command, lines = counted "[ $n = 1 ] && exit 1; exit 0"
    spinner:start { name = "x", command = command, restart = "failure" }
    s.wait(function() return spinner:get("x").state == "stopped" end)
    lu.assertEquals({ #lines(), spinner:get("x").last_exit.why }, { 2, "end" })
    spinner:start { name = "well", command = { "true" }, restart = false }
    s.wait(function() return spinner:get("well").state == "stopped" end)
    spinner:start { name = "badly", command = { "sh", "-c", "exit 4" }, restart = false }
    s.wait(function() return spinner:get("badly").state == "faulted" end)
    lu.assertEquals(tostring(spinner:get("badly").error), "badly ended with status 4")
    lu.assertTrue((spinner:start "badly")) -- nobody starts it but who asks
  end,

  ["where it is supervised a faulted one is tried again by itself, and at once when it is asked for"] = function()
    local spinner = sp.make({ ports = sp.ports() }, { supervised = true })
    local command, lines = counted "exit 1"
    local options = require("brood.options").check(1, { name = "x", command = command, attempts = 1, port = false,
      ready = "notify", fault_timeout = 0.2 }, require("brood.rules.service_options").fields)
    local service = spinner:declare(options)
    service:start()
    lu.assertEquals({ service.state, #lines() }, { "faulted", 1 })
    lu.assertEquals(select(2, service:start()).code, "exit")
    lu.assertEquals(#lines(), 2)
    s.wait(function() return #lines() >= 4 end)
    service:stop()
    local n = #lines()
    s.remains(function() return #lines() == n end, 0.5)
  end,
}
