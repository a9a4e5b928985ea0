--- The pidfile of a master: locked while it lives, gone when it has ended.
local lu = require "luaunit"
local s = require "spec.support"

local APP = 'return function(_, res) res:finish("hi") end'

local function config(dir, listen)
  s.write_file(dir .. "/app.lua", APP)
  return s.write_file(dir .. "/brood.lua", ([[
    return { app = "app.lua", listen = %q, workers = 1, pidfile = "run.pid", control = false }
  ]]):format(listen))
end

local function start(path)
  local p = s.brood { "run", path }
  p:expect("serve ")
  return p
end

return {
  ["it holds the master's pid, and is removed at the end"] = function()
    local dir = s.temp_dir()
    local p = start(config(dir, "127.0.0.1:0"))
    lu.assertEquals(s.read_file(dir .. "/run.pid"), p.pid .. "\n")
    p:kill("QUIT")
    lu.assertEquals({ p:wait() }, { 0 })
    lu.assertFalse(s.exists(dir .. "/run.pid"))
  end,

  ["a second master does not take it from a live one, and says who holds it"] = function()
    local dir = s.temp_dir()
    local path = config(dir, "127.0.0.1:0")
    local first = start(path)
    local second = s.brood({ "run", path }):finish()
    lu.assertEquals(second.code, 1)
    lu.assertStrContains(second.stderr, ("run.pid is held by the running process %d"):format(first.pid))
    lu.assertEquals(s.read_file(dir .. "/run.pid"), first.pid .. "\n")
    lu.assertEquals(first:stop(), 0)
  end,

  ["one that a killed master left is taken over, though its workers still live"] = function()
    local dir = s.temp_dir()
    local path = config(dir, "127.0.0.1:0")
    local first = start(path)
    first:kill("KILL")
    first:wait()
    lu.assertEquals(s.read_file(dir .. "/run.pid"), first.pid .. "\n")
    local second = start(path)
    lu.assertEquals(s.read_file(dir .. "/run.pid"), second.pid .. "\n")
    lu.assertEquals(second:stop(), 0)
  end,

  ["a start that cannot bind leaves no pidfile, and that of the one that runs alone"] = function()
    local first_dir, second_dir = s.temp_dir(), s.temp_dir()
    local address = "127.0.0.1:" .. s.free_port()
    local first = start(config(first_dir, address))
    local second = s.brood({ "run", config(second_dir, address) }):finish()
    lu.assertEquals(second.code, 1)
    lu.assertStrContains(second.stderr, address)
    lu.assertFalse(s.exists(second_dir .. "/run.pid"))
    lu.assertEquals(s.read_file(first_dir .. "/run.pid"), first.pid .. "\n")
    lu.assertEquals(first:stop(), 0)
  end,

  ["another's file at its path stays as it is, and is named"] = function()
    local dir = s.temp_dir()
    local path = config(dir, "127.0.0.1:0")
    s.write_file(dir .. "/run.pid", "root:x:0:0\n")
    local result = s.brood({ "run", path }):finish()
    lu.assertEquals(result.code, 1)
    lu.assertStrContains(result.stderr, "run.pid is something else, which stays as it is")
    lu.assertEquals(s.read_file(dir .. "/run.pid"), "root:x:0:0\n")
  end,

  ["what is no file at all is not removed either"] = function()
    local dir = s.temp_dir()
    local path = config(dir, "127.0.0.1:0")
    assert(os.execute(("mkfifo %s/run.pid"):format(dir)) == 0)
    local result = s.brood({ "run", path }):finish()
    lu.assertEquals(result.code, 1)
    lu.assertStrContains(result.stderr, "run.pid is something else")
    lu.assertTrue(s.exists(dir .. "/run.pid"))
  end,

  ["one in a folder that is not there is an error that names it"] = function()
    local dir = s.temp_dir()
    s.write_file(dir .. "/app.lua", APP)
    local path = s.write_file(dir .. "/brood.lua",
      'return { app = "app.lua", listen = "127.0.0.1:0", pidfile = "no/such/run.pid", control = false }')
    local result = s.brood({ "run", path }):finish()
    lu.assertEquals(result.code, 1)
    lu.assertStrContains(result.stderr, "no/such/run.pid: No such file or directory")
  end,
}
