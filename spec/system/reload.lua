--- HUP: the config is read again in a fresh environment, and the workers are replaced, a new one first.
local lu = require "luaunit"
local masters = require "spec.support.master"
local s = require "spec.support"
local uv = require "luv"

local function app(word)
  return ('return function(req, res) res:finish("%s") end'):format(word)
end

local function post(master, path, body)
  local socket = s.connect("unix:" .. master.control)
  socket:send(("POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s"):format(path, #(body or ""), body or ""))
  local response = socket:response()
  socket:close()
  return response.status, require("brood").json.decode(response.body)
end

local function set_of(list)
  local set = {}
  for _, value in ipairs(list) do
    set[value] = true
  end
  return set
end

-- The answer of a request that is waited for until it is the one expected: whom the kernel gives it to is chance.
local function answers(address, word)
  s.wait(function()
    return s.get(address).body == word
  end, 10 * s.slow, function()
    return ("the answer %s from %s; it is %s"):format(word, address, s.get(address).body)
  end)
end

local function hups(master, options)
  local ok, text = master:hup(options)
  lu.assertTrue(ok, text)
  return text
end

return {
  ["HUP replaces all workers by those of the new config, on the same port"] = function()
    local master = masters.start { app = app "old" }
    local address, before = master:address(), set_of(master:pids())
    hups(master, { app = app "new", workers = 3, config = 'env = { WORD = "x" }' })
    local now = master:ready(3)
    for _, worker in ipairs(now) do
      lu.assertNil(before[worker.pid])
    end
    lu.assertEquals(s.get(address).body, "new")
    lu.assertEquals(select(2, master:ask "/status").clusters.web.listen, { address })
    lu.assertEquals(master:stop "QUIT", 0)
  end,

  ["a new worker serves before an old one is told to go, one after the other"] = function()
    local master = masters.start { workers = 2, config = [[
      on_start = function(m) m:on("*", function(e, w) if w then note(e, w.id) end end) end,
      rollout = { surge = 1 }]] }
    master:ready(2)
    local before = #master:notes()
    hups(master)
    master:ready(2)
    local text = master:notes():sub(before + 1)
    local serving, least = 2, 2
    for event in text:gmatch "(%l+) %d+" do
      serving = serving + (event == "online" and 1 or event == "exit" and -1 or 0)
      least = math.min(least, serving)
    end
    lu.assertEquals(least, 2, text)
  end,

  ["master:reload and POST /reload answer when the new workers serve, or with why not"] = function()
    local master = masters.start { workers = 1, config = "signals = { CONT = function(m) note('ok', m:reload()) end }" }
    local before = master:ready(1)[1].pid
    master.program:kill "CONT"
    master:noted "ok true"
    lu.assertNotEquals(master:ready(1)[1].pid, before)
    local pid = master:ready(1)[1].pid
    local status, body = post(master, "/reload")
    lu.assertEquals({ status, body.ok }, { 200, true })
    lu.assertNotEquals(master:ready(1)[1].pid, pid)
    s.write_file(master.dir .. "/brood.lua", "return {")
    status, body = post(master, "/reload")
    lu.assertEquals({ status, body.code }, { 500, "config" })
    lu.assertStrContains(body.error, "brood.lua:1: unexpected symbol near '<eof>'")
  end,

  ["who connects once a reload is said to be over meets no old worker"] = function()
    local master = masters.start { workers = 2, app = app "0" }
    local address = master:address()
    for i = 1, 30 do
      master:write { workers = 2, app = app(i) }
      lu.assertEquals(post(master, "/reload"), 200)
      lu.assertEquals(s.get(address).body, tostring(i))
    end
    lu.assertEquals(master:stop "QUIT", 0)
  end,

  ["an old worker that does not hear that it is to go holds up that word for a moment only"] = function()
    local master = masters.start { workers = 1, app = [[
      return function(req, res)
        io.open("begun", "w"):close()
        local over = os.time() + 4
        while os.time() < over do end
        res:finish "old"
      end]] }
    local socket = master:begin "/"
    master:write { workers = 1, app = app "new" }
    local status
    lu.assertTrue(s.timed(function() status = post(master, "/reload") end) < 2 * s.slow)
    lu.assertEquals(status, 200)
    lu.assertEquals(socket:response().body, "old")
    lu.assertEquals(master:stop "QUIT", 0)
  end,

  ["on_start is told why, and the newest config's hooks serve old workers too"] = function()
    local master = masters.start { workers = 2, config = [[
      on_start = function(m, why) note("old on_start", why) end,
      worker_exit = function(m, w) note("old exit", w.id) end]] }
    master:ready(2)
    hups(master, { workers = 2, config = [[
      on_start = function(m, why) note("new on_start", why) end,
      before_fork = function(m, w) note("new before_fork", w.id) end,
      worker_ready = function(m, w) note("new ready", w.id) end,
      worker_exit = function(m, w) note("new exit", w.id, w.reason) end]] })
    master:noted "new exit 2 reload"
    master:noted "new exit 1 reload"
    master:noted "new ready 4"
    lu.assertStrContains(master:notes(), "old on_start start\nnew on_start reload\nnew before_fork 3\nnew ready 3\n")
    lu.assertNotStrContains(master:notes(), "old exit")
  end,

  ["the config runs in a fresh environment: modules, package.path and globals are as before the first one"] = function()
    local options = { workers = 1, files = { ["settings.lua"] = "loads = (loads or 0) + 1; return { loads }" },
      before = 'extra = (extra or 0) + 1; package.path = package.path .. ";x"', config = [[
      on_start = function(m) note("settings", require("settings")[1], extra, #package.path) end]] }
    local master = masters.start(options)
    master:ready(1)
    for _ = 1, 3 do
      hups(master, options)
    end
    local first = master:notes():match "settings 1 1 %d+\n"
    lu.assertEquals(master:notes(), first:rep(4))
  end,

  ["a preloaded app is loaded anew, with the modules that it needs"] = function()
    local function files(n)
      return { ["words.lua"] = ('return "words %d"'):format(n) }
    end
    local text = [[
      local words = require "words"
      return function(req, res) res:finish(words) end]]
    local master = masters.start { app = text, config = "preload = true", files = files(1) }
    answers(master:address(), "words 1")
    hups(master, { config = "preload = true", files = files(2) })
    answers(master:address(), "words 2")
    uv.kill(master:ready(2)[1].pid, "sigkill")
    s.wait(function() return #master:workers() == 2 end)
    answers(master:address(), "words 2")
  end,

  ["what a config has told the master to listen to, the next one tells it anew"] = function()
    local options = { workers = 1, before = "local count = ...", config = [[
      on_start = function(m) m:on("message", function(w, v) note("got", v) end) end,
      after_fork = function(m, w) w:send("from " .. w.id) end]] }
    options.config = options.config:gsub("w:send", "brood.worker:send")
    local master = masters.start(options)
    master:noted "got from 1"
    hups(master, options)
    hups(master, options)
    master:noted "got from 3"
    lu.assertEquals(select(2, master:notes():gsub("got from 3\n", "")), 1)
  end,

  ["a config that is a function is given the master, with the config in force"] = function()
    local master = masters.start { workers = 1 }
    master:ready(1)
    s.write_file(master.dir .. "/brood.lua", ([[
      return function(m)
        local was = m.config.workers
        return { app = "app.lua", listen = "127.0.0.1:0", workers = was + 1, control = "unix:control.sock" }
      end]]))
    hups(master)
    hups(master)
    master:ready(3)
  end,

  ["HUP sets the configured number of workers again; after WINCH, TTIN does so as well"] = function()
    local master = masters.start { workers = 2 }
    master:ready(2)
    master.program:kill "TTIN"
    master:ready(3)
    hups(master)
    master:ready(2)
    for _, signal in ipairs { "HUP", "TTIN" } do
      master.program:kill "WINCH"
      master:ready(0)
      master.program:kill(signal)
      master:ready(2)
    end
    master.program:kill "TTOU"
    master:ready(1)
    master.program:kill "TTOU"
    master.program:expect "stays at (1) worker "
    lu.assertEquals(#master:ready(1), 1)
  end,

  ["a config that asks for fewer workers gets them"] = function()
    local master = masters.start { workers = 4 }
    master:ready(4)
    hups(master, { workers = 1 })
    lu.assertEquals(master:ready(1)[1].slot, 1)
  end,

  ["a request under way is finished by its old worker, one that comes meanwhile is answered by a new one"] = function()
    local slow = [[
      local brood = require "brood"
      return function(req, res)
        if req.path == "/slow" then
          io.open("begun", "w"):close()
          brood.sleep(1)
        end
        res:finish("%s") end]]
    local master = masters.start { workers = 1, app = slow:format "old" }
    local socket = s.connect(master:address())
    socket:send "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"
    s.wait(function() return s.exists(master.dir .. "/begun") end)
    hups(master, { workers = 1, app = slow:format "new" })
    answers(master:address(), "new")
    lu.assertEquals(socket:response().body, "old")
    socket:close()
  end,

  ["clusters come and go; one that goes finishes its requests"] = function()
    local slow = [[return function(req, res)
      io.open("begun", "w"):close()
      require("brood").sleep(0.7)
      res:finish("admin") end]]
    local with = { workers = 1, files = { ["admin.lua"] = slow }, config = [[
      clusters = { admin = { app = "admin.lua", listen = "unix:admin.sock" } },
      worker_exit = function(m, w) note("exit", w.cluster, w.reason) end]] }
    local without = { workers = 1, config = [[worker_exit = function(m, w) note("later", w.cluster, w.reason) end]] }
    local master = masters.start(without)
    master:ready(1)
    hups(master, with)
    local path = "unix:" .. master.dir .. "/admin.sock"
    local socket = s.connect(path)
    socket:send "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    s.wait(function() return s.exists(master.dir .. "/begun") end)
    hups(master, without)
    lu.assertNotNil(select(2, master:ask "/status").clusters.admin)
    lu.assertEquals(socket:response().body, "admin")
    socket:close()
    master:noted "later admin stop"
    lu.assertFalse(s.exists(master.dir .. "/admin.sock"))
    s.wait(function()
      return select(2, master:ask "/status").clusters.admin == nil
    end)
    hups(master, with)
    lu.assertEquals(s.get(path).body, "admin")
    lu.assertEquals(master:stop "QUIT", 0)
  end,

  ["a stop ends a cluster that was left out and still finishes"] = function()
    local master = masters.start { workers = 1, files = { ["admin.lua"] = [[return function(req, res)
        io.open("begun", "w"):close()
        require("brood").sleep(60)
      end]] }, config = 'clusters = { admin = { app = "admin.lua", listen = "unix:admin.sock" } }' }
    master:ready(1)
    local socket = s.connect("unix:" .. master.dir .. "/admin.sock")
    socket:send "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    s.wait(function() return s.exists(master.dir .. "/begun") end)
    hups(master, { workers = 1 })
    local code, _, seconds = master:stop "TERM"
    lu.assertEquals(code, 0)
    lu.assertTrue(seconds < 5 * s.slow, seconds)
    socket:close()
  end,

  ["the working directory is entered again: a symlink may have moved"] = function()
    local text = [[return function(req, res) res:finish(require("luv").fs_realpath(".")) end]]
    local dir = s.temp_dir()
    for _, name in ipairs { "r1", "r2" } do
      uv.fs_mkdir(dir .. "/" .. name, 448)
      s.write_file(dir .. "/" .. name .. "/app.lua", text)
      s.write_file(dir .. "/" .. name .. "/brood.lua", ([[
        return { app = "app.lua", listen = "unix:%s/s.sock", workers = 1, control = false }]]):format(dir))
    end
    uv.fs_symlink("r1", dir .. "/current")
    local program = s.brood({ "run", dir .. "/current/brood.lua" }, { cwd = dir })
    program:expect "(workers serve)"
    lu.assertEquals(s.get("unix:" .. dir .. "/s.sock").body, dir .. "/r1")
    uv.fs_unlink(dir .. "/current")
    uv.fs_symlink("r2", dir .. "/current")
    program:kill "HUP"
    program:expect "(reloaded in)"
    answers("unix:" .. dir .. "/s.sock", dir .. "/r2")
    lu.assertEquals(uv.fs_readlink(("/proc/%d/cwd"):format(program.pid)), dir .. "/r2")
    program:stop()
  end,

  ["a config that was named relative to where it was typed is found again"] = function()
    local dir = s.temp_dir()
    uv.fs_mkdir(dir .. "/elsewhere", 448)
    local master = masters.start { dir = dir, cwd = dir, args = { whole = { "run", "brood.lua" } },
      config = 'working_directory = "elsewhere"', workers = 1 }
    master:ready(1)
    hups(master)
    hups(master, { workers = 2, config = 'working_directory = "elsewhere"' })
    master:ready(2)
  end,

  ["brood -s APP reloads its app"] = function()
    local dir = s.temp_dir()
    s.write_file(dir .. "/app.lua", app "one")
    local program = s.brood({ "-s", "app.lua", "-l", "127.0.0.1:0", "-w", "1", "--control", "false" }, { cwd = dir })
    local address = program:expect "workers serve (%S+)"
    lu.assertEquals(s.get(address).body, "one")
    s.write_file(dir .. "/app.lua", app "two")
    program:kill "HUP"
    program:expect "(reloaded in)"
    answers(address, "two")
    program:stop()
  end,

  ["a cluster that is still starting, or of which a worker never starts, can be left out"] = function()
    local function with(text)
      return { workers = 1, files = { ["admin.lua"] = text }, config = [[
        clusters = { admin = { app = "admin.lua", listen = "unix:admin.sock", workers = 2 } }]] }
    end
    local flaky = [[
      if require("brood").worker.slot == 2 then error "never" end
      return function(req, res) res:finish("x") end]]
    local master = masters.start(with(flaky))
    master:address()
    hups(master, { workers = 1 })
    s.wait(function()
      return select(2, master:ask "/status").clusters.admin == nil
    end, 10)
    master:write(with 'io.open("slow", "w"):close() require("brood").sleep(60)')
    master.program:kill "HUP"
    s.wait(function() return s.exists(master.dir .. "/slow") end, 10)
    hups(master, { workers = 1 })
    s.wait(function() return #s.child_pids(master.program.pid) == 1 end, 10)
    lu.assertFalse(s.exists(master.dir .. "/admin.sock"))
    os.remove(master.dir .. "/slow")
    master:write(with 'io.open("slow", "w"):close() require("brood").sleep(60)')
    master.program:kill "HUP"
    s.wait(function() return s.exists(master.dir .. "/slow") end, 10)
    local code, _, seconds = master:stop "QUIT"
    lu.assertEquals(code, 0)
    lu.assertTrue(seconds < 5 * s.slow, seconds)
  end,

  ["POST /scale, /stop and /terminate do what they say, and answer when it is done"] = function()
    local master = masters.start { workers = 1 }
    master:ready(1)
    lu.assertEquals({ post(master, "/scale", '{"cluster":"web","workers":3}') }, { 200, { ok = true } })
    lu.assertEquals(#master:workers(), 3)
    lu.assertEquals({ post(master, "/scale", '{"workers":2}') }, { 200, { ok = true } })
    lu.assertEquals(#master:workers(), 2)
    lu.assertEquals(post(master, "/scale", '{"cluster":"nix","workers":2}'), 404)
    for _, body in ipairs { '{"workers":-1}', '{"workers":"2"}', '{}', '[', '"x"', "" } do
      lu.assertEquals(post(master, "/scale", body), 400, body)
    end
    lu.assertEquals(post(master, "/nothing"), 404)
    lu.assertEquals({ post(master, "/stop") }, { 200, { ok = true } })
    lu.assertEquals(master.program:wait(), 0)
    master = masters.start { workers = 1 }
    master:ready(1)
    lu.assertEquals({ post(master, "/terminate") }, { 200, { ok = true } })
    lu.assertEquals(master.program:wait(), 0)
  end,

  ["two reloads that are asked for within a moment have one outcome, that of the second"] = function()
    local master = masters.start { workers = 1, config = "on_start = function(m, why) note(why) end" }
    master:ready(1)
    local answers_of, sockets = {}, {}
    for i = 1, 2 do
      sockets[i] = s.connect("unix:" .. master.control)
      sockets[i]:send "POST /reload HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
    end
    for i = 1, 2 do
      answers_of[i] = sockets[i]:response().status
      sockets[i]:close()
    end
    lu.assertEquals(answers_of, { 200, 200 })
    lu.assertEquals(#master:ready(1), 1)
  end,

  ["pidfile, control socket and logs move where the new config says"] = function()
    local master = masters.start { workers = 1, config = [[pidfile = "a.pid", stderr_path = "a.log",
      access_log = "a.access"]] }
    s.wait(function()
      return (s.read_file(master.dir .. "/a.log") or ""):find "workers serve"
    end)
    local pid = tonumber(s.read_file(master.dir .. "/a.pid"))
    local address = (s.read_file(master.dir .. "/a.log")):match "workers serve (%S+)"
    master:write { workers = 1, config = [[pidfile = "b.pid", stderr_path = "b.log", access_log = "b.access",
      control = "unix:b.sock"]] }
    master.program:kill "HUP"
    s.wait(function()
      return (s.read_file(master.dir .. "/b.log") or ""):find "reloaded in"
    end, 10)
    lu.assertEquals(tonumber(s.read_file(master.dir .. "/b.pid")), pid)
    lu.assertFalse(s.exists(master.dir .. "/a.pid"))
    lu.assertFalse(s.exists(master.control))
    lu.assertEquals(s.get("unix:" .. master.dir .. "/b.sock", "/health").status, 200)
    s.get(address, "/moved")
    s.wait(function()
      return (s.read_file(master.dir .. "/b.access") or ""):find "/moved"
    end)
    for _, target in pairs(s.fds(pid)) do
      lu.assertNil(target:find("/a.", 1, true), target)
    end
    master.program:stop()
  end,

  ["fifty reloads leave the master with as many descriptors and children"] = function()
    local master = masters.start { workers = 2, config = [[preload = true, access_log = "access",
      stderr_path = "log", listen = { "127.0.0.1:0", "unix:u.sock", { address = "127.0.0.1:0", reuseport = true } }]] }
    s.wait(function()
      return (s.read_file(master.dir .. "/log") or ""):find "workers serve"
    end)
    local function reload()
      local status, body = post(master, "/reload")
      lu.assertEquals(status, 200, body.error)
    end
    reload()
    s.wait(function() return #s.child_pids(master.program.pid) == 2 end, 10)
    local before = s.fd_count(master.program.pid)
    for _ = 1, 50 do
      reload()
    end
    s.wait(function() return #s.child_pids(master.program.pid) == 2 end, 10)
    s.wait(function()
      return s.fd_count(master.program.pid) <= before
    end, 5, function()
      return ("at most %d descriptors, there are\n%s"):format(before,
        require("brood").json.encode(s.fds(master.program.pid)))
    end)
    master.program:stop()
  end,
}
