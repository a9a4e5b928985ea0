--- Watching, reaping and signalling children and their groups; whose zombies are taken and whose are left alone.
local lu = require "luaunit"
local uv = require "luv"
local core = require "brood.core"
local posix = require "brood.posix"
local s = require "spec.support"
local spawn = require "spec.support.core_spawn"

local KILL, TERM, STOP, CONT = 9, 15, 19, 18

local T = {}

T["a watch comes while the leader is still a zombie, and reap gives its code"] = function()
  local p = spawn.start { "/bin/sh", "-c", "exit 7" }
  spawn.wait_over(p)
  lu.assertEquals(s.stat(p:pid()).state, "Z")
  local code, signal = p:reap()
  lu.assertEquals({ code, signal }, { 7, nil })
  lu.assertNil(s.stat(p:pid()))
  p:close()
end

T["a program that was killed has a signal and no code"] = function()
  local p = spawn.start { "/bin/sleep", "100" }
  local code, signal, err = p:reap()
  lu.assertEquals({ code, signal, err.code }, { nil, nil, "EAGAIN" })
  lu.assertTrue(p:signal(KILL))
  spawn.wait_over(p)
  code, signal = p:reap()
  lu.assertNil(code)
  lu.assertEquals(signal, KILL)
  code, err = p:signal(TERM)
  lu.assertNil(code)
  lu.assertEquals(err.code, "ESRCH") -- its number may be another's by now
  p:close()
end

T["a stopped program is not over"] = function()
  local p = spawn.start { "/bin/sleep", "100" }
  local over = false
  p:watch(function()
    over = true
  end)
  p:signal(STOP)
  s.wait(function()
    return s.stat(p:pid()).state == "T"
  end, 5, "the program to stop")
  lu.assertFalse(over)
  p:signal(CONT)
  p:signal(TERM)
  s.wait(function()
    return over
  end)
  p:reap()
  p:close()
end

T["a group lives on after its leader until its last member is gone"] = function()
  core.process.subreaper()
  local p = spawn.start({ "/bin/sh", "-c", "sleep 100 & exit 0" }, { new_group = true })
  spawn.wait_over(p)
  lu.assertEquals((p:reap()), 0)
  lu.assertTrue(p:group_alive())
  lu.assertTrue(p:signal_group(KILL))
  s.wait(function()
    return not p:group_alive()
  end, 5, "the group to be empty")
  local ok, err = p:signal_group(KILL)
  lu.assertNil(ok)
  lu.assertEquals(err.code, "ESRCH")
  p:close()
  lu.assertEquals(s.child_pids(), {})
end

T["while the leader is not reaped its group counts as alive, and nobody takes its status"] = function()
  local p = spawn.start({ "/bin/sh", "-c", "exit 3" }, { new_group = true })
  spawn.wait_over(p)
  lu.assertTrue(p:group_alive())
  lu.assertEquals(core.process.reap_orphans(), 0)
  lu.assertEquals((p:reap()), 3)
  lu.assertFalse(p:group_alive())
  p:close()
end

T["signalling the group of one that has none of its own is refused"] = function()
  local p = spawn.start { "/bin/sleep", "100" }
  local ok, err = p:signal_group(KILL)
  lu.assertNil(ok)
  lu.assertEquals(err.code, "EINVAL")
  p:signal(KILL)
  spawn.finish(p)
end

T["orphans that come home are reaped, also behind a zombie that is somebody's"] = function()
  core.process.subreaper()
  local known = spawn.start { "/bin/true" }
  spawn.wait_over(known) -- a zombie that stays first in line
  local maker = spawn.start { "/bin/sh", "-c", "setsid sh -c 'exit 0' & setsid sh -c 'exit 0' & wait" }
  lu.assertEquals(spawn.finish(maker), 0)
  local orphaner = spawn.start { "/bin/sh", "-c", "setsid sleep 0.01 & setsid sleep 0.02 & exit 0" }
  lu.assertEquals(spawn.finish(orphaner), 0)
  local reaped = 0
  s.wait(function()
    reaped = reaped + core.process.reap_orphans()
    return reaped == 2
  end, 5, function()
    return "two orphans, reaped " .. reaped
  end)
  lu.assertEquals((known:reap()), 0)
  known:close()
