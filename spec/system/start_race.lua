--- Several masters that want the same: exactly one has the pidfile and the Unix sockets, and those that lose leave
--- nothing and take nothing.
local lu = require "luaunit"
local s = require "spec.support"
local uv = require "luv"

local APP = 'return function(_, res) res:finish(tostring(require("brood.posix").getppid())) end'

local function write(dir, name, keys)
  s.write_file(dir .. "/app.lua", APP)
  return s.write_file(("%s/%s.lua"):format(dir, name), ('return { app = "app.lua", workers = 1, %s }'):format(keys))
end

local function serves(program)
  return program:stderr():find "workers serve " ~= nil
end

-- All at once; the one that serves, when the others have ended.
local function race(path, n)
  local list = {}
  for i = 1, n do
    list[i] = s.brood { "run", path }
  end
  local winner
  s.wait(function()
    local over = 0
    for _, program in ipairs(list) do
      over = over + (program.over and 1 or 0)
      winner = serves(program) and program or winner
    end
    return over >= n - 1 and winner
  end, 60, function()
    local texts = {}
    for _, program in ipairs(list) do
      texts[#texts + 1] = ("%d %s %s"):format(program.pid, program.over and "over" or "there", program:stderr())
    end
    return "one winner\n" .. table.concat(texts, "\n")
  end)
  for _, program in ipairs(list) do
    if program ~= winner then
      lu.assertEquals({ program.code, serves(program) }, { 1, false }, program:stderr())
      lu.assertStrMatches(program:stderr(), ".*cannot start: .*")
    end
  end
  lu.assertTrue(not winner.over, winner:stderr())
  return winner
end

local function answers(dir)
  return tonumber(s.get("unix:" .. dir .. "/web.sock").body)
end

local function nothing_left(dir)
  local scan = uv.fs_scandir(dir)
  for name in function() return uv.fs_scandir_next(scan) end do
    lu.assertStrMatches(name, ".*%.lua")
  end
end

return {
  ["of 20 starts at once one wins; pidfile, socket and control socket are its own"] = function()
    local dir = s.temp_dir()
    local path = write(dir, "brood", 'listen = "unix:web.sock", pidfile = "run.pid", control = "unix:control.sock"')
    for _ = 1, 2 do
      local winner = race(path, 20)
      lu.assertEquals(s.read_file(dir .. "/run.pid"), winner.pid .. "\n")
      lu.assertEquals(answers(dir), winner.pid)
      local status = s.get("unix:" .. dir .. "/control.sock", "/status").body
      lu.assertStrContains(status, ('"pid":%d'):format(winner.pid))
      winner:kill "QUIT"
      lu.assertEquals(winner:wait(), 0)
      nothing_left(dir)
    end
  end,

  ["without a pidfile the socket decides, a Unix one or a port"] = function()
    for _, listen in ipairs { "unix:web.sock", "127.0.0.1:" .. s.free_port() } do
      local dir = s.temp_dir()
      local winner = race(write(dir, "brood", ("listen = %q, control = false"):format(listen)), 12)
      lu.assertEquals(tonumber(s.get((listen:gsub("^unix:", "unix:" .. dir .. "/"))).body), winner.pid)
      winner:kill "QUIT"
      lu.assertEquals(winner:wait(), 0)
      nothing_left(dir)
    end
  end,

  ["a race for what a killed master has left is decided like any other"] = function()
    local dir = s.temp_dir()
    local path = write(dir, "brood", 'listen = "unix:web.sock", pidfile = "run.pid", control = false')
    local first = s.brood { "run", path }
    first:expect "workers serve "
    local workers = s.child_pids(first.pid)
    first:kill "KILL"
    first:wait()
    lu.assertTrue(s.exists(dir .. "/run.pid") and s.exists(dir .. "/web.sock"))
    local winner = race(path, 10)
    lu.assertEquals(s.read_file(dir .. "/run.pid"), winner.pid .. "\n")
    lu.assertEquals(answers(dir), winner.pid)
    s.gone(workers, 5)
    winner:kill "QUIT"
    lu.assertEquals(winner:wait(), 0)
    nothing_left(dir)
  end,

  ["a number in the pidfile that is somebody else's by now is nobody's claim"] = function()
    local dir = s.temp_dir()
    local path = write(dir, "brood", 'listen = "unix:web.sock", pidfile = "run.pid", control = false')
    local stranger = s.start { "/bin/sleep", "60" }
    s.write_file(dir .. "/run.pid", stranger.pid .. "\n")
    local program = s.brood { "run", path }
    program:expect "workers serve "
    lu.assertEquals(s.read_file(dir .. "/run.pid"), program.pid .. "\n")
    lu.assertTrue(s.alive(stranger.pid))
    program:kill "QUIT"
    lu.assertEquals(program:wait(), 0)
  end,

  ["a start that cannot bind all it wants takes nothing from the one that runs"] = function()
    local dir = s.temp_dir()
    local port = "127.0.0.1:" .. s.free_port()
    local first = s.brood { "run", write(dir, "brood", ([[
      listen = { "unix:web.sock", %q }, pidfile = "run.pid", control = "unix:control.sock"]]):format(port)) }
    first:expect "workers serve "
    for _, keys in ipairs {
      'listen = "unix:web.sock", pidfile = "run.pid", control = false', -- the same of everything
      'listen = "unix:other.sock", pidfile = "run.pid", control = false', -- the pidfile alone
      'listen = "unix:web.sock", pidfile = "other.pid", control = false', -- the socket alone
      ('listen = { "unix:other.sock", %q }, pidfile = "other.pid", control = false'):format(port),
      'listen = "unix:other.sock", pidfile = "other.pid", control = "unix:control.sock"',
      'listen = "unix:control.sock", pidfile = "other.pid", control = "unix:web.sock"',
    } do
      local second = s.brood({ "run", write(dir, "second", keys) }):finish()
      lu.assertEquals(second.code, 1, keys)
      lu.assertStrContains(second.stderr, "cannot start: ")
      lu.assertEquals(s.read_file(dir .. "/run.pid"), first.pid .. "\n")
      lu.assertEquals(answers(dir), first.pid)
      lu.assertEquals(s.get("unix:" .. dir .. "/control.sock", "/health").status, 200)
      for _, name in ipairs { "other.sock", "other.pid" } do
        lu.assertFalse(s.exists(dir .. "/" .. name), keys)
      end
    end
    first:kill "QUIT"
    lu.assertEquals(first:wait(), 0)
    nothing_left(dir)
  end,

  ["one that starts while another ends waits for what that one leaves"] = function()
    local dir = s.temp_dir()
    local path = write(dir, "brood", ('listen = { "unix:web.sock", %d }, control = false'):format(s.free_port()))
    local first = s.brood { "run", path }
    for _ = 1, 5 do
      first:expect "workers serve "
      first:kill "QUIT"
      local second = s.brood { "run", path }
      second:expect "workers serve "
      lu.assertEquals(first:wait(), 0)
      lu.assertEquals(answers(dir), second.pid)
      first = second
    end
    lu.assertEquals(first:stop(), 0)
    nothing_left(dir)
  end,
}
