--- Children that are Lua scripts: started and stopped gracefully, errors that arrive whole, every call in every state.
local lu = require "luaunit"
local c = require "spec.support.child"
local p = require "spec.support.process"
local s = require "spec.support"

local PLAIN = 'Child.main("plain")'
-- Its start is over when it hears "go", and its stop when it hears "end".
local SLOW = [[
local go, finish
brood.worker:on("message", function(value) if value == "go" then go() else finish(value.err) end end)
Child.main("slow", function(done) go = done brood.worker:send "starting" end,
  function(done) finish = done brood.worker:send "stopping" end)
]]
-- It notes what it does in the file of its first argument.
local JOURNAL = [[
local function note(text) local f = io.open(arg[1], "a") f:write(text, "\n") f:close() end
Child.main("noted", function() note "start" end, function() note "stop" end)
]]

local function fails(what, ok, err)
  lu.assertNil(ok, what)
  lu.assertNotNil(err, what)
  return err
end

local function slow(options)
  local child = c.lua(SLOW, options)
  return child, c.messages(child)
end

local function said(list, value)
  s.wait(function()
    return list[#list] == value
  end, 10, "'" .. tostring(value) .. "'")
end

return {
  teardown = c.cleanup,

  ["start returns when the start function is done, stop when the stop function is"] = function()
    local path, journal = c.journal()
    local child = c.lua(JOURNAL, { args = { path } })
    lu.assertEquals({ child.state, child:status(), child.pid }, { "stopped", "stopped", nil })
    lu.assertTrue(child:start())
    lu.assertEquals({ child.state, journal() }, { "ready", "start\n" })
    lu.assertTrue(s.alive(child.pid))
    local pid = child.pid
    lu.assertTrue(child:stop())
    lu.assertEquals({ child.state, child.pid, child.exit_code, journal() }, { "stopped", nil, 0, "start\nstop\n" })
    lu.assertFalse(s.alive(pid))
  end,

  ["events: the states as status, and the exit"] = function()
    local child = c.lua(PLAIN)
    local list = p.record(child, true)
    child:start()
    child:stop()
    lu.assertEquals(list, {
      { "status", "starting" }, { "status", "ready" }, { "status", "stopping" }, { "status", "stopped" }, { "exit", 0 },
    })
  end,

  ["the title is what ps shows"] = function()
    local child = c.lua 'Child.main("bread baker")'
    child:start()
    lu.assertEquals(s.cmdline(child.pid)[1], "bread baker")
  end,

  ["arguments, environment and folder are the script's"] = function()
    local dir = s.temp_dir()
    local child = c.lua([[
      local inherited = os.getenv "BROOD_CHANNEL_FD" or os.getenv "BROOD_STOP_TIMEOUT"
      brood.worker:send { arg[1], arg[2], select("#", ...), os.getenv "X", require("luv").cwd(), inherited }
      Child.main "x"
    ]], { args = { "a b", 5 }, env = { X = "1" }, cwd = dir })
    local list = c.messages(child)
    child:start()
    s.wait(function() return list[1] end)
    lu.assertEquals(list[1], { "a b", "5", 2, "1", dir })
  end,

  ["values go both ways, whole and in order, and before anybody listens"] = function()
    local child = c.lua [[
      for i = 1, 3 do brood.worker:send(i) end
      local function echo(v, fd) brood.worker:send({ v, fd ~= nil }) end
      Child.main("echo", function() brood.worker:on("message", echo) end)
    ]]
    child:start()
    child:send "early"
    local list = c.messages(child)
    s.wait(function() return #list == 4 end)
    lu.assertEquals(list, { 1, 2, 3, { "early", false } })
    child:send(("x"):rep(3000000))
    s.wait(function() return #list == 5 end)
    lu.assertEquals(#list[5][1], 3000000)
    child:send("fd", 0)
    s.wait(function() return #list == 6 end)
    lu.assertEquals(list[6], { "fd", true })
  end,

  ["send where none runs is nil and an error, and what cannot be sent raises at the caller's line"] = function()
    local child = c.lua(PLAIN)
    lu.assertEquals(fails("send", child:send(1)).code, "stopped")
    child:start()
    local ok, why = pcall(function() child:send(print) end)
    lu.assertFalse(ok)
    lu.assertStrMatches(why, ".*spec/system/child.lua:%d+: send: message is a function")
  end,

  ["an error given to done arrives whole in start's result, and one that is raised with its traceback"] = function()
    local child = c.lua [[
      Child.main("x", function(done) done { message = "no port", code = "EADDRINUSE", port = 80, list = { 1, { 2 } } } end)
    ]]
    local err = fails("start", child:start())
    lu.assertEquals({ err.message, err.code, err.port, err.list }, { "no port", "EADDRINUSE", 80, { 1, { 2 } } })
    lu.assertEquals({ tostring(err), child.state, child.exit_code }, { "no port", "stopped", 1 })
    child = c.lua 'local function deep() error "boom" end\nChild.main("x", function() deep() end)'
    err = fails("start", child:start())
    lu.assertStrMatches(tostring(err), ".*script.lua:2: boom")
    lu.assertStrContains(err.traceback, "in function 'deep'")
    err = fails("start", c.lua('Child.main("x", function() return nil, { message = "no", code = "E" } end)'):start())
    lu.assertEquals({ err.message, err.code }, { "no", "E" })
  end,

  ["an error given to done arrives whole in stop's result"] = function()
    local child = c.lua [[Child.main("x", nil, function(done) done { message = "no", code = "EBUSY", left = 3 } end)]]
    child:start()
    local err = fails("stop", child:stop())
    lu.assertEquals({ err.message, err.code, err.left, child.exit_code }, { "no", "EBUSY", 3, 1 })
    lu.assertTrue(child:stop())
    lu.assertTrue(child:start())
    lu.assertStrContains(tostring(fails("stop", child:stop())), "no")
  end,

  ["what the script's stop fails with, when nobody has called stop, is an error event"] = function()
    local child = c.lua [[Child.main("x", nil, function() error "boom" end)]]
    local err
    child:on("error", function(e) err = e end)
    child:start()
    child:kill()
    s.wait(function() return err end)
    lu.assertStrContains(tostring(err), "boom")
  end,

  ["an error of the script itself is start's error, and so is a script that does not load"] = function()
    local err = fails("start", c.lua('error { message = "top", code = "ETOP" }'):start())
    lu.assertEquals({ err.message, err.code }, { "top", "ETOP" })
    err = fails("start", c.lua("x ="):start())
    lu.assertEquals(err.code, "script")
    lu.assertStrMatches(tostring(err), ".*script.lua:2: unexpected symbol.*")
    err = fails("start", c.new("missing.lua"):start())
    lu.assertStrContains(tostring(err), "missing.lua: No such file or directory")
  end,

  ["one that ends before it is ready: the error names the status, and its last words where they are read"] = function()
    local err = fails("start", c.lua("os.exit(7)"):start())
    lu.assertEquals({ err.code, err.exit_code }, { "exit", 7 })
    lu.assertEquals(tostring(err), "script.lua ended with status 7 before it was ready")
    local lines = p.lines()
    err = fails("start", c.lua('for i = 1, 12 do io.stderr:write("line ", i, "\\n") end os.exit(3)',
      { stderr = lines.add }):start())
    lu.assertEquals({ #lines, err.exit_code, (err.stderr:match "^[^\n]+") }, { 12, 3, "line 3" })
    lu.assertStrMatches(tostring(err), "script.lua ended with status 3 before it was ready:\nline 3\n.*line 12")
    err = fails("start", c.lua('posix.kill(posix.getpid(), "KILL")'):start())
    lu.assertEquals({ err.exit_signal, tostring(err) }, { "KILL", "script.lua was killed by KILL before it was ready" })
  end,

  ["a start that takes too long ends the child soon, and says what it waited for"] = function()
    local child = c.lua('Child.main("x", function(_) end, function() end)', { start_timeout = 0.5 })
    local seconds, ok, err = s.timed(child.start, child)
    fails("start", ok, err)
    lu.assertEquals(err.code, "timeout")
    lu.assertStrContains(tostring(err), "not ready within 0.5 s: its start function is not done")
    lu.assertTrue(seconds < 20) -- and not the 30 s that a stop may take
    child = c.lua("brood.sleep(60)", { start_timeout = 0.5 })
    err = fails("start", child:start())
    lu.assertStrContains(tostring(err), "it has not called Child.main or Child.once")
    lu.assertEquals(child.state, "stopped")
  end,

  ["a stop that takes too long is a KILL, and stop returns true"] = function()
    local child = c.lua('Child.main("x", nil, function(_) end)', { stop_timeout = 0.3 })
    child:start()
    lu.assertTrue(child:stop())
    lu.assertEquals(child.exit_signal, "KILL")
    child = c.lua 'Child.main("x", nil, function(_) end)'
    child:start()
    lu.assertTrue(child:stop "200ms")
    lu.assertEquals(child.exit_signal, "KILL")
    child:start()
    lu.assertTrue(child:stop(0))
    lu.assertEquals(child.exit_signal, "KILL")
  end,

  ["a second stop may have less patience, and that counts for one stop only"] = function()
    local child, list = slow()
    child:start(function() end)
    said(list, "starting")
    child:send "go"
    s.wait(function() return child.state == "ready" end)
    local one = p.call(child, "stop")
    said(list, "stopping")
    local two = p.call(child, "stop", 0.2)
    p.answered(one, two)
    lu.assertEquals({ child.exit_signal, one.err, two.err }, { "KILL" })
    p.call(child, "start")
    said(list, "starting")
    child:send "go"
    s.wait(function() return child.state == "ready" end)
    one = p.call(child, "stop")
    said(list, "stopping")
    s.remains(function() return one.answers == 0 end, 0.4)
    child:send { err = nil }
    p.answered(one)
    lu.assertEquals(child.exit_code, 0)
  end,

  ["a stuck script is killed after stop_timeout"] = function()
    local child = c.lua([[Child.main("x", nil, function() while true do end end)]], { stop_timeout = 0.3 })
    child:start()
    lu.assertTrue(child:stop())
    lu.assertEquals(child.exit_signal, "KILL")
  end,

  ["done twice and raising after done change nothing; what is raised is logged"] = function()
    local lines = p.lines()
    local child = c.lua([[
      Child.main("x", function(done) done() done() error "after done" end, function(done) done() done "late" end)
    ]], { stderr = lines.add })
    lu.assertTrue(child:start())
    lu.assertTrue(child:stop())
    lu.assertStrContains(table.concat(lines, "\n"), "after done")
    lu.assertEquals(child.exit_code, 0)
  end,

  ["what the script supervises, or has left in its group, ends with it"] = function()
    local child = c.lua [[
      local Process = require "brood.process"
      local p = Process.new { command = { "sleep", "100" } }
      Child.main("x", function()
        p:start()
        local uv = require "luv"
        local _, pid = uv.spawn("sleep", { args = { "100" } }, function() end)
        brood.worker:send { p.pid, pid }
      end)
    ]]
    local list = c.messages(child)
    child:start()
    s.wait(function() return list[1] end)
    lu.assertTrue(child:stop())
    s.gone(list[1], 5)
  end,

  ["mistakes raise at the caller's line, and name the option"] = function()
    local Child = require "brood.child"
    for pattern, fn in pairs {
      ["Child.new: unknown option 'respwan' %(did you mean 'respawn'%?%)"] = function()
        Child.new("x.lua", { respwan = true })
      end,
      ["Child.new: option 'args%[1%]' must be .*"] = function() Child.new("x.lua", { args = { {} } }) end,
      ["Child.new: option 'respawn_delay' must be .*"] = function() Child.new("x.lua", { respawn_delay = "soon" }) end,
      ["Child.new: option 'ready' is for a `command`: .*"] = function() Child.new("x.lua", { ready = "spawn" }) end,
      ["Child.new: unknown option 'main'.*"] = function() Child.new("x.lua", { main = print }) end,
      ["option 'stdout' must be .*"] = function() Child.new("x.lua", { stdout = true }) end,
      ["Child.new: either option 'script' or option 'command' is needed"] = function() Child.new {} end,
      ["Child.new: either option 'script' or option 'command' is needed, not both"] = function()
        Child.new { script = "x", command = { "y" } }
      end,
      ["Child.new: the path of a script is needed, or .* got nil"] = function() Child.new() end,
      ["option 'ready' must be .*"] = function() Child.new { command = { "x" }, ready = "lines" } end,
      ["Child.run: unknown option 'timout' .*"] = function() Child.run("x.lua", { timout = 1 }) end,
      ["Child.run: unknown option 'respawn'.*"] = function() Child.run("x.lua", { respawn = true }) end,
      ["child:stop: the time must be .*"] = function() c.lua(PLAIN):stop "soon" end,
      ["unknown signal 'NO'"] = function() c.lua(PLAIN):kill "NO" end,
      ["Child.main: the title must be a string, got nil"] = function() Child.main() end,
      ["Child.main: the stop must be a function, got number"] = function() Child.main("x", nil, 5) end,
      ["Child.once: a function is needed, got nil"] = function() Child.once "x" end,
    } do
      local ok, why = pcall(fn)
      lu.assertFalse(ok, pattern)
      lu.assertStrMatches(tostring(why), ".*spec/system/child.lua:%d+: " .. pattern)
    end
    local err = fails("start", c.lua('Child.main("x", function(_) end) Child.main("y")'):start())
    lu.assertStrContains(tostring(err), "this script has called it, or the other one, before")
  end,

  -- ---- state x call ----

  ["start while starting joins; start while ready starts nothing"] = function()
    local child, list = slow()
    local one, two = p.call(child, "start"), p.call(child, "start")
    said(list, "starting")
    lu.assertEquals({ one.answers, two.answers }, { 0, 0 })
    child:send "go"
    p.answered(one, two)
    local pid = child.pid
    lu.assertTrue(child:start())
    lu.assertEquals(child.pid, pid)
  end,

  ["start while stopping starts when the stop is done"] = function()
    local child, list = slow()
    local first = p.call(child, "start")
    said(list, "starting")
    child:send "go"
    p.answered(first)
    local pid = child.pid
    local stop, start = p.call(child, "stop"), p.call(child, "start")
    said(list, "stopping")
    child:send { err = { message = "no", code = "E" } }
    p.answered(stop)
    lu.assertEquals(stop.err.code, "E")
    said(list, "starting")
    child:send "go"
    p.answered(start)
    lu.assertNil(start.err)
    lu.assertNotEquals(child.pid, pid)
  end,

  ["stop while starting lets the start function end, then runs the stop function"] = function()
    local child, list = slow()
    local start = p.call(child, "start")
    said(list, "starting")
    local stop = p.call(child, "stop")
    child:send "go"
    said(list, "stopping")
    child:send {}
    p.answered(start, stop)
    lu.assertEquals({ start.err.code, stop.err, child.exit_code, child.state }, { "stopped", nil, 0, "stopped" })
  end,

  ["stop while stopped is answered at once; while stopping it joins"] = function()
    local child, list = slow()
    lu.assertTrue(child:stop())
    local start = p.call(child, "start")
    said(list, "starting")
    child:send "go"
    p.answered(start)
    local one, two = p.call(child, "stop"), p.call(child, "stop")
    said(list, "stopping")
    child:send { err = "stuck" }
    p.answered(one, two)
    lu.assertEquals({ tostring(one.err), tostring(two.err) }, { "stuck", "stuck" })
  end,

  ["kill in each state: an error where none runs, else the signal arrives"] = function()
    local child, list = slow()
    lu.assertEquals(fails("stopped", child:kill()).code, "stopped")
    local start = p.call(child, "start")
    said(list, "starting")
    lu.assertTrue(child:kill "KILL")
    p.answered(start)
    lu.assertEquals(start.err.exit_signal, "KILL")
    start = p.call(child, "start")
    said(list, "starting")
    child:send "go"
    p.answered(start)
    lu.assertTrue(child:kill()) -- TERM: its stop function runs
    said(list, "stopping")
    lu.assertTrue(child:kill "KILL")
    s.wait(function() return child.state == "stopped" end)
    lu.assertEquals({ child.exit_code, child.exit_signal }, { nil, "KILL" })
  end,

  ["told twice to end it still stops once; TERM and INT both do not wait for the stop function"] = function()
    local child, list = slow()
    local start = p.call(child, "start")
    said(list, "starting")
    child:send "go"
    p.answered(start)
    local stop = p.call(child, "stop")
    said(list, "stopping")
    child:kill()
    s.remains(function() return stop.answers == 0 and #list == 2 end, 0.2)
    child:kill "INT"
    p.answered(stop)
    lu.assertEquals(child.exit_signal, "INT")
  end,

  ["stop may be called by whoever reads its output"] = function()
    local child, ok
    child = c.lua('io.stdout:write("now\\n") io.stdout:flush() Child.main "x"', {
      stdout = function() ok = child:stop() end,
    })
    child:start()
    s.wait(function() return ok end)
    lu.assertEquals(child.state, "stopped")
  end,
}
