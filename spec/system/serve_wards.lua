--- What a worker supervises does not outlive it, however the worker ends, nor does what its own children supervise.
local lu = require "luaunit"
local masters = require "spec.support.master"
local s = require "spec.support"
local uv = require "luv"

-- It ignores TERM, and writes its pid to a file of its own.
local STUBBORN = [[{ "sh", "-c", "trap '' TERM; echo $$ > %s; while :; do sleep 0.05; done" }]]
local APP = [[
local Process = require "brood.process"
return { server = function(_, res) res:finish "x" end, start = function()
  assert(Process.new { command = ]] .. STUBBORN:format("first") .. [[ }:start())
  local child = Process.new { name = "inner", main = function()
    assert(Process.new { command = ]] .. STUBBORN:format("second") .. [[ }:start())
    require("brood").sleep(60)
  end, ready = "spawn", stop_timeout = 30 }
  assert(child:start())
  os.execute("sh -c 'echo $$ > third; exec sleep 60' &")
end }]]

local function pid_in(path)
  local pid
  s.wait(function()
    pid = tonumber(s.read_file(path) or "")
    return pid
  end, 10, path)
  os.remove(path)
  return pid
end

local function start(config, app)
  local master = masters.start { app = app or APP, workers = 1, config = config }
  local worker = master:pids()[1]
  local wards = {}
  for i, name in ipairs { "first", "second", "third" } do
    wards[i] = pid_in(master.dir .. "/" .. name)
    lu.assertTrue(s.alive(wards[i]), name)
  end
  return master, worker, wards
end

-- Lets a process run on until an event of ptrace, and keeps it there until the holder dies itself.
local AT_EXIT, BEHIND_VFORK = 6, 5
local HOLDER = [[
local ffi = require "ffi"
ffi.cdef "long ptrace(long request, int pid, void *at, void *data); int waitpid(int pid, int *status, int options);"
local SEIZE, CONT, TRAP, ALL = 0x4206, 7, 5, 0x40000000
local pid, event, status = tonumber((...)), tonumber((select(2, ...))), ffi.new "int[1]"
local function say(word)
  print(word)
  io.stdout:flush()
end
say(ffi.C.ptrace(SEIZE, pid, nil, ffi.cast("void *", 2 ^ event)) == 0 and "seized" or "refused")
while ffi.C.waitpid(pid, status, ALL) == pid do
  local what = bit.rshift(status[0], 8)
  if what == TRAP + 256 * event then
    say "there"
    require("luv").sleep(60000)
  end
  ffi.C.ptrace(CONT, pid, nil, ffi.cast("void *", what < 256 and what or 0))
end]]

local function hold(pid, event)
  local holder = s.script(HOLDER, { pid, event })
  if holder:expect "^(%l+)\n" ~= "seized" then
    lu.skip "a tracer is not allowed here"
  end
  return holder
end

