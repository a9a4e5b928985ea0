--- Jobs in real workers when their pool, script or process ends: who is told, what the log says, and what of them goes
--- on. What becomes of a job otherwise is in pool_jobs.
local lu = require "luaunit"
local p = require "spec.support.pool"
local posix = require "brood.posix"
local s = require "spec.support"
local scripts = require "spec.support.scripts"

local act, new = p.act, p.of

local function logged(pattern, text, options)
  local result = s.script(text, {}, options):finish()
  lu.assertStrContains(result.stderr, pattern)
  return result
end

return {
  teardown = p.cleanup,

  ["exit ends what waits, is delayed and runs, the workers are gone, and the pool works again"] = function()
    local pool = new { worker = act, max_processes = 2, prefetch = 2, timeout_working = 30 }
    local pids = { [pool:run "pid"] = true }
    local codes = {}
    for i = 1, 10 do
      pool:enqueue("hang", { delay = i > 8 and 60 or nil }, function(err) table.insert(codes, err.code) end)
    end
    s.wait(function() return pool:stats().busy == 2 end)
    local drained
    pool:drain(function() drained = true end)
    lu.assertTrue(pool:exit())
    lu.assertEquals(#codes, 10)
    for _, code in ipairs(codes) do lu.assertEquals(code, "exit") end
    for pid in pairs(pids) do
      lu.assertNil((posix.kill(pid, 0)))
    end
    local stats = pool:stats()
    lu.assertEquals({ drained, stats.workers, stats.backlog, stats.jobs }, { true, 0, 0, 11 })
    lu.assertEquals(pool:run "again", "again")
  end,

  ["a script whose last act is an enqueue runs the job, and ends by itself once it has left the pool"] = function()
    scripts.prints([[
      local pool = require("brood.pool").new { worker = function(job) return job.data + 1 end }
      pool:enqueue(1, function(err, result)
        print(err, result)
        pool:exit()
      end)
    ]], "nil\t2\n")
  end,

  ["a failure that nobody waits for is logged with the worker's traceback"] = function()
    logged("in here", [[
      local pool = require("brood.pool").new { worker = function() local function here() error("in here") end here() end }
      pool:enqueue(1)
      pool:drain()
      pool:exit()
    ]])
  end,

  ["a callback that raises is logged, and the others still come"] = function()
    local result = logged("in the callback", [[
      local pool = require("brood.pool").new { worker = function(job) return job.data end, max_processes = 1 }
      pool:enqueue(1, function() error("in the callback") end)
      pool:enqueue(2, function(_, value) print("second", value) end)
      pool:drain()
      pool:exit()
    ]])
    lu.assertEquals(result.stdout, "second\t2\n")
  end,

  ["in a child of a fork the pool is the parent's, and says so"] = function()
    scripts.prints([[
      local posix = require "brood.posix"
      local pool = require("brood.pool").new { worker = function(job) return job.data end }
      pool:run(1)
      local pid = posix.fork()
      if pid == 0 then
        local ok, err = pcall(pool.enqueue, pool, 2)
        io.write(tostring(ok), " ", (err:match("pool:enqueue: .*")), "\n")
        os.exit(0)
      end
      posix.waitpid(pid)
      print(pool:run(3))
      pool:exit()
    ]], "false pool:enqueue: the pool belongs to the process that this one was forked from\n3\n")
  end,

  ["in the child of a fork a job's handle says whose it is"] = function()
    scripts.prints([[
      local posix = require "brood.posix"
      local pool = require("brood.pool").new { worker = function(job) return job.data end }
      local job, ended = pool:enqueue(1, { delay = 60 }), pool:enqueue(2)
      ended:wait()
      local pid = posix.fork()
      if pid == 0 then
        for _, fn in ipairs {
          function() return job.state end, function() return job.attempt end,
          function() return (job:wait()) end, function() return (job:abort()) end,
        } do
          print((select(2, pcall(fn)):gsub("^[^ ]*:%d+: ", "LINE: ")))
        end
        print(ended.state, ended:wait())
        os.exit(0)
      end
      posix.waitpid(pid)
      job:abort()
      pool:exit()
    ]], ("LINE: %s: the pool belongs to the process that this one was forked from\n"):rep(4)
      :format("job.state", "job.attempt", "job:wait", "job:abort") .. "ended\t2\n")
  end,

  ["exit ends every job, of however many that wait, and says so once"] = function()
    local result = logged("pool: 250001 jobs that nobody waited for failed: pool was told to exit", [[
      local pool = require("brood.pool").new { worker = function() require("brood").sleep(60) end, max_processes = 1 }
      local heard, first = 0, nil
      for i = 1, 250000 do
        first = pool:enqueue(i, i % 100 == 0 and { delay = 60 } or nil)
      end
      pool:enqueue(0)
      for _ = 1, 3 do
        pool:enqueue(0, { priority = -1 }, function(err) heard = heard + (err.code == "exit" and 1 or 0) end)
      end
      pool:exit()
      local stats = pool:stats()
      print(heard, pool.live, stats.jobs, stats.failed, stats.backlog, first.state, first.err.code)
    ]])
    lu.assertEquals(result.stdout, "3\t0\t250004\t250004\t0\tended\texit\n")
    local _, lines = result.stderr:gsub("\n", "")
    lu.assertEquals(lines, 1)
  end,

  ["a worker that is killed in the middle of what it says is no error"] = function()
    local result = logged("", [[
      local brood = require "brood"
      local pool = require("brood.pool").new {
        max_processes = 1,
        worker = function(job) while true do job:progress(("x"):rep(3000000)) end end,
      }
      for _ = 1, 10 do
        local job = pool:enqueue(1)
        local got = 0
        job:on("progress", function() got = got + 1 if got == 2 then job:abort() end end)
        job:wait()
      end
      pool:exit()
    ]])
    lu.assertNotStrContains(result.stderr, "the channel is closed")
  end,

  ["exit in a retry listener ends every job that a dead worker had begun, and none runs again"] = function()
    local dir = s.temp_dir()
    local pool = new {
      worker = function(job)
        local file = io.open(dir .. "/ran", "a")
        file:write(job.data, "\n")
        file:close()
        if job.data == 10 then
          require("luv").kill(require("luv").os_getpid(), 9)
        end
      end,
      max_processes = 1, prefetch = 32, retries = 3,
    }
    local jobs, exited, ran = {}, false, nil
    pool:once("job:retry", function()
      pool:exit()
      exited, ran = true, s.read_file(dir .. "/ran")
    end)
    pool:on("job:failure", function() end)
    for i = 1, 20 do jobs[i] = pool:enqueue(i) end
    s.wait(function() return exited end)
    for i = 1, 20 do
      lu.assertEquals({ i, jobs[i].state }, { i, "ended" })
    end
    lu.assertEquals({ pool:stats().backlog, pool:stats().jobs, pool:stats().workers }, { 0, 20, 0 })
    lu.assertEquals(pool:run "one more", nil)
    lu.assertEquals(s.read_file(dir .. "/ran"), ran .. "one more\n")
  end,
}
