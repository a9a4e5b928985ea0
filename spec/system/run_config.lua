--- `brood run CONFIG`: finding the config, what it may be, and what its workers find.
local lu = require "luaunit"
local masters = require "spec.support.master"
local s = require "spec.support"

local APP = 'return function(req, res) res:finish("hello\\n") end'

-- The app answers what `expression` is in its worker.
local function shows(expression, options)
  options = options or {}
  options.app = ([[
    local posix = require "brood.posix"
    return function(req, res) res:finish(tostring(%s)) end]]):format(expression)
  local master = masters.start(options)
  return master:get().body, master
end

return {
  ["brood run without a name runs ./brood.lua, and so does brood alone"] = function()
    for _, args in ipairs { { "run" }, {} } do
      local dir = s.temp_dir()
      s.write_file(dir .. "/app.lua", APP)
      s.write_file(dir .. "/brood.lua", 'return { app = "app.lua", listen = "127.0.0.1:0", workers = 1 }')
      local program = s.brood(args, { cwd = dir })
      lu.assertEquals(s.get(program:expect("serve ([^,\n]+)\n")).body, "hello\n")
      lu.assertEquals({ program:stop() }, { 0 })
    end
  end,

  ["a config may be a function of the master, and may wait"] = function()
    local dir = s.temp_dir()
    s.write_file(dir .. "/app.lua", APP)
    s.write_file(dir .. "/brood.lua", [[
      local brood = require "brood"
      return function(master)
        brood.sleep(0.01)
        print("pid", master.pid == require("brood.posix").getpid(), master.state, master.config)
        master:on("ready", function() print("event ready", master.config.workers, #master.workers) end)
        return { app = "app.lua", listen = "127.0.0.1:0", workers = 2 }
      end]])
    local program = s.brood { "run", dir .. "/brood.lua" }
    program:expect("serve ")
    program:stop()
    lu.assertEquals(program:stdout(), "pid\ttrue\tstarting\tnil\nevent ready\t2\t2\n")
  end,

  ["what a config inherits through a metatable counts as its own"] = function()
    local dir = s.temp_dir()
    s.write_file(dir .. "/app.lua", APP)
    local path = s.write_file(dir .. "/brood.lua",
      'return setmetatable({ app = "app.lua" }, { __index = { workers = 7, app = "other.lua" } })')
    local config = assert(loadstring(s.brood({ "check", path }):finish().stdout))()
    lu.assertEquals({ config.app, config.workers }, { dir .. "/app.lua", 7 })
    s.write_file(dir .. "/brood.lua", "return setmetatable({}, {\n__index = function() error('oh') end })")
    local result = s.brood({ "check", path }):finish()
    lu.assertEquals(result.code, 1)
    lu.assertStrContains(result.stderr, "brood.lua:2: oh\n")
  end,

  ["a stop while the config still waits ends with status 0, and nothing is opened"] = function()
    local dir = s.temp_dir()
    s.write_file(dir .. "/brood.lua", [[
      return function(master)
        print "waiting" io.stdout:flush()
        require("brood").sleep(0.3)
        return { app = "app.lua", listen = "unix:web.sock", control = "unix:control.sock" }
      end]])
    local program = s.brood { "run", dir .. "/brood.lua" }
    program:expect "waiting"
    lu.assertEquals({ program:stop() }, { 0 })
    lu.assertNotStrContains(program:stderr(), "serve")
  end,

  ["paths are relative to the config, wherever brood is started"] = function()
    local dir = s.temp_dir()
    s.write_file(dir .. "/conf/brood.lua", [[
      return { app = "../src/app.lua", listen = "unix:web.sock", control = "unix:../control.sock", workers = 1 }]])
    s.write_file(dir .. "/src/app.lua", APP)
    local program = s.brood({ "run", "conf/brood.lua" }, { cwd = dir })
    program:expect("serve unix:" .. (dir .. "/conf/web.sock"):gsub("%p", "%%%0"))
    lu.assertEquals(s.get(dir .. "/conf/web.sock").body, "hello\n")
    lu.assertEquals(s.get(dir .. "/control.sock", "/health").status, 200)
    program:stop()
    lu.assertFalse(s.exists(dir .. "/conf/web.sock"))
    lu.assertFalse(s.exists(dir .. "/control.sock"))
  end,

  ["the folders of config and app come first in package.path, the app's before the config's"] = function()
    local dir = s.temp_dir()
    s.write_file(dir .. "/conf/brood.lua", [[
      print(require "of_config")
      return { app = "../src/app.lua", listen = "127.0.0.1:0", workers = 1 }]])
    s.write_file(dir .. "/conf/of_config.lua", 'return "mine"')
    s.write_file(dir .. "/conf/both.lua", 'return "config"')
    s.write_file(dir .. "/src/both.lua", 'return "app"')
    s.write_file(dir .. "/src/deep/init.lua", 'return "folder"')
    s.write_file(dir .. "/src/app.lua", [[
      local text = require "both" .. require "deep" .. require "of_config"
      return function(req, res) res:finish(text) end]])
    local program = s.brood({ "run", dir .. "/conf/brood.lua" }, { cwd = "/" })
    lu.assertEquals(s.get(program:expect("serve ([^,\n]+)\n")).body, "appfoldermine")
    program:stop()
    lu.assertEquals(program:stdout(), "mine\n")
  end,

  ["master and workers run in the folder of the config, or in working_directory"] = function()
    local where = "require('luv').cwd()"
    local body, master = shows(where)
    lu.assertEquals(body, master.dir)
    lu.assertEquals(require("luv").fs_readlink("/proc/" .. master.program.pid .. "/cwd"), master.dir)
    body, master = shows(where, { config = 'working_directory = "sub"', files = { ["sub/x"] = "" } })
    lu.assertEquals(body, master.dir .. "/sub")
    local none = masters.start { config = 'working_directory = "missing"' }
    lu.assertEquals({ none.program:wait() }, { 1 })
    lu.assertStrContains(none:log(), none.dir .. "/missing")
  end,

  ["env is added to the worker's environment, and false removes"] = function()
    local body = shows("os.getenv('ADDED') .. tostring(os.getenv('TAKEN')) .. os.getenv('KEPT')", {
      config = 'env = { ADDED = "a", TAKEN = false }', env = { TAKEN = "t", KEPT = "k" },
    })
    lu.assertEquals(body, "anilk")
  end,

  ["umask and limits are the worker's"] = function()
    local body = shows([[posix.umask('0') .. ' ' .. io.open('/proc/self/limits'):read('*a')
      :match('open files%s+(%d+%s+%d+)')]], {
      config = 'umask = "027", limits = { nofile = { soft = 321, hard = 400 } }',
    })
    lu.assertEquals((body:gsub("%s+", " ")), "027 321 400")
  end,

  ["user and group are the worker's, for good, before its app is loaded; the master keeps its own"] = function()
    if require("brood.posix").getuid() ~= 0 then
      lu.skip("only root can give up root")
    end
    -- Where nobody may look, the app cannot be loaded; temp dirs are private.
    local dir = require("luv").fs_mkdtemp("/tmp/brood-open-XXXXXX")
    require("luv").fs_chmod(dir, 493)
    s.write_file(dir .. "/app.lua", [[
      local status = io.open("/proc/self/status"):read("*a")
      return function(req, res) res:finish(status:match("Uid:.*Groups:[^\n]*")) end]])
    local master = masters.start {
      config = ('user = "nobody", app = %q, working_directory = "/"'):format(dir .. "/app.lua"),
    }
    local body = master:get().body
    os.remove(dir .. "/app.lua")
    os.remove(dir)
    local uid = require("brood.posix").getpwnam("nobody").uid
    lu.assertEquals(body:match("Uid:%s+([^\n]*)"), ("%d\t%d\t%d\t%d"):format(uid, uid, uid, uid))
    lu.assertNotStrContains(body:match("Groups:([^\n]*)") .. " ", " 0 ")
    lu.assertEquals(s.status_field(master.program.pid, "Uid"), "0\t0\t0\t0")
  end,

  ["PORT and WEB_CONCURRENCY beat the defaults, the config beats them, the command line beats the config"] = function()
    local function serves(config, args, env)
      local dir = s.temp_dir()
      s.write_file(dir .. "/app.lua", APP)
      s.write_file(dir .. "/brood.lua", ('return { app = "app.lua", %s }'):format(config))
      local program = s.brood({ "run", dir .. "/brood.lua", unpack(args) }, { env = env })
      local n, at = program:expect("(%d+) workers serve ([^\n]+)\n")
      program:stop()
      return n, at
    end
    local port, other = s.free_port(), s.free_port()
    local env = { PORT = port, WEB_CONCURRENCY = 3 }
    lu.assertEquals({ serves("", {}, env) }, { "3", "[::]:" .. port })
    local n, at = serves('listen = "127.0.0.1:0", workers = 1', {}, env)
    lu.assertEquals(n, "1")
    lu.assertStrContains(at, "127.0.0.1:")
    lu.assertEquals({ serves('listen = "127.0.0.1:0", workers = 1', { "-p", other, "-w", 2 }, env) },
      { "2", "[::]:" .. other })
  end,

  ["paths are made absolute from $PWD and never resolved, so that a moved symlink is followed"] = function()
    local dir = s.temp_dir()
    s.write_file(dir .. "/release-1/app.lua", APP)
    s.write_file(dir .. "/release-1/brood.lua", 'return { app = "app.lua", listen = "unix:web.sock" }')
    assert(require("luv").fs_symlink("release-1", dir .. "/current"))
    for _, case in ipairs {
      { {}, dir .. "/current", dir .. "/current" }, { { "current/brood.lua" }, dir, dir },
      { { dir .. "/current/brood.lua" }, "/", "/" }, { { "./brood.lua" }, dir .. "/current", dir .. "/current" },
    } do
      local result = s.brood({ "check", unpack(case[1]) }, { cwd = case[2], env = { PWD = case[3] } }):finish()
      lu.assertEquals(result.stderr, "")
      local config = assert(loadstring(result.stdout))()
      lu.assertEquals(config.app, dir .. "/current/app.lua")
      lu.assertEquals(config.working_directory, dir .. "/current")
      lu.assertEquals(config.listen[1].address, "unix:" .. dir .. "/current/web.sock")
    end
    -- A PWD that is not where we are is no guide.
    local result = s.brood({ "check" }, { cwd = dir .. "/release-1", env = { PWD = "/tmp" } }):finish()
    lu.assertEquals(assert(loadstring(result.stdout))().app, dir .. "/release-1/app.lua")
  end,

  ["further clusters serve on addresses of their own, with what they take from the top level"] = function()
    local dir = s.temp_dir()
    for _, name in ipairs { "web", "admin" } do
      s.write_file(("%s/%s.lua"):format(dir, name), ([[
        return function(req, res)
          res:finish(("%s %%s %%s"):format(require("brood").worker.cluster, tostring(os.getenv("MODE"))))
        end]]):format(name))
    end
    s.write_file(dir .. "/brood.lua", [[
      return {
        app = "web.lua", listen = "unix:web.sock", workers = 1, env = { MODE = "live" },
        control = "unix:control.sock",
        clusters = { admin = { app = "admin.lua", listen = "unix:admin.sock" } },
      }]])
    local program = s.brood({ "run", dir .. "/brood.lua", "-w", "2" })
    program:expect("web: 2 of 2 workers serve")
    program:expect("admin: 1 of 1 workers serve")
    lu.assertEquals(s.get(dir .. "/web.sock").body, "web web live")
    lu.assertEquals(s.get(dir .. "/admin.sock").body, "admin admin live")
    lu.assertEquals({ program:stop() }, { 0 })
  end,

  ["-P and pidfile write the master's pid, hold off a second master, and are removed at the end"] = function()
    local master = masters.start { config = 'pidfile = "master.pid"' }
    master:address()
    local path = master.dir .. "/master.pid"
    lu.assertEquals(tonumber(s.read_file(path)), master.program.pid)
    local second = s.brood({ "run", master.dir .. "/brood.lua" }):finish()
    lu.assertEquals(second.code, 1)
    lu.assertStrContains(second.stderr, tostring(master.program.pid))
    lu.assertEquals(tonumber(s.read_file(path)), master.program.pid)
    lu.assertEquals(master:get().body, "hello\n")
    master:stop "TERM"
    lu.assertFalse(s.exists(path))
    local other = masters.start { args = { "-P", path }, config = "control = nil" }
    other:address()
    lu.assertEquals(tonumber(s.read_file(path)), other.program.pid)
    lu.assertEquals(s.get(master.dir .. "/brood.sock", "/health").status, 200)
    lu.assertEquals(other:stop "QUIT", 0)
    lu.assertFalse(s.exists(path))
  end,
}
