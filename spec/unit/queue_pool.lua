--- What a pool decides, with workers that are tables: who gets which job when, what becomes of it, and who hears of it.
local lu = require "luaunit"
local brood = require "brood"
local jp = require "spec.support.job_pool"
local s = require "spec.support"

local turn = jp.turn

-- Every event of an emitter, with what comes after its object.
local function record(emitter)
  local list = {}
  emitter:on("*", function(event, ...)
    local first = ...
    table.insert(list, type(first) == "table" and first.seq and event .. " " .. first.seq or event)
  end)
  return list
end

local function fail(message, fields)
  local err = { message = message or "bad", code = "error" }
  for key, value in pairs(fields or {}) do
    err[key] = value
  end
  return err
end

local function seqs(jobs)
  local list = {}
  for i, job in ipairs(jobs) do
    list[i] = job.seq
  end
  return list
end

-- Have the worker run all it has, in order.
local function run_all(w, order)
  local seq = w:claim()
  while seq do
    table.insert(order, seq)
    w:answer("success", seq)
    turn()
    seq = w:claim()
  end
end

-- What is logged as an error while fn runs.
local function logged(fn)
  local core = require "brood.core"
  local write, list = core.log.write, {}
  core.log.write = function(level, text)
    table.insert(list, level .. ": " .. text)
  end
  local ok, err = xpcall(fn, debug.traceback)
  core.log.write = write
  assert(ok, err)
  return list
end

