--- What a pool decides, with workers that are tables: which jobs it takes in, and who gets which of them when. What
--- becomes of them is in queue_pool_ends, who hears of that in queue_pool_heard.
local lu = require "luaunit"
local jp = require "spec.support.job_pool"
local s = require "spec.support"

local record, run_all, turn = jp.record, jp.run_all, jp.turn

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
}
