--- brood.service(name): the services of the config in the master, in workers, in a pool's workers and in scripts that
--- are services themselves: what they see, ask for and hear.
-- time limit: 180 s
local brood = require "brood"
local lu = require "luaunit"
local s = require "spec.support"
local services = require "spec.support.services"
local uv = require "luv"

local T = {}

-- An app that does what a request's path says of a service, and answers with JSON.
local APP = [[
local brood = require "brood"
local heard = {}
return function(req, res)
  local name, what = req.path:match "^/(%w+)/(%w+)$"
  local ok, service = pcall(brood.service, name)
  if not ok then return res:finish(brood.json.encode { error = service }) end
  local answer = {}
  if what == "see" then
    answer = { state = service.state, port = service.port, pid = service.pid }
  elseif what == "listen" then
    service:on("*", function(event, ...)
      local list = { event }
      for i = 1, select("#", ...) do list[i + 1] = tostring((select(i, ...))) end
      table.insert(heard, table.concat(list, " "))
    end)
  elseif what == "heard" then
    answer = heard
  else
    local value, err = service[what](service)
    answer = { value = value, error = err and err.message, code = err and err.code,
      state = service.state, port = service.port, pid = service.pid }
  end
  res:finish(brood.json.encode(answer))
end]]

local function start(text, more)
  local config = [[services = { %s }, app = "app.lua", listen = "127.0.0.1:0", workers = 2, %s]]
  local master = services.start(config:format(text, more or ""), { files = { ["app.lua"] = APP } })
  master:address()
  return master:started()
end

local function ask(master, path)
  return brood.json.decode(master:get(path).body)
end

T["a worker sees the state, port and pid of a service as they are, at once"] = function()
  local master = start [[api = { command = server "api", autostart = false }, db = { command = noting "db" }]]
  lu.assertEquals(ask(master, "/api/see"), { state = "stopped" })
  lu.assertEquals(ask(master, "/db/see"), { state = "ready", pid = master:services("db").pid })
  local _, body = master:call("api", "start") -- not by a worker
  lu.assertEquals(ask(master, "/api/see"), { state = "ready", pid = body.pid, port = body.port })
  uv.kill(body.pid, "sigkill")
  s.wait(function() return ask(master, "/api/see").state ~= "ready" end, 10)
  s.wait(function() return ask(master, "/api/see").state == "ready" end, 20)
  lu.assertEquals(ask(master, "/api/see").pid, master:services("api").pid)
  master:over "TERM"
end

T["a worker starts, restarts, touches and stops a service"] = function()
  local master = start [[api = { command = server "api", autostart = false },
    bad = { command = { "sh", "-c", "exit 3" }, autostart = false, attempts = 1 }]]
  local first = ask(master, "/api/start")
  lu.assertEquals({ first.state, first.port }, { "ready", first.value })
  lu.assertStrContains(s.get("127.0.0.1:" .. first.port, "/").body, tostring(first.pid))
  lu.assertEquals(ask(master, "/api/start").pid, first.pid)
  local second = ask(master, "/api/restart")
  lu.assertNotEquals(second.pid, first.pid)
  lu.assertEquals(ask(master, "/api/touch").value, true)
  local stopped = ask(master, "/api/stop")
  lu.assertEquals({ stopped.value, stopped.state, stopped.port, stopped.pid }, { true, "stopped" })
  lu.assertEquals(ask(master, "/api/touch").code, "stopped")
  local bad = ask(master, "/bad/start")
  lu.assertEquals({ bad.code, bad.state }, { "exit", "faulted" })
  lu.assertStrContains(bad.error, "status 3")
  lu.assertStrContains(ask(master, "/none/see").error, "no service 'none'; the services are: api, bad")
  lu.assertEquals(master:most_at_a_time "api", 1)
  master:over "TERM"
end

T["the path of a socket is seen as well"] = function()
  local master = start [[api = { command = server "api", port = "socket" },
    late = { command = server "late", port = "socket", autostart = false }]]
  local seen = ask(master, "/api/see")
  lu.assertEquals(seen.port, master:services("api").port)
  lu.assertStrContains(s.get("unix:" .. seen.port, "/").body, tostring(seen.pid))
  local late = ask(master, "/late/start")
  lu.assertEquals(late.port, late.value)
  for _ = 1, 8 do -- of both workers
    s.wait(function() return ask(master, "/late/see").port == late.value end, 5)
  end
  master:over "TERM"
end

T["a worker hears what becomes of a service"] = function()
  local master = start([[api = { command = server "api", port = true, attempts = 1 }]], "workers = 1,")
  local port = master:services("api").port
  ask(master, "/api/listen")
  ask(master, "/api/restart")
  local pid = master:services("api").pid
  uv.kill(pid, "sigkill")
  master:becomes("api", function(it) return it.state == "ready" and it.pid ~= pid end)
  ask(master, "/api/stop")
  local text
  s.wait(function()
    text = table.concat(ask(master, "/api/heard"), "\n")
    return text:find("state stopped stopping\nstopped", 1, true)
  end, 5, function() return text end)
  for _, line in ipairs {
    "state stopping ready\n", "exit 0", "state starting stopping\n", "restarted " .. port, "exit nil KILL\n",
    "error api was killed by KILL",
  } do
    lu.assertStrContains(text, line)
  end
  master:over "TERM"
