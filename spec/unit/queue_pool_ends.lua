--- What a pool decides about the end of an attempt and of a job, with workers that are tables: whether it is tried
--- again, who is charged for a dead worker, and what abort, drain and exit end.
local lu = require "luaunit"
local brood = require "brood"
local jp = require "spec.support.job_pool"
local s = require "spec.support"

local fail, logged, record, run_all, turn = jp.fail, jp.logged, jp.record, jp.run_all, jp.turn

return {
  teardown = jp.cleanup,

  ["a failure is tried again as often as retries says, with one more attempt each time"] = function()
    local pool, w = jp.new({ retries = 2 }, 1)
    local job = pool:enqueue("x")
    local events = record(job)
    for attempt = 1, 3 do
      turn()
      lu.assertEquals({ select(3, w:claim()), job.attempt }, { attempt, attempt })
      w:answer("failure", fail())
    end
    lu.assertEquals(events, { "start", "retry", "start", "retry", "start", "failure" })
    lu.assertEquals({ job.state, job.attempt, tostring(job.err) }, { "ended", 3, "bad" })
    local stats = pool:stats()
    lu.assertEquals({ stats.jobs, stats.failed, stats.retried }, { 1, 1, 2 })
  end,

  ["in a retry listener the job is where it waits, with its next attempt, and may be ended there"] = function()
    for delay, state in pairs { [0] = "waiting", [60] = "delayed" } do
      local pool, w = jp.new({ retries = 5, retry_delay = delay }, 1)
      local seen
      local job = pool:enqueue "x"
      job:on("retry", function(err)
        seen = { tostring(err), job.state, job.attempt, pool:stats().backlog }
        lu.assertTrue(job:abort())
      end)
      turn() w:claim() w:answer("failure", fail())
      turn()
      lu.assertEquals(seen, { "bad", state, 2, 1 })
      lu.assertEquals({ job.state, job.err.code, pool.live, (w:claim()) }, { "ended", "abort", 0 })
    end
  end,

  ["a job that is aborted when it is told to have begun ends once, whatever its worker had said"] = function()
    for _, kind in ipairs { "success", "failure" } do
      local pool, w = jp.new({ prefetch = 2, retries = 1 }, 1)
      local jobs = { pool:enqueue(1), pool:enqueue(2) }
      jobs[2]:on("start", function() lu.assertTrue(jobs[2]:abort()) end)
      turn()
      for _ = 1, 2 do
        w:claim()
        w:put(kind == "failure" and w.current == 2 and kind or "success", fail())
      end
      w:flush()
      turn()
      lu.assertEquals({ jobs[2].err.code, pool.live, pool:stats().jobs, pool:stats().aborted }, { "abort", 0, 2, 1 })
    end
  end,

  ["of the jobs that a dead worker had begun none is left over, whoever ends all when the first is told"] = function()
    for _, event in ipairs { "start", "retry" } do
      local pool, w = jp.new({ prefetch = 4, retries = 5 }, 1)
      local jobs, codes = {}, {}
      for i = 1, 5 do
        jobs[i] = pool:enqueue(i, function(err) codes[i] = err.code end)
      end
      turn()
      for _ = 1, 3 do w:claim() end
      jobs[event == "start" and 2 or 1]:once(event, function() pool:exit() end)
      w:die({ code = "exit", message = "it died" }, 3)
      turn()
      lu.assertEquals({ codes, pool.live, pool:stats().backlog }, { { "exit", "exit", "exit", "exit", "exit" }, 0, 0 })
    end
  end,

  ["a job's own retries beat the pool's; retry = false in the error beats both"] = function()
    local pool, w = jp.new({ retries = 5 }, 1)
    local never = pool:enqueue("x", { retries = 0 })
    never:on("failure", function() end)
    turn() w:claim() w:answer("failure", fail())
    lu.assertEquals(never.state, "ended")
    local final = pool:enqueue("x")
    final:on("failure", function() end)
    turn() w:claim() w:answer("failure", fail("over", { retry = false }))
    lu.assertEquals({ final.state, final.err.message }, { "ended", "over" })
  end,

  ["retry_delay is a number, a duration, false or a function of attempt and error that may wait"] = function()
    local asked = {}
    local delays = {
      0.02, "20ms", function(attempt, err)
        table.insert(asked, { attempt, err.message })
        brood.sleep(0.001)
        return "20ms"
      end,
    }
    for _, delay in ipairs(delays) do
      local pool, w = jp.new({ retries = 1, retry_delay = delay }, 1)
      local job = pool:enqueue("x")
      turn() w:claim() w:answer("failure", fail())
      s.wait(function() return job.state == "delayed" end, 5)
      s.wait(function() return job.state == "running" end, 5)
      lu.assertEquals(job.attempt, 2)
      w:claim() w:answer("success", "well")
      lu.assertEquals(job.result, "well")
    end
    lu.assertEquals(asked, { { 1, "bad" } })
    for _, no in ipairs { false, function() return false end } do
      local pool, w = jp.new({ retries = 1, retry_delay = no }, 1)
      local err
      pool:enqueue("x", function(e) err = e end)
      turn() w:claim() w:answer("failure", fail())
      lu.assertEquals({ tostring(err), pool:stats().retried }, { "bad", 0 })
    end
  end,

  ["a retry_delay that raises, or returns no delay, is logged, and the job fails with its own error"] = function()
    for _, fn in ipairs { function() error("oops") end, function() return "soon" end } do
      local err
      local lines = logged(function()
        local pool, w = jp.new({ retries = 1, retry_delay = fn }, 1)
        pool:enqueue("x", function(e) err = e end)
        turn() w:claim() w:answer("failure", fail())
      end)
      lu.assertEquals({ tostring(err), #lines }, { "bad", 1 })
      lu.assertStrContains(lines[1], "retry_delay")
    end
  end,

  ["a job can be aborted, and the pool left, while retry_delay decides"] = function()
    for _, leave in ipairs { false, true } do
      local pool, w = jp.new({ retries = 1, retry_delay = function() brood.sleep(0.02) return 0 end }, 1)
      local err, answers = nil, 0
      local job = pool:enqueue("x", function(e) err, answers = e, answers + 1 end)
      turn() w:claim() w:answer("failure", fail())
      lu.assertEquals(job.state, "waiting")
      if leave then pool:exit() else lu.assertTrue(job:abort()) end
      lu.assertEquals(err.code, leave and "exit" or "abort")
      brood.sleep(0.03)
      lu.assertEquals({ answers, pool:stats().jobs, pool:stats().backlog }, { 1, 1, 0 })
    end
  end,

  ["only the jobs that a dead worker had begun are charged; the others go on in order, first"] = function()
    local pool, w = jp.new({ prefetch = 3, retries = 0 }, 1)
    local jobs = {}
    for i = 1, 4 do jobs[i] = pool:enqueue(i) end
    jobs[1]:on("failure", function() end)
    turn()
    w:claim()
    w:die({ code = "exit", message = "it died" }, 1)
    lu.assertEquals({ jobs[1].err.code, jobs[2].state, jobs[2].attempt }, { "exit", "waiting", 1 })
    local order = {}
    local again = pool.crew:add()
    turn()
    run_all(again, order)
    lu.assertEquals(order, { 2, 3, 4 })
  end,

  ["a timeout is charged to the job that ran; one whose result was not told fails with exit"] = function()
    local pool, w = jp.new({ prefetch = 3 }, 1)
    local codes = {}
    for i = 1, 2 do
      pool:enqueue(i, function(err) codes[i] = err.code end)
    end
    turn()
    w:claim() w:claim()
    w:die({ code = "timeout", message = "slow" }, 2)
    lu.assertEquals(codes, { "exit", "timeout" })
  end,

  ["abort ends a job that waits, is delayed, lies in a worker or runs; only the last costs a worker"] = function()
    local pool, w = jp.new({ prefetch = 2 }, 1)
    local running, given, waiting = pool:enqueue(1), pool:enqueue(2), pool:enqueue(3)
    local delayed, untold = pool:enqueue(4, { delay = 60 }), pool:enqueue(5)
    turn()
    w:claim()
    local events, errors = {}, {}
    for name, job in pairs { running = running, given = given, waiting = waiting, delayed = delayed } do
      job:on("abort", function(...) events[name] = select("#", ...) end)
      job:on("failure", function() events[name] = "failed" end)
      job:wait(function(err) errors[name] = err.code end)
    end
    for _, job in ipairs { waiting, delayed, given } do
      lu.assertTrue(job:abort())
      lu.assertEquals({ job.state, job.err.code }, { "ended", "abort" })
    end
    turn()
    lu.assertNil(w.reason)
    lu.assertEquals(w.lane:list(), { running.seq, untold.seq })
    lu.assertTrue(running:abort())
    lu.assertEquals(w.reason, "abort")
    lu.assertEquals(errors, { running = "abort", given = "abort", waiting = "abort", delayed = "abort" })
    lu.assertEquals(events, { running = 1, given = 1, waiting = 1, delayed = 1 })
    lu.assertEquals(untold.state, "waiting")
    local ok, err = running:abort()
    lu.assertEquals({ ok, err.code }, { nil, "ended" })
    local stats = pool:stats()
    lu.assertEquals({ stats.jobs, stats.aborted, stats.failed, stats.backlog }, { 4, 4, 0, 1 })
  end,

  ["a result of a job that has ended is dropped and counted"] = function()
    local pool, w = jp.new({}, 1)
    local job = pool:enqueue(1)
    turn()
    w:claim()
    job:abort()
    w:answer("success", "late")
    lu.assertEquals({ job.err.code, job.result, pool:stats().late, pool:stats().jobs }, { "abort", nil, 1, 1 })
  end,

  ["drain returns when all that is enqueued has ended, what comes meanwhile too, and the pool goes on"] = function()
    local pool, w = jp.new({}, 1)
    lu.assertTrue(pool:drain())
    local drained = 0
    pool:enqueue(1, function() pool:enqueue(2) end)
    pool:drain(function() drained = drained + 1 end)
    pool:drain(function() drained = drained + 1 end)
    turn() w:claim() w:answer("success")
    turn()
    lu.assertEquals(drained, 0)
    w:claim() w:answer("success")
    turn()
    lu.assertEquals(drained, 2)
    pool:enqueue(3)
    turn()
    lu.assertEquals({ (w:claim()) }, { 3 })
  end,

  ["exit ends every job with exit, retries or not, and ends a drain; then the pool can be used again"] = function()
    local pool, w = jp.new({ prefetch = 2, retries = 9 }, 1)
    local codes, drained = {}, false
    for i = 1, 5 do
      pool:enqueue(i, { delay = i == 5 and 60 or nil }, function(err)
        codes[i] = err.code
        pool:enqueue("again", function(e) codes["again " .. i] = e.code end)
      end)
    end
    pool:enqueue(print, function(err) codes.unsendable = err.code end)
    turn()
    w:claim()
    pool:drain(function() drained = true end)
    lu.assertTrue(pool:exit())
    turn()
    local again = "exit"
    lu.assertEquals(codes, {
      "exit", "exit", "exit", "exit", "exit", unsendable = "type", ["again 1"] = again, ["again 2"] = again,
      ["again 3"] = again, ["again 4"] = again, ["again 5"] = again,
    })
    lu.assertEquals({ drained, pool:stats().backlog, pool.live }, { true, 0, 0 })
    local job = pool:enqueue "fresh"
    local new = pool.crew:add()
    turn()
    lu.assertEquals({ new:claim() }, { job.seq, "fresh", 1 })
    lu.assertTrue(pool:exit())
  end,

  ["when no worker can be started waiting jobs fail with faulted, one line telling of those unheard"] = function()
    local lines = logged(function()
      local pool = jp.new({ retries = 5 }, 0)
      local code, cause
      pool:enqueue(1, function(err) code, cause = err.code, tostring(err) end)
      for i = 2, 100 do pool:enqueue(i) end
      local later = pool:enqueue(0, { delay = 60 })
      turn()
      pool.crew.on.failed { code = "worker", message = "no such file" }
      lu.assertEquals({ code, later.state, pool:stats().failed }, { "faulted", "delayed", 100 })
      lu.assertStrContains(cause, "no such file")
      later:abort()
    end)
    lu.assertEquals(#lines, 1)
    lu.assertStrContains(lines[1], "99 jobs")
  end,
}
