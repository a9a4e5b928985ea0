--- Jobs in real workers: what becomes of each, whatever happens to its worker. What a pool decides without any process
--- is in unit/queue_pool, what its end and a fork mean for its jobs in pool_jobs_end.
local lu = require "luaunit"
local brood = require "brood"
local p = require "spec.support.pool"
local posix = require "brood.posix"
local s = require "spec.support"

local act, new = p.act, p.of

return {
  teardown = p.cleanup,

  ["a value goes to the worker and its answer comes back, by run, wait and callback"] = function()
    local pool = new { worker = function(job) return { job.data.n * 2, job.attempt, job.id } end, max_processes = 2 }
    local job, got = pool:enqueue { n = 4 }, nil
    pool:enqueue({ n = 5 }, function(err, result) got = { err, result } end)
    lu.assertEquals(pool:run { n = 3 }[1], 6)
    lu.assertEquals(job:wait(), { 8, 1, job.id })
    s.wait(function() return got end)
    lu.assertEquals({ got[1], got[2][1] }, { nil, 10 })
  end,

  ["any value arrives as it was: NaN, nested, a megabyte, nil and false"] = function()
    local pool = new { worker = act, max_processes = 1 }
    local nan = pool:run(0 / 0)
    lu.assertTrue(nan ~= nan)
    local big = ("x"):rep(1024 * 1024)
    local nested = { deep = { { { { "down" } } } }, [3] = false }
    lu.assertEquals(pool:run(nested), nested)
    lu.assertTrue(pool:run(big) == big)
    lu.assertEquals({ pool:run(false) }, { false })
    local value, err = pool:run(nil)
    lu.assertEquals({ value, err }, {})
  end,

  ["a job that has ended tells what it was given and what came of it, as often as it is asked"] = function()
    local pool = new { worker = function(job) return job.data.result end }
    local results = { 7, ("long "):rep(50), { nested = { 1, 2 } }, false }
    local ended, kept = 0, {}
    for i, result in ipairs(results) do
      local job = pool:enqueue({ number = i, result = result }, function(err) assert(not err) ended = ended + 1 end)
      kept[i] = job.id
    end
    s.wait(function() return ended == #results end)
    for i, result in ipairs(results) do
      local job = pool:get(kept[i])
      lu.assertEquals({ job.state, job.data, job.result }, { "ended", { number = i, result = result }, result })
      lu.assertEquals({ job:wait() }, { result })
      collectgarbage()
      lu.assertEquals({ pool:get(kept[i]):wait() }, { result })
    end
  end,

  ["errors keep message and traceback of the worker, and tables come whole"] = function()
    local pool = new { worker = function(job)
      local function deeper() error(job.data) end
      deeper()
    end, max_processes = 1 }
    local _, err = pool:run "no such image"
    lu.assertStrContains(err.message, "no such image")
    lu.assertStrContains(err.traceback, "deeper")
    lu.assertEquals(err.code, "error")
    _, err = pool:run { message = "bad", code = "EIMG", detail = { w = 5 } }
    lu.assertEquals({ tostring(err), err.code, err.detail }, { "bad", "EIMG", { w = 5 } })
  end,

  ["a result that cannot be encoded fails its job, and the worker goes on"] = function()
    local pool = new { worker = function(job)
      return job.data == 1 and { made = print } or require("luv").os_getpid()
    end, max_processes = 1 }
    local pid = pool:run(2)
    local value, err = pool:run(1)
    lu.assertEquals({ value, err.code }, { nil, "type" })
    lu.assertStrContains(tostring(err), "made is a function")
    lu.assertEquals(pool:run(2), pid)
  end,

  ["a job whose worker dies fails with exit, and the next one finds a worker"] = function()
    local pool = new { worker = act, max_processes = 1, respawn_delay = 0 }
    for _, how in ipairs { "die", "exit" } do
      local value, err = pool:run(how)
      lu.assertEquals({ value, err.code }, { nil, "exit" })
    end
    lu.assertEquals(pool:run "alive", "alive")
    lu.assertEquals(pool:stats().failed, 2)
  end,

  ["retries go on in new workers until one ends well, or there are none left"] = function()
    local dir = s.temp_dir()
    local pool = new { worker = function(job)
      local file = io.open(job.data, "a")
      file:write(job.attempt, "\n")
      file:close()
      if job.attempt < 3 then require("brood.core").exit(1) end
      return "third"
    end, max_processes = 1, retries = 2, respawn_delay = 0 }
    local job, retries = pool:enqueue(dir .. "/a"), 0
    job:on("retry", function(err) retries = retries + (err.code == "exit" and 1 or 0) end)
    lu.assertEquals({ job:wait(), retries, job.attempt }, { "third", 2, 3 })
    lu.assertEquals(s.read_file(dir .. "/a"), "1\n2\n3\n")
    local _, err = pool:run(dir .. "/b", { retries = 1 })
    lu.assertEquals({ err.code, s.read_file(dir .. "/b") }, { "exit", "1\n2\n" })
  end,

  ["a job that overruns fails with timeout, its own limit first, and its worker is killed"] = function()
    local pool = new { worker = act, max_processes = 1, timeout_working = 0.1, respawn_delay = 0 }
    local phases = {}
    pool:on("timeout", function(_, phase) table.insert(phases, phase) end)
    local took, _, err = s.timed(pool.run, pool, "hang")
    lu.assertEquals({ err.code, phases }, { "timeout", { "working" } })
    lu.assertTrue(took < 2 * s.slow, "it took " .. took)
    lu.assertEquals(pool:run({ sleep = 0.25, value = "slow" }, { timeout = false }), "slow")
    _, err = pool:run({ sleep = 5 }, { timeout = "50ms" })
    lu.assertEquals(err.code, "timeout")
  end,

  ["abort of a running job kills its worker alone; what was prefetched behind it runs elsewhere, once"] = function()
    local pool = new { worker = act, max_processes = 1, prefetch = 8, timeout_working = 30, respawn_delay = 0 }
    local pid = pool:run "pid"
    local running = pool:enqueue "hang"
    local behind = {}
    for i = 1, 7 do behind[i] = pool:enqueue(i) end
    s.wait(function()
      local w = pool.crew:workers()[1]
      return w and w.lane:running() == running.seq and w:outstanding() == 8
    end)
    lu.assertTrue(behind[3]:abort())
    lu.assertTrue(running:abort())
    lu.assertEquals({ running.state, running.err.code, behind[3].err.code }, { "ended", "abort", "abort" })
    for i = 1, 7 do
      if i ~= 3 then
        lu.assertEquals({ behind[i]:wait(), behind[i].attempt }, { i, 1 })
      end
    end
    lu.assertNotEquals(pool:run "pid", pid)
    local stats = pool:stats()
    lu.assertEquals({ stats.jobs, stats.aborted, stats.failed, stats.retried }, { 10, 2, 0, 0 })
  end,

  ["jobs behind a long one move to a worker that is idle"] = function()
    local pool = new { worker = act, max_processes = 2, prefetch = 16, timeout_working = 30 }
    pool:spawn_workers()
    local long = { pool:enqueue { sleep = 20 } }
    local took = s.timed(function()
      local jobs = {}
      for i = 1, 20 do jobs[i] = pool:enqueue(i) end
      for i = 1, 20 do lu.assertEquals(jobs[i]:wait(), i) end
    end)
    lu.assertTrue(took < 5 * s.slow, "it took " .. took)
    lu.assertEquals(long[1].state, "running")
    long[1]:abort()
  end,

  ["progress arrives while the job runs, before its end"] = function()
    local pool = new { worker = function(job)
      for i = 1, 3 do job:progress { step = i } end
      return "end"
    end, max_processes = 1 }
    local steps = {}
    local job = pool:enqueue()
    job:on("start", function() table.insert(steps, "start") end)
    job:on("progress", function(v) table.insert(steps, v.step) end)
    job:on("success", function(v) table.insert(steps, v) end)
    job:wait()
    lu.assertEquals(steps, { "start", 1, 2, 3, "end" })
    lu.assertEquals(job.last_progress, { step = 3 })
  end,

  ["a thousand jobs with ids that repeat run once each"] = function()
    local pool = new { worker = act, max_processes = 2, prefetch = 16 }
    local calls, distinct, n = 0, {}, 0
    for i = 1, 1000 do
      local job = pool:enqueue(i % 100, { id = "job " .. i % 100 }, function(err, result)
        lu.assertEquals({ err, result }, { nil, i % 100 })
        calls = calls + 1
      end)
      if not distinct[job] then
        distinct[job], n = true, n + 1
      end
    end
    pool:drain()
    s.wait(function() return calls == 1000 end)
    lu.assertEquals({ n, pool:stats().jobs }, { 100, 100 })
    lu.assertEquals(pool:get("job 7").result, 7)
  end,

  ["stats count what has happened, with the times of waiting and running"] = function()
    local pool = new { worker = act, max_processes = 1, retries = 1 }
    pool:run(1)
    pool:run { sleep = 0.05 }
    pool:run { fail = "twice" }
    pool:enqueue(1, { delay = 60 }):abort()
    local stats = pool:stats()
    lu.assertEquals({ stats.jobs, stats.failed, stats.retried, stats.aborted, stats.backlog, stats.workers },
      { 4, 1, 1, 1, 0, 1 })
    lu.assertTrue(stats.running.max >= 0.04, "max " .. tostring(stats.running.max))
    lu.assertEquals(stats.running.count, 4)
  end,

  ["a job that was begun behind others and lost tells each start, and one retry for it"] = function()
    local pool = new {
      worker = function(job)
        if job.data == 20 and job.attempt == 1 then
          require("luv").kill(require("luv").os_getpid(), 9)
        end
      end,
      max_processes = 1, prefetch = 32, retries = 1,
    }
    local starts, retries = {}, {}
    pool:on("job:start", function(job) starts[job.data] = (starts[job.data] or 0) + 1 end)
    pool:on("job:retry", function(job) retries[job.data] = (retries[job.data] or 0) + 1 end)
    for i = 1, 30 do pool:enqueue(i) end
    pool:drain()
    for i = 1, 30 do
      lu.assertEquals({ i, starts[i] }, { i, (retries[i] or 0) + 1 })
    end
    lu.assertEquals(retries[20], 1)
  end,

  ["a very long error comes whole in little time, and its traceback has the beginning of it"] = function()
    local pool = new { worker = function(job) error(("e"):rep(job.data * 2 ^ 20)) end, max_processes = 1 }
    local _, err
    local took = s.timed(function() _, err = pool:run(20) end)
    lu.assertTrue(took < 3, took)
    lu.assertTrue(#err.message > 20 * 2 ^ 20)
    lu.assertTrue(#err.traceback < 100 * 1024)
    lu.assertStrMatches(err.traceback:sub(-2000), ".*bytes more%)\nstack traceback:\n.*")
  end,

  ["workers killed at random moments: every job ends exactly once"] = function()
    local seed = tonumber(os.getenv "BROOD_SEED") or os.time()
    math.randomseed(seed)
    local pool = new { worker = act, max_processes = 2, prefetch = 8, retries = 50, respawn_delay = 0 }
    local ends, n = {}, 1000
    for i = 1, n do
      pool:enqueue(i, function(err, result)
        ends[i] = (ends[i] or 0) + ((err or result ~= i) and 1000 or 1)
      end)
    end
    local over
    pool:drain(function() over = true end)
    for _ = 1, 30 do
      local workers = pool.crew:workers()
      local w = workers[1] and workers[math.random(#workers)]
      -- Not those that start: a few in a row that cannot, and jobs fail with faulted.
      if w and w.pid and w.state ~= "starting" then posix.kill(w.pid, 9) end
      brood.sleep(math.random() * 0.02)
    end
    s.wait(function() return over end, 30)
    for i = 1, n do
      lu.assertEquals(ends[i], 1, ("job %d, seed %d"):format(i, seed))
    end
    lu.assertEquals(pool:stats().jobs, n)
  end,
}
