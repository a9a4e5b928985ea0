--- How workers of a pool end: too late, killed, stopped, by a job's own doing, or because they cannot start; and what
--- becomes of the jobs that they had.
local lu = require "luaunit"
local posix = require "brood.posix"
local p = require "spec.support.pool"
local s = require "spec.support"
local task = require "brood.task"
local uv = require "luv"

-- Waits until there is a file of that name.
local function waits(job)
  job:progress "begun"
  while job.data.flag and not io.open(job.data.flag) do
    require("brood").sleep(0.002)
  end
  return require("brood.posix").getpid()
end

-- os.exit as a job of somebody else's has it: here luaunit guards it.
local function exit(status)
  require("luaunit").unregisterCurrentSuite()
  os.exit(status)
end

local function pid_of(pool)
  local w = s.wait(function() return pool.crew:workers()[1] end, 10, "a worker")
  s.wait(function() return w.state == "ready" or w.state == "busy" end, 10, "a worker that is ready")
  return w.pid
end

local function flag()
  return s.temp_dir() .. "/flag"
end

local function set(path)
  s.write_file(path, "")
end

return {
  teardown = p.cleanup,

  ["a job that takes too long is its worker's end, and the next one has another worker"] = function()
    local pool = p.new(function(job)
      if job.data == "long" then
        while true do end
      end
      return require("brood.posix").getpid()
    end, { timeout_working = 0.1 })
    local events = p.record(pool, { "timeout" }, function(w, phase) return { w.id, phase } end)
    local first = pool:run "short"
    local result, err = pool:run "long"
    lu.assertEquals({ result, err.code }, { nil, "timeout" })
    local second = pool:run "short"
    lu.assertTrue(second ~= first)
    lu.assertEquals(events, { { "timeout", { 1, "working" } } })
  end,

  ["a limit of a job's own is shorter, or longer, than the pool's"] = function()
    local pool = p.new(function(job)
      require("brood").sleep(job.data)
      return "whole"
    end, { timeout_working = 0.15 })
    local _, err = pool:run(5, { timeout = 0.05 })
    lu.assertEquals(err.code, "timeout")
    lu.assertEquals(pool:run(0.3, { timeout = 5 }), "whole")
    _, err = pool:run(5)
    lu.assertEquals(err.code, "timeout")
  end,

  ["what waits in a worker behind a job that takes too long is not charged"] = function()
    local pool = p.new(function(job)
      if job.data == "long" then
        while true do end
      end
      return job.attempt
    end, { timeout_working = 0.1, prefetch = 4 })
    lu.assertEquals(p.all(pool, { 1, "long", 2, 3 }), { 1, "timeout", 1, 1 })
  end,

  ["one that stands still loses its jobs to another, and is killed"] = function()
    local pool = p.new(waits, { timeout_working = 0.2 })
    local stopped = pool:run {}
    local events = p.record(pool, { "timeout" }, function(_, phase) return phase end)
    posix.kill(stopped, "STOP")
    local other = pool:run {}
    lu.assertTrue(other ~= stopped)
    lu.assertEquals(events, { { "timeout", "working" } })
    s.wait(function() return not s.alive(stopped) end, 10, "the end of the stopped one")
  end,

  ["init that takes too long is killed, and said to have been initializing"] = function()
    local pool = p.new(p.file "return { init = function() while true do end end, job = print }",
      { timeout_initializing = 0.1 })
    local errors = p.record(pool, { "error" }, function(err) return err.code end)
    local events = p.record(pool, { "timeout" }, function(_, phase) return phase end)
    local _, err = pool:spawn_workers()
    lu.assertEquals(err.code, "timeout")
    lu.assertEquals(events, { { "timeout", "initializing" } })
    lu.assertEquals(errors, { { "error", "timeout" } })
  end,

  ["recover that takes too long is killed, and its job has succeeded all the same"] = function()
    local pool = p.new(p.file [[
      return { job = function(job) return job.data end, recover = function() while true do end end }
    ]], { timeout_recovering = 0.1 })
    local events = p.record(pool, { "timeout" }, function(_, phase) return phase end)
    lu.assertEquals(p.all(pool, { 1, 2 }), { 1, 2 })
    s.wait(function() return #events == 2 end, 10, "two timeouts")
    lu.assertEquals(events[1], { "timeout", "recovering" })
  end,

  ["a recover that raises is its worker's end, not its job's"] = function()
    local pool = p.new(p.file [[
      local posix = require "brood.posix"
      return { job = function() return posix.getpid() end, recover = function() error "dirty" end }
    ]])
    local first = pool:run()
    lu.assertTrue(pool:run() ~= first)
  end,

  ["a job that ends its worker fails with how it ended"] = function()
    local pool = p.new(function(job)
      if job.data == "exit" then
        exit(3)
      end
      local me = require "brood.posix"
      me.kill(me.getpid(), job.data)
    end)
    local _, err = pool:run "exit"
    lu.assertEquals({ err.code, err.exit_code }, { "exit", 3 })
    lu.assertStrContains(err.message, "exited with status 3 while it ran the job")
    _, err = pool:run "SEGV"
    lu.assertEquals({ err.code, err.exit_signal }, { "exit", "SEGV" })
  end,

  ["what a worker has done before a job ends it is not lost, and what it had not begun is not charged"] = function()
    local pool = p.new(function(job)
      if job.data == "exit" then
        exit(0)
      end
      return job.attempt
    end, { prefetch = 5 })
    lu.assertEquals(p.all(pool, { 1, 2, "exit", 4, 5 }), { 1, 1, "exit", 1, 1 })
  end,

  ["of jobs whose results died with their worker only the one that ran is charged, the others run again"] = function()
    local runs = s.temp_dir() .. "/runs"
    local pool = p.new(function(job)
      local file = io.open(job.data.runs, "a")
      file:write(job.data.name, " ", job.attempt, "\n")
      file:close()
      local me = require "brood.posix"
      return job.data.name ~= "dies" and job.attempt or me.kill(me.getpid(), "KILL")
    end, { prefetch = 8, retries = 0 })
    local list = {}
    for i, name in ipairs { "a", "b", "c", "dies", "d" } do
      list[i] = { name = name, runs = runs }
    end
    lu.assertEquals(p.all(pool, list), { 1, 1, 1, "exit", 1 })
    lu.assertEquals(pool:stats().retried, 0)
    lu.assertEquals(select(2, s.read_file(runs):gsub("dies 1\n", "")), 1)
  end,

  ["a worker's results are written before a job that follows a longer one"] = function()
    local pool = p.new(function(job)
      local now = require("brood").now
      local till = now() + 0.001
      while now() < till or job.data == "long" do end
      return job.attempt
    end, { prefetch = 8, timeout_working = 0.3 })
    local first, second, last = pool:enqueue(1), pool:enqueue(2), pool:enqueue "long"
    lu.assertEquals({ first:wait(), second:wait(), last.state }, { 1, 1, "running" })
    lu.assertEquals(select(2, last:wait()).code, "timeout")
  end,

  ["results of quick jobs after a pause do not wait for the end of a long one behind them"] = function()
    local pool = p.new(function(job)
      local now = require("brood").now
      local till = now() + job.data
      while now() < till do end
    end, { prefetch = 8 })
    pool:spawn_workers()
    for _ = 1, 3 do
      local quick = {}
      for i = 1, 5 do
        quick[i] = pool:enqueue(0)
      end
      local long = pool:enqueue(0.3)
      for _, job in ipairs(quick) do
        job:wait()
      end
      lu.assertEquals(long.state, "running")
      long:wait()
    end
  end,

  ["the limit of a job that waited in its worker is kept, whatever the one before it was given"] = function()
    local function works(job)
      local now = require("brood").now
      local till = now() + job.data
      while now() < till do end
      return "whole"
    end
    local pool = p.new(works, { timeout_working = 60, prefetch = 4 })
    local first, hangs = pool:enqueue(0.2), pool:enqueue(60, { timeout = 0.1 })
    local seconds, _, err = s.timed(function() return hangs:wait() end)
    lu.assertEquals({ first:wait(), err.code }, { "whole", "timeout" })
    lu.assertTrue(seconds < 5)
    pool = p.new(works, { timeout_working = 0.1, prefetch = 4 })
    first, hangs = pool:enqueue(0.4, { timeout = false }), pool:enqueue(60)
    lu.assertEquals({ first:wait(), select(2, hangs:wait()).code }, { "whole", "timeout" })
  end,

  ["a job is given the time in which its worker and its master stood still together"] = function()
    local pool = p.new(function(job)
      job:progress "begun"
      for _ = 1, 8 do
        require("brood").sleep(0.05)
      end
      return "whole"
    end, { timeout_working = 0.8 * s.slow })
    local job = pool:enqueue()
    local pid = pid_of(pool)
    s.wait(function() return job.last_progress end)
    posix.kill(pid, "STOP")
    uv.sleep(1500 * s.slow) -- this process as well
    posix.kill(pid, "CONT")
    lu.assertEquals(job:wait(), "whole")
  end,

  ["a worker that is killed before it has ended a job is replaced after respawn_delay"] = function()
    local pool = p.new(function() while true do end end, { timeout_working = 0.02, respawn_delay = 0.3, retries = 2 })
    local started = p.record(pool, { "spawn" })
    local seconds, _, err = s.timed(function() return pool:run() end)
    lu.assertEquals({ err.code, #started }, { "timeout", 3 })
    lu.assertTrue(seconds > 0.45)
  end,

  ["an error that no message can carry is told as that, and the worker goes on"] = function()
    local pool = p.new(function(job)
      if job.data then
        error { message = ("e"):rep(65 * 2 ^ 20) }
      end
      return "fine"
    end, { timeout_working = false })
    lu.assertEquals(select(2, pool:run(true)).code, "too_large")
    lu.assertEquals(pool:run(), "fine")
    lu.assertEquals(pool:stats().restarts, 0)
  end,

  ["a process that a job forks behind brood's back takes no job and answers none"] = function()
    local pool = p.new(function(job)
      local ffi = require "ffi"
      ffi.cdef "int fork(void);"
      return job.data == "fork" and ffi.C.fork() == 0 and "child" or "parent"
    end, { prefetch = 8 })
    lu.assertEquals(p.all(pool, { 1, "fork", 2, 3 }), { "parent", "parent", "parent", "parent" })
    lu.assertEquals(pool:stats().late, 0)
  end,

  ["a worker that is killed takes its running job with it, and is replaced"] = function()
    local pool = p.new(waits)
    local running = pool:enqueue { flag = "/nowhere" }
    local pid = pid_of(pool)
    s.wait(function() return running.last_progress end)
    posix.kill(pid, "KILL")
    local _, err = running:wait()
    lu.assertEquals({ err.code, err.exit_signal }, { "exit", "KILL" })
    lu.assertTrue(pool:run {} ~= pid)
  end,

  ["what a job has started in its group dies with its worker"] = function()
    local pool = p.new(function(job)
      local _, pid = require("luv").spawn("sleep", { args = { "60" } })
      job:progress(pid)
      while true do end
    end, { timeout_working = 0.2 })
    local job = pool:enqueue()
    local _, err = job:wait()
    lu.assertEquals(err.code, "timeout")
    s.wait(function() return not s.alive(job.last_progress) end, 10, "the end of what it had started")
  end,

  ["workers that die while nobody needs them are not started without end"] = function()
    local pool = p.new(p.file [[
      local function die() require("brood.posix").kill(require("brood.posix").getpid(), "KILL") end
      return { init = function() require("brood.timer").after(0.001, die) end, job = print }
    ]], { respawn_delay = 0.02 })
    local started = p.record(pool, { "spawn" })
    pool:spawn_workers()
    s.remains(function() return #started < 8 end, 0.5, "a small number of starts")
    lu.assertTrue(#started > 1)
  end,

  ["a stop lets the running job end, and keeps what has not begun"] = function()
    local pool, path = p.new(waits, { prefetch = 3 }), flag()
    local running, waiting = pool:enqueue { flag = path }, pool:enqueue {}
    s.wait(function() return running.last_progress end)
    local stopped = false
    pool.crew:stop(function() stopped = true end)
    s.remains(function() return not stopped end, 0.05)
    set(path)
    s.wait(function() return stopped end, 10, "the stop")
    lu.assertTrue(running:wait() > 0)
    lu.assertEquals(waiting.state, "waiting")
  end,

  ["a stop ends one that has not become ready at once"] = function()
    local pool = p.new(p.file "return { init = function() while true do end end, job = print }")
    task.spawn(function() pool:spawn_workers() end)
    s.wait(function() return pool.crew:workers()[1] end)
    local seconds = s.timed(function() pool.crew:stop() end)
    lu.assertTrue(seconds < 2)
  end,

  ["where none can start, jobs fail after a few tries, the reason is told once, and it goes on later"] = function()
    local path = p.file "error 'no library'"
    local pool = p.new(path)
    local errors = p.record(pool, { "error" }, function(err) return err.message:match "no library" end)
    local started = p.record(pool, { "spawn" })
    local seconds, _, err = s.timed(function() return pool:run(1) end)
    lu.assertEquals(err.code, "faulted")
    lu.assertStrContains(err.message, "no library")
    lu.assertTrue(seconds < 5)
    lu.assertEquals({ #errors, #started }, { 1, 3 })
    s.remains(function() return #started == 3 end, 0.4, "no further start while there is no job")
    _, err = pool:run(2)
    lu.assertEquals(err.code, "faulted")
    s.write_file(path, "return function(job) return job.data end")
    lu.assertEquals(pool:run(3), 3)
  end,

  ["where one worker can start, jobs do not fail because others beside it cannot"] = function()
    local place = s.temp_dir() .. "/one"
    local pool = p.new(p.file(([[
      local place = %q
      assert(require("luv").fs_mkdir(place, 448), "there is one already")
      return function(job)
        brood.sleep(0.02)
        require("luv").fs_rmdir(place)
        return job.data
      end]]):format(place)), { max_processes = 3, max_jobs_per_process = 1 })
    pool:on("error", function() end)
    local list = {}
    for i = 1, 30 do list[i] = i end
    lu.assertEquals(p.all(pool, list), list)
  end,

  ["workers that end before they begin with any job do not keep those that wait waiting"] = function()
    local pool = p.new(p.file [[
      require("luv").new_timer():start(0, 0, function() require("brood.core").exit(3) end)
      return function() end]])
    local errors = p.record(pool, { "error" }, tostring)
    local _, err = pool:run(1)
    lu.assertEquals(err.code, "faulted")
    lu.assertStrMatches(err.message, ".*ended with status 3 before it had begun with a job")
    lu.assertEquals(errors, { { "error", "worker 1 ended with status 3 before it had begun with a job" } })
  end,

  ["a script that is told to end leaves no worker, though a job would run for ever: after a while, or told again"] =
  function()
    for _, again in ipairs { true, false } do
      local master = s.script [[
        local Pool = require "brood.pool"
        local pool = Pool.new { worker = function(job)
          job:progress(require("brood.posix").getpid())
          while true do end
        end, max_processes = 1, timeout_working = false }
        local job = pool:enqueue()
        job:on("progress", function(pid) print(pid) io.stdout:flush() end)
        job:wait()
      ]]
      local pid = s.wait(function() return tonumber(master:stdout():match "(%d+)\n") end, 10, "the job")
      posix.kill(master.pid, "TERM")
      s.remains(function() return s.alive(pid) end, 0.1)
      if again then
        posix.kill(master.pid, "TERM")
      end
      local seconds = s.timed(function() s.wait(function() return not s.alive(master.pid) end, 20) end)
      lu.assertEquals(seconds < 2, again)
      lu.assertFalse(s.alive(pid))
    end
  end,

  ["workers end when their master does, after the running job"] = function()
    local path, done, ready = flag(), flag(), flag()
    local master = s.script(([[
      local Pool = require "brood.pool"
      local pool = Pool.new { worker = function(job)
        io.open(%q, "w"):close()
        while not io.open(%q) do require("brood").sleep(0.002) end
        io.open(%q, "w"):close()
      end, max_processes = 2 }
      pool:on("spawn", function(w) print(w.pid) io.stdout:flush() end)
      pool:spawn_workers()
      pool:run()
    ]]):format(ready, path, done))
    s.wait(function() return io.open(ready) end, 10, "the job")
    local pids = s.wait(function()
      local list = {}
      for pid in master:stdout():gmatch "(%d+)\n" do table.insert(list, tonumber(pid)) end
      return list[2] and list
    end, 10, "two workers")
    posix.kill(master.pid, "KILL")
    s.wait(function() return s.alive(pids[1]) ~= s.alive(pids[2]) end, 10, "the end of the idle one")
    set(path)
    s.wait(function() return not s.alive(pids[1]) and not s.alive(pids[2]) end, 10, "the end of the other")
    lu.assertTrue(io.open(done) ~= nil)
  end,
}
