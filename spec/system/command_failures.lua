--- Clusters whose workers are programs that cannot serve: at a start, at a reload, and later.
-- time limit: 120 s
local command = require "spec.support.command"
local lu = require "luaunit"
local s = require "spec.support"
local uv = require "luv"

local PYTHON = 'command = { "python3", "server.py", "notify" }, ready = "notify",'

-- A start that fails: the reason, and how long it took.
local function fails(config, files)
  local master = command.start { config = config, files = files }
  local seconds, code = s.timed(function() return (master.program:wait(60 * s.slow)) end)
  lu.assertEquals(code, 1, master:log())
  lu.assertEquals(s.child_pids(master.program.pid), {})
  return master:log(), seconds
end

-- Reload to this config, which fails; whoever answered before does so still.
local function reload_fails(config, files)
  local master = command.start { config = PYTHON }
  local pids = master:pids()
  local ok, log = master:hup { config = config, files = files }
  lu.assertFalse(ok)
  lu.assertStrContains(log, "the reload failed")
  lu.assertEquals(master:pids(), pids)
  local answered = tonumber(master:body())
  lu.assertTrue(answered == pids[1] or answered == pids[2])
  assert(master:hup { config = PYTHON })
  master:over()
  return log
end

return {
  ["a program that is not there fails the start at once, and is named"] = function()
    local log = fails 'command = { "no-such-program" },'
    lu.assertStrMatches(log, '.*cannot start: web worker 1: [^\n]*no%-such%-program.*')
    lu.assertNil(log:find "next try")
    log = fails('command = { "./server.py" },')
    lu.assertStrMatches(log, ".*cannot start: web worker 1: [^\n]*server%.py[^\n]*ermission denied.*")
  end,

  ["a program that dies at once fails the start, and what it printed is there to read"] = function()
    local log = fails 'command = { "sh", "-c", "echo no such module >&2; exit 1" },'
    lu.assertStrContains(log, "\nno such module\n")
    lu.assertStrMatches(log, ".*cannot start: web worker %d+ ended with status 1 before it was ready\n.*")
  end,

  ["a program that ends well without serving fails the start as well"] = function()
    lu.assertStrMatches(fails 'command = { "true" },', ".*web worker %d+ ended with status 0 before it was ready\n.*")
  end,

  ["a program that never gets ready fails the start after start_timeout, and what it lacks is told"] = function()
    local SLEEP = 'command = { "sleep", "1000" }, start_timeout = "300ms", ready = '
    local log = fails(SLEEP .. '"notify",')
    lu.assertStrContains(log, " was not ready within 0.3 s: it has not sent READY=1 to NOTIFY_SOCKET\n")
    log = fails(SLEEP .. '"line",')
    lu.assertStrContains(log, 'it has not said {"ready": true} on BROOD_CHANNEL_FD')
    log = fails(SLEEP .. ("{ port = %d },"):format(s.free_port()))
    lu.assertStrContains(log, "was not ready within 0.3 s: nothing answers there yet")
  end,

  ["a program that does not say its word is told of before its time is over, once"] = function()
    local log = fails 'command = { "sleep", "1000" }, start_timeout = "1s", ready = "notify", workers = 2,'
    local text = "info +%[%d+%] web: worker %d runs, and has not said READY=1 yet %(start_timeout 1 s%)\n"
    local at = assert(log:find(text), log)
    lu.assertNil(log:find("has not said", select(2, log:find(text, at)), true))
    lu.assertTrue(at < log:find("was not ready within", 1, true))
    log = fails 'command = { "sleep", "1000" }, start_timeout = "400ms", ready = "line",'
    lu.assertStrContains(log, 'runs, and has not said {"ready": true} yet (start_timeout 0.4 s)')
  end,

  ["one that says by line that its start has failed is believed"] = function()
    local log = fails([[command = { "python3", "says.py" }, ready = "line", workers = 1,]], { ["says.py"] = [[
import os, time
os.write(int(os.environ["BROOD_CHANNEL_FD"]), b'{"failed": "no database"}\n')
time.sleep(1000)
]] })
    lu.assertStrContains(log, "no database")
  end,

  ["a program that ignores the passed sockets finds its address taken"] = function()
    local port = s.free_port()
    local log = fails(([[listen = %d, command = { "python3", "-m", "http.server", "%d" }, ready = "notify",]])
      :format(port, port))
    lu.assertStrContains(log, "Address already in use")
  end,

  ["connections that no program takes are told of"] = function()
    local master = command.start { config = 'command = { "sleep", "1000" }, workers = 1,' }
    local socket = s.connect(master:address())
    master:logged "web: a connection waits at 127%.0%.0%.1:%d+, and no program has taken one yet"
    socket:close()
    master:over()
  end,

  ["a reload whose program dies at once leaves the old ones serving"] = function()
    lu.assertStrContains(reload_fails 'command = { "false" },', "ended with status 1 before it was ready")
    reload_fails 'command = { "no-such-program" },'
  end,

  ["a reload whose program never gets ready leaves the old ones serving"] = function()
    lu.assertStrContains(reload_fails 'command = { "sleep", "1000" }, ready = "notify", start_timeout = "500ms",',
      "it has not sent READY=1")
  end,

  ["a program that dies later is replaced, with patience where it dies at once"] = function()
    local master = command.start { config = [[workers = 1, command = { "sh", "-c",
      "test -e broken && exit 3; exec python3 server.py" },
      worker_exit = function(_, w, code, signal) note("exit", w.id, code, signal, w.reason) end,]] }
    local pid = master:pids()[1]
    uv.kill(pid, "sigkill")
    master:noted "exit 1 nil KILL signal\n"
    lu.assertStrMatches(master:body(), "%d+")
    s.write_file(master.dir .. "/broken", "")
    uv.kill(master:ready(1)[1].pid, "sigkill")
    master:logged("the next try for worker", 3)
    local tried = select(2, master:notes():gsub("exit %d+ 3 nil crash", ""))
    lu.assertTrue(tried < 10, tried)
    os.remove(master.dir .. "/broken")
    master:ready(1)
    lu.assertStrMatches(master:body(), "%d+")
    master:over()
  end,

  ["from an app to a command and back, and what a command cannot have is refused"] = function()
    local app = 'app = "app.lua",'
    local files = { ["app.lua"] = "return function(req, res) res:finish('lua') end" }
    local master = command.start { config = app, files = files }
    lu.assertEquals(master:body(), "lua")
    local _, log = master:hup { config = PYTHON, files = files }
    lu.assertStrContains(log, "web: an app has had its sockets: until a restart a program that waits in accept gets")
    s.wait(function() return master:body():find "^%d+$" end)
    local ok
    ok, log = master:hup { config = PYTHON .. "max_requests = 5,", files = files }
    lu.assertFalse(ok)
    lu.assertStrContains(log, "'max_requests' cannot be used with a 'command'")
    ok, log = master:hup { config = app, files = files }
    lu.assertTrue(ok)
    lu.assertNotStrContains(log, "EAGAIN")
    s.wait(function() return master:body() == "lua" end)
    master:over()
  end,

  ["sockets of each worker's own are no program's, even after a reload"] = function()
    local files = { ["app.lua"] = "return function(req, res) res:finish('lua') end" }
    local master = command.start { files = files,
      config = 'app = "app.lua", listen = { address = "127.0.0.1:0", reuseport = true },' }
    master:address()
    local ok, log = master:hup { config = PYTHON, files = files }
    lu.assertFalse(ok)
    lu.assertStrContains(log, "a command can have that address only after a restart")
    lu.assertEquals(master:body(), "lua")
    master:over()
  end,

  ["brood check looks for the program, and tells what does not work in one"] = function()
    local function check(config)
      local path = s.write_file("brood.lua", ("return { %s }"):format(config))
      local result = s.brood({ "check", path }):finish()
      return result.code, result.stderr, result.stdout
    end
    local code, text = check 'command = { "no-such-program" }'
    lu.assertEquals(code, 1)
    lu.assertStrContains(text, "'command' names a program that is not in PATH: 'no-such-program'")
    code, text = check 'command = { "./nowhere" }'
    lu.assertEquals(code, 1)
    lu.assertStrMatches(text, ".*'command' names a program that is not there: /[^\n]*/nowhere.*")
    code, text = check 'app = "x.lua", clusters = { b = { command = { "/etc/passwd" }, listen = 1 } }'
    lu.assertEquals(code, 1)
    lu.assertStrContains(text, "'clusters.b.command' names a program that cannot be run: /etc/passwd")
    local shown
    code, text, shown = check [[command = { "sleep", "1" }, listen = 81, ready = { port = 81 },
      after_fork = function() end]]
    lu.assertEquals(code, 0)
    lu.assertStrContains(text, "after_fork does not run for programs")
    lu.assertStrContains(text, "an old one may answer for a new one")
    lu.assertStrContains(shown, 'command = { "sleep", "1" },')
    lu.assertStrContains(shown, "ready = { port = 81 },")
    lu.assertNil(shown:find "timeout = 60")
  end,
}
