--- The config's pools from the processes of a master: jobs that one enqueues and another finds, what is told of them,
--- and what becomes of them when the process that enqueued them dies.
local brood = require "brood"
local lu = require "luaunit"
local pools = require "spec.support.pool_app"
local s = require "spec.support"
local uv = require "luv"

local T = {}
local master

local function start(options)
  master = pools.start(options)
  master:address()
  return master
end

local function decode(text)
  return brood.json.decode(text)
end

T["a job that one worker enqueues is found by another, in every state"] = function()
  start { pool = "max_processes = 1" }
  local other = master:other()
  local id = master:post("/jobs", { value = 7, sleep = 0.3, progress = { "half" } })
  local waiting = master:post("/jobs", { value = 8 })
  s.wait(function()
    local job = master:job(id, other)
    return job.state == "running" and job.progress == "half"
  end)
  lu.assertEquals(master:job(waiting, other).state, "waiting")
  local late = master:post("/jobs", { value = 9, options = { delay = 60 } })
  lu.assertEquals(master:job(late, other).state, "delayed")
  local job = master:ended(id, other)
  lu.assertEquals(job.result.value, 7)
  lu.assertEquals(job.result.id, id)
  lu.assertEquals(job.data.value, 7)
  lu.assertEquals(master:ended(waiting, other).result.value, 8)
  lu.assertNil(master:job("no-such", other))
  lu.assertNil(master:job(id .. "x", other))
end

T["a result comes to who waits for it, and a failure whole"] = function()
  start()
  local answer = decode(master:post("/run", { value = { 1, "x" } }))
  lu.assertEquals(answer.result.value, { 1, "x" })
  answer = decode(master:post("/run", { fail = "no picture" }))
  lu.assertEquals(answer.err, { message = "no picture", code = "mine" })
  local id = master:post("/jobs", { fail = "no picture" })
  lu.assertEquals(master:ended(id, master:other()).err, { message = "no picture", code = "mine", extra = { 1 } })
end

T["the handle of the enqueuer tells the truth whenever it is asked"] = function()
  start()
  local id = master:post("/jobs", { value = 5 })
  s.wait(function()
    local job = decode(s.get(master:address(), "/kept?" .. id).body)
    return job.state == "ended" and job.result.value == 5
  end)
end

T["events of a job reach a listener in another worker"] = function()
  start()
  local id = master:post("/jobs", { value = 1, progress = { "a", "b" }, options = { delay = 0.2 } })
  local text = s.get(master:other(), "/events?" .. id).body
  lu.assertEquals(text, "start nil\nprogress a\nprogress b\nsuccess 1\n")
end

T["wait and abort work from another worker"] = function()
  start()
  local id = master:post("/jobs", { sleep = 30 })
  s.wait(function() return master:job(id).state == "running" end)
  lu.assertEquals(s.get(master:other(), "/abort?" .. id).body, "true")
  local job = master:ended(id)
  lu.assertEquals(job.err.code, "abort")
  local answer = decode(s.get(master:other(), "/wait?" .. id).body)
  lu.assertEquals(answer.err.code, "abort")
end

