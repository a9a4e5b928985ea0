--- The control server: where it listens, who may reach it, what it answers (brood.master.control and control_routes).
local core = require "brood.core"
local lu = require "luaunit"
local masters = require "spec.support.master"
local s = require "spec.support"
local uv = require "luv"
local bit = require "bit"

local function mode(path)
  return bit.band(uv.fs_stat(path).mode, 511)
end

local function sockets_below(dir)
  local found = {}
  for name in function(scan) return uv.fs_scandir_next(scan) end, uv.fs_scandir(dir) do
    if uv.fs_stat(dir .. "/" .. name).type == "socket" then
      found[#found + 1] = dir .. "/" .. name
    end
  end
  return found
end

return {
  ["without a word it is a private socket in XDG_RUNTIME_DIR, named after the config, removed at the end"] = function()
    local dir = s.temp_dir()
    local master = masters.start { config = "control = nil", env = { XDG_RUNTIME_DIR = dir } }
    master:address()
    local found = sockets_below(dir)
    lu.assertEquals(#found, 1)
    lu.assertStrContains(found[1], "brood-")
    lu.assertStrContains(found[1], master.dir:match("[^/]+$"))
    lu.assertEquals(mode(found[1]), 384)
    lu.assertEquals(s.get(found[1], "/health").status, 200)
    master:stop "QUIT"
    lu.assertEquals(sockets_below(dir), {})
  end,

  ["a folder that others may write to is not used for it"] = function()
    local dir = s.temp_dir()
    uv.fs_chmod(dir, 511)
    local master = masters.start { config = "control = nil", env = { XDG_RUNTIME_DIR = dir }, args = { "-v" } }
    master:address()
    lu.assertEquals(sockets_below(dir), {})
    lu.assertEquals(mode(master.program:expect "control: unix:(%S+)"), 384)
    master:stop "QUIT"
  end,

  ["health, status, and 404 for everything else, all in JSON"] = function()
    local master = masters.start()
    master:address()
    local response = s.get(master.control, "/health")
    lu.assertEquals({ response.status, response.body }, { 200, '{"status":"ok"}\n' })
    lu.assertEquals(response.headers["content-type"], "application/json")
    local status, body = master:ask "/status"
    lu.assertEquals(status, 200)
    lu.assertEquals(body.pid, master.program.pid)
    lu.assertEquals(body.state, "ready")
    lu.assertEquals(body.version, require("brood").version)
    lu.assertEquals(body.clusters.web.workers, 2)
    lu.assertEquals(body.clusters.web.ready, 2)
    lu.assertEquals(body.clusters.web.listen, { master:address() })
    lu.assertEquals(#body.clusters.web.processes, 2)
    status, body = master:ask "/nothing"
    lu.assertEquals(status, 404)
    lu.assertStrContains(body.error, "GET /nothing")
  end,

  ["a method that a path does not know is refused with the one that it wants, and GET / lists them all"] = function()
    local master = masters.start { workers = 1 }
    master:address()
    for path, wanted in pairs { ["/status"] = { "POST", "GET, HEAD" }, ["/reload"] = { "GET", "POST" },
      ["/"] = { "PUT", "GET, HEAD" }, ["/scale"] = { "HEAD", "POST" } } do
      local status, _, headers = master:order(wanted[1], path)
      lu.assertEquals({ status, headers.allow }, { 405, wanted[2] }, path)
    end
    lu.assertEquals(select(2, master:ask "/stop").error, "/stop wants POST, not GET")
    lu.assertStrContains(select(2, master:order("POST", "/nothing")).error, "there is no POST /nothing")
    local _, index = master:ask "/"
    local seen = {}
    for _, one in ipairs(index.endpoints) do
      seen[one.method .. " " .. one.path] = one.answer
      if one.method == "GET" then
        lu.assertEquals((master:ask(one.path)), 200)
      end
    end
    lu.assertStrContains(seen["POST /reload"], "reads the config again")
    lu.assertEquals((master:ask "/health"), 200) -- and none of it has ended the master
  end,

  ["HEAD is answered like GET, without the body"] = function()
    local master = masters.start { workers = 1 }
    master:address()
    for path, status in pairs { ["/health"] = 200, ["/nothing"] = 404 } do
      local length = s.get(master.control, path).headers["content-length"]
      local socket = s.connect(master.control)
      socket:send(("HEAD %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"):format(path))
      local text = socket:receive_all()
      lu.assertStrContains(text, "HTTP/1.1 " .. status)
      lu.assertStrContains(text:lower(), "content-length: " .. length .. "\r\n")
      lu.assertStrMatches(text, ".*\r\n\r\n")
    end
  end,

  ["status tells of each worker how often its slot was started again, and how and why the last one ended"] = function()
    local master = masters.start { workers = 1, app = "return function(req, res) os.exit(3) end" }
    local first = master:pids()[1]
    lu.assertEquals({ master:workers()[1].restarts, master:workers()[1].last_exit }, { 0 })
    pcall(s.get, master:address(), "/")
    s.wait(function() return (master:workers()[1] or {}).restarts == 1 end)
    local worker = master:ready(1)[1]
    lu.assertEquals({ worker.last_exit.pid, worker.last_exit.id, worker.last_exit.code, worker.last_exit.reason },
      { first, 1, 3, "crash" })
    lu.assertTrue(worker.last_exit.at > 1e9)
    uv.kill(worker.pid, "sigkill")
    s.wait(function() return (master:workers()[1] or {}).restarts == 2 end)
    worker = master:ready(1)[1]
    lu.assertNil(worker.last_exit.code)
    lu.assertEquals({ worker.last_exit.signal, worker.last_exit.reason }, { "KILL", "signal" })
    for _, field in ipairs { "name", "kind", "state", "pid", "uptime", "requests", "slot", "id" } do
      lu.assertNotNil(worker[field], field)
    end
  end,

  ["configs have sockets of their own: of one name, of names alike, and with pidfiles in one folder"] = function()
    local runtime, root = s.temp_dir(), s.temp_dir()
    local text = 'return { app = "app.lua", listen = "127.0.0.1:0", workers = 1, %s }'
    local function run(path, more)
      s.write_file(root .. "/" .. path, text:format(more or ""))
      s.write_file((root .. "/" .. path):gsub("[^/]+$", "app.lua"), "return function() end")
      local program = s.brood({ root .. "/" .. path }, { env = { XDG_RUNTIME_DIR = runtime } })
      return program, program:expect("control: unix:(%S+)\n")
    end
    local programs, seen = {}, {}
    for _, path in ipairs { "a/b/x.lua", "a-b/x.lua", "a/b-x.lua", "a b/x.lua", "a/b/y.lua", "a/b/x" } do
      local program, socket = run(path)
      programs[#programs + 1] = program
      lu.assertNil(seen[socket], socket)
      seen[socket] = true
      lu.assertStrContains(s.get(socket, "/status").body, ('"pid":%d'):format(program.pid))
    end
    for i, name in ipairs { "one", "two" } do
      local program, socket = run(name .. ".lua", ("pidfile = %q"):format(name .. ".pid"))
      programs[#programs + 1] = program
      lu.assertEquals(socket, root .. (i == 1 and "/brood.sock" or "/brood-two.sock"))
    end
    for _, program in ipairs(programs) do
      lu.assertEquals(program:stop(), 0)
    end
    lu.assertEquals(sockets_below(runtime), {})
  end,

  ["what a killed master has left there is removed by the next start of any config, and nothing else is"] = function()
    local runtime, root = s.temp_dir(), s.temp_dir()
    s.write_file(root .. "/app.lua", "return function() end")
    local function run(name)
      s.write_file(("%s/%s.lua"):format(root, name), 'return { app = "app.lua", listen = "127.0.0.1:0", workers = 1 }')
      local program = s.brood({ ("%s/%s.lua"):format(root, name) }, { env = { XDG_RUNTIME_DIR = runtime } })
      return program, program:expect("control: unix:(%S+)\n")
    end
    local other = assert(core.listener.open { address = "unix:" .. runtime .. "/other.sock" })
    other:keep_file()
    other:close()
    s.write_file(runtime .. "/brood-x.sock", "")
    local killed, left = run "one"
    local live, socket = run "two"
    killed:kill "KILL"
    killed:wait()
    lu.assertTrue(s.exists(left))
    s.wait(function() -- its workers go as well
      return not pcall(s.get, left, "/health")
    end)
    local program, own = run "three"
    lu.assertFalse(s.exists(left))
    lu.assertItemsEquals(sockets_below(runtime), { runtime .. "/other.sock", socket, own })
    lu.assertTrue(s.exists(runtime .. "/brood-x.sock"))
    lu.assertEquals(s.get(socket, "/health").status, 200)
    lu.assertEquals({ live:stop(), program:stop() }, { 0, 0 })
    os.remove(runtime .. "/other.sock")
  end,

  ["a config whose path is long gets a name that fits, and is its own"] = function()
    local runtime, root = s.temp_dir(), s.temp_dir() .. "/" .. ("deep/"):rep(40)
    local found = {}
    for _, name in ipairs { "first", "second" } do
      local dir = root .. name .. "/" .. ("same/"):rep(20)
      s.write_file(dir .. "app.lua", "return function() end")
      s.write_file(dir .. "brood.lua", 'return { app = "app.lua", listen = "127.0.0.1:0", workers = 1 }')
      local program = s.brood({ dir .. "brood.lua" }, { env = { XDG_RUNTIME_DIR = runtime } })
      local socket = program:expect("control: unix:(%S+)\n")
      found[socket] = program
      lu.assertTrue(#socket <= 107)
      lu.assertEquals(s.get(socket, "/health").status, 200)
    end
    for _, program in pairs(found) do
      lu.assertEquals(program:stop(), 0)
    end
  end,

  ["status lists no processes as an empty list"] = function()
    local master = masters.start { workers = 1, config = "before_fork = function() brood.sleep(600) end" }
    master:up()
    lu.assertStrContains(s.get(master.control, "/status").body, '"processes":[]')
    master.program:kill "TERM"
    lu.assertEquals(master.program:wait(), 0)
  end,

  ["control and --control say where, the command line wins; false is nowhere"] = function()
    local master = masters.start { args = { "--control", "unix:other.sock" } }
    master:address()
    lu.assertFalse(s.exists(master.control))
    lu.assertEquals(s.get(master.program.cwd .. "/other.sock", "/health").status, 200)
    lu.assertEquals(mode(master.program.cwd .. "/other.sock"), 384)
    master:stop "TERM"
    lu.assertFalse(s.exists(master.program.cwd .. "/other.sock"))
    local dir = s.temp_dir()
    for _, how in ipairs { { config = "control = false" }, { args = { "--control", "false" } } } do
      how.env = { XDG_RUNTIME_DIR = dir }
      master = masters.start(how)
      lu.assertEquals(master:get().status, 200)
      lu.assertEquals(sockets_below(dir), {})
      lu.assertFalse(s.exists(master.control))
      master:stop "TERM"
    end
  end,

  ["an explicit one that cannot be had fails the start; the default one is only missed"] = function()
    local master = masters.start { config = "control = 'unix:missing/c.sock'" }
    lu.assertEquals(master.program:wait(), 1)
    lu.assertStrContains(master:log(), "cannot start: control: ")
    local dir = s.temp_dir()
    local first = masters.start { config = "control = nil", env = { XDG_RUNTIME_DIR = dir } }
    first:address()
    local second = s.brood({ first.dir .. "/brood.lua" }, { env = { XDG_RUNTIME_DIR = dir } })
    second:expect "workers serve"
    lu.assertStrContains(second:stderr(), "going on without a control server")
    lu.assertEquals(second:stop(), 0)
    lu.assertEquals(s.get(sockets_below(dir)[1], "/health").status, 200)
  end,

  ["clients that hang on it do not hold up the end"] = function()
    local master = masters.start()
    master:address()
    local idle, half = s.connect(master.control), s.connect(master.control)
    half:send "GET /heal"
    idle:send "GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    idle:response()
    local code, _, seconds = master:stop "QUIT"
    lu.assertEquals(code, 0)
    lu.assertTrue(seconds < 1 * s.slow, seconds)
  end,

  ["an app cannot reach the control socket through what it inherits"] = function()
    local master = masters.start { app = [[
      local found = {}
      for line in io.open("/proc/net/unix"):lines() do
        local inode = line:match("(%d+) %S*control.sock$")
        for name in require("lfs").dir("/proc/self/fd") do
          local target = require("luv").fs_readlink("/proc/self/fd/" .. name)
          if inode and target and target:find("[" .. inode .. "]", 1, true) then found[#found + 1] = name end
        end
      end
      return function(req, res) res:finish("held: " .. #found) end]] }
    lu.assertEquals(master:get().body, "held: 0")
  end,
}