end

T["popen, uv.spawn and posix.fork keep their own zombies"] = function()
  local pid = posix.fork()
  if pid == 0 then
    posix.setsid()
    core.exit(5)
  end
  local pipe = io.popen("exit 3")
  local ended
  local handle, uv_pid = uv.spawn("/bin/sh", { args = { "-c", "exit 4" }, detached = true }, function(code)
    ended = code
  end)
  -- Wait without turning the loop, which would let uv reap its own.
  local limit = uv.hrtime() + 5e9
  local function zombies()
    local n = 0
    for _, state in pairs(s.children()) do
      n = n + (state:find "Z$" and 1 or 0)
    end
    return n
  end
  repeat until zombies() == 3 or uv.hrtime() > limit
  lu.assertEquals(zombies(), 3)
  lu.assertEquals(core.process.reap_orphans(), 0)
  lu.assertEquals({ posix.waitpid(pid) }, { pid, "exited", 5 })
  pipe:close()
  s.wait(function()
    return ended
  end, 5, "uv.spawn's exit of " .. uv_pid)
  lu.assertEquals(ended, 4)
  handle:close()
end

T["a child that was closed without reaping is collected with the orphans"] = function()
  local p = spawn.start { "/bin/true" }
  spawn.wait_over(p)
  p:close()
  lu.assertEquals(core.process.reap_orphans(), 1)
end

T["one that somebody else reaped has an unknown end, and is over"] = function()
  local p = spawn.start { "/bin/true" }
  spawn.wait_over(p)
  lu.assertEquals((posix.waitpid(p:pid())), p:pid())
  lu.assertEquals(select("#", p:reap()), 2)
  p:close()
end

T["a forked child is adopted, with a group of its own"] = function()
  local pid = posix.fork()
  if pid == 0 then
    core.exit(9)
  end
  local p = assert(core.process.adopt(pid, true))
  lu.assertEquals(p:pid(), pid)
  spawn.wait_over(p)
  lu.assertEquals((p:reap()), 9)
  lu.assertFalse(p:group_alive())
  p:close()
end

T["the process objects of a parent are closed in its forked child"] = function()
  local p = spawn.start { "/bin/sleep", "100" }
  p:watch(function() end)
  local r, w = posix.pipe()
  local pid = posix.fork()
  if pid == 0 then
    local ok, err = p:signal(KILL)
    posix.write(w, tostring(ok) .. " " .. err.code)
    p:close()
    collectgarbage()
    core.exit(0)
  end
  lu.assertEquals({ posix.waitpid(pid) }, { pid, "exited", 0 })
  lu.assertEquals(posix.read(r, 100), "nil closed")
  lu.assertTrue(s.alive(p:pid()))
  posix.close(r)
  posix.close(w)
  p:signal(KILL)
  spawn.finish(p)
end

T["a Lua child whose master is killed ends in time even if its loop never turns again"] = function()
  local program = s.script [[
    local core, posix = require "brood.core", require "brood.posix"
    local master = posix.getpid()
    local pid = posix.fork()
    if pid == 0 then
      assert(core.process.own_master_death(0.2, master))
      print(posix.getpid())
      io.flush()
      while true do end
    end
    require("brood").sleep(100)
  ]]
  core.process.subreaper() -- so that its end can be seen here
  local child = tonumber((program:expect "(%d+)\n"))
  program:kill "KILL"
  program:wait()
  local how
  s.wait(function()
    how = select(2, posix.waitpid(child, "nohang"))
    return how ~= "running"
  end, 5, "the stuck child to end")
  lu.assertEquals(how, "killed")
end

T["a child that learns too late that its master is gone is told so"] = function()
  local ok, err = core.process.own_master_death(100, posix.getpid()) -- we are not our own parent
  core.process.forgive_master_death()
  lu.assertNil(ok)
  lu.assertEquals(err.code, "ESRCH")
end

return T
