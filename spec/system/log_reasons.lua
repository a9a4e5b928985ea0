--- What the log tells of what was done, beside that it was done: who asked for it, whose patience was over, what a
--- worker was doing then, and what a reload has changed or could not change (brood.master.cause).
local lu = require "luaunit"
local masters = require "spec.support.master"
local s = require "spec.support"

local SLOW = [[
  local brood = require "brood"
  return function(req, res)
    if req.path == "/slow" then
      brood.sleep(30)
    end
    res:finish "x"
  end]]

-- Wait until the log says so, word by word.
local function logged(master, text)
  s.wait(function()
    return master:log():find(text, 1, true)
  end, 10 * s.slow, function()
    return ("'%s' in\n%s"):format(text, master:log())
  end)
end

return {
  ["each transition names the signal that asked for it"] = function()
    local master = masters.start { workers = 1, config = "stderr_path = nil, access_log = 'a.log'" }
    master:ready(1)
    for _, each in ipairs {
      { "TTIN", "web: scaling from 1 to 2 workers (TTIN)" }, { "TTOU", "web: scaling from 2 to 1 worker (TTOU)" },
      { "TTOU", "web: stays at 1 worker (TTOU)" }, { "HUP", "reloading (HUP)" },
      { "HUP", "s: 1 worker is new\n" }, { "USR1", "opened anew (USR1): " .. master.dir .. "/a.log\n" },
      { "WINCH", "draining (WINCH): all workers" }, { "TTIN", "web: scaling from 0 to 1 worker (TTIN)" },
      { "QUIT", "stopping gracefully (QUIT)\n" },
    } do
      master.program:kill(each[1])
      logged(master, each[2])
    end
    lu.assertEquals(master.program:wait(), 0)
    lu.assertStrMatches(master:log(), ".* info  %[%d+%] stopped\n")
  end,

  ["it names the control socket, the signal of a function, and nobody where nobody is known"] = function()
    local master = masters.start { workers = 1, config = [[signals = {
      PWR = function(m) m:scale(2) end, URG = function(m) brood.sleep(0.01) m:reload() end },
      worker_ready = function(m, w) if w.id == 1 then m:reopen(function() end) end end ]] }
    logged(master, "nothing to open anew\n")
    master:ready(1)
    master.program:kill "PWR"
    logged(master, "web: scaling from 1 to 2 workers (PWR)\n")
    lu.assertEquals((master:order("POST", "/scale", '{"workers":1}')), 200)
    logged(master, "web: scaling from 2 to 1 worker (control socket)\n")
    lu.assertEquals((master:order("POST", "/reopen")), 200)
    logged(master, "nothing to open anew (control socket)\n")
    lu.assertEquals((master:order("POST", "/reload")), 200)
    logged(master, "reloading (control socket)\n")
    master.program:kill "URG"
    logged(master, "reloading (URG)\n")
    pcall(master.order, master, "POST", "/terminate")
    lu.assertEquals(master.program:wait(), 0)
    lu.assertStrContains(master:log(), "stopping quickly (control socket)\n")
  end,

  ["a KILL tells whose patience is over, and of the request that was not finished"] = function()
    local master = masters.start { workers = 1, app = SLOW, config = "graceful_timeout = 0.3" }
    local socket, other = s.connect(master:address()), s.connect(master:address())
    socket:send "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"
    s.wait(function() return master:workers()[1].state == "ready" and socket end)
    other:send "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"
    s.remains(function() return true end, 0.1)
    lu.assertEquals((master:stop "QUIT"), 0)
    lu.assertStrMatches(master:log(), ".*web worker 1: still there 0%.%d s after QUIT %(graceful_timeout is 0%.3 s%), "
      .. "in 2 requests, the last one GET /slow, begun %d+%.%d s ago: KILL\n.*")
    master = masters.start { workers = 1, app = 'return function() while true do end end' }
    socket = s.connect(master:address())
    socket:send "GET /turns HTTP/1.1\r\nHost: x\r\n\r\n"
    s.remains(function() return true end, 0.1)
    lu.assertEquals((master:stop "TERM"), 0)
    lu.assertStrMatches(master:log(), ".*after TERM %(a quick stop%), in GET /turns, begun %d+%.%d s ago: KILL\n.*")
  end,

  ["a reload that changes where it listens tells the new addresses"] = function()
    local master = masters.start { workers = 1, config = 'listen = { "127.0.0.1:0", "unix:a.sock" },' }
    local at = master:address()
    local ok, text = master:hup()
    lu.assertTrue(ok)
    lu.assertNotStrContains(text, "listening on")
    ok, text = master:hup { workers = 1, config = 'listen = { "127.0.0.1:0", "unix:b.sock" },' }
    lu.assertTrue(ok)
    lu.assertStrContains(text, ("web: listening on %s, unix:%s/b.sock, no longer on unix:%s/a.sock\n"):format(at,
      master.dir, master.dir))
  end,

  ["what only a restart changes is told in one line"] = function()
    local master = masters.start { workers = 1, config = "stdout_path = 'out.log'" }
    master:ready(1)
    local ok, text = master:hup { workers = 1, config = "daemonize = true" }
    lu.assertTrue(ok)
    lu.assertStrContains(text, "only a restart brings about what the config says now of daemonize, stdout_path "
      .. "(what went to that file still does)\n")
    ok, text = master:hup { workers = 1, config = "daemonize = true, stdout_path = 'out.log'" }
    lu.assertTrue(ok)
    lu.assertNotStrContains(text, "only a restart")
  end,

  ["a file that is both stdout and stderr is told of once, whether it can be opened anew or not"] = function()
    local master = masters.start { workers = 1, config = "stdout_path = 'logs/one', stderr_path = 'logs/one'",
      files = { ["logs/one"] = "" } }
    local function log(name)
      return s.read_file(("%s/%s/one"):format(master.dir, name)) or ""
    end
    s.wait(function() return log("logs"):find "workers serve" end)
    master.program:kill "USR1"
    s.wait(function() return log("logs"):find "opened anew" end)
    lu.assertStrContains(log "logs", ("opened anew (USR1): %s/logs/one\n"):format(master.dir))
    assert(os.rename(master.dir .. "/logs", master.dir .. "/gone"))
    master.program:kill "USR1"
    s.wait(function() return log("gone"):find "cannot be opened anew" end)
    master.program:kill "QUIT"
    lu.assertEquals(master.program:wait(), 0)
    lu.assertEquals(select(2, log("gone"):gsub("cannot be opened anew", "")), 1)
  end,
}