return {
  ["a graceful stop at its deadline leaves nothing, and the master ends after it"] = function()
    local master, _, wards = start "graceful_timeout = 0.5"
    lu.assertEquals((master:stop "QUIT"), 0)
    s.gone(wards, 0.2)
  end,

  ["nor where a child between them dies slowly, which keeps the master from nothing"] = function()
    local deaf = APP:gsub('require%("brood"%)%.sleep%(60%)', 'require("luv").sleep(60000)')
    local master, _, wards = start("graceful_timeout = 0.5", deaf)
    local inner = s.stat(wards[2]).ppid
    local holder = hold(inner, AT_EXIT)
    master.program:kill "QUIT"
    holder:expect "(there)"
    s.remains(function()
      local seconds, status = s.timed(master.ask, master, "/status")
      return status == 200 and seconds < 1 * s.slow and s.alive(inner)
    end, 0.5, "the master's attention")
    holder:kill "KILL"
    lu.assertEquals((master.program:wait(10)), 0)
    s.gone({ inner, unpack(wards) }, 0.2)
  end,

  ["what a worker supervises is asked to end before its time is over"] = function()
    local master = masters.start { workers = 1, config = "graceful_timeout = 1", app = [[
      return { server = function(_, res) io.open("begun", "w"):close() require("brood").sleep(30) end, start = function()
        assert(require("brood.process").new { command = { "sh", "-c",
          "trap 'echo asked > asked; exit' TERM; echo up > up; while :; do sleep 0.02; done" } }:start())
      end }]] }
    local socket = s.connect(master:address())
    socket:send "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    s.wait(function() return s.exists(master.dir .. "/begun") and s.exists(master.dir .. "/up") end)
    lu.assertEquals((master:stop "QUIT"), 0)
    lu.assertTrue(s.exists(master.dir .. "/asked"))
  end,

  ["a worker that is killed takes it all with it, and the next one starts afresh"] = function()
    local master, worker, wards = start()
    for _ = 1, 3 do
      uv.kill(worker, "sigkill")
      s.gone({ worker, unpack(wards) }, 2)
      for i, name in ipairs { "first", "second", "third" } do
        wards[i] = pid_in(master.dir .. "/" .. name)
      end
      worker = master:ready(1)[1].pid
    end
    lu.assertEquals((master:stop "TERM"), 0)
    s.gone(wards, 0.2)
  end,

  ["a killed master: all is gone within graceful_timeout"] = function()
    local master, worker, wards = start "graceful_timeout = 0.5"
    master.program:kill "KILL"
    master.program:wait()
    s.gone({ worker, unpack(wards) }, 4 * s.slow)
    os.remove(master.control)
  end,

  ["a killed master and a stuck worker: all is gone within graceful_timeout"] = function()
    local master, worker, wards = start "graceful_timeout = 0.5, worker_ready = function(_, w) w:send 'spin' end"
    uv.kill(worker, "sigstop")
    master.program:kill "KILL"
    master.program:wait()
    uv.kill(worker, "sigcont")
    s.gone({ worker, unpack(wards) }, 4 * s.slow)
    os.remove(master.control)
  end,

  ["a program that is to survive lives on after a killed worker"] = function()
    local master = masters.start { workers = 1, app = [[
      return { server = function(_, res) res:finish "x" end, start = function()
        assert(require("brood.process").new { survive = true,
          command = { "sh", "-c", "echo $$ > first; exec sleep 60" } }:start())
      end }]] }
    local worker = master:pids()[1]
    local pid = pid_in(master.dir .. "/first")
    uv.kill(worker, "sigkill")
    pid_in(master.dir .. "/first")
    lu.assertTrue(s.alive(pid))
    uv.kill(pid, "sigkill")
    lu.assertEquals((master:stop "TERM"), 0)
  end,

  ["a script's child that is killed takes with it what it supervises"] = function()
    local result = s.script(([[
      local Process = require "brood.process"
      local child = Process.new { main = function()
        assert(Process.new { command = %s }:start())
        require("brood").sleep(60)
      end }
      assert(child:start())
      local pid
      while not pid do
        local file = io.open "first"
        pid = file and file:read "*n"
        if file then file:close() end
        require("brood").sleep(0.01)
      end
      child:signal "KILL"
      child:wait()
      local stat = io.open("/proc/" .. pid .. "/stat")
      print(stat and "left" or "gone")]]):format(STUBBORN:format "first")):finish()
    lu.assertEquals(result.stdout, "gone\n", result.stderr)
  end,

  ["one that is killed while it ends another leaves that to whoever ends it"] = function()
    local program = s.script(([[
      local Process, sleep = require "brood.process", require("brood").sleep
      local function child(stop_timeout, main)
        local process = Process.new { ready = "spawn", stop_timeout = stop_timeout, main = main }
        assert(process:start())
        return process
      end
      child(30, function()
        local ended = child(0, function()
          child(30, function()
            assert(Process.new { command = %s }:start())
            require("luv").sleep(60000) -- it does not hear of anything, and ends nothing itself
          end)
          sleep(60)
        end)
        while not io.open "go" do
          sleep(0.01)
        end
        ended:stop()
      end):wait()]]):format(STUBBORN:format "first"))
    local first = pid_in(program.cwd .. "/first")
    local lowest = s.stat(first).ppid
    local highest = s.stat(s.stat(lowest).ppid).ppid
    local holder = hold(lowest, AT_EXIT)
    s.write_file(program.cwd .. "/go", "")
    holder:expect "(there)"
    uv.kill(highest, "sigkill")
    s.gone({ highest }, 5)
    holder:kill "KILL"
    lu.assertEquals((program:wait()), 0, program:stderr())
    s.gone({ lowest, first }, 0.2)
  end,

  ["a child that is killed while it starts a program takes that with it"] = function()
    local program = s.script(([[
      local Process = require "brood.process"
      local child = Process.new { ready = "spawn", main = function()
        while not io.open "go" do
          require("brood").sleep(0.01)
        end
        Process.new { command = %s }:start()
      end }
      assert(child:start())
      print(child.pid)
      io.stdout:flush()
      child:wait()]]):format(STUBBORN:format "first"))
    local child = tonumber((program:expect "(%d+)\n"))
    local holder = hold(child, BEHIND_VFORK)
    s.write_file(program.cwd .. "/go", "")
    local first = pid_in(program.cwd .. "/first")
    holder:expect "(there)"
    uv.kill(child, "sigkill")
    holder:kill "KILL"
    lu.assertEquals((program:wait()), 0, program:stderr())
    s.gone({ first }, 0.2)
  end,
}
