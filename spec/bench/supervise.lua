--- One brood that looks after a thousand programs with nothing to do, and after ten thousand: how long until all of
--- them run and until all have ended, what it keeps in memory and does meanwhile, and how soon one that is killed has
--- a replacement. As services of a config and by brood.process, beside a loop of posix_spawn and waitpid in C.
local brood = require "brood"
local c = require "spec.bench.lib.c"
local Process = require "brood.process"
local report = require "spec.bench.lib.report"
local server = require "spec.bench.lib.server"
local temp = require "spec.support.temp"
local uv = require "luv"

local ROUNDS, FEW, MANY = 3, 1000, 10000
local SETTLE, IDLE = 1, 5 -- seconds
local KILLED = 21
local PATIENCE = 120

local CONFIG = [[
local services = {}
for i = 1, %d do
  services["s" .. i] = { command = { %q }, restart_tolerance = 0 }
end
return { services = services, control = false }
]]

-- A supervisor whose children say on its stdout that they run.
local function start(argv)
  local self = { running = 0, ended = false }
  self.process = Process.new({
    command = argv, stderr = "/dev/null", stop_timeout = PATIENCE,
    stdout = function(bytes)
      self.running = self.running + #bytes
      self.last = uv.hrtime()
    end,
  }, { raw = { stdout = true } })
  self.began = uv.hrtime()
  assert(self.process:start())
  return self
end

local function await(self, n)
  while self.running < n do
    assert(self.process.state == "ready", "the supervisor has ended")
    assert((uv.hrtime() - self.began) / 1e9 < PATIENCE, "not all of them run")
    brood.sleep(0.0005)
  end
  return self.last
end

local function children(pid)
  local list = {}
  local file = assert(io.open(("/proc/%d/task/%d/children"):format(pid, pid)))
  for child in file:read("*a"):gmatch("%d+") do
    list[#list + 1] = tonumber(child)
  end
  file:close()
  return list
end

-- The milliseconds of cpu that it has had, in ticks of 10.
local function cpu(pid)
  local file = assert(io.open(("/proc/%d/stat"):format(pid)))
  local user, system = file:read("*a"):match("^.*%) " .. ("%S+ "):rep(11) .. "(%d+) (%d+)")
  file:close()
  return (tonumber(user) + tonumber(system)) * 10
end

-- The median: one that waits for its turn on a processor is not the supervisor's fault.
local function replace(self, n)
  local times = {}
  for i = 1, KILLED do
    local list = children(self.process.pid)
    local killed = uv.hrtime()
    assert(uv.kill(list[1 + i * 37 % #list], "sigkill"))
    times[i] = (await(self, n + i) - killed) / 1e6
    brood.sleep(0.02)
  end
  return report.median(times)
end

local function note(found, what, name, value)
  found[what] = found[what] or {}
  found[what][name] = found[what][name] or {}
  table.insert(found[what][name], value)
end

local function measure(found, name, argv, n, idle)
  local self = start(argv)
  note(found, "start", name, (await(self, n) - self.began) / 1e6)
  brood.sleep(SETTLE)
  note(found, "memory", name, server.pss(self.process.pid))
  if idle then
    local before = cpu(self.process.pid)
    brood.sleep(IDLE)
    note(found, "idle", name, (cpu(self.process.pid) - before) / IDLE)
  end
  note(found, "replace", name, replace(self, n))
  brood.sleep(SETTLE)
  local asked = uv.hrtime()
  assert(self.process:stop())
  note(found, "stop", name, (uv.hrtime() - asked) / 1e6)
end

local function rounds(n, count, ways)
  local found = {}
  for round = 1, count do
    for _, way in ipairs(ways) do
      measure(found, way.name, way.argv, n, round == 1)
    end
  end
  local floor = ways[1].name
  for i = 2, #ways do
    local name = ways[i].name
    report.line(("%d %s, all running, ms"):format(n, name), found.start[name], floor, found.start[floor])
    report.line(("%d %s, all ended, ms"):format(n, name), found.stop[name], floor, found.stop[floor])
    report.line(("%d %s, a replacement runs, ms"):format(n, name), found.replace[name], floor, found.replace[floor])
    report.line(("%d %s, its own memory (PSS), KiB"):format(n, name), found.memory[name], floor, found.memory[floor])
    report.line(("%d %s, cpu while idle, ms a second"):format(n, name), found.idle[name], floor, found.idle[floor])
  end
end

local function ways(n)
  local child, floor = c.compile("supervised", "-static"), c.compile "supervise_floor"
  local config = temp.write_file("brood.lua", CONFIG:format(n, child))
  return {
    { name = "a loop in C", argv = { floor, tostring(n), child } },
    { name = "processes", argv = { uv.exepath(), "exec", c.root .. "/spec/bench/programs/supervise.lua", tostring(n),
      child } },
    { name = "services", argv = { uv.exepath(), "run", config } },
  }
end

local function open_files()
  for line in io.lines "/proc/self/limits" do
    local hard = line:match("^Max open files%s+%S+%s+(%d+)")
    if hard then
      return tonumber(hard)
    end
  end
end

return function()
  rounds(FEW, ROUNDS, ways(FEW))
  if open_files() < MANY + 100 then
    return report.note(("%d are left out: no more than %d open files are allowed"):format(MANY, open_files()))
  end
  rounds(MANY, 1, ways(MANY))
end
