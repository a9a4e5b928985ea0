--- A proxy in front of services: started on demand, kept while they are used, found again wherever they are after a
--- restart.
local brood = require "brood"
local lu = require "luaunit"
local proxy = require "spec.support.proxy"
local s = require "spec.support"

local T = {}

local function start(options)
  return proxy.start {
    workers = options.workers,
    files = options.files or { ["one.lua"] = proxy.lua(options.text or "serve()") },
    config = ("services = { one = { command = %s, %s } },"):format(options.command or proxy.exec "one.lua",
      options.service or ""),
    routes = '["/"] = "one"', proxy = options.proxy,
  }
end

local function pid_of(answer)
  return tonumber(answer.body:match "%d+")
end

local function state(master)
  return master:status().services.one.state
end

local function is_soon(master, wanted)
  s.wait(function() return state(master) == wanted end, 10 * s.slow, function()
    return ("the state %s; it is %s\n%s"):format(wanted, state(master), master:log())
  end)
end

T["a route gives a service a port, and all of its requests at a time"] = function()
  local master = start { files = { ["app.js"] = proxy.NODE }, command = "{ 'node', 'app.js' }" }
  master:front()
  lu.assertEquals(state(master), "ready")
  local sockets = {}
  for i = 1, 10 do
    sockets[i] = master:send "/slow"
  end
  local seconds = s.timed(function()
    for _, socket in ipairs(sockets) do
      lu.assertStrMatches(socket:response().body, "node %d+ /slow 0 x x")
      socket:close()
    end
  end)
  lu.assertTrue(seconds < 2 * s.slow, seconds)
  master:finish()
end

T["one that is started on demand starts with the first request, and stops when it is idle"] = function()
  for _, port in ipairs { "true", "'socket'" } do
    local master = start { service = ("autostart = false, idle = '300ms', port = %s"):format(port) }
    master:front()
    lu.assertEquals(state(master), "stopped")
    local first = pid_of(master:ask "/a")
    for _ = 1, 5 do
      lu.assertEquals(pid_of(master:ask "/b"), first)
    end
    is_soon(master, "stopped")
    s.gone({ first }, 1)
    lu.assertTrue(pid_of(master:ask "/c") ~= first)
    master:finish()
  end
end

