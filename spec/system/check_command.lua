--- `brood check`: what is wrong with a config (what brood.cli.preflight finds included), or what it amounts to; nothing
--- is started either way.
local lu = require "luaunit"
local s = require "spec.support"
local uv = require "luv"

local APP = 'return function(req, res) res:finish("hello\\n") end'

-- A folder with these files, and what `brood check` says there.
local function check(files, args, options)
  local dir = s.temp_dir()
  for name, text in pairs(files) do
    s.write_file(dir .. "/" .. name, text)
  end
  options = options or {}
  options.cwd = dir
  local result = s.brood({ "check", unpack(args or {}) }, options):finish()
  return result, dir
end

local function refused(files, args, options)
  local result, dir = check(files, args, options)
  lu.assertEquals(result.stdout, "")
  lu.assertEquals(result.code, 1)
  return result.stderr, dir
end

local function effective(files, args, options)
  local result, dir = check(files, args, options)
  lu.assertEquals(result.stderr, "")
  lu.assertEquals(result.code, 0)
  return assert(loadstring(result.stdout))(), result.stdout, dir
end

-- As a user that may do little, in a folder that it can read.
local function as_nobody(files, args)
  local dir = s.open_temp_dir()
  for name, text in pairs(files) do
    s.write_file(dir .. "/" .. name, text, 420)
  end
  uv.fs_copyfile(s.binary, dir .. "/brood")
  uv.fs_chmod(dir .. "/brood", 493)
  local program = s.start({
    "/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", dir .. "/brood", unpack(args),
  }, { cwd = dir })
  return program, dir
end

local function only_root()
  if require("brood.posix").getuid() ~= 0 or not s.exists "/usr/bin/setpriv" then
    lu.skip "only root, with setpriv, can become somebody else"
  end
end

