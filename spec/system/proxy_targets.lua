--- What becomes of requests while their target starts, is busy, fails or is killed: who waits and in which order, what
--- is tried again, and what the client is told.
local brood = require "brood"
local lu = require "luaunit"
local proxy = require "spec.support.proxy"
local s = require "spec.support"

local T = {}

local function start(text, options)
  options = options or {}
  return proxy.start {
    workers = options.workers, proxy = options.proxy,
    files = { ["app.lua"] = 'return function(req, res) res:finish "web" end', ["one.lua"] = proxy.lua(text) },
    config = ("%s backends = { one = { command = %s, %s } },"):format(options.config or "", proxy.exec "one.lua",
      options.backend or ""),
    routes = '["/"] = "one", ["/web"] = "web"',
  }
end

local function notes(master)
  local list = {}
  for line in master:notes():gmatch "[^\n]+" do
    list[#list + 1] = line
  end
  return list
end

T["requests wait for a start that takes its time, and are answered in the order of coming"] = function()
  local master = start([[
    note "starting"
    wait_for(here .. "/go")
    serve(function(req, res) note(req.path) res:finish(req.path) end)]], { workers = 3 })
  local sockets = {}
  for i = 1, 12 do
    sockets[i] = master:send("/" .. i)
    s.wait(function()
      local status = master:backend "one"
      return status.waiting == i
    end, 5 * s.slow, i .. " that wait")
  end
  lu.assertEquals(master:ask("/web").body, "web") -- nobody else waits
  lu.assertEquals(notes(master), { "starting" })
  s.write_file(master.dir .. "/go", "")
  local expected = { "starting" }
  for i, socket in ipairs(sockets) do
    lu.assertEquals(socket:response().body, "/" .. i)
    expected[i + 1] = "/" .. i
    socket:close()
  end
  lu.assertEquals(notes(master), expected)
  master:finish()
end

T["a program has one request at a time, whichever workers it comes from; more programs have more"] = function()
  local text = [[
    local n = 0
    serve(function(req, res)
      n = n + 1
      note("in " .. n)
      brood.sleep(0.05)
      n = n - 1
      res:finish(tostring(posix.getpid()))
    end)]]
  for size, most in pairs { [1] = 1, [3] = 1 } do
    local master = start(text, { workers = 3, backend = "size = " .. size })
    local sockets, pids, count = {}, {}, 0
    for i = 1, 30 do
      sockets[i] = master:send "/"
    end
    for _, socket in ipairs(sockets) do
      local pid = socket:response().body
      count = count + (pids[pid] and 0 or 1)
      pids[pid] = true
      socket:close()
    end
    lu.assertEquals(count, size)
    for _, line in ipairs(notes(master)) do
      lu.assertTrue(tonumber(line:match "%d+") <= most, line)
    end
    master:finish()
  end
end

T["a program that does not start is a 503 that says when to come back, and the log says what it printed"] = function()
  local master = start [[io.stderr:write("no database\n") os.exit(3)]]
  local answer = master:ask "/"
  lu.assertEquals({ answer.status, answer.headers["retry-after"] }, { 503, "5" })
  lu.assertEquals(answer.body, "unavailable: 'one' does not start\n")
  lu.assertStrContains(master:log(), "no database")
  lu.assertEquals(master:ask("/web").body, "web")
  master:finish()
end

T["a start that takes too long is a 504"] = function()
  local master = start("brood.sleep(60)", { backend = "start_timeout = '200ms', terminate_timeout = '100ms'" })
  local answer = master:ask "/"
  lu.assertEquals({ answer.status, answer.body },
    { 504, "gateway timeout: 'one' takes too long to start\n" })
  master:programs("one", 0)
  master:finish()
end

T["an answer that does not come is a 504, and one that stops in its midst is cut"] = function()
  local master = start([[
    serve(function(req, res)
      if req.path == "/half" then res:write("half") end
      brood.sleep(60)
    end)]], { proxy = "timeout = '200ms'" })
  local answer = master:ask "/"
  lu.assertEquals({ answer.status, answer.body }, { 504, "gateway timeout: 'one' takes too long\n" })
  local socket = master:send "/half"
  local all = socket:receive_all()
  lu.assertStrContains(all, "HTTP/1.1 200")
  lu.assertNotStrContains(all, "\r\n0\r\n")
  socket:close()
  master:finish()
end

T["beyond max_waiting the answer is 503"] = function()
  local master = start([[serve(function(req, res)
    note "in"
    wait_for(here .. "/go")
    res:finish "done"
  end)]], { proxy = "max_waiting = 2" })
  local sockets = {}
  for i = 1, 3 do
    sockets[i] = master:send "/"
    s.wait(function()
      local status = master:backend "one"
      return status.state == "busy" and status.waiting == i - 1
    end, 5 * s.slow, "the queue")
  end
  for _ = 1, 2 do
    local answer = master:ask "/"
    lu.assertEquals({ answer.status, answer.headers["retry-after"] }, { 503, "1" })
    lu.assertEquals(answer.body, "busy: too many requests wait for 'one'\n")
  end
  s.write_file(master.dir .. "/go", "")
  for _, socket in ipairs(sockets) do
    lu.assertEquals(socket:response().body, "done")
    socket:close()
  end
  lu.assertEquals(master:ask("/").body, "done")
  master:finish()
end

T["who goes away while waiting is not waited for any more, and nothing is asked for it"] = function()
  local master = start [[serve(function(req, res)
    note(req.path)
    wait_for(here .. "/go")
    res:finish "done"
  end)]]
  local first = master:send "/first"
  master:noted "(/first)"
  local gone, last = master:send "/gone", master:send "/last"
  s.wait(function() return master:backend("one").waiting == 2 end, 5 * s.slow, "two that wait")
  gone:close()
  s.wait(function() return master:backend("one").waiting == 1 end, 5 * s.slow, "one that waits")
  s.write_file(master.dir .. "/go", "")
  lu.assertEquals({ first:response().body, last:response().body }, { "done", "done" })
  lu.assertEquals(notes(master), { "/first", "/last" })
  first:close()
  last:close()
  master:finish()
end

T["a crash between two requests is nobody's business"] = function()
  local master = start "serve()"
  for _ = 1, 5 do
    local pid = tonumber(master:ask("/").body:match "^%d+")
    require("luv").kill(pid, "sigkill")
    lu.assertEquals(master:ask("/x", { method = "POST", body = "y" }).status, 200)
  end
  master:finish()
end

T["a crash in the midst of a request is that one's error; what can be asked twice is asked once more"] = function()
  local master = start [[
    serve(function(req, res)
      note(req.method .. " " .. req.path)
      if req.path == "/always" or req.path == "/once" and not exists(here .. "/died") then
        uv.fs_close(uv.fs_open(here .. "/died", "w", 384))
        posix.kill(posix.getpid(), 9)
        brood.sleep(1)
      end
      res:finish "fine"
    end)]]
  lu.assertEquals(master:ask("/once").body, "fine")
  local answer = master:ask "/always"
  lu.assertEquals({ answer.status, answer.body }, { 502, "bad gateway: 'one' has gone away\n" })
  lu.assertEquals(master:ask("/always", { method = "POST", body = "x" }).status, 502)
  lu.assertEquals(master:ask("/").body, "fine")
  lu.assertEquals(notes(master), { "GET /once", "GET /once", "GET /always", "GET /always", "POST /always", "GET /" })
  master:finish()
end

T["a worker of the proxy that is killed gives back what it has, and what it waits for"] = function()
  local master = start([[serve(function(req, res)
    note(req.path)
    if req.path == "/stay" then brood.sleep(60) end
    res:finish "done"
  end)]], { workers = 1, backend = "idle = '300ms'" })
  local lost = { master:send "/stay", nil }
  master:noted "(/stay)"
  lost[2] = master:send "/waits"
  s.wait(function() return master:backend("one").waiting == 1 end, 5 * s.slow, "one that waits")
  require("luv").kill(master:status().clusters.proxy.processes[1].pid, "sigkill")
  for _, socket in ipairs(lost) do
    lu.assertEquals(socket:receive_all(), "")
    socket:close()
  end
  -- The program may still be at it, for its client has not said anything: it is looked at, and asked.
  s.wait(function()
    local ok, answer = pcall(master.ask, master, "/again")
    return ok and answer.body == "done"
  end, 10 * s.slow, function() return "an answer\n" .. master:log() end)
  lu.assertNotStrContains(master:notes(), "/waits")
  master:programs("one", 0) -- and nothing is left open there: it becomes idle
  master:finish()
end

T["a target that runs and refuses is asked again a little later"] = function()
  local master = proxy.start {
    routes = '["/"] = "web"', workers = 1, app = [[return function(req, res) res:finish "web" end]],
    config = "graceful_timeout = '5s',",
  }
  lu.assertEquals(master:ask("/").body, "web")
  for _ = 1, 3 do
    for _, process in ipairs(master:status().clusters.web.processes) do
      require("luv").kill(process.pid, "sigkill")
    end
    lu.assertEquals(master:ask("/").body, "web") -- its socket is the master's, and stays
  end
  master:finish()
end

T["a streamed answer counts as use: what is open is not idle"] = function()
  local master = start([[serve(function(req, res)
    for i = 1, 12 do res:write("x") brood.sleep(0.05) end
    res:finish()
  end)]], { backend = "idle = '150ms'" })
  lu.assertEquals(master:ask("/").body, ("x"):rep(12))
  master:programs("one", 0)
  master:finish()
end

local UPGRADE = [[
const http = require('http')
const server = http.createServer((req, res) => res.end('plain'))
server.on('upgrade', (req, socket) => {
  socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n')
  socket.pipe(socket)
})
server.listen(process.env.SOCKET)
]]

T["an upgraded connection keeps its program until it is closed"] = function()
  local master = proxy.start {
    files = { ["app.js"] = UPGRADE }, routes = '["/"] = "one"',
    config = "backends = { one = { command = { 'node', 'app.js' }, idle = '150ms' } },",
  }
  local socket = s.connect(master:front())
  socket:send "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
  lu.assertStrContains(socket:receive("\r\n\r\n"), "101 Switching Protocols")
  for i = 1, 10 do
    socket:send("hello " .. i .. "\n")
    lu.assertEquals(socket:receive "\n", "hello " .. i .. "\n")
    brood.sleep(0.05)
  end
  lu.assertEquals(master:programs("one", 1)[1].state, "busy")
  socket:close()
  master:programs("one", 0)
  master:finish()
end

T["a name is looked up, and one that nobody has is a 502"] = function()
  local port = require("spec.support.http").serve('res:finish "there"'):match ":(%d+)$"
  local master = proxy.start {
    routes = ('["/"] = "localhost:%s", ["/no"] = "nobody.invalid:80", ["/port"] = %s'):format(port, port),
  }
  lu.assertEquals(master:ask("/").body, "there")
  lu.assertEquals(master:ask("/port").body, "there")
  lu.assertEquals(master:ask("/no").status, 502)
  master:finish()
end

return T
