--- Pool workers that are foreign programs, and what becomes of one that does not keep to its part: a clear error at the
--- right job, and another program.
local lu = require "luaunit"
local Pool = require "brood.pool"
local p = require "spec.support.pool_program"
local s = require "spec.support"

return {
  teardown = p.cleanup,

  ["data that JSON cannot carry fails that job alone, with its path"] = function()
    local pool = p.program(p.ECHO, { retries = 3 })
    p.fails(pool, { size = { 1, 0 / 0 } }, "json", ".*data%.size%[2%] is NaN.*")
    p.fails(pool, { pixels = "\255\254" }, "json", ".*data%.pixels is no UTF%-8 text.*")
    p.fails(pool, { [true] = 1 }, "json", ".*a boolean as a key.*")
    lu.assertEquals(pool:run "fine", "fine")
    lu.assertEquals(pool:stats().retried, 0)
  end,

  ["options that JSON cannot carry, or too many, raise at the caller's line"] = function()
    for value, pattern in pairs {
      [print] = "options is a function", ["\255"] = "options is no UTF%-8", [("x"):rep(200000)] = "200002 bytes",
    } do
      local ok, why = pcall(function()
        local pool = Pool.new { worker = { command = { "cat" } }, options = value }
        return pool
      end)
      lu.assertFalse(ok)
      lu.assertStrMatches(tostring(why), ".*pool_program_faults.lua:%d+: .*" .. pattern .. ".*")
    end
  end,

  ["a line that is no JSON fails the job with its text, and the program is replaced"] = function()
    local pool = p.program [[
for job in jobs():
    if job["data"] == "print": print("debug: here", flush=True); time.sleep(5)
    say(success=os.getpid())
]]
    local first = pool:run "x"
    p.fails(pool, "print", "protocol", ".*a line that is no JSON: \"debug: here\" %(.*its stdout is for messages.*")
    lu.assertNotEquals(pool:run "x", first)
  end,

  ["an answer without progress, success or failure, for another job, or twice, is a fault"] = function()
    local pool = p.program [[
for job in jobs():
    what = job["data"]
    if what == "empty": say(sucess=1)
    elif what == "other": say(job="another", success=1)
    elif what == "both": say(success=1, failure=2)
    elif what == "twice": sys.stdout.write('{"success":1}\n{"success":2}\n'); sys.stdout.flush()
    else: say(success=what)
    if what in ("empty", "other", "both"): time.sleep(5)
]]
    p.fails(pool, "empty", "protocol", ".*without progress, success or failure.*")
    p.fails(pool, "other", "protocol", '.*it answered for job "another" while it had job .*')
    p.fails(pool, "both", "protocol", ".*both 'success' and 'failure'.*")
    -- The first of two answers counts; whoever comes next has another process.
    lu.assertEquals(pool:run "twice", 1)
    lu.assertEquals(pool:run "x", "x")
    lu.assertEquals(pool:stats().failed, 3)
  end,

  ["output before the first job ends the program, and no job is charged"] = function()
    local text = p.logged(function()
      local marker = s.temp_dir() .. "/once"
      local pool = p.program(([[
if not os.path.exists(%q):
    open(%q, "w").close()
    print("hello", flush=True)
    time.sleep(5)
]]):format(marker, marker) .. p.ECHO)
      lu.assertTrue(pool:spawn_workers())
      s.wait(function() return s.exists(marker) end)
      local job = pool:enqueue "x"
      local result, err = job:wait()
      -- It may have been given the job before its greeting was read: then that is the job's error.
      if err then
        lu.assertEquals(err.code, "protocol")
        result = pool:run "x"
      end
      lu.assertEquals(result, "x")
    end)
    lu.assertNil(text:find "traceback")
  end,

  ["a program that writes before it is ready, or before it has a job, is tried a few times, and jobs fail with that"] =
  function()
    p.logged(function()
      for _, text in ipairs {
        'print("Loading model...", flush=True); say(ready=True)\n',
        [[sys.stdout.write('{"ready": true}\nLoaded\n'); sys.stdout.flush()
]],
      } do
        local pool = p.program(text .. p.ECHO, { ready = "line", respawn_delay = 0.01 })
        local starts, errors = 0, 0
        pool:on("spawn", function() starts = starts + 1 end)
        pool:on("error", function() errors = errors + 1 end)
        pool:spawn_workers()
        p.fails(pool, 1, "faulted", ".*a line that is no JSON: \"Load.*")
        s.remains(function() return starts <= 4 end, 0.5)
        lu.assertTrue(starts >= 3)
        lu.assertTrue(errors <= 2)
      end
    end)
  end,

  ["a program that leaves in the middle fails the job with its status or signal"] = function()
    local pool = p.program [[
for job in jobs():
    what = job["data"]
    if what == "kill": os.kill(os.getpid(), 9)
    if what == "half": sys.stdout.write('{"succ'); sys.stdout.flush(); os._exit(4)
    if what == "whole": sys.stdout.write('{"success": 7}'); sys.stdout.flush(); os._exit(4)
    if type(what) is int: os._exit(what)
    say(success=what)
]]
    local err = p.fails(pool, 0, "exit", ".*exited with status 0 while it ran the job.*")
    lu.assertEquals(err.exit_code, 0)
    p.fails(pool, 3, "exit", ".*exited with status 3.*")
    lu.assertEquals(p.fails(pool, "kill", "exit", ".*was killed by KILL.*").exit_signal, "KILL")
    p.fails(pool, "half", "exit", ".*exited with status 4.*")
    lu.assertEquals(pool:run "whole", 7)
    lu.assertEquals(pool:run "x", "x")
  end,

  ["a program that closes its stdout and goes on is at fault"] = function()
    local pool = p.program [[
for job in jobs(): os.close(1); time.sleep(5)
]]
    p.fails(pool, "out", "protocol", ".*it has closed its stdout but goes on.*")
  end,

  ["a program that closes its stdin and goes on is replaced, and the job it could not read is not charged"] = function()
    local pool = p.program([[
for job in jobs():
    if job["data"] == "in": os.close(0)
    say(success=job["attempt"])
    if job["data"] == "in": time.sleep(5)
]], { max_processes = 1 })
    local spawned = 0
    pool:on("spawn", function() spawned = spawned + 1 end)
    for _ = 1, 3 do
      lu.assertEquals(pool:run "in", 1)
      lu.assertEquals(pool:run "x", 1)
    end
    lu.assertEquals({ spawned, pool:stats().failed, pool:stats().retried }, { 4, 0, 0 })
  end,

  ["a job that a program has not read when it leaves is not charged"] = function()
    local pool = p.program([=[
job = next(jobs())
say(success=[os.getpid(), job["attempt"]])
]=], { max_jobs_per_process = 100 }) -- it takes one job and leaves
    local pids, attempts = {}, {}
    local all = {}
    for i = 1, 12 do
      all[i] = pool:enqueue(i)
    end
    for i = 1, 12 do
      local result, err = all[i]:wait()
      lu.assertNil(err)
      pids[result[1]] = true
      table.insert(attempts, result[2])
    end
    local n = 0
    for _ in pairs(pids) do
      n = n + 1
    end
    lu.assertEquals(n, 12)
    lu.assertEquals(attempts, { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 })
    lu.assertEquals(pool:stats().retried, 0)
  end,

  ["a program that cannot be started, or leaves before it reads anything, is told as that"] = function()
    p.logged(function()
      local pool = Pool.new { worker = { command = { "/no/such/program" } }, max_processes = 1, respawn_delay = 0.01 }
      p.keep(pool)
      local ok, err = pool:spawn_workers()
      lu.assertNil(ok)
      lu.assertStrContains(tostring(err), "/no/such/program")
      p.fails(pool, 1, "faulted", ".*/no/such/program.*")

      local gone = p.program("sys.exit(3)\n", { respawn_delay = 0.01 })
      gone:on("error", function() end)
      p.fails(gone, 1, "faulted", ".*status 3.*")
    end)
  end,

  ["a job that takes too long loses its program, also one that ignores TERM"] = function()
    local pool = p.program([[
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for job in jobs():
    if job["data"] == "slow": time.sleep(30)
    say(success=os.getpid())
]], { timeout_working = 2 * s.slow }) -- Python's own start counts
    local first = assert(pool:run "x")
    p.fails(pool, "slow", "timeout", ".*")
    lu.assertNotEquals(pool:run "x", first)
    lu.assertFalse(s.alive(first))
  end,

  ["a program that never reads its job overruns its time all the same"] = function()
    local pool = p.program("time.sleep(30)\n", { timeout_working = 0.3 * s.slow, retries = 1 })
    p.fails(pool, ("x"):rep(1000000), "timeout", ".*")
    lu.assertEquals(pool:stats().retried, 1)
    local job = pool:enqueue(("x"):rep(1000000))
    s.wait(function() return job.state == "running" end)
    job:abort()
    lu.assertEquals(select(2, job:wait()).code, "abort")
  end,

  ["an aborted job loses its program, and the next job has another"] = function()
    local pool = p.program [[
for job in jobs():
    say(progress=1)
    if job["data"] == "slow": time.sleep(30)
    say(success=os.getpid())
]]
    local job = pool:enqueue "slow"
    local running
    job:on("progress", function() running = true end)
    s.wait(function() return running end)
    job:abort()
    local _, err = job:wait()
    lu.assertEquals(err.code, "abort")
    lu.assertTrue(pool:run "x" > 0)
  end,

  ["a long line is read whole, and one without an end is a fault"] = function()
    local pool = p.program([[
for job in jobs():
    if job["data"] == "large": say(success="x" * (8 << 20))
    while job["data"] == "endless": sys.stdout.write("x" * (1 << 20))
]], { timeout_working = 60 })
    lu.assertEquals(#pool:run "large", 8 * 2 ^ 20)
    p.fails(pool, "endless", "protocol", ".*a line of more than 64 MB.*")
  end,
}