T["what is open is use, and so is what comes"] = function()
  local master = start {
    service = "autostart = false, idle = '200ms'", workers = 2,
    text = [[serve(function(req, res)
      if req.path == "/stream" then
        for i = 1, 20 do res:write("x") brood.sleep(0.05) end
        return res:finish()
      end
      res:finish(tostring(posix.getpid()))
    end)]],
  }
  local pid = pid_of(master:ask "/")
  lu.assertEquals(#master:ask("/stream").body, 20)
  for _ = 1, 10 do
    brood.sleep(0.08)
    lu.assertEquals(pid_of(master:ask "/"), pid)
  end
  is_soon(master, "stopped")
  master:finish()
end

T["no request meets the end of one that is stopped as idle"] = function()
  local master = start { service = "autostart = false, idle = '60ms', restart_tolerance = 0", workers = 2 }
  master:front()
  local until_then = brood.now() + 3 * s.slow
  local clients = {}
  for i = 1, 3 do
    clients[i] = brood.async(function()
      while brood.now() < until_then do
        brood.sleep(0.04 + 0.02 * math.random() * i)
        local answer = master:ask("/x", { method = "POST", body = "y" }) -- which nobody would repeat
        if answer.status ~= 200 then
          error(answer.status .. " " .. answer.body)
        end
      end
      return true
    end)
  end
  for _, client in ipairs(clients) do
    lu.assertTrue(client:wait(20 * s.slow))
  end
  is_soon(master, "stopped")
  master:finish()
end

T["a killed worker of the proxy does not keep it in use"] = function()
  local master = start {
    service = "autostart = false, idle = '300ms'", workers = 1,
    text = [[serve(function(req, res) note "in" brood.sleep(60) end)]],
  }
  local socket = master:send "/"
  master:noted "(in)"
  require("luv").kill(master:status().clusters.proxy.processes[1].pid, "sigkill")
  lu.assertEquals(socket:receive_all(), "")
  socket:close()
  is_soon(master, "stopped")
  master:finish()
end

T["requests wait for a start, and for the one after a crash"] = function()
  local master = start { service = "autostart = false, restart_tolerance = 0", text = [[
    note "start"
    brood.sleep(0.3)
    serve()]] }
  local sockets = {}
  for i = 1, 5 do
    sockets[i] = master:send("/" .. i)
  end
  local pid
  for i, socket in ipairs(sockets) do
    local body = socket:response().body
    lu.assertStrMatches(body, "%d+ /" .. i)
    pid = tonumber(body:match "%d+")
    socket:close()
  end
  lu.assertEquals(master:notes(), "start\n")
  for _ = 1, 3 do
    require("luv").kill(pid, "sigkill")
    s.gone({ pid }, 2 * s.slow)
    local answer = master:ask("/x", { method = "POST", body = "y" })
    lu.assertEquals(answer.status, 200)
    lu.assertTrue(pid_of(answer) ~= pid)
    pid = pid_of(answer)
  end
  master:finish()
end

T["one that cannot start is a 503, and one that is too slow a 504"] = function()
  local master = start { service = "autostart = false, attempts = 1", text = "os.exit(4)" }
  lu.assertEquals({ master:ask("/").status, master:ask("/").status }, { 503, 503 })
  master:finish()
  master = start { service = "autostart = false, attempts = 1, timeout = '200ms'", text = "brood.sleep(60)" }
  lu.assertEquals(master:ask("/").status, 504)
  master:finish()
end

T["beyond max_waiting the answer is 503"] = function()
  local master = start {
    service = "autostart = false", proxy = "max_waiting = 1", workers = 1, text = "wait_for(here .. '/go') serve()",
  }
  local first, second = master:send "/1", master:send "/2"
  is_soon(master, "starting")
  local answer
  s.wait(function()
    answer = master:send "/3"
    local ok = pcall(answer.receive, answer, "503", 0.1)
    answer:close()
    return ok
  end, 5 * s.slow, "a 503")
  s.write_file(master.dir .. "/go", "")
  lu.assertEquals({ first:response().status, second:response().status }, { 200, 200 })
  first:close()
  second:close()
  master:finish()
end

T["a restart moves it to another port, and nobody notices where it is tandem"] = function()
  local master = start { service = "tandem = true", workers = 2 }
  local before = pid_of(master:ask "/")
  local running, answers, wrong, clients = true, 0, {}, {}
  for i = 1, 4 do
    clients[i] = brood.async(function()
      while running do
        local answer = master:ask "/"
        answers = answers + 1
        wrong[#wrong + 1] = answer.status ~= 200 and answer.status or nil
      end
    end)
  end
  for _ = 1, 5 do
    lu.assertEquals((master:order("POST", "/services/one/restart")), 200)
  end
  running = false
  for _, client in ipairs(clients) do
    client:wait(10 * s.slow)
  end
  lu.assertEquals(wrong, {})
  lu.assertTrue(answers > 10)
  lu.assertTrue(pid_of(master:ask "/") ~= before)
  master:finish()
end

T["one on demand that was stopped is started by the next request; another one waits for its operator"] = function()
  local master = start { service = "autostart = false" }
  local pid = pid_of(master:ask "/")
  lu.assertEquals((master:order("POST", "/services/one/stop")), 200)
  s.gone({ pid }, 2)
  lu.assertEquals(master:ask("/").status, 200)
  master:finish()
  master = start {}
  lu.assertEquals(master:ask("/").status, 200)
  lu.assertEquals((master:order("POST", "/services/one/stop")), 200)
  local answer = master:ask "/"
  lu.assertEquals({ answer.status, answer.body }, { 503, "unavailable: 'one' is not running\n" })
  lu.assertEquals((master:order("POST", "/services/one/start")), 200)
  lu.assertEquals(master:ask("/").status, 200)
  master:finish()
end

T["a service without a port is no target"] = function()
  local dir = s.temp_dir()
  local found = s.run { s.binary, "check", s.write_file(dir .. "/brood.lua",
    "return { services = { one = { command = { 'sh' }, port = false } }, proxy = { listen = 8100, "
      .. "routes = { ['/'] = 'one' } } }") }
  lu.assertEquals(found.code, 1)
  lu.assertStrContains(found.stderr, "leads to 'services.one', which has no port")
end

return T
