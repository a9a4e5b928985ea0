--- Every example does what its README says.
-- time limit: 150 s
local lu = require "luaunit"
local s = require "spec.support"

local function example(path)
  return s.root .. "/examples/" .. path
end

local function output(path, args, options)
  local result = s.brood({ "exec", example(path), unpack(args or {}) }, options):finish(20)
  lu.assertEquals(result.stderr, "")
  lu.assertEquals(result.code, 0)
  return result.stdout
end

-- The database of the example production, in this folder.
local function database_of(dir)
  local database = s.brood({ "exec", "database.lua", "database.sock" }, { cwd = dir })
  database:expect "the database listens\n"
  return database
end

-- What its logrotate.conf runs once it has renamed the files of this folder.
local function after_rotation(dir)
  local text = s.read_file(example "production/logrotate.conf"):match "postrotate\n(.-)endscript"
  return s.run { "/bin/sh", "-ec", (text:gsub("/run/app/", dir .. "/")) }
end

-- Stop both workers of the pool of web-and-jobs: what they run goes on running, until let_go(pids).
local function hold(master)
  local pids = {}
  s.wait(function()
    pids = {}
    for _, process in ipairs(s.processes()) do
      local title = (s.cmdline(process.pid) or {})[1] or ""
      local parent = title:find "^brood: primes worker" and s.stat(process.ppid)
      if parent and (parent.pid == master.pid or parent.ppid == master.pid) then
        table.insert(pids, process.pid)
      end
    end
    return #pids == 2
  end, 10, "both workers of the pool")
  for _, pid in ipairs(pids) do
    require("brood.posix").kill(pid, "STOP")
  end
  return pids
end

local function let_go(pids)
  for _, pid in ipairs(pids) do
    require("brood.posix").kill(pid, "CONT")
  end
end

