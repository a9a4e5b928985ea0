--- jobs.lua MODE JOBS [PREFETCH [MAX_JOBS_PER_PROCESS]]: trivial jobs of about 50 bytes through a pool of two workers.
---   throughput  prints jobs per second, 8 times as many enqueued as the workers have at a time
---   latency     one job at a time: prints the median and the 99th percentile in microseconds
---   waiting     that many jobs wait: prints the bytes each of them costs beyond its data, the same of the Lua heap
---               alone, and the jobs per second with that backlog
---   flat        that many jobs through one pool: prints the growth of the RSS in KiB over the last nine tenths
local Pool = require "brood.pool"
local uv = require "luv"

local mode, jobs, prefetch = arg[1], tonumber(arg[2]), tonumber(arg[3]) or 1
local PAD = ("x"):rep(40)

local pool = Pool.new {
  worker = function(job) return job.data.arg + 1 end,
  max_processes = 2, prefetch = prefetch, max_jobs_per_process = tonumber(arg[4]) or false,
}

local function rss()
  local file = assert(io.open "/proc/self/statm")
  local pages = file:read("*a"):match "^%d+ (%d+)"
  file:close()
  return tonumber(pages) * 4096
end

local function seconds_since(began)
  return (uv.hrtime() - began) / 1e9
end

-- So many jobs, a number of them under way at a time; `each(ended)` hears of every end.
local function run(count, under_way, each)
  local began, given, ended, wrong = uv.hrtime(), 0, 0, 0
  local task = require "brood.task"
  task.run(nil, "run", function(done)
    local function one()
      if given == count then
        return
      end
      given = given + 1
      local i = given
      pool:enqueue({ arg = i, pad = PAD }, function(err, result)
        if err or result ~= i + 1 then
          wrong = wrong + 1
        end
        ended = ended + 1
        if each then
          each(ended)
        end
        if ended == count then
          return done()
        end
        one()
      end)
    end
    for _ = 1, math.min(under_way, count) do
      one()
    end
  end)
  assert(wrong == 0, wrong .. " wrong results")
  return count / seconds_since(began)
end

local function percentiles(took)
  table.sort(took)
  return took[math.ceil(#took / 2)], took[math.ceil(#took * 0.99)]
end

local modes = {}

function modes.throughput()
  print(("%.0f"):format(run(jobs, prefetch > 1 and prefetch * 2 * 4 or 128)))
end

function modes.latency()
  local took = {}
  for i = 1, jobs do
    local began = uv.hrtime()
    assert(pool:run { arg = i, pad = PAD } == i + 1)
    took[i] = (uv.hrtime() - began) / 1e3
  end
  print(("%.2f %.2f"):format(percentiles(took)))
end

-- The data of such a job, as it is kept.
local DATA = #require("brood.message").encode { arg = 1e6, pad = PAD }

function modes.waiting()
  collectgarbage()
  collectgarbage()
  local before, heap = rss(), collectgarbage "count"
  local ended, failed = 0, 0
  for i = 1, jobs do
    pool:enqueue { arg = i, pad = PAD }
  end
  collectgarbage()
  collectgarbage()
  local cost = (rss() - before) / jobs - DATA
  local lua = (collectgarbage "count" - heap) * 1024 / jobs
  local began = uv.hrtime()
  local some = math.min(jobs, 200000)
  require("brood.task").run(nil, "wait", function(done)
    pool:on("done", function(job)
      ended = ended + 1
      failed = failed + (job.err and 1 or 0)
      if ended == some then
        done()
      end
    end)
  end)
  assert(failed == 0, failed .. " jobs failed")
  print(("%.1f %.2f %.0f"):format(cost, lua, some / seconds_since(began)))
end

function modes.flat()
  local first
  run(jobs, prefetch * 16, function(ended)
    if ended == math.ceil(jobs / 10) then
      collectgarbage()
      first = rss()
    end
  end)
  collectgarbage()
  print(("%.0f"):format((rss() - first) / 1024))
end

assert(pool:spawn_workers())
if mode ~= "waiting" then
  run(math.min(jobs, 400), 64)
end
modes[mode]()
os.exit(0)
