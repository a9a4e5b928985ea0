--- When a started process counts as ready: by port, socket, HTTP, or by its own word.
local lu = require "luaunit"
local s = require "spec.support"
local p = require "spec.support.process"

local NOTIFY = [[
  local send = require("brood.core").notify.send
  local function say(text) assert(send(os.getenv("NOTIFY_SOCKET"), text)) end
]]

local function listen(script, options, args)
  return p.script([[
    local server
    local function listen(delay)
      brood.sleep(delay)
      local where = arg[1]
      server = where:find("/", 1, true) and uv.new_pipe(false) or uv.new_tcp()
      if where:find("/", 1, true) then assert(server:bind(where)) else assert(server:bind(arg[2] or "127.0.0.1", tonumber(where))) end
      server:listen(8, function()
        local conn = where:find("/", 1, true) and uv.new_pipe(false) or uv.new_tcp()
        server:accept(conn)
        conn:close()
      end)
    end
  ]] .. script, options, args)
end

-- A script that answers HTTP with what `answer(path)` returns.
local function serve(answer, options, args)
  return p.script(([[
    local unix = arg[1]:find("/", 1, true)
    local server = unix and uv.new_pipe(false) or uv.new_tcp()
    if unix then assert(server:bind(arg[1])) else assert(server:bind(arg[2] or "127.0.0.1", tonumber(arg[1]))) end
    local requests = 0
    server:listen(8, function()
      local conn = unix and uv.new_pipe(false) or uv.new_tcp()
      server:accept(conn)
      conn:read_start(function(_, data)
        local path = data and data:match("^GET (%%S+) HTTP")
        if not path then return conn:close() end
        requests = requests + 1
        conn:write((function(path, requests) %s end)(path, requests))
      end)
    end)
  ]]):format(answer), options, args)
end

local function fails(process, code)
  local ok, err = process:start()
  lu.assertNil(ok)
  lu.assertEquals(err.code, code, tostring(err))
  lu.assertEquals(process.state, "stopped")
  lu.assertNil(process.pid)
  return err
end