return {
  ["hello: greets, echoes, answers 404, and a killed worker is replaced"] = function()
    local p = s.brood { "run", example "hello/brood.lua", "-l", "127.0.0.1:0", "-w", "1", "--control", "false" }
    local address = "127.0.0.1:" .. p:expect("serve 127%.0%.0%.1:(%d+)")
    local greeting = s.get(address, "/")
    lu.assertEquals(greeting.status, 200)
    local pid = tonumber(greeting.body:match("^Hello from worker (%d+)\n$"))
    lu.assertEquals(s.get(address, "/nowhere").status, 404)
    local socket = s.connect(address)
    socket:send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: text/x\r\nContent-Length: 5\r\n\r\nhello")
    local echo = socket:response()
    lu.assertEquals({ echo.status, echo.headers["content-type"], echo.body }, { 200, "text/x", "hello" })
    require("luv").kill(pid, "sigkill")
    s.wait(function()
      local ok, answer = pcall(s.get, address, "/")
      return ok and answer.body:match("%d+") ~= tostring(pid)
    end, 5, "the replacement's answer")
    p:kill("INT")
    lu.assertEquals({ p:wait() }, { 0 })
  end,

  ["tcp-echo: gives back what is sent, says goodbye on a graceful stop, and its client shows it"] = function()
    local p = s.brood { "run", example "tcp-echo/brood.lua", "-l", "127.0.0.1:0", "--control", "false" }
    local address = "127.0.0.1:" .. p:expect("serve 127%.0%.0%.1:(%d+)")
    lu.assertEquals(output("tcp-echo/client.lua", { address, "hello", "world" }), "hello\nworld\n")
    local socket = s.connect(address)
    socket:send "one"
    socket:receive "one"
    p:kill("QUIT")
    lu.assertEquals(socket:receive_all(), "goodbye\n")
    socket:close()
    lu.assertEquals({ p:wait() }, { 0 })
    local result = s.brood({ "exec", example "tcp-echo/client.lua", address, "x" }):finish()
    lu.assertEquals(result.code, 1)
    lu.assertStrContains(result.stderr, "connect to " .. address .. ": connection refused")
  end,

  ["messages: fork and a pipe"] = function()
    local text = output "messages/fork_pipe.lua"
    lu.assertStrMatches(text, "the child %d+ found 500500\nit exited with status 7\n")
  end,

  ["messages: Worker.fork with values both ways"] = function()
    lu.assertEquals(output "messages/worker.lua", 'line 1 has 6 words, the last is "be"\n'
      .. 'line 2 has 4 words, the last is "question"\nthe child ended: code 0, signal nil\n')
  end,

  ["messages: a descriptor inside a message"] = function()
    lu.assertEquals(output "messages/hand_over.lua", "written by the child, into the parent's pipe\n")
  end,

  ["scripts: the deployment goes through, and leaves nothing running"] = function()
    local target = s.temp_dir()
    local port = s.free_port()
    local text = output("scripts/deploy.lua", { target }, { env = { DEPLOY_PORT = tostring(port) } })
    lu.assertStrContains(text, "slow:   nil, timeout\n")
    lu.assertStrContains(text, '"GET /index.html HTTP/1.1" 200')
    lu.assertStrContains(text, "index:  <h1>release</h1>\n")
    lu.assertStrContains(text, "ended:  TERM\n")
    lu.assertFalse(pcall(s.connect, "127.0.0.1:" .. port))
  end,

  ["scripts: a deployment without a target says how it is used"] = function()
    local result = s.brood({ "exec", example "scripts/deploy.lua" }):finish()
    lu.assertEquals(result.code, 1)
    lu.assertStrContains(result.stderr, "usage: brood exec deploy.lua TARGET_DIR")
  end,

  ["hooks: each worker has a connection of its own and no privileges, and a log tells who came and went"] = function()
    -- Whoever gives up root must still be able to read the app.
    local dir = s.open_temp_dir()
    s.run { "/bin/sh", "-c", ("cp %s/* %s"):format(example "hooks", dir) }
    local p = s.brood { "run", dir .. "/brood.lua", "-l", "127.0.0.1:0", "--control", "false" }
    local address = "127.0.0.1:" .. p:expect("serve 127%.0%.0%.1:(%d+)")
    local root = require("brood.posix").getuid() == 0
    local user = root and require("brood.posix").getpwnam("nobody").uid or require("brood.posix").getuid()
    for visit = 1, 5 do
      local body = s.get(address, "/").body
      lu.assertStrMatches(body, ("visit %d, answered by worker %%d as user %d\n"):format(visit, user))
    end
    lu.assertEquals(s.get(address, "/clients").body, "2 connections\n")
    local pid = tonumber(s.read_file(dir .. "/deploy.log"):match "worker 1 %(pid (%d+)%) serves")
    require("luv").kill(pid, "sigkill")
    s.wait(function()
      return s.read_file(dir .. "/deploy.log"):find "worker 3 %(pid %d+%) serves"
    end)
    s.wait(function()
      return s.get(address, "/clients").body == "2 connections\n"
    end, 5, "the dead worker's connection to end")
    lu.assertEquals(s.get(address, "/").body:match "visit 6, ", "visit 6, ")
    p:kill "QUIT"
    lu.assertEquals({ p:wait() }, { 0 })
    local log = s.read_file(dir .. "/deploy.log")
    for _, line in ipairs {
      "start, the database has counted 0 visits",
      "worker 1 %(pid %d+%) is gone: signal KILL, signal, after %d requests",
      "worker 2 %(pid %d+%) is gone: status 0, stop, after %d+ requests", "Z stop\n",
    } do
      lu.assertStrMatches(log, ".*" .. line .. ".*")
    end
    lu.assertFalse(s.exists(dir .. "/database.sock"))
  end,

  ["hooks, production: what they do with workers goes for those of a pool as well"] = function()
    for name, run in pairs { hooks = false, production = true } do
      local dir = s.open_temp_dir()
      s.run { "/bin/sh", "-c", ("cp %s/*.lua %s"):format(example(name), dir) }
      local config = s.read_file(dir .. "/brood.lua"):gsub("\n  workers = 2,", [[%0
        pools = { echo = { worker = function(job) return job.data end, max_processes = 1 } },]])
      s.write_file(dir .. "/brood.lua", config, 420)
      local database = run and database_of(dir)
      local p = s.brood({ "run", dir .. "/brood.lua", "-l", "127.0.0.1:0", "--control", "false" }, { cwd = dir })
      p:expect "serve 127%.0%.0%.1:%d+"
      p:kill "QUIT"
      lu.assertEquals({ p:wait() }, { 0 })
      if database then
        database:kill "TERM"
        database:wait()
      end
      local log = s.read_file(dir .. "/deploy.log") or p:stderr() .. p:stdout()
      lu.assertStrMatches(log, ".*echo worker 1 %(pid %d+%) serves.*")
      lu.assertStrMatches(log, ".*echo worker 1 %(pid %d+%) is gone: [^\n]* after 0 requests.*")
      lu.assertNil(p:stderr():find " error ")
    end
  end,

  ["production: deployments, an upgrade and rotated logs lose nothing, and workers have no privileges"] = function()
    local dir = s.open_temp_dir()
    s.run { "/bin/sh", "-c", ("cp %s/* %s"):format(example "production", dir) }
    local database = database_of(dir)
    local p = s.brood({ "run", dir .. "/brood.lua", "-l", "127.0.0.1:0", "--control", "false" },
      { env = { RUNTIME_DIRECTORY = dir, LOGS_DIRECTORY = dir } })
    local function logged(name, pattern)
      local found
      s.wait(function()
        found = (s.read_file(dir .. "/" .. name) or ""):match(pattern)
        return found
      end, 15, function()
        return ("'%s' in %s:\n%s"):format(pattern, name, tostring(s.read_file(dir .. "/" .. name)))
      end)
      return found
    end
    local function signal(name, file)
      require("luv").kill(tonumber(s.read_file(dir .. "/" .. file)), name)
    end
    local address = logged("brood.log", "serve (%S+)")
    lu.assertStrMatches(s.get(address, "/").body, "release unknown, visit 1, worker %d\n")
    lu.assertEquals(s.get(address, "/health").body, "ready\n")
    local worker = tonumber(logged("deploy.log", "worker 1 %(pid (%d+)%) serves"))
    local posix = require "brood.posix"
    local user = posix.getuid() == 0 and posix.getpwnam("nobody").uid or posix.getuid()
    lu.assertEquals(tonumber(s.status_field(worker, "Uid"):match "^%d+"), user)

    s.write_file(dir .. "/RELEASE", "2.0\n")
    signal("sighup", "brood.pid")
    logged("brood.log", "reloaded in ")
    s.wait(function() -- an old worker may answer what it has accepted before
      return s.get(address, "/").body:find "^release 2%.0, visit %d+, worker %d\n"
    end)
    s.write_file(dir .. "/app.lua", "this is no Lua")
    signal("sighup", "brood.pid")
    logged("brood.log", "the reload failed")
    lu.assertStrMatches(s.get(address, "/").body, "release 2%.0, visit %d+, worker %d\n")
    s.run { "cp", example "production/app.lua", dir }

    signal("sigusr2", "brood.pid")
    logged("brood.log", "serves beside this one")
    signal("sigquit", "brood.pid.oldbin")
    lu.assertEquals({ p:wait() }, { 0 })
    local new = tonumber(s.read_file(dir .. "/brood.pid"))
    s.wait(function() return not s.exists(dir .. "/brood.pid.oldbin") end)
    lu.assertStrMatches(s.get(address, "/").body, "release 2%.0, visit %d+, worker %d\n")
    os.rename(dir .. "/access.log", dir .. "/access.log.1")
    lu.assertEquals(after_rotation(dir).code, 0)
    logged("brood.log", "opened anew")
    s.wait(function()
      s.get(address, "/health")
      return (s.read_file(dir .. "/access.log") or ""):find '"GET /health HTTP/1.1" 200'
    end)

    signal("sigquit", "brood.pid")
    s.gone({ new }, 15)
    for _, line in ipairs { "start of release unknown, deployment 1", "reload of release 2%.0, deployment 2",
      "worker 1 %(pid %d+%) is gone: reload, status 0, after %d+ requests", "upgrade to a new binary",
      "upgrade of release 2%.0, deployment %d", "Z stop\n" } do
      lu.assertStrMatches(s.read_file(dir .. "/deploy.log"), ".*" .. line .. ".*")
    end
    lu.assertEquals(after_rotation(dir).code, 0)
    database:stop()
  end,

  ["production: without folders, as in a container, it listens on PORT and logs to stdout and stderr"] = function()
    local dir = s.open_temp_dir()
    s.run { "/bin/sh", "-c", ("cp %s/*.lua %s"):format(example "production", dir) }
    local database = database_of(dir)
    local p = s.brood({ "run", dir .. "/brood.lua", "--control", "false" }, { env = {
      RUNTIME_DIRECTORY = false, LOGS_DIRECTORY = false, PORT = "0", GRACEFUL_TIMEOUT = "8s",
    } })
    local address = "127.0.0.1:" .. p:expect "serve %S*:(%d+)"
    lu.assertStrMatches(s.get(address, "/").body, "release unknown, visit 1, worker %d\n")
    p:kill "QUIT"
    lu.assertEquals({ p:wait() }, { 0 })
    lu.assertStrMatches(p:stdout(), '127.0.0.1 [^\n]* "GET / HTTP/1.1" 200 [^\n]*\n')
    lu.assertStrContains(p:stderr(), "start of release unknown, deployment 1")
    for _, name in ipairs { "brood.pid", "app.sock", "brood.log", "access.log", "deploy.log" } do
      lu.assertFalse(s.exists(dir .. "/" .. name), name)
    end
    database:stop()
  end,

  ["jobs: three languages do the same, every third fails once, the last for good, and Ctrl-C aborts"] = function()
    for _, language in ipairs { "lua", "python", "node" } do
      if language == "lua" or s.path_of(language == "python" and "python3" or language) then
        local text = output("jobs/jobs.lua", { language, "20000" })
        lu.assertStrContains(text, "job 1   2262 primes below 20000, attempt 1\n")
        lu.assertStrMatches(text, ".*job 3   again: [^\n]*a bad day, attempt 1\n.*")
        lu.assertStrMatches(text, ".*job 3   1928 primes below 16667, attempt 2\n.*")
        lu.assertStrMatches(text, ".*job 12  failed: [^\n]*a bad day, attempt 3\n.*")
        lu.assertStrContains(text, "\n12 jobs ended, 1 failed, 5 retried\n")
      end
    end
    local p = s.brood { "exec", example "jobs/jobs.lua", "lua", "30000000" }
    p:expect "job 3   again"
    p:kill "INT"
    lu.assertEquals({ p:wait() }, { 130 })
    lu.assertStrContains(p:stdout(), "job 2   aborted\n")
    lu.assertStrContains(p:stdout(), "job 12  aborted\n")
    lu.assertStrMatches(p:stdout(), ".*12 jobs ended, 0 failed, %d retried\n")
    local wrong = s.brood({ "exec", example "jobs/jobs.lua", "cobol" }):finish()
    lu.assertEquals(wrong.stderr, "usage: brood exec jobs.lua [lua|python|node] [SIZE]\n")
    lu.assertEquals(wrong.code, 2)
  end,

  ["child: three languages do the same, one that dies is replaced, and errors arrive whole"] = function()
    local result = s.brood({ "exec", example "child/parent.lua", "lua", "python", "node" }):finish(60)
    local said = {}
    for _, language in ipairs { "lua", "python", "node" } do
      for _, line in ipairs {
        "%-7s is ready: 1 makes 1, and 5 more make 6\n",
        "%-7s was killed and replaced: 2 makes 2\n",
        "%-7s stops: nil, 42 is too good to be forgotten, code EKEEP, count 42\n",
      } do
        table.insert(said, line:format(language))
      end
    end
    lu.assertEquals(result.stdout, table.concat(said)
      .. "once:   12, twice, is 24\nonce:\ttrue\nonce:\tnil\t'a dozen' is no number\n")
    lu.assertEquals(select(2, result.stderr:gsub("was killed by KILL: it is started again", "")), 3, result.stderr)
    lu.assertEquals(result.code, 0)
  end,

  ["child: without a parent it ends well on TERM"] = function()
    local p = s.brood { "exec", example "child/counter.lua" }
    s.wait(function() return (s.cmdline(p.pid) or {})[1] == "counter" end)
    p:kill "TERM"
    lu.assertEquals({ p:wait() }, { 0 })
  end,

  ["lifecycle: parts start in order and stop in reverse, also when one of them fails"] = function()
    local p = s.brood { "exec", example "lifecycle/app.lua", "127.0.0.1:0" }
    local address = p:expect "listening on (127%.0%.0%.1:%d+)\n"
    lu.assertEquals(s.get(address, "/").body, "hello\n")
    p:expect "online\n"
    p:kill "TERM"
    lu.assertEquals({ p:wait() }, { 0 })
    local stopped = "stop    server\nstop    cache\nstop    database\n"
    local started = "start   database\nstart   cache\nstart   server\n"
    lu.assertEquals(p:stdout(), ("%slistening on %s\nonline\n%soffline\n"):format(started, address, stopped))
    local broken = s.brood({ "exec", example "lifecycle/app.lua", "127.0.0.1:0", "broken" }):finish(20)
    lu.assertEquals(broken.code, 1)
    lu.assertStrContains(broken.stdout, "start   mailer\n" .. stopped)
    lu.assertStrContains(broken.stderr, "app: the start failed: no mail server")
  end,

  ["any-language: a node and a Python server get a new release without a failed request"] = function()
    local brood, dir = require "brood", s.temp_dir()
    s.run { "/bin/sh", "-c", ("cp %s/* %s"):format(example "any-language", dir) }
    local p = s.brood({ "run", dir .. "/brood.lua", "-l", "127.0.0.1:0", "--control", "false" },
      { env = { PYTHON_LISTEN = "127.0.0.1:0" } })
    local web = "127.0.0.1:" .. p:expect("web: 2 of 2 workers serve 127%.0%.0%.1:(%d+)")
    local python = "127.0.0.1:" .. p:expect("python: 2 of 2 workers serve 127%.0%.0%.1:(%d+)")
    local asked, over = 0, false
    local load = brood.async(function()
      while not over do
        lu.assertStrMatches(s.get(web, "/").body, "Hello from node, release %d, process %d+\n")
        lu.assertStrMatches(s.get(python, "/").body, "Hello from Python, release %d, process %d+\n")
        asked = asked + 2
      end
      return true
    end)
    for release = 2, 4 do
      s.write_file(dir .. "/RELEASE", release .. "\n")
      s.run { "/bin/sh", "-c", ("cd %s && kill -HUP $(cat brood.pid)"):format(dir) }
      s.wait(function() return select(2, p:stderr():gsub("reloaded in ", "")) == release - 1 end, 20 * s.slow)
      s.wait(function() return s.get(web, "/").body:find("node, release " .. release, 1, true) end)
      s.wait(function() return s.get(python, "/").body:find("Python, release " .. release, 1, true) end)
    end
    over = true
    lu.assertEquals({ load:wait() }, { true })
    lu.assertTrue(asked > 100, asked)
    p:kill "QUIT"
    lu.assertEquals({ p:wait(20) }, { 0 })
    lu.assertStrMatches(p:stdout(), ".*web worker 1 is gone: 0, reload\n.*python worker 2 is gone: 0, stop\n.*")
    lu.assertNil(p:stderr():find "KILL", p:stderr())
  end,

  ["web-and-jobs: a job outlives its request, and any worker tells of it"] = function()
    local p = s.brood { "run", example "web-and-jobs/brood.lua", "-l", "127.0.0.1:0", "--control", "false" }
    local address = "127.0.0.1:" .. p:expect("serve 127%.0%.0%.1:(%d+)")
    local function curl(path, ...)
      local argv = { "curl", "-s", "-N", "http://" .. address .. path, ... }
      return s.run(argv, { timeout = 20 * s.slow }).stdout
    end
    local function enqueue(below)
      return (assert(curl("/jobs", "-d", ('{"below": %d}'):format(below)):match '"id":"([^"]+)"'))
    end
    lu.assertStrContains(curl "/", "new EventSource")
    local id = enqueue(3000000)
    local events = curl("/jobs/" .. id .. "/events")
    lu.assertStrMatches(events, '.*event: success\ndata: {[^\n]*"primes":216816[^\n]*}\n\n')
    -- Asked again, of whichever worker: it has ended.
    for _ = 1, 4 do
      lu.assertStrMatches(curl("/jobs/" .. id .. "/events"), 'retry: 1000\n\nevent: success\ndata: {.*}\n\n')
    end
    lu.assertStrContains(curl("/jobs/" .. id), '"state":"ended"')
    -- Its worker is held: it is to run for as long as it is looked at.
    local long = enqueue(20000000)
    local listener = s.connect(address)
    listener:send("GET /jobs/" .. long .. "/events HTTP/1.1\r\nHost: x\r\n\r\n")
    listener:receive "event: progress\n"
    local held = hold(p)
    lu.assertStrContains(curl("/jobs/" .. long), '"state":"running"')
    curl("/jobs/" .. long, "-X", "DELETE")
    listener:receive 'event: abort\ndata: {"message":"aborted"}\n\n'
    let_go(held)
    lu.assertStrContains(curl("/jobs/" .. long), '"code":"abort"')
    lu.assertStrContains(curl("/jobs", "-d", '{"below": 1}'), "must be a whole number")
    lu.assertStrContains(curl "/jobs/unknown", "no such job")
    -- Two run and a hundred wait: the next one is refused.
    local function post()
      local socket = s.connect(address)
      socket:send("POST /jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 19\r\nConnection: close\r\n\r\n"
        .. '{"below": 20000000}')
      local response = socket:response()
      socket:close()
      return response
    end
    s.wait(function()
      local both, run = { enqueue(20000000), enqueue(20000000) }, true
      held = hold(p)
      for _, job in ipairs(both) do
        run = run and curl("/jobs/" .. job):find('"state":"running"', 1, true)
      end
      if not run then -- one had not begun, or was quick
        let_go(held)
        for _, job in ipairs(both) do
          curl("/jobs/" .. job, "-X", "DELETE")
        end
      end
      return run
    end, 10, "two jobs that run")
    for _ = 1, 100 do
      lu.assertEquals(post().status, 202)
    end
    local refused = post()
    lu.assertEquals(refused.status, 503)
    lu.assertStrContains(refused.body, "too many jobs wait already")
    let_go(held)
    p:kill "TERM"
    lu.assertEquals({ p:wait() }, { 0 })
    lu.assertNil(p:stderr():find " error ")
  end,

  ["dev-stack: two languages, restarted on save, their lines with their names in a terminal, nothing left"] = function()
    local dir, ports = s.temp_dir(), require("spec.support.spinner").ports()
    s.run { "/bin/sh", "-c", ("cp %s/* %s"):format(example "dev-stack", dir) }
    -- In a terminal of its own, whose output comes to us.
    local p = s.start({ "python3", "-c", "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]))", s.binary, "exec",
      dir .. "/dev.lua" }, { env = { FIRST_PORT = tostring(ports[1]), NO_COLOR = "1" } })
    local address = p:expect("open http://(127.0.0.1:%d+)/", 20)
    p:expect "api | listening\r\n"
    lu.assertStrContains(s.get(address, "/").body, 'The API says: <code>{"from":"node"')
    p:expect "web | 127.0.0.1 [^\n]*\"GET / HTTP/1.1\" 200"
    p:expect "api | GET /\r\n"
    s.write_file(dir .. "/api.js", (s.read_file(dir .. "/api.js"):gsub('"node"', '"node, edited"')))
    p:expect "api runs again, on port %d+"
    lu.assertStrContains(s.get(address, "/").body, '"from":"node, edited"')
    local api = s.read_file(dir .. "/api.js")
    s.write_file(dir .. "/api.js", "this is no JavaScript\n")
    p:expect "api: faulted after 3 failed starts"
    s.write_file(dir .. "/api.js", (api:gsub("edited", "mended")))
    local again = "api runs again, on port " .. ports[1]
    s.wait(function() return select(2, p:stdout():gsub(again, "")) == 2 end, 10, "the api on its port")
    lu.assertStrContains(s.get(address, "/").body, '"from":"node, mended"')
    s.write_file(dir .. "/page.html", "<p>{answer}")
    p:expect "web runs again, on port %d+"
    lu.assertStrContains(s.get(address, "/").body, "<p>{")
    p:kill "TERM"
    p:wait()
    s.wait(function() return not pcall(s.connect, address) end, 10, "the end of web")
  end,

  ["streaming: events end with the worker, a download is taken slowly, an upload is counted"] = function()
    local p = s.brood { "run", example "streaming/brood.lua", "-l", "127.0.0.1:0", "-w", "1", "--control", "false" }
    local address = "127.0.0.1:" .. p:expect("serve 127%.0%.0%.1:(%d+)")
    local listener, leaver = s.connect(address), s.connect(address)
    for _, socket in ipairs { listener, leaver } do
      socket:send "GET /events HTTP/1.1\r\nHost: x\r\n\r\n"
      socket:receive "event: tick\ndata: %d+\n\n"
    end
    leaver:close()
    p:expect "a listener has left"
    local download = s.run({ "curl", "-s", "http://" .. address .. "/download?mb=20" }, { timeout = 20 * s.slow })
    lu.assertEquals({ download.code, #download.stdout }, { 0, 20 * 2 ^ 20 })
    local upload = s.run({ "curl", "-s", "-X", "POST", "-T", "-", "http://" .. address .. "/upload" },
      { stdin = ("x"):rep(20 * 2 ^ 20), timeout = 20 * s.slow })
    lu.assertStrMatches(upload.stdout, "20971520 bytes in %d+ chunks\n")
    lu.assertEquals(s.get(address, "/nowhere").status, 404)
    p:kill "QUIT"
    lu.assertStrMatches(listener:receive_all(), ".*event: bye\ndata: the server stops\n\n\r\n0\r\n\r\n")
    lu.assertEquals({ p:wait() }, { 0 })
    lu.assertStrContains(p:stdout(), '"GET /download?mb=20 HTTP/1.1" 200 20971520 ')
    lu.assertStrContains(p:stdout(), '"GET /events HTTP/1.1" 200 ')
  end,
}
