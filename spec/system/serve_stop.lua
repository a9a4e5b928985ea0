--- How a serving master ends: QUIT, TERM, INT, and what they leave.
local lu = require "luaunit"
local masters = require "spec.support.master"
local s = require "spec.support"

-- A request that takes a while, and marks that it has begun.
local SLOW = [[
local brood = require "brood"
return function(req, res)
  if req.path == "/" then return res:finish("at once") end
  local file = io.open("begun", "w")
  file:close()
  if req.path == "/stuck" then while true do end end
  brood.sleep(tonumber(req.path:match("%d.*")))
  res:finish("slow")
end]]

local function begin(master, path)
  local socket = s.connect(master:address())
  socket:send(("GET %s HTTP/1.1\r\nHost: x\r\n\r\n"):format(path))
  s.wait(function()
    return s.exists(master.dir .. "/begun")
  end, 10, "the request to begin")
  return socket
end

local function serve(options)
  options = options or {}
  options.app = SLOW
  return masters.start(options)
end

local function all_gone(pids)
  for _, pid in ipairs(pids) do
    lu.assertFalse(s.alive(pid))
  end
end

return {
  ["QUIT lets a slow request finish, closes idle connections, and ends with 0"] = function()
    local master = serve()
    local pids = master:pids()
    local idle = s.connect(master:address())
    idle:send "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    lu.assertEquals(idle:response().body, "at once")
    local slow = begin(master, "/2")
    local code, _, seconds = master:stop "QUIT"
    lu.assertEquals(code, 0)
    lu.assertTrue(seconds > 1 and seconds < 2 + 3 * s.slow, seconds)
    local answer = slow:response()
    lu.assertEquals(answer.body, "slow")
    lu.assertEquals(answer.headers.connection, "close")
    lu.assertEquals(idle:receive_all(), "")
    all_gone(pids)
    lu.assertFalse(s.exists(master.control))
  end,

  ["while it stops gracefully no new connection is accepted, and the control server still answers"] = function()
    local master = serve { workers = 1, config = 'listen = "unix:web.sock"' }
    local slow = begin(master, "/1")
    master.program:kill "QUIT"
    s.wait(function()
      local status, body = master:ask "/health"
      return status == 503 and body.status == "stopping"
    end, 5, "health to be bad")
    lu.assertEquals(slow:response().body, "slow")
    lu.assertEquals(master.program:wait(), 0)
  end,

  ["a client that stays, or a request without end, does not keep the app's stop from running"] = function()
    for _, server in ipairs {
      "require('brood.net').server(function(conn) conn:write('x') for _ in conn:chunks() do end end)",
      "function(req, res) res:write('x') require('brood').sleep(60) end",
    } do
      local master = masters.start { workers = 1, config = "graceful_timeout = 1", app = ([[
        return { server = %s, stop = function() require("brood").sleep(0.01) io.stderr:write("its stop ran\n") end }
      ]]):format(server) }
      local client = s.connect(master:address())
      client:send "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
      client:receive "x"
      lu.assertEquals(master:stop "QUIT", 0)
      lu.assertStrContains(master:log(), "so that the app's stop can run")
      lu.assertStrMatches(master:log(), ".*its stop ran.*ended: status 0 %(stop%).*")
    end
  end,

  ["graceful_timeout bounds it: what takes longer is killed, the end is still 0"] = function()
    local master = serve { config = "graceful_timeout = 0.3" }
    local slow = begin(master, "/20")
    local code, _, seconds = master:stop "QUIT"
    lu.assertEquals(code, 0)
    lu.assertTrue(seconds < 3 * s.slow, seconds)
    lu.assertEquals(slow:receive_all(), "")
    lu.assertStrContains(master:log(), "0.3 s after QUIT (graceful_timeout is 0.3 s), in GET /20, begun 0.")
  end,

  ["TERM and INT end at once with 0, whatever runs"] = function()
    for _, signal in ipairs { "TERM", "INT" } do
      local master = serve()
      local pids = master:pids()
      begin(master, "/20")
      local code, _, seconds = master:stop(signal)
      lu.assertEquals(code, 0)
      lu.assertTrue(seconds < 1.5 * s.slow, seconds)
      all_gone(pids)
    end
  end,

  ["TERM ends a stuck worker as well, in two seconds, and a second one at once"] = function()
    local master = serve()
    begin(master, "/stuck")
    local code, _, seconds = master:stop "TERM"
    lu.assertEquals(code, 0)
    lu.assertTrue(seconds > 1.5 and seconds < 4 * s.slow, seconds)
    master = serve()
    begin(master, "/stuck")
    master.program:kill "INT"
    master.program:expect "stopping quickly"
    s.remains(function() return true end, 0.06) -- sooner it would be the same one, sent to the group as well
    code, _, seconds = master:stop "INT"
    lu.assertEquals(code, 0)
    lu.assertTrue(seconds < 1.5 * s.slow, seconds)
  end,

  ["TERM during a QUIT hurries it"] = function()
    local master = serve()
    begin(master, "/20")
    master.program:kill "QUIT"
    master.program:expect "stopping gracefully"
    local code, _, seconds = master:stop "TERM"
    lu.assertEquals(code, 0)
    lu.assertTrue(seconds < 1.5 * s.slow, seconds)
  end,

  ["QUIT twice is one QUIT"] = function()
    local master = serve()
    local slow = begin(master, "/0.5")
    master.program:kill "QUIT"
    master.program:expect "stopping gracefully"
    lu.assertEquals(master:stop "QUIT", 0)
    lu.assertEquals(slow:response().body, "slow")
  end,

  ["where a supervisor waits for us, TERM is graceful and a second one quick"] = function()
    local master = serve { env = { NOTIFY_SOCKET = "/nowhere" } }
    local slow = begin(master, "/0.5")
    lu.assertEquals(master:stop "TERM", 0)
    lu.assertEquals(slow:response().body, "slow")
    master = serve { env = { NOTIFY_SOCKET = "/nowhere" } }
    begin(master, "/20")
    master.program:kill "TERM"
    master.program:expect "stopping gracefully"
    s.remains(function() return true end, 0.06) -- sooner it would be the same one, sent to the group as well
    local code, _, seconds = master:stop "TERM"
    lu.assertEquals(code, 0)
    lu.assertTrue(seconds < 1.5 * s.slow, seconds)
  end,

  ["a worker that gets QUIT finishes its request, one that gets TERM does not; both are replaced"] = function()
    local master = serve { workers = 1 }
    local first = master:pids()[1]
    local slow = begin(master, "/0.5")
    require("luv").kill(first, "sigquit")
    lu.assertEquals(slow:response().body, "slow")
    master.program:expect "worker 1 %(pid %d+%) ended: status 0 %(signal QUIT%)"
    lu.assertEquals(master:ready(1)[1].id, 2)
    os.remove(master.dir .. "/begun")
    slow = begin(master, "/20")
    require("luv").kill(master:pids()[1], "sigterm")
    lu.assertEquals(slow:receive_all(), "")
    lu.assertEquals(master:ready(1)[1].id, 3)
    lu.assertEquals(master:get().body, "at once")
  end,

  ["HUP, USR1 and USR2 do not kill workers"] = function()
    local master = serve { args = { "-v" } }
    local pids = master:pids()
    for _, pid in ipairs(pids) do
      require("luv").kill(pid, "sigusr1")
      for _, signal in ipairs { "HUP", "USR2" } do
        require("luv").kill(pid, "sig" .. signal:lower())
        master.program:expect(("%%[%d%%] %s means nothing"):format(pid, signal))
      end
    end
    lu.assertEquals(master:pids(), pids)
  end,

  ["what a hook has left running in the master does not keep it from ending"] = function()
    local master = serve { config = [[
      on_start = function()
        require("luv").new_timer():start(1000, 1000, function() end)
        assert(require("brood.process").new({ command = { "sleep", "60" } }):start())
      end]] }
    master:address()
    local pids = s.child_pids(master.program.pid)
    lu.assertEquals(#pids, 3)
    lu.assertEquals(master:stop "QUIT", 0)
    all_gone(pids)
  end,
}