return {
  teardown = jp.cleanup,

  ["priority first, and equals in the order in which they came"] = function()
    local pool, w = jp.new({}, 1)
    local order = {}
    for _, priority in ipairs { 0, 5, -1, 5, 0, 9 } do
      pool:enqueue(priority, { priority = priority })
    end
    turn()
    run_all(w, order)
    lu.assertEquals(order, { 6, 2, 4, 1, 5, 3 })
  end,

  ["a worker has at most prefetch jobs, and all have the same"] = function()
    local pool, a, b = jp.new({ prefetch = 4 }, 2)
    for i = 1, 6 do pool:enqueue(i) end
    turn()
    lu.assertEquals({ a:outstanding(), b:outstanding() }, { 3, 3 })
    for i = 1, 6 do pool:enqueue(i) end
    turn()
    lu.assertEquals({ a:outstanding(), b:outstanding() }, { 4, 4 })
    lu.assertEquals(pool:stats().backlog, 4)
    lu.assertEquals(pool.crew.wishes, { 4 })
  end,

  ["jobs are left for workers that could still be started"] = function()
    local pool, a = jp.new({ prefetch = 8, max_processes = 4 }, 1)
    for i = 1, 8 do pool:enqueue(i) end
    turn()
    lu.assertEquals({ a:outstanding(), pool.crew.wishes[1] }, { 2, 6 })
  end,

  ["a job behind one that takes long goes to a worker that is idle"] = function()
    local pool, a, b = jp.new({ prefetch = 4 }, 2)
    for i = 1, 4 do pool:enqueue(i) end
    turn()
    lu.assertEquals({ a.lane:list(), b.lane:list(), (a:claim()), (b:claim()) }, { { 1, 2 }, { 3, 4 }, 1, 3 })
    b:answer("success")
    b:claim()
    b:answer("success")
    s.wait(function() return b:outstanding() == 1 end)
    lu.assertEquals({ a:outstanding(), (b:claim()) }, { 1, 2 })
  end,

  ["the state of a job, from waiting to ended"] = function()
    local pool = jp.new({ prefetch = 2 }, 0)
    local first, second, later = pool:enqueue(1), pool:enqueue(2), pool:enqueue(3, { delay = "1h" })
    lu.assertEquals({ first.state, second.state, later.state }, { "waiting", "waiting", "delayed" })
    local w = pool.crew:add()
    turn()
    lu.assertEquals({ first.state, second.state }, { "running", "waiting" })
    w:claim()
    w:answer("success")
    lu.assertEquals({ first.state, second.state, later.state }, { "ended", "running", "delayed" })
    later:abort()
  end,

  ["a delayed job waits its time, then takes its place behind its equals"] = function()
    local pool, w = jp.new({}, 1)
    local order = {}
    local late = pool:enqueue("late", { delay = 0.03 })
    lu.assertEquals(late.state, "delayed")
    local took = s.timed(function()
      s.wait(function() return late.state == "running" end)
    end)
    lu.assertTrue(took > 0.025)
    run_all(w, order)
    lu.assertEquals(order, { 1 })
  end,

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

  ["an id like those that the pool makes is refused, but for that of a job it knows"] = function()
    local pool, w = jp.new({}, 1)
    local first = pool:enqueue "first"
    lu.assertIs(pool:enqueue("again", { id = first.id }), first)
    local code, why
    local refused = pool:enqueue("mine", { id = pool.tag .. "-5" }, function(err) code, why = err.code, err.message end)
    turn()
    lu.assertEquals({ code, refused.state }, { "id", "ended" })
    lu.assertStrContains(why, pool.tag .. "-5")
    for i = 3, 6 do pool:enqueue(i) end
    lu.assertEquals(pool:get(pool.tag .. "-5").data, 5)
    lu.assertEquals(pool:get(refused.id), refused)
    lu.assertEquals(pool:enqueue("fine", { id = pool.tag .. "x-5" }).id, pool.tag .. "x-5")
    run_all(w, {})
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

  ["a job whose data cannot be sent fails with a word about it, when its caller has had time to listen"] = function()
    local pool = jp.new({ retries = 3 }, 1)
    local called, heard
    local cycle = {}
    cycle.self = cycle
    local job = pool:enqueue({ fn = print }, function(err) called = err end)
    local other = pool:enqueue(cycle)
    other:on("failure", function(err) heard = err end)
    lu.assertEquals({ called, job.state }, { nil, "waiting" })
    turn()
    lu.assertEquals({ called.code, tostring(called) }, { "type", "data.fn is a function" })
    lu.assertEquals({ heard.code, job.state, job.err.code, pool:stats().failed }, { "cycle", "ended", "type", 2 })
    lu.assertEquals({ pool:run { 1, { print } } }, { nil, job.err and select(2, pool:run { 1, { print } }) })
  end,

  ["beyond max_backlog a job fails with backlog, which is not tried again; idle workers do not count"] = function()
    local pool = jp.new({ max_backlog = 2, retries = 5 }, 1)
    local events, errors = record(pool), {}
    for i = 1, 4 do
      pool:enqueue(i, function(err) errors[i] = err.code end)
    end
    turn()
    lu.assertEquals(errors, { [4] = "backlog" })
    lu.assertEquals({ events[4], events[5], events[6], events[7] },
      { "enqueue 4", "backlog 4", "job:failure 4", "done 4" })
  end,

  ["an id makes an enqueue idempotent while its job lives or is remembered"] = function()
    local pool, w = jp.new({ result_ttl = 0.05 }, 1)
    local results = {}
    local function enqueue(data)
      return pool:enqueue(data, { id = "one" }, function(_, result) table.insert(results, result) end)
    end
    local job = enqueue "a"
    lu.assertEquals(job.id, "one")
    lu.assertIs(enqueue "b", job)
    turn()
    lu.assertIs(enqueue "c", job)
    lu.assertEquals({ w:claim() }, { 1, "a", 1 })
    w:answer("success", "done a")
    lu.assertIs(enqueue "d", job)
    s.wait(function() return #results == 4 end)
    lu.assertEquals(results, { "done a", "done a", "done a", "done a" })
    lu.assertIs(pool:get "one", job)
    s.wait(function() return pool:get "one" == nil end, 5)
    local fresh = enqueue "e"
    lu.assertNotIs(fresh, job)
    lu.assertEquals({ job.id, job.result, fresh.state, pool:stats().jobs }, { "one", "done a", "waiting", 1 })
  end,

  ["get finds a job by its id, whoever holds it, and nothing that there is not"] = function()
    local pool, w = jp.new({}, 1)
    local id = pool:enqueue({ n = 7 }).id
    collectgarbage() collectgarbage()
    local job = pool:get(id)
    lu.assertEquals({ job.id, job.data, job.state }, { id, { n = 7 }, "waiting" })
    job = nil -- luacheck: ignore 311
    turn()
    w:claim()
    w:answer("success", { "r" })
    collectgarbage() collectgarbage()
    job = pool:get(id)
    lu.assertEquals({ job.id, job.data, job.result, job.state }, { id, { n = 7 }, { "r" }, "ended" })
    for _, no in ipairs { "", "x", pool.tag .. "-zz", id .. "0" } do
      lu.assertNil(pool:get(no))
    end
    local answer
    pool:get(id, function(err, found) answer = { err, found } end)
    lu.assertIs(answer[2], job)
  end,

  ["any number of waiters, before and after the end, and each once"] = function()
    local pool, w = jp.new({}, 1)
    local job, got = pool:enqueue(1), {}
    for i = 1, 50 do
      brood.async(function() got[i] = job:wait() end)
    end
    turn()
    w:claim()
    lu.assertEquals({ job:wait(0.001) }, { nil, select(2, job:wait(0.001)) })
    w:answer("success", "r")
    lu.assertEquals({ #got, got[1], got[50], job:wait() }, { 50, "r", "r", "r" })
    local failed = pool:enqueue(2)
    brood.async(function() failed:wait() end)
    turn() w:claim() w:answer("failure", fail())
    local value, err = failed:wait()
    lu.assertEquals({ value, tostring(err) }, { nil, "bad" })
  end,

  ["results that are nil or false arrive as they are"] = function()
    local pool, w = jp.new({}, 1)
    local got = {}
    for i, value in ipairs { "nil", "false" } do
      pool:enqueue(i, function(err, result) got[i] = { err == nil, result == nil, result } end)
      turn() w:claim()
      w:answer("success", ({ ["false"] = false })[value])
    end
    lu.assertEquals(got, { { true, true }, { true, false, false } })
    local job = pool:enqueue(3)
    turn() w:claim() w:answer("success", false)
    lu.assertEquals({ job.result, job:wait() }, { false, false })
  end,

  ["a failure that nobody hears is logged once, with its traceback"] = function()
    local pool, w = jp.new({}, 1)
    local function failing(prepare)
      return logged(function()
        local job = pool:enqueue(1)
        prepare(job)
        turn() w:claim()
        w:answer("failure", fail("bad", { traceback = "bad\n\tworker.lua:7" }))
      end)
    end
    local lines = failing(function() end)
    lu.assertEquals(#lines, 1)
    lu.assertStrContains(lines[1], "worker.lua:7")
    lu.assertEquals(failing(function(job) job:on("failure", function() end) end), {})
    lu.assertEquals(failing(function(job) job:on("*", function() end) end), {})
    lu.assertEquals(failing(function(job) job:wait(function() end) end), {})
    lu.assertEquals(#failing(function(job) job:on("success", function() end) end), 1)
    lu.assertEquals(#failing(function() pool:on("done", function() end) end), 1)
    lu.assertEquals(failing(function() pool:on("job:failure", function() end) end), {})
  end,

  ["progress is an event, is remembered, and is there after the end"] = function()
    local pool, w = jp.new({}, 1)
    local job, got = pool:enqueue(1), {}
    local id = job.id
    job:on("progress", function(v) table.insert(got, v) end)
    turn() w:claim()
    w:answer("progress", 0.5)
    w:answer("progress", { "half" })
    lu.assertEquals({ got, job.last_progress, job.state }, { { 0.5, { "half" } }, { "half" }, "running" })
    w:answer("success", 1)
    lu.assertEquals(pool:get(id).last_progress, { "half" })
    local quiet = pool:enqueue(2).id
    turn() w:claim() w:answer("progress", 7)
    collectgarbage() collectgarbage()
    lu.assertEquals(pool:get(quiet).last_progress, 7)
  end,

  ["the events of a pool tell each job's story, and idle comes when nothing is left"] = function()
    local pool, w = jp.new({ retries = 1 }, 1)
    local events = record(pool)
    pool:enqueue "x"
    turn() w:claim() w:answer("progress", 1)
    w:answer("failure", fail())
    turn() w:claim() w:answer("success", 1)
    turn()
    lu.assertEquals(events, {
      "enqueue 1", "task 1", "job:start 1", "job:progress 1", "job:retry 1", "task 1", "job:start 1", "job:success 1",
      "done 1", "idle",
    })
  end,

  ["with prefetch a job starts when the one before it has ended"] = function()
    local pool, w = jp.new({ prefetch = 2 }, 1)
    local events = record(pool)
    pool:enqueue(1)
    pool:enqueue(2)
    turn()
    w:claim() w:answer("success") w:claim() w:answer("success")
    turn()
    lu.assertEquals(events, {
      "enqueue 1", "enqueue 2", "task 1", "task 2", "job:start 1", "job:success 1", "done 1", "job:start 2",
      "job:success 2", "done 2", "idle",
    })
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

  ["mistakes raise at the caller's line and name the option"] = function()
    local pool = jp.new({}, 0)
    local function mistake(expected, fn, ...)
      local ok, err = pcall(fn, ...)
      lu.assertFalse(ok)
      lu.assertStrContains(err, "queue_pool.lua:")
      lu.assertStrContains(err, expected)
    end
    mistake("unknown option 'priorty' (did you mean 'priority'?)", function() pool:enqueue(1, { priorty = 1 }) end)
    mistake("'delay'", function() pool:enqueue(1, { delay = "soon" }) end)
    mistake("'retries'", function() pool:enqueue(1, { retries = -1 }) end)
    mistake("to 2147483647", function() pool:enqueue(1, { retries = 2 ^ 31 }) end)
    mistake("'id'", function() pool:enqueue(1, { id = "" }) end)
    mistake("'id'", function() pool:enqueue(1, { id = 7 }) end)
    mistake("'priority'", function() pool:enqueue(1, { priority = 0.5 }) end)
    mistake("callback", function() pool:enqueue(1, nil, 5) end)
    mistake("'timeout'", function() pool:run(1, { timeout = {} }) end)
    mistake("the id must be a string", function() pool:get(5) end)
    mistake("options must be a table", function() pool:enqueue(1, "x") end)
    lu.assertEquals(pool.live, 0)
    local Pool = require "brood.pool"
    mistake("unknown option 'workers'", function() Pool.new { worker = print, workers = 3 } end)
    mistake("'prefetch'", function() Pool.new { worker = print, prefetch = 0 } end)
    mistake("worker", function() Pool.new {} end)
  end,

  ["options of a job: durations as text, no timeout, none of its own"] = function()
    local pool = jp.new({}, 0)
    local function stored(options)
      local job = pool:enqueue(1, options)
      local _, _, _, _, timeout, retries = pool.store:find(job.seq)
      return timeout, retries
    end
    lu.assertEquals({ stored() }, { -1, -1 })
    lu.assertEquals({ stored { timeout = "2m", retries = 3 } }, { 120, 3 })
    lu.assertEquals({ stored { timeout = false } }, { 1e9, -1 })
    lu.assertEquals({ stored { timeout = 0.5 } }, { 0.5, -1 })
    lu.assertEquals(pool:enqueue(1, { delay = "1h" }).state, "delayed")
  end,

  ["a watcher far away gets each event in bytes, and the end of a job that is over at once"] = function()
    local message = require "brood.message"
    local pool, w = jp.new({ retries = 1 }, 1)
    local got = {}
    local function watcher(event, bytes, attempt, seq)
      local _, value = message.decode(bytes or message.encode("-"))
      value = type(value) == "table" and value.message or value
      table.insert(got, ("%s %s %d %d"):format(event, value, attempt, seq))
    end
    local seq = pool:put(message.encode "data", nil, 0)
    lu.assertTrue(pool:watch(seq, watcher))
    turn() w:claim() w:answer("progress", 5) w:answer("failure", fail())
    turn() w:claim() w:answer("success", "good")
    lu.assertEquals(got, { "start - 1 1", "progress 5 1 1", "retry bad 2 1", "start - 2 1", "success good 2 1" })
    got = {}
    pool:watch(seq, watcher)
    lu.assertEquals(got, { "success good 2 1" })
    lu.assertNil(pool:watch(99, watcher))
    local about = pool:describe(seq)
    lu.assertEquals({ about.state, about.attempt, about.id }, { "ended", 2, pool:id_of(seq) })
    lu.assertEquals({ select(2, message.decode(about.result)), select(2, message.decode(about.data)) },
      { "good", "data" })
  end,

  ["a client far away hears of its own jobs alone, those that could not begin too, and of each end once"] = function()
    local message = require "brood.message"
    local pool, w = jp.new({ max_backlog = 0 }, 1)
    local got = {}
    pool.remote = function(client, seq, event)
      table.insert(got, ("%d %d %s"):format(client, seq, event))
    end
    lu.assertEquals(pool:put(message.encode "a", nil, 7, 100), 100)
    lu.assertEquals(pool:put(message.encode "b", { id = "x" }, 8, 200), 200)
    lu.assertEquals(got, {})
    turn()
    lu.assertEquals(got, { "8 200 failure" })
    lu.assertEquals(pool:put(message.encode "c", { id = "x" }, 9, 300), 200)
    w:claim() w:answer("success", 1)
    lu.assertEquals(got, { "8 200 failure", "7 100 success" })
    lu.assertEquals(seqs { pool:get(pool:id_of(100)) }, { 100 })
  end,
}
