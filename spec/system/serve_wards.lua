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

local function start(config)
  local master = masters.start { app = APP, workers = 1, config = config }
  local worker = master:pids()[1]
  local wards = {}
  for i, name in ipairs { "first", "second", "third" } do
    wards[i] = pid_in(master.dir .. "/" .. name)
    lu.assertTrue(s.alive(wards[i]), name)
  end
  return master, worker, wards
end

local function gone(pids, seconds)
  s.wait(function()
    for _, pid in ipairs(pids) do
      if s.alive(pid) then
        return false
      end
    end
    return true
  end, seconds, function()
    return "the end of " .. table.concat(pids, ", ")
  end)
end

return {
  ["a graceful stop at its deadline leaves nothing, and the master ends after it"] = function()
    local master, _, wards = start "graceful_timeout = 0.5"
    lu.assertEquals((master:stop "QUIT"), 0)
    gone(wards, 0.2)
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
      gone({ worker, unpack(wards) }, 2)
      for i, name in ipairs { "first", "second", "third" } do
        wards[i] = pid_in(master.dir .. "/" .. name)
      end
      worker = master:ready(1)[1].pid
    end
    lu.assertEquals((master:stop "TERM"), 0)
    gone(wards, 0.2)
  end,

  ["a killed master: all is gone within graceful_timeout"] = function()
    local master, worker, wards = start "graceful_timeout = 0.5"
    master.program:kill "KILL"
    master.program:wait()
    gone({ worker, unpack(wards) }, 4 * s.slow)
    os.remove(master.control)
  end,

  ["a killed master and a stuck worker: all is gone within graceful_timeout"] = function()
    local master, worker, wards = start "graceful_timeout = 0.5, worker_ready = function(_, w) w:send 'spin' end"
    uv.kill(worker, "sigstop")
    master.program:kill "KILL"
    master.program:wait()
    uv.kill(worker, "sigcont")
    gone({ worker, unpack(wards) }, 4 * s.slow)
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
}
