--- Backends: who gets which program when, when one is started, when it goes, and what is left of it: nothing.
-- time limit: 180 s
local lu = require "luaunit"
local b = require "spec.support.backend"
local brood = require "brood"
local p = require "spec.support.process"
local posix = require "brood.posix"
local s = require "spec.support"
local uv = require "luv"

local SLOW = [[
local n = 0
serve(function(req, res)
  n = n + 1
  note(posix.getpid() .. " " .. req.path)
  wait_for(arg[1] .. req.path)
  res:finish(posix.getpid() .. " " .. n)
end)
]]

local function mode_of(path)
  return ("%o"):format(uv.fs_stat(path).mode % 4096)
end

return {
  teardown = b.cleanup,

  ["the first connection starts the program, and the next ones have the same"] = function()
    local backend = b.lua "serve()"
    lu.assertEquals({ backend.state, backend.pid }, { "stopped" })
    local first = b.get(backend, "/1")
    lu.assertEquals(first, backend.pid .. " /1")
    lu.assertEquals({ backend.state, b.get(backend, "/2") }, { "ready", backend.pid .. " /2" })
  end,

  ["its socket is in a private folder, its path in SOCKET, and PORT is not set"] = function()
    local backend = b.lua([[
      serve(function(req, res) res:finish(SOCKET .. " " .. tostring(os.getenv "PORT") .. " " .. os.getenv "MORE") end)
    ]], { env = { MORE = "more" } })
    uv.os_setenv("PORT", "1")
    local path = b.get(backend):match "^(/%S+) nil more$"
    uv.os_unsetenv "PORT"
    lu.assertEquals(uv.fs_stat(path).type, "socket")
    lu.assertEquals({ mode_of(path:match "^(.*)/"), path:match "^(.*)/" }, { "700", b.folder() })
    backend:quit()
    lu.assertFalse(s.exists(path))
    lu.assertNil(b.folder())
  end,

  ["one connection at a time, in order, and closing it makes room"] = function()
    local backend, dir = b.lua(SLOW)
    local first = assert(backend:connect())
    local order, calls = {}, {}
    for i = 1, 10 do
      calls[i] = p.call(backend, "connect")
      backend:connect(function(_, conn)
        table.insert(order, i)
        lu.assertEquals(backend.state, "busy")
        conn:close()
      end)
    end
    s.remains(function() return calls[1].answers == 0 and #order == 0 end, 0.05)
    lu.assertEquals(backend:status().waiting, 20)
    first:close()
    for i = 1, 10 do
      p.answered(calls[i])
      lu.assertEquals(#order, i - 1)
      calls[i].values[1]:close()
    end
    s.wait(function() return #order == 10 end)
    lu.assertEquals(order, { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 })
    lu.assertEquals(b.notes(dir), {})
  end,

  ["a connection that nobody holds any more makes room as well"] = function()
    local backend = b.lua "serve()"
    lu.assertTrue(backend:connect() ~= nil)
    local second = p.call(backend, "connect")
    s.wait(function()
      collectgarbage()
      return second.answers == 1
    end)
    second.values[1]:close()
  end,

  ["closing twice is once"] = function()
    local backend = b.lua "serve()"
    local conn = assert(backend:connect())
    conn:close()
    local other = assert(backend:connect())
    lu.assertTrue(conn:close())
    lu.assertEquals(backend.state, "busy")
    other:close()
    lu.assertEquals({ backend.state, backend.served }, { "ready", 2 })
  end,

  ["a start that takes its time holds those who wait, in order, and answers them"] = function()
    local backend, dir = b.lua 'note "start" wait_for(arg[1] .. "/go") serve()'
    local order = {}
    for i = 1, 20 do
      backend:connect(function(err, conn)
        assert(not err, err)
        table.insert(order, b.ask(conn, "/" .. i):match "/(%d+)")
        conn:close()
      end)
    end
    s.remains(function() return backend.state == "starting" end, 0.3)
    s.write_file(dir .. "/go", "")
    s.wait(function() return #order == 20 end)
    for i = 1, 20 do
      lu.assertEquals(order[i], tostring(i))
    end
    lu.assertEquals(b.notes(dir), { "start" })
  end,

  ["size: as many programs as are needed at a time, and no more"] = function()
    local backend, dir = b.lua(SLOW, { size = 3 })
    local conns, pids = {}, {}
    for i = 1, 3 do
      conns[i] = assert(backend:connect())
      conns[i]:write(("GET /%d HTTP/1.1\r\nHost: x\r\n\r\n"):format(i))
      s.wait(function() return #b.notes(dir) == i end)
      pids[i] = tonumber(b.notes(dir)[i]:match "%d+")
      lu.assertEquals({ backend.state, #backend:status().programs }, { "busy", i })
    end
    lu.assertNotEquals(pids[1], pids[2])
    lu.assertNotEquals(pids[2], pids[3])
    local fourth = p.call(backend, "connect")
    s.remains(function() return fourth.answers == 0 end, 0.05)
    conns[2]:close()
    p.answered(fourth)
    s.write_file(dir .. "/x", "")
    lu.assertEquals(b.ask(fourth.values[1], "/x"), pids[2] .. " 2")
    for _, conn in ipairs { conns[1], conns[3], fourth.values[1] } do
      conn:close()
    end
    lu.assertEquals(backend.state, "ready")
  end,

  ["size: a free program comes before a new one, and the last used before the others"] = function()
    local backend = b.lua("serve()", { size = 4 })
    local first = b.get(backend)
    lu.assertEquals({ b.get(backend), #backend:status().programs }, { first, 1 })
    local one, two = assert(backend:connect()), assert(backend:connect())
    two:close()
    one:close()
    for _ = 1, 3 do
      lu.assertEquals(b.get(backend), first)
    end
    lu.assertEquals(#backend:status().programs, 2)
  end,

  ["size: spawn starts all of them, quit ends all, restart as many as there were"] = function()
    local backend = b.lua("serve()", { size = 3 })
    local spawned, exits = {}, 0
    backend:on("spawn", function(pid) table.insert(spawned, pid) end)
    backend:on("exit", function() exits = exits + 1 end)
    lu.assertTrue(backend:spawn())
    lu.assertEquals({ #spawned, backend.pid }, { 3, spawned[1] })
    lu.assertTrue(backend:restart())
    lu.assertEquals({ #spawned, exits, #backend:status().programs }, { 6, 3, 3 })
    lu.assertTrue(backend:quit())
    lu.assertEquals({ exits, backend.state, backend.pid }, { 6, "stopped" })
  end,

  ["idle: nothing open for so long, and it is gone; the next request starts it again"] = function()
    local backend = b.lua("serve()", { idle = "200ms" })
    local events = p.record(backend)
    local first = b.get(backend)
    local seconds = s.timed(s.wait, function() return backend.state == "stopped" end)
    lu.assertTrue(seconds >= 0.19, seconds)
    s.wait(function() return events[#events] == "exit" end)
    lu.assertEquals(events, {
      "starting", "spawn", "ready", "busy", "ready", "idle", "stopping", "stopped", "exit",
    })
    lu.assertNotEquals(b.get(backend), first)
  end,

  ["idle: not while something is open, however long it takes, nor while somebody comes now and then"] = function()
    local backend = b.lua("serve()", { idle = 0.15 })
    local conn = assert(backend:connect())
    s.remains(function() return backend.state == "busy" end, 0.4)
    conn:close()
    local pid = backend.pid
    for _ = 1, 10 do
      s.remains(function() return backend.state == "ready" end, 0.05)
      b.get(backend)
    end
    lu.assertEquals(backend.pid, pid)
    s.wait(function() return backend.state == "stopped" end)
  end,

  ["idle: those that are not needed go first; false never"] = function()
    local backend = b.lua("serve()", { size = 2, idle = 0.2 })
    backend:spawn()
    local deadline = brood.now() + 0.5
    while brood.now() < deadline do
      b.get(backend)
      brood.sleep(0.02)
    end
    lu.assertEquals(#backend:status().programs, 1)
    local always = b.lua("serve()", { idle = false })
    b.get(always)
    lu.assertNil(always.slots[1].idle_timer)
  end,

  ["run_once: each connection has a fresh program"] = function()
    local backend = b.lua([[
      local n = 0
      serve(function(_, res) n = n + 1 res:finish(tostring(n)) end)
    ]], { run_once = true })
    local answers, pids = {}, {}
    backend:on("spawn", function(pid) pids[pid] = true end)
    for _ = 1, 4 do
      backend:connect(function(_, conn)
        table.insert(answers, b.ask(conn))
        conn:close()
      end)
    end
    s.wait(function() return #answers == 4 and backend.state == "stopped" end)
    local n = 0
    for _ in pairs(pids) do
      n = n + 1
    end
    lu.assertEquals({ answers, n }, { { "1", "1", "1", "1" }, 4 })
  end,

  ["a program that dies between two requests is not noticed by the next one"] = function()
    local backend = b.lua "serve()"
    for _ = 1, 5 do
      local body = b.get(backend)
      lu.assertEquals(body, backend.pid .. " /")
      local pid = backend.pid
      posix.kill(pid, 9)
      lu.assertStrMatches(b.get(backend), "%d+ /")
      lu.assertNotEquals(backend.pid, pid)
    end
  end,

  ["a program that dies with a connection open ends that one alone"] = function()
    local backend, dir = b.lua(SLOW)
    local errors = {}
    backend:on("error", function(err) table.insert(errors, err.message) end)
    local conn = assert(backend:connect())
    conn:write "GET /never HTTP/1.1\r\nHost: x\r\n\r\n"
    s.wait(function() return #b.notes(dir) == 1 end)
    local waiting = {}
    for i = 1, 3 do
      waiting[i] = p.call(backend, "connect")
    end
    posix.kill(backend.pid, 9)
    lu.assertNil((conn:read()))
    s.write_file(dir .. "/x", "")
    for i = 1, 3 do
      p.answered(waiting[i])
      lu.assertStrMatches(b.ask(waiting[i].values[1], "/x"), backend.pid .. " " .. i)
      waiting[i].values[1]:close()
    end
    lu.assertEquals(errors, { "app was killed by KILL in the middle of a request" })
    conn:close()
    lu.assertEquals(backend.state, "ready")
  end,

  ["quit is QUIT, then TERM after quit_timeout, then KILL after terminate_timeout"] = function()
    local stubborn = 'on("sigquit", function() note "QUIT" end) on("sigterm", function() note "TERM" end) serve()'
    local backend, dir = b.lua(stubborn, { quit_timeout = 0.1, terminate_timeout = 0.2 })
    local ends = {}
    backend:on("exit", function(_, signal) table.insert(ends, signal) end)
    backend:spawn()
    local seconds = s.timed(backend.quit, backend)
    lu.assertEquals({ b.notes(dir), ends }, { { "QUIT", "TERM" }, { "KILL" } })
    lu.assertTrue(seconds >= 0.3 and seconds < 2 * s.slow, seconds)
    backend:spawn()
    seconds = s.timed(backend.terminate, backend)
    lu.assertEquals(b.notes(dir), { "QUIT", "TERM", "TERM" })
    lu.assertTrue(seconds >= 0.2, seconds)
  end,

  ["quit lets a program that can finish its request"] = function()
    local backend, dir = b.lua(SLOW .. [[
      on("sigquit", function() note "QUIT" server:close(function() os.exit(0) end) end)
    ]])
    local conn = assert(backend:connect())
    local body
    brood.async(function() body = b.ask(conn, "/x") end)
    s.wait(function() return #b.notes(dir) == 1 end)
    local quit = p.call(backend, "quit")
    s.wait(function() return b.notes(dir)[2] == "QUIT" end)
    s.write_file(dir .. "/x", "")
    p.answered(quit)
    lu.assertStrMatches(body, "%d+ 1")
    conn:close()
  end,

  ["close: no more requests, those that wait are served, then all is gone"] = function()
    local backend = b.lua("serve()", { size = 2 })
    local one, two = assert(backend:connect()), assert(backend:connect())
    local third = p.call(backend, "connect")
    local close, again = p.call(backend, "close"), p.call(backend, "close")
    for _, call in ipairs { p.call(backend, "connect"), p.call(backend, "spawn"), p.call(backend, "restart") } do
      p.answered(call)
      lu.assertEquals({ call.err.code, tostring(call.err) }, { "stopped", "app is closed" })
    end
    one:close()
    p.answered(third)
    lu.assertEquals(close.answers, 0)
    third.values[1]:close()
    two:close()
    p.answered(close, again)
    lu.assertEquals(backend.state, "stopped")
    lu.assertTrue(backend:kill())
  end,

  ["close, then kill: those who wait are told"] = function()
    local backend = b.lua "wait_for(arg[1] .. '/never')"
    local waiting = p.call(backend, "connect")
    local close, kill = p.call(backend, "close"), p.call(backend, "kill")
    p.answered(waiting, close, kill)
    lu.assertEquals({ waiting.err.code, backend.state }, { "stopped", "stopped" })
  end,

  ["who gives up waiting is left out"] = function()
    local backend = b.lua "serve()"
    local conn = assert(backend:connect())
    local got = {}
    local tickets = {}
    for i = 1, 3 do
      tickets[i] = backend:acquire(function(err, lease) got[i] = lease or err end)
    end
    lu.assertEquals({ tickets[2]:cancel(), tickets[2]:cancel() }, { true, false })
    conn:close()
    s.wait(function() return got[1] end)
    lu.assertEquals(got[1].address, "unix:" .. b.folder() .. "/1.sock")
    got[1]:release()
    got[1]:release()
    s.wait(function() return got[3] end)
    lu.assertNil(got[2])
    got[3]:release()
    lu.assertEquals(backend.served, 3)
  end,

  ["max_backlog: who would have to wait behind so many is told at once"] = function()
    local backend = b.lua("serve()", { max_backlog = 2 })
    local conn = assert(backend:connect())
    local one, two, three = p.call(backend, "connect"), p.call(backend, "connect"), p.call(backend, "connect")
    p.answered(three)
    lu.assertEquals({ three.err.code, tostring(three.err) }, { "backlog", "app: 2 wait already" })
    conn:close()
    p.answered(one)
    one.values[1]:close()
    p.answered(two)
    two.values[1]:close()
    local none = b.lua("serve()", { max_backlog = 0, size = 2 })
    local calls = { p.call(none, "connect"), p.call(none, "connect"), p.call(none, "connect") }
    p.answered(unpack(calls))
    lu.assertEquals({ calls[1].err, calls[2].err, calls[3].err.code }, { nil, nil, "backlog" })
    calls[1].values[1]:close()
    calls[2].values[1]:close()
  end,

  ["mistakes raise where they are made"] = function()
    local Backend = require "brood.backend"
    for text, fn in pairs {
      ["Backend.new: option 'command' is missing"] = function() Backend.new {} end,
      ["Backend.new: option 'port' must be true where `size` is more than 1"] = function()
        Backend.new { command = { "x" }, port = 80, size = 2 }
      end,
      ["Backend.new: unknown option 'comand' (did you mean 'command'?)"] = function()
        Backend.new { comand = { "x" }, command = { "x" } }
      end,
      ["backend:connect: call it with a colon"] = function() b.sh("x").connect() end,
    } do
      local ok, err = pcall(fn)
      lu.assertFalse(ok)
      lu.assertStrContains(tostring(err), text)
      lu.assertStrContains(tostring(err), "spec/system/backend.lua:")
    end
  end,

  ["nothing of many is left: no descriptor, no folder, no child"] = function()
    b.get(b.lua "serve()")
    local fds, children = s.fd_count(), s.child_pids()
    for _ = 1, 3 do
      local list = {}
      for i = 1, 5 do
        list[i] = b.lua("serve()", { idle = 0.05 })
        b.get(list[i])
      end
      s.wait(function()
        for _, backend in ipairs(list) do
          if backend.state ~= "stopped" then
            return false
          end
        end
        return true
      end)
    end
    s.wait(function() return s.fd_count() <= fds end)
    lu.assertEquals(s.child_pids(), children)
  end,
}
