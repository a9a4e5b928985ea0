--- Masters that end, or stay, where it is least expected: hooks that end the process, that wait for ever, that never
--- let go; starts that run dry. Whatever the end, sockets and pidfile go with it, and the status tells of it.
local lu = require "luaunit"
local masters = require "spec.support.master"
local s = require "spec.support"

local LEFT = { "web.sock", "control.sock", "m.pid" }

local function start(config, options)
  options = options or {}
  options.workers = options.workers or 1
  options.config = 'listen = "unix:web.sock", pidfile = "m.pid", ' .. config
  return masters.start(options)
end

local function ends(master, status)
  lu.assertEquals(master.program:wait(20), status, master:log())
  for _, name in ipairs(LEFT) do
    lu.assertFalse(s.exists(master.dir .. "/" .. name), name)
  end
  return master:log()
end

local T = {}

T["without workers and a control server the master stays, with its sockets"] = function()
  for _, config in ipairs {
    "worker_ready = function(master) master:drain() note 'drained' end",
    "worker_ready = function(master) master:scale(0) note 'drained' end",
    "on_start = function(master) master:scale(0) note 'drained' end",
  } do
    local master = start("control = false, " .. config)
    master:noted "(drained)"
    master:address()
    lu.assertFalse(pcall(master.program.wait, master.program, 0.2))
    lu.assertTrue(s.exists(master.dir .. "/web.sock"))
    master.program:kill "TERM"
    ends(master, 0)
  end
end

T["a start that waits for nothing ends with 1, and leaves nothing"] = function()
  for _, config in ipairs {
    "on_start = function() coroutine.yield() end",
    "preload = true, app = 'dry.lua'",
  } do
    local master = start("control = false, " .. config, { files = { ["dry.lua"] = "coroutine.yield()" } })
    lu.assertStrContains(ends(master, 1), "nothing is left that could wake it")
  end
  lu.assertStrContains(ends(start("", { before = "coroutine.yield()" }), 1), "nothing is left that could wake it")
end

T["a hook that breaks what the master needs fails the start, and leaves nothing"] = function()
  ends(start "on_start = function(master) master.config.clusters = nil end", 1)
  ends(start "on_start = function(master) master.order = nil end", 1)
end

T["os.exit in a hook of the master leaves neither workers, sockets nor pidfile"] = function()
  for _, config in ipairs {
    "before_fork = function() os.exit(7) end",
    "worker_ready = function() os.exit(7) end",
    "worker_ready = function(master) master:quit() end, on_stop = function() os.exit(7) end",
  } do
    local master = start(config)
    ends(master, 7)
    lu.assertEquals(s.child_pids(master.program.pid), {})
  end
end

T["os.exit in the master ends all in order first, as TERM does, and gives the status"] = function()
  for _, config in ipairs {
    "worker_ready = function() os.exit(7) end",
    "on_start = function() local b = require 'brood' b.async(function() b.sleep(0.2) os.exit(7) end) end",
  } do
    local master = start(config .. ", on_stop = function() note 'on_stop' end")
    local log = ends(master, 7)
    lu.assertStrContains(log, "stopping quickly (os.exit(7))")
    lu.assertStrMatches(log, ".*ended: status 0 %(stop%).*stopped\n")
    master:noted "(on_stop)"
  end
end

T["a before_fork that waits for ever fails that fork after start_timeout"] = function()
  local master = start "start_timeout = 0.2, before_fork = function() require('brood').sleep(60) end"
  lu.assertStrContains(ends(master, 1), "before_fork has not ended within 0.2 s")
end

T["an app that is preloaded for ever fails the start after start_timeout"] = function()
  local master = start("preload = true, start_timeout = 0.2", { app = "require('brood').sleep(60)" })
  lu.assertStrMatches(ends(master, 1), ".*cannot start: web: preload: %S+app.lua was not loaded within 0.2 s.*")
end

T["an on_start that takes long is told of"] = function()
  local master = start "start_timeout = 0.2, on_start = function() require('brood').sleep(0.5) end"
  master.program:expect "on_start still runs after [%d.]+ s"
  lu.assertEquals((master:stop "TERM"), 0)
end

T["a second INT or TERM ends a master whose config or hook does not let go"] = function()
  for _, config in ipairs {
    "on_start = function() note 'busy' while true do end end",
    "worker_ready = function() note 'busy' while true do end end",
  } do
    local master = start(config)
    master:noted "(busy)"
    master.program:kill "INT"
    s.wait(function()
      master.program:kill "INT"
      return master.program.over
    end, 10, "the end")
    lu.assertEquals(master.program.signal, 2)
    lu.assertStrContains(master:log(), "Lua does not let go")
    for _, name in ipairs(LEFT) do
      os.remove(master.dir .. "/" .. name)
    end
  end
end

T["a master that runs cannot be started again"] = function()
  local master = start [[worker_ready = function(master)
    note(pcall(master.start, master, master.config))
  end]]
  lu.assertStrContains(master:noted "(false [^\n]+)", "master:start: it has been started already")
  lu.assertEquals(s.get("unix:" .. master.dir .. "/web.sock").body, "hello\n")
  lu.assertEquals((master:stop "TERM"), 0)
end

T["a user without a group of its own is refused unless one is named"] = function()
  if require("brood.posix").getuid() ~= 0 then
    return lu.skip "only root can become somebody else"
  end
  lu.assertStrContains(ends(start "user = 54321", 1), "name one with `group`")
  local _, err = require("brood.process").run({ "id" }, { user = 54321 })
  lu.assertEquals(err.code, "EINVAL")
  lu.assertStrContains(err.message, "user 54321 has no group of its own")
  local result = assert(require("brood.process").run({ "id", "-g" }, { user = 54321, group = 54322 }))
  lu.assertEquals(result.stdout, "54322\n")
end

T["a pidfile that is a symbolic link is refused, and said to be one"] = function()
  local target = s.temp_dir() .. "/elsewhere"
  local master = masters.start { config = ("pidfile = %q"):format(target .. ".pid"),
    before = ("require('luv').fs_symlink(%q, %q)"):format(target, target .. ".pid") }
  lu.assertEquals(master.program:wait(10), 1)
  lu.assertStrContains(master:log(), "is a symbolic link")
end

T["a pidfile or socket that cannot be removed is told of"] = function()
  local shim = os.getenv "BROOD_FAULTS"
  if not shim then
    return lu.skip "needs the faults library"
  end
  local master = start("", { env = { LD_PRELOAD = shim, BROOD_FAULT = "unlink:EACCES:1+" } })
  master:address()
  master.program:kill "TERM"
  master.program:wait()
  lu.assertStrMatches(master:log(), ".*pidfile %S+ is left behind: Permission denied.*")
  lu.assertStrMatches(master:log(), ".*socket %S+ is left behind: Permission denied.*")
  for _, name in ipairs(LEFT) do
    lu.assertTrue(os.remove(master.dir .. "/" .. name))
  end
end

return T