T["a job that is aborted in the turn in which it was enqueued is found by all"] = function()
  start()
  local id = master:lua [[
    local job, err = pool:enqueue({ note = "never", sleep = 30 }, { id = "mine" }), nil
    job:abort()
    err = select(2, job:wait())
    return job.id .. " " .. job.state .. " " .. err.code
  ]]
  lu.assertEquals(id, "mine ended abort")
  local job = master:job("mine", master:other())
  lu.assertEquals({ job.state, job.err.code }, { "ended", "abort" })
  id = master:lua "local job = pool:enqueue { note = 'never' } job:abort() return job.id"
  lu.assertEquals(master:ended(id, master:other()).err.code, "abort")
  lu.assertEquals(#master:done(), 0)
end

T["listeners, callbacks and waiters of the enqueuer hear of its job once each"] = function()
  start()
  local text = master:lua [[
    local log, over = {}, nil
    local job = pool:enqueue({ value = 3, progress = { 1, 2 } }, function(err, result)
      log[#log + 1] = "cb " .. result.value
    end)
    job:on("start", function() log[#log + 1] = "start" end)
    job:on("progress", function(v) log[#log + 1] = "progress " .. v end)
    job:once("success", function(r) log[#log + 1] = "success " .. r.value end)
    local result = job:wait()
    brood.sleep(0.01)
    return table.concat(log, ",") .. " " .. result.value .. " " .. job.state
  ]]
  lu.assertEquals(text, "start,progress 1,progress 2,success 3,cb 3 3 ended")
end

T["a listener that is added when the job waits already hears of all that follows"] = function()
  start { pool = "max_processes = 1" }
  lu.assertEquals(master:lua [[
    pool:enqueue { sleep = 0.1 }
    local job = pool:enqueue { value = 4, progress = { "x" } }
    brood.sleep(0.02)
    local log = {}
    job:on("*", function(event) log[#log + 1] = event end)
    job:wait()
    brood.sleep(0.01)
    return table.concat(log, ",")
  ]], "start,progress,success")
end

T["an id of one's own names one job in all processes"] = function()
  start()
  local other = master:other()
  local code = [[
    local n = ...
    local job = pool:enqueue({ value = "%s", note = "ran", sleep = 0.1 }, { id = "mine" })
    return job.id .. " " .. job:wait().value
  ]]
  local one
  brood.async(function()
    one = master:lua(code:format "first")
  end)
  s.wait(function() return master:job "mine" end)
  lu.assertEquals(master:lua(code:format "second", other), "mine first")
  s.wait(function() return one end)
  lu.assertEquals(one, "mine first")
  lu.assertEquals(#master:done(), 1)
end

T["what cannot be sent fails its job and nothing else"] = function()
  start()
  lu.assertEquals(master:lua [[
    local result, err = pool:run { f = print }
    local fine = pool:run(1)
    return tostring(result) .. " " .. err.code .. " " .. fine.value
  ]], "nil type 1")
end

T["mistakes raise at the caller's line"] = function()
  start()
  local function mistake(code)
    return master:lua("local ok, err = pcall(function()\n" .. code .. "\nend)\nreturn err")
  end
  lu.assertStrContains(mistake 'brood.pool "none"',
    ":3: brood.pool: this process knows of no pool 'none'; the pools are: work")
  lu.assertStrContains(mistake 'brood.service "none"', ":3: brood.service: this process knows of no service 'none'")
  lu.assertStrContains(mistake "pool:enqueue(1, { dealy = 1 })", "(did you mean 'delay'?)")
  lu.assertStrContains(mistake "pool:enqueue(1, {}, 5)", "the callback must be a function")
  lu.assertStrContains(mistake "pool:get(5)", "the id must be a string")
  lu.assertStrContains(mistake "pool:drain()", "pool:drain: only in the master")
end

T["outside of a master there are no pools by name"] = function()
  local dir = s.temp_dir()
  s.write_file(dir .. "/x.lua", [[
    print(select(2, pcall(require("brood").pool, "work")))
    print(select(2, pcall(require("brood").service, "api")))
  ]])
  local result = s.brood({ "exec", dir .. "/x.lua" }):finish()
  lu.assertStrMatches(result.stdout,
    ".*knows of no pool 'work'; no master has started it.*\n.*knows of no service 'api'; no master.*\n")
end

T["events of the pool are told while somebody listens"] = function()
  start()
  lu.assertEquals(master:lua [[
    local log = {}
    local function done(job) log[#log + 1] = "done " .. job.id:match "%-" .. job.state end
    pool:on("done", done)
    pool:on("job:success", function(job, result) log[#log + 1] = "success " .. result.value .. " " .. job.data.value end)
    pool:once("task", function(job, w) log[#log + 1] = "task " .. type(w.pid) .. " " .. w.state end)
    brood.sleep(0.05)
    pool:run { value = 1 }
    brood.sleep(0.05)
    pool:off("done", done)
    brood.sleep(0.05)
    pool:run { value = 2 }
    brood.sleep(0.05)
    table.sort(log)
    return table.concat(log, ",")
  ]], "done -ended,success 1 1,success 2 2,task number busy")
end

T["who listens to everything hears each event once, and the workers'"] = function()
  start { pool = "max_processes = 1" }
  lu.assertEquals(master:lua [[
    local log, single = {}, 0
    local function all(event, first) log[event] = (log[event] or 0) + 1 end
    pool:on("*", all)
    pool:on("done", function() single = single + 1 end)
    brood.sleep(0.05)
    pool:run { value = 1 }
    brood.sleep(0.05)
    pool:off("*", all)
    brood.sleep(0.05)
    pool:run { value = 2 }
    brood.sleep(0.05)
    local names = {}
    for name, n in pairs(log) do names[#names + 1] = name .. n end
    table.sort(names)
    return single .. " " .. table.concat(names, " ")
  ]], "2 done1 enqueue1 idle1 job:start1 job:success1 task1 worker:busy1 worker:ready1")
end

T["a copy of a worker is told that it has no line to the master"] = function()
  start()
  local text = master:lua [[
    local r, w = posix.pipe()
    local pid = posix.fork()
    if pid == 0 then
      local ok, err = pcall(function() return pool:enqueue(1) end)
      posix.write(w, tostring(err))
      posix.kill(posix.getpid(), 9)
    end
    posix.close(w)
    local text = posix.read(r, 1000)
    posix.close(r)
    posix.waitpid(pid)
    return text .. " " .. pool:run(5).value
  ]]
  lu.assertStrMatches(text, ".*was not started by a master, but forked from one that was 5")
end

T["values up to 64 MB go both ways, and what is beyond fails its job"] = function()
  start { worker = "return function(job) return job.data end", pool = "max_processes = 1, timeout_working = 60" }
  local started = master:lua [[
    brood.async(function()
      local text = ("0123456789abcdef"):rep(4 * 1024 * 1024)
      LARGE = tostring(pool:run(text) == text)
      local _, err = pool:run(text .. "x" .. text)
      LARGE = LARGE .. " " .. err.code .. " " .. pool:run "small"
    end)
    return "started"
  ]]
  lu.assertEquals(started, "started")
  local answer
  s.wait(function()
    answer = master:lua "return LARGE"
    return answer:find "small"
  end, 60 * s.slow)
  lu.assertEquals(answer, "true too_large small")
end

T["stats are those of the pool"] = function()
  start()
  master:post("/run", { value = 1 })
  local stats = decode(master:post("/stats", ""))
  lu.assertEquals({ stats.jobs, stats.workers, stats.failed }, { 1, 2, 0 })
end

T["in hooks and in other pools' workers it is the same pool"] = function()
  start {
    worker = pools.WORKER:gsub("if data.sleep",
      'if data.ask then return brood.pool("second"):run(data.ask) end\n  if data.sleep'),
    config = [[
      worker_ready = function(master, worker)
        if worker.cluster == "other" then
          note("hook", master.pools.work == brood.pool "work", master.pools.work:run({ value = "from the hook" }).value,
            master.pools.work:stats().jobs)
        end
      end,]],
    pool = [[ max_processes = 1 }, second = { worker = function(job) return { value = job.data .. "!" } end ]],
  }
  lu.assertEquals(master:noted "hook ([^\n]+)", "true from the hook 1")
  lu.assertEquals(decode(master:post("/run", { ask = "hello" })), { result = { value = "hello!" } })
end

T["an app that was loaded before the fork has the pool in its workers as well"] = function()
  start { config = "preload = true," }
  lu.assertEquals(decode(master:post("/run", { value = 6 })).result.value, 6)
end

T["the job of a process that was killed goes on, and its result waits"] = function()
  start()
  local pid = tonumber(s.get(master:address(), "/pid").body)
  local id = master:post("/jobs", { value = "orphan", sleep = 0.3 })
  local waited = master:post("/jobs", { fail = "nobody heard", options = { delay = 0.3 } })
  uv.kill(pid, "sigkill")
  local other = master:other()
  lu.assertEquals(master:ended(id, other).result.value, "orphan")
  lu.assertEquals(master:ended(waited, other).err.message, "nobody heard")
  lu.assertEquals(master:pool().failed, 1)
end

T["a job that was forgotten meanwhile ends for its enqueuer as well"] = function()
  start { pool = "max_processes = 1, result_ttl = 0" }
  local id = master:post("/jobs", { note = "ran" })
  s.wait(function() return master:pool().jobs == 1 end)
  lu.assertNil(master:job(id))
  s.wait(function()
    local job = decode(s.get(master:address(), "/kept?" .. id).body)
    return job.state == "ended" and job.err.code == "unknown"
  end)
  lu.assertNil(master:log():find("error", 1, true))
end

T["who waits for a job hears that the master is gone"] = function()
  start()
  local text = '{"sleep":1,"note":"begun"}'
  local socket = s.connect(master:address())
  socket:send(("POST /run HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"):format(#text,
    text))
  s.wait(function() return master:done()[1] end)
  local pids = s.child_pids(master.program.pid)
  master.program:kill "KILL"
  lu.assertEquals(decode(socket:response().body).err.code, "stopped")
  s.gone(pids, 10)
  os.remove(master.control)
end

T["a job that is enqueued as its process ends is not lost"] = function()
  start { app = [[
    local brood = require "brood"
    local pool = brood.pool "work"
    return { server = function(req, res)
      if req.path == "/exit" then pool:enqueue { note = "at exit" } os.exit(0) end
      res:finish "x"
    end, stop = function() pool:enqueue { note = "at stop" } end }
  ]] }
  pcall(s.get, master:other(), "/exit")
  s.wait(function() return master:done()[1] == "at exit old" end)
  lu.assertEquals(s.get(master:other()).status, 200) -- there is another worker to stop
  master.program:kill "HUP"
  s.wait(function()
    local n = 0
    for _, line in ipairs(master:done()) do
      n = n + (line == "at stop old" and 1 or 0)
    end
    return n == 2
  end)
end

T["a flood fails what is too much, at once, and the rest is done"] = function()
  start { pool = "max_processes = 1, prefetch = 64, max_jobs_per_process = false" }
  local text = master:lua [[
    local big, fine, refused, code = ("x"):rep(1024 * 1024), 0, 0, nil
    local jobs = {}
    for i = 1, 100 do
      jobs[i] = pool:enqueue(big, function(err)
        if err then refused, code = refused + 1, err.code else fine = fine + 1 end
      end)
    end
    for i = 1, 100 do jobs[i]:wait() end
    brood.sleep(0.01)
    return fine .. " " .. refused .. " " .. tostring(code)
  ]]
  lu.assertEquals(text, "63 37 overflow")
  lu.assertEquals(master:pool().jobs, 63)
end

T["twenty thousand small jobs of one turn all end"] = function()
  start { pool = "prefetch = 64, max_jobs_per_process = false" }
  lu.assertEquals(master:lua [[
    local n = 0
    for i = 1, 20000 do
      pool:enqueue(i, function(err, result) if result and result.value == i then n = n + 1 end end)
    end
    repeat brood.sleep(0.02) until n == 20000
    return n
  ]], "20000")
end

T["nothing is kept in the master of jobs that nobody waits for any more"] = function()
  start { pool = "max_results = 10" }
  lu.assertEquals(master:lua [[
    for i = 1, 50 do pool:run(i) end
    local it = require("brood.pool.client").new(pool)
    return tostring(next(it.held))
  ]], "nil")
end

return T
