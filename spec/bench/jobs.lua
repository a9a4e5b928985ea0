--- Job pools: trivial jobs of 50 bytes through two workers. Beside the floor (a C program that does nothing but pass
--- them over socket pairs) and Python's multiprocessing.Pool, each in a process of its own, in turns. BROOD_BENCH=long
--- also runs ten million jobs through one pool, and looks whether its memory stays.
local c = require "spec.bench.lib.c"
local report = require "spec.bench.lib.report"
local uv = require "luv"

local ROUNDS = 5
local SCRIPT = c.root .. "/spec/bench/programs/jobs.lua"

local function brood(...)
  return c.figures { uv.exepath(), "exec", SCRIPT, ... }
end

local python = require("spec.bench.lib.server").find "python3"

local function of_python(...)
  return c.figures { python, c.root .. "/spec/bench/programs/jobs_pool.py", ... }
end

local function sets(...)
  local list = {}
  for _, name in ipairs { ... } do
    list[name] = {}
  end
  return list
end

local function note(list, value)
  list[#list + 1] = value
end

local function rounds(floor, at_once, jobs)
  local found = sets("brood", "floor", "python", "p50", "floor_p50", "python_p50", "p99", "floor_p99")
  local small = at_once == "1"
  for round = 1, ROUNDS do
    local turns = {
      function() note(found.brood, (brood("throughput", jobs, at_once))) end,
      function() note(found.floor, (c.figures { floor, "throughput", small and "200000" or "2000000", at_once })) end,
      function() return python and note(found.python, (of_python("throughput", "20000"))) end,
    }
    if small then
      turns[4] = function()
        local p50, p99 = brood("latency", "20000")
        note(found.p50, p50)
        note(found.p99, p99)
      end
      turns[5] = function()
        local p50, p99 = c.figures { floor, "latency", "50000", "1" }
        note(found.floor_p50, p50)
        note(found.floor_p99, p99)
      end
      turns[6] = function() return python and note(found.python_p50, (of_python("latency", "5000"))) end
    end
    for i = 1, #turns do
      turns[(i + round) % #turns + 1]()
    end
  end
  return found
end

local missing = not python and "python3 is not installed" or nil

local function throughput(floor)
  local one = rounds(floor, "1", "100000")
  report.line("jobs/s, prefetch 1", one.brood, "floor in C, 1 under way each", one.floor)
  report.line("", one.brood, "multiprocessing.Pool", one.python, missing)
  report.line("one job at a time, p50 in us", one.p50, "floor in C", one.floor_p50)
  report.line("", one.p50, "multiprocessing.Pool", one.python_p50, missing)
  report.line("one job at a time, p99 in us", one.p99, "floor in C", one.floor_p99)
  local many = rounds(floor, "64", "400000")
  report.line("jobs/s, prefetch 64", many.brood, "floor in C, 64 under way each", many.floor)
  report.line("", many.brood, "multiprocessing.Pool", many.python, missing)
end

local function recycling()
  local found = sets("recycled", "kept")
  for _ = 1, ROUNDS do
    note(found.recycled, (brood("throughput", "50000", "1", "64")))
    note(found.kept, (brood("throughput", "50000", "1")))
  end
  report.line("jobs/s, 64 jobs per process", found.recycled, "jobs/s without an end", found.kept)
end

local function waiting()
  local found = sets("bytes", "lua", "long", "short")
  for _ = 1, 3 do
    local bytes, lua, long = brood("waiting", "1000000", "64")
    note(found.bytes, bytes)
    note(found.lua, lua)
    note(found.long, long)
    local _, _, short = brood("waiting", "200000", "64")
    note(found.short, short)
  end
  report.line("a million wait, bytes each beyond its data", found.bytes, "the goal", { 200 })
  report.line("of that in the Lua heap", found.lua, "", nil, "forks copy it")
  report.line("jobs/s with a million waiting", found.long, "200,000 waiting", found.short)
end

return function()
  local floor = c.compile "jobs_floor"
  throughput(floor)
  recycling()
  waiting()
  if os.getenv "BROOD_BENCH" == "long" then
    report.line("RSS over 10 million jobs, KiB", { (brood("flat", "10000000", "64")) }, "", nil, "its growth")
  end
end