return {
  ["a path with a newline stays in its comment"] = function()
    local config, text = effective({ ["a\nb.lua"] = 'return { app = "app.lua" }', ["app.lua"] = APP }, { "a\nb.lua" })
    lu.assertStrMatches(text, '%-%- The effective config of "/[^\n]*/a\\nb.lua"%.\nreturn {\n.*')
    lu.assertStrContains(config.app, "/app.lua")
  end,

  ["pools are printed with every option, and read back as they are"] = function()
    local config, text, dir = effective {
      ["w.lua"] = "return function(job) return job.data end",
      ["brood.lua"] = [[return { pools = {
        thumbs = { worker = "w.lua", timeout_working = "2m", max_backlog = false, options = { width = 3 } },
        other = { worker = { command = { "cat" }, cwd = "." }, max_processes = 7 },
      } }]],
    }
    lu.assertEquals(config.pools.thumbs.worker, dir .. "/w.lua")
    lu.assertEquals(config.pools.thumbs.options, { width = 3 })
    lu.assertEquals(config.pools.thumbs.max_backlog, false)
    lu.assertEquals(config.pools.other.worker, { command = { "cat" }, cwd = dir, ready = "spawn" })
    lu.assertStrContains(text, '      timeout_working = "2m",\n')
    lu.assertStrContains(text, "      max_jobs_per_process = 64, -- default\n")
    lu.assertStrMatches(text, ".*max_processes = %d+, %-%- default: 1.25 for each cpu, rounded up\n.*")
    local again = effective { ["w.lua"] = "return print", ["brood.lua"] = text }
    lu.assertEquals(again.pools, config.pools)
  end,

  ["a pool's worker file is looked at"] = function()
    local said, dir = refused {
      ["bad.lua"] = "return (",
      ["brood.lua"] = [[return { pools = {
        a = { worker = "none.lua" },
        b = { worker = "bad.lua" },
        c = { worker = { command = { "cat" }, cwd = "nowhere" } },
      } }]],
    }
    lu.assertStrContains(said, ("brood.lua:2: 'pools.a.worker' cannot be read: %s/none.lua: no such file"):format(dir))
    lu.assertStrContains(said, ("brood.lua:3: 'pools.b.worker' does not compile: %s/bad.lua:1: "):format(dir))
    lu.assertStrContains(said, "brood.lua:4: 'pools.c.worker.cwd' names a directory that cannot be used")
  end,

  ["the effective config is Lua, with its defaults and where they come from"] = function()
    local config, text, dir = effective({
      ["app.lua"] = APP,
      ["brood.lua"] = [[
return {
  app = "app.lua", listen = { 8080, { address = "unix:web.sock", mode = "0600" } }, graceful_timeout = "2m",
  env = { A = "b", ["C D"] = false }, limits = { nofile = 100 },
  before_fork = function() end,
}]],
    }, { "-w", "3" }, { env = { PORT = "99" } })
    lu.assertEquals(config.app, dir .. "/app.lua")
    lu.assertEquals(config.workers, 3)
    lu.assertEquals(config.listen[1].address, ":8080")
    lu.assertEquals(config.listen[2].address, "unix:" .. dir .. "/web.sock")
    lu.assertEquals(config.graceful_timeout, "2m")
    lu.assertEquals(config.start_timeout, "30s")
    lu.assertEquals(config.env, { A = "b", ["C D"] = false })
    lu.assertEquals(config.working_directory, dir)
    lu.assertIsFunction(config.before_fork)
    lu.assertStrContains(text, "workers = 3, -- -w\n")
    lu.assertStrContains(text, 'start_timeout = "30s", -- default\n')
    lu.assertStrContains(text, "-- default: the folder of the config\n")
    lu.assertStrContains(text, dir .. "/brood.lua:4 ]] end")
    lu.assertNotStrContains(text, "PORT")
    lu.assertFalse(s.exists(dir .. "/web.sock"))
  end,

  ["what it prints is a config that amounts to the same"] = function()
    local first, text = effective {
      ["app.lua"] = APP, ["brood.lua"] = [[return {
        app = "app.lua", timeout = 0.25, umask = "022", listen = { "127.0.0.1:0", "unix:a.sock" },
        control = { address = "unix:c.sock" }, limits = { core = { soft = 0, hard = "unlimited" } },
        clusters = { admin = { app = "app.lua", listen = 9, workers = 1, timeout = false } } }]],
    }
    local again = s.brood { "check", s.write_file("again.lua", text) }:finish()
    lu.assertEquals(again.stderr, "")
    lu.assertEquals(assert(loadstring(again.stdout))(), first)
  end,

  ["PORT, WEB_CONCURRENCY and the options of run are named where they decide"] = function()
    local _, text = effective({ ["app.lua"] = APP }, { "-s", "app.lua" }, {
      env = { PORT = "99", WEB_CONCURRENCY = "5" },
    })
    lu.assertStrMatches(text, '.*app.lua", %-%- %-s\n.*')
    lu.assertStrMatches(text, ".*listen = [^\n]*:99[^\n]* %-%- PORT in the environment\n.*")
    lu.assertStrContains(text, "workers = 5, -- WEB_CONCURRENCY in the environment\n")
    _, text = effective({ ["app.lua"] = APP }, { "-s", "app.lua", "-l", "unix:x", "-P", "x.pid", "--control", "false" })
    lu.assertStrMatches(text, ".*listen = {[^=]*= \"unix:/[^\n]*/x\".* %-%- %-l\n.*")
    lu.assertStrMatches(text, ".*pidfile = [^\n]*x.pid\", %-%- %-P\n.*")
    lu.assertStrContains(text, "control = false, -- --control\n")
  end,

  ["a config that is a function is called with a master that does nothing"] = function()
    local result = check {
      ["app.lua"] = APP, ["brood.lua"] = [[
        return function(master)
          print("master", type(master.pid), master.config, #master.workers)
          master:on("ready", function() end)
          return { app = "app.lua", workers = 7 }
        end]],
    }
    lu.assertEquals(result.code, 0)
    lu.assertEquals(result.stderr, "master\tnumber\tnil\t0\n")
    lu.assertEquals(assert(loadstring(result.stdout))().workers, 7)
    local text = refused { ["brood.lua"] = "return function(master)\n  master:reload()\nend" }
    lu.assertStrContains(text, "brood.lua:2: master:reload: brood check starts nothing")
  end,

  ["clusters are printed with what they take from the top level"] = function()
    local config, text = effective {
      ["app.lua"] = APP, ["brood.lua"] = [[return {
        app = "app.lua", user = "root",
        clusters = { admin = { app = "app.lua", listen = 9000, workers = 1 } } }]],
    }
    lu.assertEquals(config.clusters.admin.workers, 1)
    lu.assertEquals(config.clusters.admin.user, "root")
    lu.assertStrContains(text, '      user = "root", -- as the top level\n')
    lu.assertNil(config.clusters.web)
  end,

  ["a cluster without the access log of the top level is printed without it"] = function()
    local files = {
      ["app.lua"] = APP, ["brood.lua"] = [[return {
        app = "app.lua", access_log = "-",
        clusters = { admin = { app = "app.lua", listen = 9000, access_log = false } } }]],
    }
    local config, text = effective(files)
    lu.assertEquals(config.clusters.admin.access_log, false)
    files["brood.lua"] = text
    lu.assertEquals(effective(files).clusters.admin.access_log, false)
  end,

  ["a proxy without routes, and a backend that no route leads to, are notes"] = function()
    local function said(text)
      local result = check { ["brood.lua"] = "return { " .. text .. " }", ["app.lua"] = APP }
      lu.assertEquals(result.code, 0, result.stderr)
      return (result.stderr:gsub("brood%.lua:%d+: note: ", ""))
    end
    local backends = "backends = { a = { command = { 'true' } }, b = { command = { 'true' } } }, "
    local never = " is never asked: "
    lu.assertEquals(said(backends .. "proxy = { listen = '127.0.0.1:0', routes = { ['/'] = 'b' } }"),
      "'backends.a'" .. never .. "no route of the proxy leads there\n")
    lu.assertEquals(said "app = 'app.lua', proxy = { listen = '127.0.0.1:0', routes = {} }",
      "'proxy.routes' is empty: every request is answered with 404\n")
    lu.assertEquals(said(backends .. "app = 'app.lua'"),
      ("'backends.a'%sthere is no proxy\n'backends.b'%sthere is no proxy\n"):format(never, never))
    local both = "proxy = { listen = '127.0.0.1:0', routes = { ['/a'] = 'a', ['/b'] = 'b' } }"
    lu.assertEquals(said(backends .. both), "")
  end,

  ["what only somebody else may do is a note, and the config is sound all the same"] = function()
    only_root()
    local program, dir = as_nobody({
      ["app.lua"] = APP, ["brood.lua"] = [[
return {
  app = "app.lua", limits = { nofile = "unlimited" },
  user = "root",
  listen = { "127.0.0.1:80",
    { address = "unix:w.sock", owner = "root", group = "root" } },
  pidfile = "x.pid",
  access_log = "/etc/passwd",
  control = "unix:c.sock",
}]],
    }, { "check" })
    lu.assertEquals(program:wait(), 0, program:stderr())
    lu.assertStrContains(program:stdout(), "app = ")
    local said = program:stderr()
    for _, line in ipairs {
      "2: note: 'limits' cannot be set by user 65534: limits.nofile = unlimited is above this process's hard limit of ",
      "3: note: 'user' needs root: user 65534 cannot become 'root'",
      "4: note: 'listen[1]' cannot be bound by user 65534: ports below ",
      "5: note: 'listen[2]' cannot be made by user 65534: " .. dir .. ": permission denied",
      "5: note: 'listen[2].owner' needs root", "5: note: 'listen[2].group' needs root: user 65534 is not in the group",
      "6: note: 'pidfile' cannot be made by user 65534", "8: note: 'control' cannot be made by user 65534",
      "7: note: 'access_log' cannot be written by user 65534: /etc/passwd: permission denied",
    } do
      lu.assertStrContains(said, "brood.lua:" .. line)
    end
    lu.assertEquals(select(2, said:gsub("\n", "")), 9)
    lu.assertFalse(s.exists(dir .. "/x.pid"))
  end,

  ["to become who one is already needs nobody's leave"] = function()
    only_root()
    local files = { ["app.lua"] = APP, ["brood.lua"] = [[
return { app = "app.lua", user = 65534, group = 65534, listen = "127.0.0.1:0", control = false, workers = 1 }]] }
    local program = as_nobody(files, { "check" })
    lu.assertEquals({ program:wait(), program:stderr() }, { 0, "" })
    program = as_nobody(files, { "run" })
    lu.assertEquals(s.get(program:expect "workers serve ([^\n]+)\n").status, 200)
    lu.assertEquals(program:stop(), 0)
  end,

  ["limits that cannot be set, or a low port, are the reason once, before anything is forked"] = function()
    only_root()
    local function said(keys)
      local program = as_nobody({ ["app.lua"] = APP, ["brood.lua"] = ([[
        return { app = "app.lua", control = false, workers = 1, before_fork = function() print "forked" end, %s }
      ]]):format(keys) }, { "run" })
      lu.assertEquals({ program:wait(), program:stdout() }, { 1, "" })
      return program:stderr()
    end
    local text = said 'listen = "127.0.0.1:0", limits = { nofile = "unlimited" }'
    lu.assertStrMatches(text, "[^\n]*cannot start: web: limits.nofile = unlimited is above this process's hard "
      .. "limit of %d+, and raising that needs CAP_SYS_RESOURCE\n")
    lu.assertStrMatches(said 'listen = "127.0.0.1:80"', "[^\n]*cannot start: cannot listen on 127.0.0.1:80: "
      .. "Permission denied: ports below 1024 need root or CAP_NET_BIND_SERVICE\n")
  end,

  ["an app that the workers' user cannot read is found, unless the master loads it"] = function()
    only_root()
    local files = { ["private/app.lua"] = APP }
    files["brood.lua"] = 'return { app = "private/app.lua", user = 65534, listen = 0 }'
    local text, dir = refused(files)
    lu.assertStrMatches(text, "brood.lua:1: 'app' cannot be read by the user '65534': " .. dir:match("^/[^/]*")
      .. "/.* has mode 0700\n")
    files["brood.lua"] = 'return { app = "private/app.lua", user = 65534, listen = 0, preload = true }'
    effective(files)
  end,

  ["a program that the workers' user cannot execute is passed over, as exec passes it over in PATH"] = function()
    only_root()
    local dir = s.temp_dir()
    s.write_file(dir .. "/private/sleep", "#!/bin/sh\n", 493)
    local function check_with(path)
      s.write_file(dir .. "/brood.lua", ('return { command = { "sleep", "9" }, user = 65534, listen = 0, env = '
        .. '{ PATH = "%s" } }'):format(path))
      local result = s.brood({ "check" }, { cwd = dir }):finish()
      return result.code, result.stderr
    end
    lu.assertEquals({ check_with(dir .. "/private:/usr/bin:/bin") }, { 0, "" })
    local code, text = check_with(dir .. "/private")
    lu.assertEquals(code, 1)
    lu.assertStrContains(text, "'command' cannot be executed by the user '65534'")
  end,

  ["every mistake is listed, with file and line and the nearest name"] = function()
    local text = refused {
      ["brood.lua"] = [[
return {
  app = "gone.lua",
  workers = "four",
  listn = 80,
  listen = { 80,
    { address = "unix:/x", mode = 666 } },
  clusters = {
    admin = { workers = 0 },
  },
  env = { X = {} },
}]],
    }
    for _, line in ipairs {
      "brood.lua has 8 mistakes:", "brood.lua:2: 'app' cannot be read: ",
      'brood.lua:3: workers: expected a whole number from 1 to 65535, got "four"',
      "brood.lua:4: unknown key 'listn' (did you mean 'listen'?)", "brood.lua:6: listen[2].mode: expected a mode",
      "brood.lua:8: clusters.admin.workers: expected", "brood.lua:8: 'clusters.admin.app' is missing",
      "brood.lua:8: 'clusters.admin.listen' is missing", "brood.lua:10: env.X: expected a string",
    } do
      lu.assertStrContains(text, line)
    end
  end,

  ["an app that is missing or does not compile is found"] = function()
    lu.assertStrMatches(refused { ["brood.lua"] = 'return {\n app = "no.lua" }' },
      "brood.lua:2: 'app' cannot be read: /.*/no.lua: no such file or directory\n")
    lu.assertStrMatches(refused { ["brood.lua"] = 'return { app = "app.lua" }', ["app.lua"] = "\nreturn = 1" },
      "brood.lua:1: 'app' does not compile: /.*/app.lua:2: unexpected symbol near '='\n")
    lu.assertStrMatches(refused({}, { "-s", "no.lua" }), "%-s: 'app' cannot be read: .*\n")
  end,

  ["users, groups, directories and files in a socket's way are found"] = function()
    local text = refused {
      ["app.lua"] = APP, ["plain"] = "", ["brood.lua"] = [[
return {
  app = "app.lua",
  user = "nobody-at-all",
  group = "none-at-all",
  working_directory = "gone",
  pidfile = "gone/x.pid",
  listen = {
    "unix:gone/x.sock",
    "unix:plain",
    { address = "unix:y.sock", owner = "nobody-at-all" },
  },
  control = "unix:plain/c.sock",
}]],
    }
    for line, words in pairs {
      [3] = "'user' cannot be used", [4] = "'group' cannot be used", [5] = "'working_directory' names a directory",
      [6] = "'pidfile' is in a directory that cannot be used", [8] = "'listen[1]' is in a directory",
      [9] = "'listen[2]' is the path of something that is no socket", [10] = "'listen[3].owner' cannot be used",
      [12] = "'control' ",
    } do
      lu.assertStrContains(text, ("  brood.lua:%d: %s"):format(line, words))
    end
    lu.assertStrContains(text, "has 8 mistakes")
  end,

  ["wrong usage is status 2 and names its own help"] = function()
    local result = s.brood({ "check", "--frob" }):finish()
    lu.assertEquals(result.code, 2)
    lu.assertStrContains(result.stderr, "Try 'brood check --help'.")
    result = s.brood({ "check", "--help" }):finish()
    lu.assertEquals(result.code, 0)
    lu.assertStrContains(result.stdout, "usage: brood check")
  end,

  ["what a config has started does not outlive its check"] = function()
    local result = check {
      ["app.lua"] = APP, ["brood.lua"] = [[
        local Process = require "brood.process"
        Process.new({ command = { "sleep", "60" } }):start()
        return { app = "app.lua" }]],
    }
    lu.assertEquals(result.code, 0)
  end,
}