return {
  teardown = p.cleanup,

  ["spawn: ready as soon as the program runs"] = function()
    local process = p.new { command = { "sleep", "60" }, ready = "spawn" }
    lu.assertTrue(process:start())
    lu.assertTrue(s.alive(process.pid))
    s.wait(function() return s.cmdline(process.pid)[2] == "60" end)
  end,

  ["port: ready when something accepts there, v6 alone included"] = function()
    for _, host in ipairs { "127.0.0.1", "::1" } do
      local port = s.free_port()
      local process = listen("listen(0.05)", { ready = { port = port } }, { tostring(port), host })
      lu.assertTrue(process:start())
      s.connect((host == "::1" and "[::1]" or host) .. ":" .. port):close()
      process:stop()
    end
  end,

  ["socket: ready when something accepts there"] = function()
    local path = s.temp_dir() .. "/s"
    local process = listen("listen(0.05)", { ready = { socket = path } }, { path })
    lu.assertTrue(process:start())
    s.connect("unix:" .. path):close()
    process:stop()
    os.remove(path)
  end,

  ["http: ready when the answer is 2xx or 3xx, not before"] = function()
    local port, path = s.free_port(), s.temp_dir() .. "/s"
    local answer = [[
      if path ~= "/up?x=1" then return "HTTP/1.1 404 No\r\n\r\n" end
      return requests < 3 and "HTTP/1.1 503 Wait\r\n\r\n" or "HTTP/1.1 204 Fine\r\n\r\n"
    ]]
    for _, ready in ipairs {
      { http = "http://127.0.0.1:" .. port .. "/up?x=1" }, { http = "http://localhost:" .. port .. "/up?x=1" },
      { http = "/up?x=1", port = port }, { http = "/up?x=1", socket = path },
    } do
      local process = serve(answer, { ready = ready }, { ready.socket or tostring(port) })
      lu.assertTrue(process:start())
      process:stop()
      os.remove(path)
    end
  end,

  ["http: an answer that never is good ends in a timeout"] = function()
    local port = s.free_port()
    local process = serve([[return "HTTP/1.1 500 Broken\r\n\r\n"]],
      { ready = { http = "/", port = port }, start_timeout = 0.5 * s.slow }, { tostring(port) })
    local err = fails(process, "timeout")
    lu.assertStrContains(tostring(err), "was not ready within")
    lu.assertEquals(process.exit_signal, "TERM")
  end,

  ["a place that somebody else has is no sign of readiness, and nothing is started"] = function()
    local path = s.temp_dir() .. "/s"
    local port = s.free_port()
    local other = listen("listen(0)", { ready = { port = port } }, { tostring(port) })
    local another = listen("listen(0)", { ready = { socket = path } }, { path })
    other:start()
    another:start()
    for _, ready in ipairs { { port = port }, { http = "/x", port = port }, { socket = path } } do
      local process = p.new { command = { "sleep", "60" }, ready = ready }
      local err = fails(process, "EADDRINUSE")
      lu.assertStrContains(tostring(err), "something else already answers on")
      lu.assertNil(process.exit_signal)
    end
    another:stop()
    os.remove(path)
  end,

  ["a socket file without a listener is no obstacle"] = function()
    local path = s.temp_dir() .. "/s"
    local dead = listen("listen(0)", { ready = { socket = path }, stop_signal = "KILL" }, { path })
    dead:start()
    dead:stop()
    lu.assertTrue(s.exists(path))
    local process = listen("uv.fs_unlink(arg[1]) listen(0)", { ready = { socket = path } }, { path })
    lu.assertTrue(process:start())
    process:stop()
    os.remove(path)
  end,

  ["one that is not ready in time is ended, grandchildren too"] = function()
    local lines = p.lines()
    local process = p.sh("sleep 60 & echo $!; wait",
      { ready = { port = s.free_port() }, start_timeout = "200ms", stdout = lines.add })
    fails(process, "timeout")
    lu.assertFalse(s.alive(tonumber(lines[1])))
  end,

  ["start_timeout = false waits on, and an end is still seen"] = function()
    local process = p.sh("sleep 0.1; exit 4", { ready = { port = s.free_port() }, start_timeout = false })
    lu.assertEquals(fails(process, "exit").exit_code, 4)
  end,

  ["channel: a script tells its parent itself, and both can talk"] = function()
    local process = p.script([[
      local w = brood.worker
      print(os.getenv("BROOD_CHANNEL_FD"))
      w:on("message", function(v) w:send({ echo = v }) end)
      brood.sleep(0.05)
      w:ready()
    ]], { ready = "channel", stdout = false })
    local got = {}
    process:on("message", function(v) table.insert(got, v) end)
    lu.assertTrue(process:start())
    lu.assertTrue(process:send("hello"))
    s.wait(function() return got[1] end)
    lu.assertEquals(got, { { echo = "hello" } })
    process:stop()
    local ok, err = process:send("late")
    lu.assertEquals({ ok, err.code }, { nil, "stopped" })
  end,

  ["channel: the programs that the script starts do not get its line"] = function()
    local lines = p.lines()
    local process = p.script([[
      os.execute("echo fd=${BROOD_CHANNEL_FD-none}; ls /proc/self/fd | wc -l")
      os.execute("exec ls -l /proc/self/fd | grep -c socket:")
      brood.worker:ready()
    ]], { ready = "channel", stdout = lines.add })
    lu.assertTrue(process:start())
    s.wait(function() return lines[3] end)
    lu.assertEquals({ lines[1], lines[3] }, { "fd=none", "0" })
  end,

  ["a BROOD_CHANNEL_FD that is no socket is not used"] = function()
    for _, fd in ipairs { "0", "99", "nonsense" } do
      local result = s.script('print(require("brood").worker)', {}, { env = { BROOD_CHANNEL_FD = fd } }):finish()
      lu.assertEquals({ result.code, result.stdout, result.stderr }, { 0, "nil\n", "" })
    end
  end,

  ["brood.worker is nil where nobody has left a line"] = function()
    lu.assertEquals(s.script('print(require("brood").worker)'):finish().stdout, "nil\n")
  end,

  ["notify: READY makes it ready, STATUS is kept, unknown words and bad ones do no harm"] = function()
    local process = p.script(NOTIFY .. [[
      say "STATUS=warming up\nFOO=bar\nREADY=0\n=\nWATCHDOG_USEC=-1\nEXTEND_TIMEOUT_USEC=x"
      say(("x"):rep(5000))
      brood.sleep(0.05)
      say "READY=1\nSTATUS=up"
      brood.sleep(60)
    ]], { ready = "notify" })
    lu.assertTrue(process:start())
    lu.assertEquals({ process.state, process.status_text }, { "ready", "up" })
    process:stop()
    lu.assertEquals(process.exit_signal, "TERM")
  end,

  ["notify: one that never says READY runs into the timeout, and EXTEND_TIMEOUT_USEC puts it off"] = function()
    fails(p.new { command = { "sleep", "60" }, ready = "notify", start_timeout = 0.1 }, "timeout")
    local process = p.script(NOTIFY .. [[
      say "EXTEND_TIMEOUT_USEC=20000000"
      brood.sleep(1)
      say "EXTEND_TIMEOUT_USEC=1\nREADY=1"
      brood.sleep(60)
    ]], { ready = "notify", start_timeout = 0.7 * s.slow })
    local seconds, ok = s.timed(process.start, process)
    lu.assertTrue(ok)
    lu.assertTrue(seconds >= 0.9)
  end,

  ["notify: EXTEND_TIMEOUT_USEC puts off the KILL of a stop as well"] = function()
    local process = p.script(NOTIFY .. [[
      local sig = uv.new_signal()
      sig:start("sigterm", function()
        say "EXTEND_TIMEOUT_USEC=20000000"
        brood.sleep(0.6, function() os.exit(9) end)
      end)
      say "READY=1"
    ]], { ready = "notify", stop_timeout = 0.4 })
    process:start()
    process:stop()
    lu.assertEquals({ process.exit_code, process.exit_signal }, { 9, nil })
  end,
}
