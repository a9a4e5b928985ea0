--- Who hears of a job, and finds it by its id, with workers that are tables: callbacks, waiters, listeners, and those
--- far away.
local lu = require "luaunit"
local brood = require "brood"
local jp = require "spec.support.job_pool"
local s = require "spec.support"

local fail, logged, record, run_all, seqs, turn = jp.fail, jp.logged, jp.record, jp.run_all, jp.seqs, jp.turn

return {
  teardown = jp.cleanup,

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

  ["when a job's own listener has ended it, the pool hears of the end and of nothing after it"] = function()
    for _, event in ipairs { "start", "progress", "retry" } do
      local pool, w = jp.new({ retries = 1 }, 1)
      local job = pool:enqueue "a"
      job:on(event, function() job:abort() end)
      local heard = record(pool)
      turn()
      w:claim()
      w:answer(event == "progress" and "progress" or "failure", fail())
      turn()
      local told = table.concat(heard, " ")
      lu.assertStrMatches(told, "task 1 .*job:abort 1 done 1 idle")
      lu.assertEquals(told:find("job:" .. event, 1, true), nil)
    end
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
