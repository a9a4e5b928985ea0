--- Jobs and workers that meet every misfortune, by chance: what a chaos spec does to a pool, and what must be true
--- afterwards. Chance is a number, so that the same one brings the same misfortunes (the kernel's timing apart).
local brood = require "brood"
local Pool = require "brood.pool"
local posix = require "brood.posix"
local s = require "spec.support"
local uv = require "luv"

local M = {}

---A source of chance: next(n) is a whole number from 0 to n - 1.
---@param seed integer
---@return fun(n: integer): integer
function M.chance(seed)
  local state = seed % 2147483647
  local function step()
    state = state * 48271 % 2147483647
    return state
  end
  state = state == 0 and 1 or state
  for _ = 1, 5 do
    step()
  end
  return function(n)
    return step() % n
  end
end

-- What a job does at an attempt: the same in each run.
local function fate(seed, i, attempt)
  return M.chance(seed * 7919 + i * 104729 + attempt * 1299721)(1000)
end

---The worker: notes that it has begun, then does what chance wants of it.
---@param seed integer
---@param path string of the notes, a line for each begun attempt
---@return fun(job: table): any
function M.worker(seed, path)
  local fd
  return function(job)
    local i = job.data
    fd = fd or assert(uv.fs_open(path, "a", 384))
    uv.fs_write(fd, ("%d %d %d\n"):format(posix.getpid(), i, job.attempt))
    local what = fate(seed, i, job.attempt)
    if what < 10 then
      os.exit(what)
    elseif what < 14 then
      posix.kill(posix.getpid(), 9)
    elseif what < 30 then
      error("chance, attempt " .. job.attempt)
    elseif what < 60 then
      brood.sleep(what / 20000)
    elseif what < 80 then
      job:progress(i)
    end
    return i * 2 + 1
  end
end

local PROGRAM = [=[
import json, os, random, sys, time
seed, fd = int(sys.argv[1]), os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
for line in sys.stdin:
    job = json.loads(line)
    i, attempt = job["data"], job["attempt"]
    os.write(fd, b"%d %d %d\n" % (os.getpid(), i, attempt))
    what = random.Random(seed * 7919 + i * 104729 + attempt * 1299721).randrange(1000)
    answer = {"job": job["job"], "success": i * 2 + 1}
    if what < 10: os._exit(what)
    elif what < 14: os.kill(os.getpid(), 9)
    elif what < 30: answer = {"failure": "chance"}
    elif what < 60: time.sleep(what / 20000)
    elif what < 80: print(json.dumps({"progress": i}))
    print(json.dumps(answer), flush=True)
]=]

---The same as a foreign program.
---@param seed integer
---@param path string
---@return table
function M.program(seed, path)
  local python = s.run({ "python3", "-c", "import sys; print(sys.executable)" }).stdout:match "^[^\n]+"
  return { command = { python, s.write_file("chaos.py", PROGRAM), tostring(seed), path } }
end

-- One that is starting is struck only where the start before it in its slot was not: a pool whose workers never start
-- rightly gives up.
local function may_strike(run, w)
  if w.state ~= "starting" then
    run.struck[w.slot] = nil
    return true
  end
  return not run.struck[w.slot]
end

-- One misfortune from outside.
local function strike(run, pick)
  local ids = {}
  for id, w in pairs(run.alive) do
    if may_strike(run, w) then
      ids[#ids + 1] = id
    end
  end
  table.sort(ids)
  local w = #ids > 0 and run.alive[ids[pick(#ids) + 1]]
  local what = pick(10)
  if what < 4 then
    local job = run.jobs[pick(#run.jobs) + 1]
    if job and job:abort() then
      run.aborted[job.data] = true
    end
  elseif w and w.pid and what < 8 then
    run.struck[w.slot] = w.state == "starting" or nil
    run.kills = run.kills + 1
    posix.kill(w.pid, 9)
  elseif w and w.pid then
    local pid = w.pid
    run.struck[w.slot] = w.state == "starting" or nil
    run.stops = run.stops + 1
    posix.kill(pid, 19)
    if what == 8 then
      local again = uv.new_timer()
      again:start(20 + pick(60), 0, function()
        again:close()
        if run.alive[w.id] == w and w.pid == pid then
          posix.kill(pid, 18)
        end
      end)
    end
  end
end

-- Until some more jobs have ended, or nothing has moved for a while: a slow machine must not meet more misfortunes than
-- jobs.
local function wait_for_some(run, pick, pace)
  local target, left = run.ended + pick(30), 100
  brood.sleep((1 + pick(10)) * pace / 1000)
  while run.ended < target and left > 0 do
    brood.sleep(0.002)
    left = left - 1
  end
end

local function watch(run)
  local pool = run.pool
  pool:on("spawn", function(w) run.alive[w.id] = w end)
  pool:on("exit", function(w) run.alive[w.id] = nil end)
  pool:on("worker:ready", function(w) run.struck[w.slot] = nil end)
  pool:on("job:retry", function() run.retried = run.retried + 1 end)
  pool:on("done", function(job)
    run.ended = run.ended + 1
    run.done[job.data] = (run.done[job.data] or 0) + 1
    run.attempts[job.data] = job.attempt
  end)
end

local function enqueue(run, count, pick)
  for i = #run.ends + 1, count do
    run.ends[i] = 0
    local options = {}
    if pick(8) == 0 then
      options.delay = pick(50) / 1000
    end
    if pick(4) == 0 then
      options.priority = pick(5) - 2
    end
    run.jobs[i] = run.pool:enqueue(i, options, function(err, result)
      run.ends[i] = run.ends[i] + 1
      run.errs[i], run.results[i] = err, result
    end)
    if i % 500 == 0 then
      brood.sleep(0.001)
    end
  end
end

---Run so many jobs through all of it. Returns what was seen.
---@param seed integer
---@param count integer
---@param options? table of the pool, in place of what chance would choose
---@param make? function M.worker, or M.program
---@param pace? number milliseconds between two misfortunes at least
---@return table
function M.run(seed, count, options, make, pace)
  local pick = M.chance(seed)
  local path = s.temp_dir() .. "/begun"
  local run = {
    seed = seed, count = count, path = path, alive = {}, jobs = {}, ends = {}, errs = {}, results = {}, done = {},
    attempts = {}, aborted = {}, struck = {}, retried = 0, kills = 0, stops = 0, ended = 0,
  }
  local all = {
    worker = (make or M.worker)(seed, path),
    max_processes = 2 + pick(3), max_jobs_per_process = ({ 7, 64, 1000 })[pick(3) + 1],
    prefetch = ({ 1, 4, 32 })[pick(3) + 1], retries = 5, retry_delay = pick(2) / 100,
    timeout_working = 0.3 * s.slow, timeout_initializing = 2 * s.slow,
    respawn_delay = 0, result_ttl = 60, max_results = count + 1,
  }
  for name, value in pairs(options or {}) do
    all[name] = value
  end
  run.options = all
  run.pool = Pool.new(all)
  watch(run)
  local striking = true
  brood.async(function()
    while striking do
      wait_for_some(run, pick, pace or 1)
      if striking and #run.jobs > 0 then
        strike(run, pick)
      end
    end
  end)
  enqueue(run, count, pick)
  run.pool:drain()
  striking = false
  run.stats = run.pool:stats()
  run.pool:exit()
  return run
end

-- Which attempts have begun, where and how often.
local function begun(path)
  local by_pid, by_attempt = {}, {}
  for pid, i, attempt in (s.read_file(path) or ""):gmatch("(%d+) (%d+) (%d+)\n") do
    by_pid[pid] = (by_pid[pid] or 0) + 1
    local key = i .. "." .. attempt
    by_attempt[key] = (by_attempt[key] or 0) + 1
  end
  return by_pid, by_attempt
end

local CODES = { exit = true, timeout = true, error = true, abort = true }

---What is wrong with a run: a list of sentences.
---@param run table
---@return string[]
function M.faults(run)
  local list = {}
  local function wrong(fmt, ...)
    list[#list + 1] = fmt:format(...)
  end
  local succeeded, failed, aborted = 0, 0, 0
  for i = 1, run.count do
    local err = run.errs[i]
    if run.ends[i] ~= 1 or run.done[i] ~= 1 then
      wrong("job %d ended %d times, and %s times by the event", i, run.ends[i], tostring(run.done[i]))
    elseif not err then
      succeeded = succeeded + 1
      if run.results[i] ~= i * 2 + 1 then
        wrong("job %d has the result %s", i, tostring(run.results[i]))
      end
    elseif err.code == "abort" then
      aborted = aborted + 1
    else
      failed = failed + 1
      if run.attempts[i] ~= run.options.retries + 1 then
        wrong("job %d failed for good at attempt %s: %s", i, tostring(run.attempts[i]), tostring(err))
      end
    end
    if err and not CODES[err.code] then
      wrong("job %d failed with the code %s: %s", i, tostring(err.code), tostring(err))
    end
    if (run.aborted[i] or false) ~= (err ~= nil and err.code == "abort") then
      wrong("job %d was %saborted, and ended with %s", i, run.aborted[i] and "" or "not ", tostring(err))
    end
  end
  local by_pid, by_attempt = begun(run.path)
  for pid, jobs in pairs(by_pid) do
    if jobs > (run.options.max_jobs_per_process or math.huge) then
      wrong("process %s ran %d jobs, and %d is the most", pid, jobs, run.options.max_jobs_per_process)
    end
  end
  -- With prefetch, what a job had done may be lost with the worker that began the next one: it runs again, uncharged.
  for key, times in pairs(run.options.prefetch == 1 and by_attempt or {}) do
    if times > 1 then
      wrong("job.attempt %s has begun %d times", key, times)
    end
  end
  for i = 1, run.count do
    if not run.errs[i] and not by_attempt[i .. "." .. (run.attempts[i] or 0)] then
      wrong("job %d has a result of an attempt (%s) that never began", i, tostring(run.attempts[i]))
    end
  end
  local stats = run.stats
  if stats.jobs ~= run.count or stats.failed ~= failed or stats.backlog ~= 0 or stats.retried ~= run.retried then
    wrong("stats: jobs %d of %d, failed %d of %d, backlog %d, retried %d of %d", stats.jobs, run.count, stats.failed,
      failed, stats.backlog, stats.retried, run.retried)
  end
  if next(run.alive) then
    wrong("a worker never emitted its end")
  end
  run.succeeded, run.failed, run.ended_by_abort = succeeded, failed, aborted
  return list
end

return M
