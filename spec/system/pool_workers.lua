--- The workers of a pool: what they are given, when they start, what is said of them, and when they are replaced.
local lu = require "luaunit"
local p = require "spec.support.pool"
local s = require "spec.support"

local function sorted(list)
  table.sort(list)
  return list
end

local function count_of(list)
  local n, seen = 0, {}
  for _, value in ipairs(list) do
    n, seen[value] = n + (seen[value] and 0 or 1), true
  end
  return n
end

local function numbers(n)
  local list = {}
  for i = 1, n do
    list[i] = i
  end
  return list
end

return {
  teardown = p.cleanup,

  ["a worker file returns a function, which gets the job and the options"] = function()
    local pool = p.new(p.file [[
      return function(job, options) return { job.data, job.attempt, options.width, type(job.id) } end
    ]], { options = { width = 320 } })
    lu.assertEquals(pool:run "cat.png", { "cat.png", 1, 320, "string" })
  end,

  ["a function is a worker, and sees the id that the job has outside"] = function()
    local pool = p.new(function(job) return job.id end)
    local job = pool:enqueue(1)
    lu.assertEquals(job:wait(), job.id)
    lu.assertEquals(pool:run(1, { id = "mine" }), "mine")
  end,

  ["init runs once, before the first job, and may wait"] = function()
    local pool = p.new(p.file [[
      local inits = 0
      return {
        init = function(options) brood.sleep(0.02) inits = inits + options end,
        job = function(job) return inits end,
      }
    ]], { options = 1 })
    lu.assertEquals(p.all(pool, { 1, 2, 3 }), { 1, 1, 1 })
  end,

  ["the folder of a worker file comes first in package.path"] = function()
    local path = p.file "return require('beside')"
    s.write_file(path:match "^(.*)/" .. "/beside.lua", "return function() return 'beside' end")
    lu.assertEquals(p.new(path):run(), "beside")
  end,

  ["a job may wait, and has the loop to itself while it does"] = function()
    local pool = p.new(function(job)
      require("brood").sleep(0.01)
      return job.data * 2
    end)
    lu.assertEquals(p.all(pool, { 1, 2, 3 }), { 2, 4, 6 })
  end,

  ["brood.worker is nil in a job, and a job of many results has the first"] = function()
    lu.assertEquals(p.new(function() return require("brood").worker == nil, 2 end):run(), true)
  end,

  ["what raises in a job keeps its message and traceback, and a table comes whole"] = function()
    local pool = p.new(p.file [[
      local function deep(data) if data == 1 then error("no such cat") end error { message = "half", cats = 3 } end
      local object = setmetatable({ cats = 4 }, { __tostring = function(it) return it.cats .. " cats" end })
      return function(job) if job.data == 3 then error(object) end deep(job.data) return 1 end
    ]])
    local _, err = pool:run(1)
    lu.assertStrContains(err.message, "no such cat")
    lu.assertStrContains(err.traceback, "in function 'deep'")
    _, err = pool:run(2)
    lu.assertEquals({ err.message, err.code, err.cats }, { "half", "error", 3 })
    _, err = pool:run(3)
    lu.assertEquals({ err.message, err.code, err.cats }, { "4 cats", "error", 4 })
  end,

  ["a result that cannot be sent is that job's failure, and says what it is"] = function()
    local pool = p.new(function(job) return job.data == 1 and { inner = print } or "sound" end)
    local result, err = pool:run(1)
    lu.assertNil(result)
    lu.assertEquals(err.code, "type")
    lu.assertStrContains(err.message, "inner is a function")
    lu.assertEquals(pool:run(2), "sound")
  end,

  ["progress is heard at once, also of a job that never lets the loop turn"] = function()
    local pool = p.new(function(job)
      job:progress "half"
      while not io.open(job.data) do end
      return "whole"
    end)
    local flag = s.temp_dir() .. "/flag"
    local job = pool:enqueue(flag)
    s.wait(function() return job.last_progress == "half" end, 10, "the progress")
    lu.assertEquals(job.state, "running")
    s.write_file(flag, "")
    lu.assertEquals(job:wait(), "whole")
  end,

  ["workers come as there are jobs, one for each, and not more than there may be"] = function()
    local pool = p.new(function(job)
      require("brood").sleep(job.data)
      return require("brood.posix").getpid()
    end, { max_processes = 3 })
    lu.assertEquals(pool:stats().workers, 0)
    pool:run(0)
    lu.assertEquals(pool:stats().workers, 1)
    lu.assertEquals(count_of(p.all(pool, { 0.3, 0.3, 0.3, 0.3, 0.3 })), 3)
    lu.assertEquals(pool:stats().workers, 3)
  end,

  ["spawn_workers starts all of them, and is told why one cannot start"] = function()
    local pool = p.new(function() end, { max_processes = 3 })
    lu.assertTrue(pool:spawn_workers())
    lu.assertEquals(pool:stats().workers, 3)
    local broken = p.new(p.file "local function deep() error('no library') end deep()")
    broken:on("error", function() end)
    local ok, err = broken:spawn_workers()
    lu.assertNil(ok)
    lu.assertStrContains(err.message, "no library")
    lu.assertStrContains(err.traceback, "in function 'deep'")
  end,

  ["the pool is ready before whoever started its workers goes on"] = function()
    local pool, ready = p.new(function() end), false
    pool:on("ready", function() ready = true end)
    lu.assertTrue(pool:spawn_workers())
    lu.assertTrue(ready)
  end,

  ["idle is heard before a drain returns, which waits for what is enqueued then"] = function()
    local pool, heard = p.new(function(job) return job.data end, {}), 0
    pool:on("idle", function()
      heard = heard + 1
      if heard == 1 then
        pool:enqueue "more"
      end
    end)
    pool:enqueue "first"
    pool:drain()
    lu.assertEquals({ heard, pool:stats().jobs }, { 2, 2 })
  end,

  ["what a worker file cannot be is said in one sentence"] = function()
    local function why(worker)
      local pool = p.new(worker)
      pool:on("error", function() end)
      local _, err = pool:spawn_workers()
      return err.message
    end
    lu.assertStrContains(why "/nowhere/worker.lua", "cannot load the worker: cannot open")
    lu.assertStrContains(why(p.file("return function(", "a.lua")), "a.lua:2:")
    lu.assertStrContains(why(p.file("x = 1", "b.lua")), "b.lua returns nothing: is `return` missing?")
    lu.assertStrContains(why(p.file("return 7", "c.lua")), "got number")
    lu.assertStrContains(why(p.file("return { init = print }", "d.lua")), "a table without `job`")
    lu.assertStrContains(why(p.file("return { job = print, recover = 1 }", "e.lua")), "`recover` must be a function")
    lu.assertStrContains(why(p.file("return { job = print, init = function() error 'not today' end }", "f.lua")),
      "not today")
  end,

  ["each worker goes through its states, and says so"] = function()
    local pool = p.new(function() end)
    local names = { "spawn", "exit" }
    for _, state in ipairs { "starting", "ready", "busy", "recovering", "stopping", "stopped", "faulted" } do
      table.insert(names, "worker:" .. state)
    end
    local events = p.record(pool, names, function(w) return w.state end)
    pool:run(1)
    pool:exit()
    local flat = {}
    for i, event in ipairs(events) do
      flat[i] = event[1] .. " " .. event[2]
    end
    lu.assertEquals(flat, {
      "worker:starting starting", "spawn starting", "worker:ready ready", "worker:busy busy", "worker:ready ready",
      "worker:stopping stopping", "worker:stopped stopped", "exit stopped",
    })
  end,

  ["a worker recovers after its job, and takes the next one only then"] = function()
    local pool = p.new(p.file [[
      local clean = true
      return {
        job = function(job) local was = clean clean = false if job.data == 0 then error "x" end return was end,
        recover = function(job) brood.sleep(0.02) clean = true end,
      }
    ]], { prefetch = 3 })
    local states = p.record(pool, { "worker:recovering" }, function(w) return w.state end)
    lu.assertEquals(p.all(pool, { 1, 0, 2, 3 }), { true, "error", true, true })
    lu.assertEquals(#states, 4)
  end,

  ["no worker runs more than its jobs, and none is needed before it is there"] = function()
    local pool = p.new(function() return require("brood.posix").getpid() end,
      { max_processes = 2, max_jobs_per_process = 5, prefetch = 3 })
    local gone = p.record(pool, { "exit" }, function(w) return { w.jobs, w.reason, w.exit_code } end)
    local pids, runs = p.all(pool, numbers(100)), {}
    for _, pid in ipairs(pids) do
      runs[pid] = (runs[pid] or 0) + 1
    end
    for _, n in pairs(runs) do
      lu.assertTrue(n <= 5)
    end
    lu.assertTrue(count_of(pids) >= 20)
    s.wait(function() return #gone >= 18 end, 10, "the end of those that were used up")
    for _, each in ipairs(gone) do
      lu.assertEquals(each[2], { 5, "max_jobs", 0 })
    end
  end,

  ["one whose replacement is there goes when there is nothing more to do"] = function()
    local pool = p.new(function(job) return job.data end, { max_processes = 2, max_jobs_per_process = 7, prefetch = 4 })
    local spawned = p.record(pool, { "spawn" })
    s.wait(function()
      p.all(pool, numbers(5))
      return #spawned > 2
    end, 10, "a replacement")
    s.wait(function() return pool:stats().workers <= 2 end, 10, "no more workers than there may be")
    lu.assertEquals(p.all(pool, numbers(9)), numbers(9))
  end,

  ["one job for each worker is possible, and no zombie is left"] = function()
    local pool = p.new(function() return require("brood.posix").getpid() end, { max_jobs_per_process = 1 })
    lu.assertEquals(count_of(p.all(pool, numbers(20))), 20)
    pool:exit()
    lu.assertEquals(s.children(require("brood.posix").getpid()), {})
  end,

  ["many jobs in one worker keep their order"] = function()
    local pool = p.new(function(job) return job.data end, { prefetch = 8 })
    lu.assertEquals(p.all(pool, numbers(50)), numbers(50))
    lu.assertEquals(sorted(p.all(pool, numbers(9))), numbers(9))
  end,
}
