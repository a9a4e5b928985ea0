--- Children that are foreign programs: one JSON value per line both ways, and how they say that they are ready.
local lu = require "luaunit"
local c = require "spec.support.child"
local json = require "brood.json"
local p = require "spec.support.process"
local fails = require "spec.support.fails"
local s = require "spec.support"

local ECHO = "for value in values(): say(value)\n"

return {
  teardown = c.cleanup,

  ["values go both ways as lines of JSON, whole and in order"] = function()
    local child = c.python(ECHO)
    local list = c.messages(child)
    lu.assertTrue(child:start())
    local sent = {
      1, 0.1 + 0.2, 2 ^ 53 - 1, true, false, "", 'ä\n"€😀', { 1, 2, { 3 } }, { a = { b = "c" }, null = json.null }, {},
      { ready = true, really = true }, { ready = 1 }, { failed = "x", also = 1 },
    }
    for _, value in ipairs(sent) do
      lu.assertTrue(child:send(value))
    end
    s.wait(function() return #list == #sent end)
    lu.assertEquals(list, sent)
    lu.assertTrue(child:stop())
  end,

  ["null is nil, an empty line nothing, and a last line may lack its end"] = function()
    local child = c.python 'line.write("null\\n\\n  \\r\\n[1]\\r\\n{}"); line.flush()'
    local list = {}
    child:on("message", function(value) table.insert(list, { value }) end)
    child:start()
    s.wait(function() return child.state == "stopped" end)
    lu.assertEquals(list, { {}, { { 1 } }, { {} } })
  end,

  ["what it said before its end is heard before the exit, and kept until somebody listens"] = function()
    local child = c.python 'for i in range(1000): say(i)\nsys.exit(3)'
    local list, at_exit = {}, nil
    child:on("exit", function() at_exit = #list end)
    child:on("message", function(value) table.insert(list, value) end)
    child:start()
    s.wait(function() return at_exit end)
    lu.assertEquals({ at_exit, list[1000], child.exit_code }, { 1000, 999, 3 })
    child = c.python "say('early'); values().__next__()"
    child:start()
    list = c.messages(child)
    s.wait(function() return list[1] end)
    lu.assertEquals(list, { "early" })
  end,

  ["ready = \"line\": it says so itself"] = function()
    local child = c.python('if values().__next__() == "go": say({"ready": True})\n' .. ECHO, { ready = "line" })
    local list = c.messages(child)
    local start = p.call(child, "start")
    s.wait(function() return child.pid end)
    child:send "go"
    p.answered(start)
    child:send "on"
    s.wait(function() return list[1] end)
    lu.assertEquals({ start.err, child.state, list }, { nil, "ready", { "on" } })
  end,

  ["one that does not say so: the error says what was missing"] = function()
    local child = c.python("time.sleep(100)", { ready = "line", start_timeout = 0.5 })
    local err = fails(child:start())
    lu.assertEquals(err.code, "timeout")
    lu.assertStrContains(tostring(err), 'it has not said {"ready": true}')
  end,

  ["a failed start arrives whole, and the program is ended"] = function()
    local child = c.python(
      'say({"failed": {"message": "no port", "code": "EADDRINUSE", "port": 80}})\nsignal.pause()', { ready = "line" })
    local err = fails(child:start())
    lu.assertEquals({ err.message, err.code, err.port }, { "no port", "EADDRINUSE", 80 })
    lu.assertEquals({ child.state, child.exit_signal }, { "stopped", "TERM" })
    err = fails(c.python('say({"failed": "plainly"})\nsignal.pause()', { ready = "line" }):start())
    lu.assertEquals({ tostring(err), err.code }, { "plainly", "error" })
  end,

  ["a failed stop arrives whole"] = function()
    local child = c.python([[
def stop(*_): sys.exit(1)
signal.signal(signal.SIGTERM, stop)
try:
    say({"ready": True})
    while True: signal.pause()
finally:
    say({"failed": {"message": "busy", "code": "EBUSY"}})
]], { ready = "line" })
    lu.assertTrue(child:start())
    local err = fails(child:stop())
    lu.assertEquals({ err.message, err.code, child.exit_code }, { "busy", "EBUSY", 1 })
  end,

  ["a failure while it runs is an error event at its end"] = function()
    local child = c.python 'values().__next__()\nsay({"failed": "lost the database"})\nsys.exit(1)'
    local errors = {}
    child:on("error", function(err) table.insert(errors, tostring(err)) end)
    child:start()
    child:send "go"
    s.wait(function() return child.state == "stopped" end)
    lu.assertEquals(errors, { "lost the database" })
  end,

  ["a line that is no JSON is an error event, and what follows is heard"] = function()
    local child = c.python 'line.write("oops\\n"); line.flush(); say(1)\nvalues().__next__()'
    local errors, list = {}, c.messages(child)
    child:on("error", function(err) table.insert(errors, err) end)
    child:start()
    s.wait(function() return list[1] end)
    lu.assertEquals({ list[1], #errors, errors[1].code }, { 1, 1, "protocol" })
    lu.assertStrContains(tostring(errors[1]), 'a line that is no JSON: "oops"')
  end,

  ["what JSON cannot carry is nil and an error that names it; a descriptor raises"] = function()
    local child = c.python(ECHO)
    child:start()
    for pattern, value in pairs {
      ["message%.f is a function, .*"] = { f = print }, ["message is NaN, .*"] = 0 / 0,
      ["message is no UTF%-8 text .*"] = "\255",
    } do
      local err = fails(child:send(value))
      lu.assertEquals(err.code, "json")
      lu.assertStrMatches(tostring(err), pattern)
    end
    local ok, why = pcall(function()
      child:send(1, 0)
    end)
    lu.assertFalse(ok)
    lu.assertStrMatches(why, ".*spec/system/child_programs.lua:%d+: send: a line of JSON carries no descriptor")
  end,

  ["send says false when much waits, and drain tells when it is gone"] = function()
    local child = c.python "values().__next__()\ntime.sleep(0.2)\nfor value in values(): say(len(value))\n"
    local list, drained = c.messages(child), 0
    child:on("drain", function() drained = drained + 1 end)
    child:start()
    child:send "begin"
    lu.assertFalse(child:send(("x"):rep(3000000)))
    s.wait(function() return list[1] end)
    lu.assertEquals(list[1], 3000000)
    s.wait(function() return drained == 1 end)
  end,

  ["a program that nobody listens to waits, and goes on when somebody does"] = function()
    local child = c.python "for i in range(300): say('x' * 10000)\nvalues().__next__()"
    child:start()
    s.remains(function() return child.state == "ready" end, 0.3)
    local list = c.messages(child)
    s.wait(function() return #list == 300 end)
    lu.assertEquals(#list[300], 10000)
  end,

  ["programs that know nothing of lines are children too, ready by any check of Process"] = function()
    local child = c.new { command = { "sh", "-c", "while :; do sleep 0.02; done" }, respawn = false }
    lu.assertTrue(child:start())
    lu.assertTrue(child:stop())
    lu.assertEquals(child.name, "sh")
    local port = s.free_port()
    child = c.new {
      command = { "python3", "-m", "http.server", "--bind", "127.0.0.1" }, args = { port }, ready = { port = port },
      stderr = false, stdout = false, respawn = false,
    }
    lu.assertTrue(child:start())
    lu.assertEquals(s.get("127.0.0.1:" .. port, "/").status, 200)
    lu.assertTrue(child:stop())
  end,

  ["it ends before it is ready: the error has its last words, where they are read"] = function()
    local err = fails(c.python('sys.stderr.write("no config\\n"); sys.exit(2)', {
      ready = "line", stderr = function() end,
    }):start())
    lu.assertEquals(tostring(err), err.message)
    lu.assertStrMatches(tostring(err), ".* ended with status 2 before it was ready:\nno config")
    lu.assertStrContains(tostring(fails(c.new({ command = { "no-such-program" } }):start())), "no-such-program")
  end,

  ["respawn, with the line of each its own"] = function()
    local child = c.python("say(os.getpid())\n" .. ECHO, { respawn = true, respawn_delay = 0 })
    local list, pids = c.messages(child), {}
    child:on("respawn", function(pid) table.insert(pids, pid) end)
    child:start()
    s.wait(function() return list[1] == child.pid end)
    child:kill "KILL"
    s.wait(function() return #pids == 1 and #list == 2 end)
    lu.assertEquals(list[2], pids[1])
    child:send "hello"
    s.wait(function() return list[3] == "hello" end)
    child:stop()
  end,

  ["a parent that is killed ends it by its stop_signal"] = function()
    local path = s.write_file("ended", "")
    local program = s.script(([[
      local child = require("brood.child").new { command = { "sh", "-c", %q, "sh", ... }, ready = "line" }
      assert(child:start())
      print(child.pid)
      io.stdout:flush()
    ]]):format([[
      trap "echo bye >$1; exit" TERM
      echo '{"ready": true}' >&"$BROOD_CHANNEL_FD"
      while :; do sleep 0.02; done
    ]]), { path })
    local pid = tonumber(program:expect "(%d+)\n")
    program:kill "KILL"
    program:wait()
    s.gone({ pid }, 10)
    lu.assertEquals(s.read_file(path), "bye\n")
  end,

  ["a brood script that is run as a command has the line for itself, and ends by its stop function"] = function()
    local child = c.new { respawn = false, command = { s.binary, "exec", c.write [[
      local uv = require "luv"
      local pipe = uv.new_pipe(false)
      pipe:open(tonumber(os.getenv "BROOD_CHANNEL_FD"))
      Child.main("x", function() pipe:write '{"from": "lua"}\n' end, function() os.exit(9) end)
    ]] } }
    local list = c.messages(child)
    child:start()
    s.wait(function() return list[1] end)
    lu.assertEquals(list[1], { from = "lua" })
    lu.assertTrue(child:stop())
    lu.assertEquals(child.exit_code, 9)
  end,

  ["nothing of a child stays open here"] = function()
    local before = s.fd_count()
    for _ = 1, 3 do
      local child = c.python "say(1)\nsignal.pause()"
      child:start()
      child:stop()
      local script = c.lua 'Child.main "x"'
      script:start()
      script:stop()
    end
    s.wait(function() return s.fd_count() <= before end)
  end,
}