end

T["a pool's worker reaches services too"] = function()
  local master = start([[api = { command = server "api", autostart = false }]], [[pools = { work = {
      max_processes = 1, worker = function()
        local api = require("brood").service "api"
        return { api.state, api:start(), api.state, api.port, api.pid }
      end } },
    worker_ready = function(m, w)
      if w.cluster and not DONE then DONE = true note(unpack((m.pools.work:run()))) end
    end,]])
  local port, again, pid = master:noted "stopped (%d+) ready (%d+) (%d+)\n"
  lu.assertEquals(again, port)
  lu.assertEquals(tonumber(pid), master:services("api").pid)
  master:over "TERM"
end

T["a script that is a service knows the others and the pools"] = function()
  local port = services.free_port()
  local master = services.start([[
    services = {
      db = { command = server "db", port = ]] .. port .. [[ },
      job = { script = "job.lua", after = "db", env = { NOTES = here .. "/notes" } },
    },
    pools = { work = { worker = function(job) return job.data * 2 end, max_processes = 1 } },]], {
    files = { ["job.lua"] = [[
      local brood = require "brood"
      local function note(...)
        local file, list = io.open(os.getenv "NOTES", "a"), { ... }
        for i = 1, select("#", ...) do list[i] = tostring(list[i]) end
        file:write("job ", table.concat(list, " "), "\n")
        file:close()
      end
      local db = brood.service "db"
      note("sees", db.state, db.port, db.pid)
      note("pool", brood.pool("work"):run(21))
      db:on("restarted", function(port) note("heard", port, db.pid) end)
      note("restart", db:restart(), db.state)
      note("stopped", db:stop(), db.state, db.port)
      note(pcall(brood.service, "x"))
      brood.sleep(1000)]] },
  }):started()
  master:noted "no service 'x'; the services are: db, job"
  local notes = master:notes()
  lu.assertStrContains(notes, ("job sees ready %d "):format(port))
  lu.assertStrContains(notes, "job pool 42\n")
  lu.assertStrContains(notes, ("job restart %d ready\n"):format(port))
  lu.assertStrContains(notes, ("job heard %d "):format(port))
  lu.assertStrContains(notes, "job stopped true stopped nil\n")
  local code, seconds = master:over "QUIT"
  lu.assertEquals(code, 0)
  lu.assertTrue(seconds < 10 * s.slow)
end

T["an emitter's worth of listeners: once, off, and none of a process that is gone"] = function()
  local master = services.start([[services = { db = { command = noting "db" } }, app = "app.lua", workers = 1,
      listen = "127.0.0.1:0",]], { files = { ["app.lua"] = [[
    local brood = require "brood"
    local n = 0
    local db = brood.service "db"
    local function count() n = n + 1 end
    db:on("restarted", count):once("restarted", count)
    return function(req, res)
      if req.path == "/off" then db:off("restarted", count) end
      res:finish(tostring(n))
    end]] } })
  master:address()
  master:started()
  local function becomes(text)
    s.wait(function() return master:get("/").body == text end, 10, text)
  end
  master:call("db", "restart")
  becomes "2"
  master:call("db", "restart")
  becomes "3"
  master:get "/off"
  master:call("db", "restart")
  lu.assertEquals(master:get("/").body, "3")
  uv.kill(master:pids()[1], "sigkill")
  master:ready(1)
  master:call("db", "restart")
  becomes "2"
  lu.assertNil(master:log():find("traceback", 1, true))
  master:over "TERM"
end

T["what is written goes to files that can be opened anew, lines whole"] = function()
  local master = services.start [[stdout_path = "out.log", stderr_path = "err.log", services = {
      plain = { command = { "sh", "-c", "i=0; while sleep 0.02; do i=$((i+1)); echo out $i; echo err $i >&2; done" } },
      own = { command = { "sh", "-c", "i=0; while sleep 0.02; do i=$((i+1)); echo own $i; done" }, stdout = "own.log" },
    }]]
  local function file(name)
    return s.read_file(master.dir .. "/" .. name) or ""
  end
  local function grows(name, what)
    s.wait(function() return select(2, file(name):gsub(what .. " %d+\n", "")) >= 3 end, 15, name)
  end
  grows("out.log", "out")
  grows("err.log", "err")
  grows("own.log", "own")
  for _, name in ipairs { "out", "err", "own" } do
    os.rename(master.dir .. "/" .. name .. ".log", master.dir .. "/" .. name .. ".old")
  end
  master.program:kill "USR1"
  grows("out.log", "out")
  grows("err.log", "err")
  grows("own.log", "own")
  local last = tonumber(file("own.old"):match "(%d+)\n$")
  lu.assertStrMatches(file "own.log", "own " .. last + 1 .. "\n.*") -- nothing is lost, nothing comes twice
  lu.assertStrContains(file "err.log", "opened anew")
  master:over "TERM"
end

return T
