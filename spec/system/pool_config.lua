--- Pools in a config: started before the clusters and ended after them, with the config's hooks and rights, changed by
--- a reload without losing what waits, and side by side in both masters of an upgrade.
local brood = require "brood"
local lu = require "luaunit"
local pools = require "spec.support.pool_app"
local s = require "spec.support"
local uv = require "luv"

local T = {}

local function start(options)
  local master = pools.start(options)
  master:address()
  return master
end

-- How often each line was noted.
local function counted(list)
  local counts, n = {}, 0
  for _, line in ipairs(list) do
    local name = line:match "^%S+"
    counts[name] = (counts[name] or 0) + 1
    n = n + 1
  end
  return counts, n
end

local function each_once(master, count)
  local counts, n
  s.wait(function()
    counts, n = counted(master:done())
    return n >= count
  end, 20 * s.slow, function()
    return ("%d jobs; there are %d\n%s"):format(count, #master:done(), master:log())
  end)
  lu.assertEquals(n, count)
  for _, times in pairs(counts) do
    lu.assertEquals(times, 1)
  end
end

-- ---- start ----------------------------------------------------------------------------------------------------------

T["pools are there before the clusters, with the config's hooks, rights and environment"] = function()
  local master = start {
    config = [[
      env = { COLOUR = "green" }, umask = "027",
      before_fork = function(m, w) note("before", w.pool or w.cluster, w.pid) end,
      after_fork = function(m, w) note("after", w.pool or w.cluster, w.pid == posix.getpid(), w.slot > 0) end,
      worker_ready = function(m, w) note("ready", w.pool or w.cluster, w.cluster, w.state ~= nil) end,
      worker_exit = function(m, w, code, signal) note("exit", w.pool or w.cluster, w.cluster, code, signal) end,]],
    pool = "max_processes = 1",
    worker = [[
      return function() return { os.getenv "COLOUR", require("brood.posix").umask "0", require("luv").cwd() } end]],
  }
  master:noted "ready other"
  local notes = master:notes()
  lu.assertStrMatches(notes, "before work nil\nafter work true true\n.*ready work nil true\n.*before web.*")
  lu.assertEquals(brood.json.decode(master:post("/run", {})), { result = { "green", "027", master.dir } })
  local pool = master:pool()
  lu.assertEquals({ pool.max_processes, pool.workers, #pool.processes }, { 1, 1, 1 })
  local process = pool.processes[1]
  lu.assertEquals({ process.kind, process.state, process.jobs, process.slot }, { "pool worker", "ready", 1, 1 })
  lu.assertEquals(process.name, "work worker " .. process.id)
  uv.kill(process.pid, "sigkill")
  master:noted "exit work nil nil KILL"
end

T["a config with pools and nothing else is a config"] = function()
  local dir = s.temp_dir()
  s.write_file(dir .. "/work.lua", "return function(job) return job.data end")
  s.write_file(dir .. "/brood.lua", [[
    local brood = require "brood"
    return { control = false, pools = { work = { worker = "work.lua", max_processes = 1 } },
      worker_ready = function(master) print(master.pools.work:run "hello") io.stdout:flush() end }]])
  local program = s.start({ s.binary, "run", dir .. "/brood.lua" })
  s.wait(function() return program:stdout() == "hello\n" end, 10, function() return program:stderr() end)
  program:kill "QUIT"
  lu.assertEquals(program:wait(10), 0)
end

local function fails(options, pattern)
  local master = pools.start(options)
  local code = master.program:wait(20)
  lu.assertEquals(code, 1)
  lu.assertStrMatches(master:log(), ".*" .. pattern .. ".*")
  lu.assertStrContains(master:log(), "cannot start: ")
end

T["a worker file that does not load fails the first start, loudly"] = function()
  fails({ worker = "return function( end" }, "work: [^\n]*work.lua:1: ")
  fails({ worker = "error 'no library'" }, "work: [^\n]*work.lua:1: no library")
  fails({ worker = "return 5" }, "work: [^\n]*work.lua")
  fails({ worker = "return { init = function() error 'no disk' end, job = print }" }, "work: [^\n]*no disk")
end

T["a worker that never gets ready fails the first start"] = function()
  fails({
    worker = "return { init = function() require('brood').sleep(60) end, job = print }",
    pool = "max_processes = 1, timeout_initializing = 0.1",
  }, "work: [^\n]*0.1 s")
end

T["TERM while the pools start ends it at once"] = function()
  local master = pools.start {
    worker = "return { init = function() require('brood').sleep(60) end, job = print }",
    pool = "max_processes = 1, timeout_initializing = 60", config = "before_fork = function() note 'begun' end,",
  }
  master:noted "begun"
  local seconds, code = s.timed(function()
    master.program:kill "TERM"
    return master.program:wait(10)
  end)
  lu.assertEquals(code, 0)
  lu.assertTrue(seconds < 5)
end

T["workers become the config's user, and after_fork still is the master's"] = function()
  if require("brood.posix").getuid() ~= 0 then
    lu.skip "only root can become somebody else"
  end
  local dir = s.open_temp_dir()
  s.write_file(dir .. "/brood.lua", [[
    local posix = require "brood.posix"
    return { control = false, user = 65534, group = 65534,
      after_fork = function() IDS = posix.getuid() end,
      pools = { work = { worker = function() return { IDS, posix.getuid(), posix.getgid() } end, max_processes = 1 } },
      worker_ready = function(master) print(unpack(master.pools.work:run())) io.stdout:flush() end }]], 420)
  local program = s.start({ s.binary, "run", dir .. "/brood.lua" })
  s.wait(function() return program:stdout() == "0\t65534\t65534\n" end, 10, function()
    return program:stdout() .. program:stderr()
  end)
  program:kill "TERM"
  lu.assertEquals(program:wait(10), 0)
end

-- ---- stop -----------------------------------------------------------------------------------------------------------

T["QUIT does what was enqueued before it ends"] = function()
  local master = start { pool = "max_processes = 2" }
  master:post("/many", { count = 20, note = "job", sleep = 0.02 })
  lu.assertEquals((master:stop "QUIT"), 0)
  each_once(master, 20)
  lu.assertNil(master:log():find "exit")
end

T["QUIT lets a request finish that waits for a job"] = function()
  local master = start { pool = "max_processes = 1" }
  local answer
  brood.async(function()
    answer = master:post("/run", { sleep = 0.3, note = "begun", value = 1 })
  end)
  s.wait(function() return #master:done() == 1 end)
  lu.assertEquals((master:stop "QUIT"), 0)
  s.wait(function() return answer end)
  lu.assertStrContains(answer, '"value":1')
end

T["QUIT ends after graceful_timeout what is left, and the log counts it"] = function()
  local master = start { pool = "max_processes = 1", config = "graceful_timeout = 0.5, " }
  master:post("/many", { count = 5, note = "job", sleep = 30 })
  s.wait(function() return #master:done() == 1 end)
  local code, _, seconds = master:stop "QUIT"
  lu.assertEquals(code, 0)
  lu.assertTrue(seconds < 5)
  lu.assertStrContains(master:log(), 'work: 5 jobs that had not ended end with "exit": 4 still waited, 1 ran')
end

T["QUIT does not wait for a job that is due later than it may last"] = function()
  local master = start()
  master:post("/jobs", { options = { delay = 600 } })
  local code, _, seconds = master:stop "QUIT"
  lu.assertEquals(code, 0)
  lu.assertTrue(seconds < 5)
  lu.assertStrContains(master:log(), '1 job that had not ended ends with "exit": 1 still waited, 0 ran')
end

T["TERM ends at once, whatever waits or runs"] = function()
  local master = start()
  master:post("/many", { count = 10, note = "job", sleep = 30 })
  s.wait(function() return #master:done() == 2 end)
  local code, _, seconds = master:stop "TERM"
  lu.assertEquals(code, 0)
  lu.assertTrue(seconds < 3)
  lu.assertStrContains(master:log(), "8 still waited, 2 ran")
end

T["TERM cuts short a QUIT that waits for jobs"] = function()
  local master = start()
  master:post("/many", { count = 3, note = "job", sleep = 30 })
  s.wait(function() return #master:done() == 2 end)
  master.program:kill "QUIT"
  master.program:expect("stopping gracefully", 5)
  s.wait(function() return master:log():find "web: worker %d+ [^\n]*ended" end)
  local code, _, seconds = master:stop "TERM"
  lu.assertEquals(code, 0)
  lu.assertTrue(seconds < 3)
end

T["WINCH takes the web workers away, and leaves the pools alone"] = function()
  local master = start()
  local pids = {}
  for i, process in ipairs(master:pool().processes) do
    pids[i] = process.pid
  end
  master.program:kill "WINCH"
  s.wait(function()
    local _, status = master:ask "/status"
    return #status.clusters.web.processes == 0
  end)
  for i, process in ipairs(master:pool().processes) do
    lu.assertEquals(process.pid, pids[i])
  end
end

-- ---- reload ---------------------------------------------------------------------------------------------------------

local NEW = "VERSION = 'new'\n" .. pools.WORKER

T["a reload while fifty jobs wait runs each once, the later ones by new workers"] = function()
  local master = start { pool = "max_processes = 2" }
  local ids = brood.json.decode(master:post("/many", { count = 50, note = "job", sleep = 0.05 }))
  s.wait(function() return #master:done() >= 2 end)
  local ok = master:change { worker = NEW }
  lu.assertTrue(ok)
  each_once(master, 50)
  local text = table.concat(master:done(), "\n")
  lu.assertStrContains(text, " old")
  lu.assertStrContains(text, " new")
  lu.assertEquals(master:ended(ids[50]).result.version, "new")
  lu.assertEquals(master:pool().failed, 0)
end

T["reloads one after the other, while jobs come all the time, lose and double none"] = function()
  local master = start { pool = "max_processes = 2, prefetch = 4, max_jobs_per_process = false" }
  for round = 1, 6 do
    master:post("/many", { count = 40, note = ("job%d-"):format(round), sleep = 0.005 })
    lu.assertTrue((master:hup()))
  end
  each_once(master, 240)
  s.wait(function() return master:pool().jobs == 240 end, 10, function()
    return "240 jobs: " .. brood.json.encode(master:pool()) .. master:log()
  end)
  lu.assertEquals(master:pool().failed, 0)
  s.wait(function() return #master:pool().processes == 2 end, 10, function()
    return "two workers: " .. brood.json.encode(master:pool()) .. master:log()
  end)
end

T["the running job of an old worker ends well"] = function()
  local master = start { pool = "max_processes = 1" }
  local id = master:post("/jobs", { sleep = 1, note = "long" })
  s.wait(function() return #master:done() == 1 end)
  lu.assertTrue((master:change { worker = NEW, pool = "max_processes = 1" }))
  lu.assertEquals(brood.json.decode(master:post("/run", {})).result.version, "new")
  lu.assertEquals(master:ended(id).result.version, "old")
  s.wait(function() return #master:pool().processes == 1 end)
end

T["other options come with a reload, more and fewer workers too"] = function()
  local master = start { pool = "max_processes = 1" }
  lu.assertTrue((master:change { pool = "max_processes = 3, retries = 1" }))
  s.wait(function() return #master:pool().processes == 3 end)
  lu.assertTrue((master:change { pool = "max_processes = 1" }))
  s.wait(function() return #master:pool().processes == 1 end)
end

T["a worker file that does not load fails the reload, and the old workers go on"] = function()
  local master = start()
  local before = master:pool().processes[1].pid
  master:post("/many", { count = 5, note = "job", sleep = 0.1 })
  local ok, log = master:change { worker = "return function( end" }
  lu.assertFalse(ok)
  lu.assertStrMatches(log, ".*the reload failed, all goes on as before: work: [^\n]*work.lua:1: .*")
  each_once(master, 5)
  lu.assertEquals(master:pool().processes[1].pid, before)
  lu.assertEquals(#master:pool().processes, 2)
  lu.assertTrue((master:change()))
end

T["an app that does not load leaves the pools' workers alone"] = function()
  local master = start()
  local before = master:pool().processes
  lu.assertFalse((master:change { app = "return function( end" }))
  s.wait(function() return #master:pool().processes == 2 end)
  lu.assertEquals(master:pool().processes[1].pid, before[1].pid)
  lu.assertEquals(master:pool().processes[2].pid, before[2].pid)
end

T["a reload starts a new pool, and one that cannot start fails it"] = function()
  local master = start()
  local more = [[ max_processes = 1 }, more = { worker = "more.lua", max_processes = 1 ]]
  lu.assertFalse((master:change { pool = more }))
  local _, status = master:ask "/status"
  lu.assertNil(status.pools.more)
  s.write_file(master.dir .. "/more.lua", "return function(job) return 'more ' .. job.data end")
  lu.assertTrue((master:change { pool = more }))
  lu.assertEquals(master:lua "return (brood.pool('more'):run 'jobs')", "more jobs")
  _, status = master:ask "/status"
  lu.assertEquals(#status.pools.more.processes, 1)
end

T["files that are opened anew are the ones that pool workers and programs write to"] = function()
  local master = pools.start {
    worker = "return function(job) io.stderr:write('said ' .. job.data .. '\\n') end",
    config = "stderr_path = 'err.log',",
    pool = [[ max_processes = 1 }, cat = { max_processes = 1, worker = { command = { "sh", "-c",
      "while read l; do echo cat $$ >&2; echo '{\"success\":1}'; done" } } ]],
  }
  local path, status = master.dir .. "/err.log", nil
  master:up()
  s.wait(function()
    status = select(2, master:ask "/status")
    return status.state == "ready"
  end, 10, function() return s.read_file(path) or "nothing" end)
  master.at = status.clusters.web.listen[1] -- its log is a file
  local function said(file, text)
    return (s.read_file(file) or ""):find(text, 1, true) ~= nil
  end
  local function both(text)
    master:lua(("brood.pool('work'):run %q brood.pool('cat'):run(1)"):format(text))
  end
  both "old"
  lu.assertTrue(said(path, "said old") and said(path, "cat "))
  assert(os.rename(path, path .. ".1"))
  uv.kill(master.program.pid, "sigusr1")
  s.wait(function()
    both "new"
    return said(path, "said new") and said(path, "cat ")
  end, 10, function() return s.read_file(path) or "nothing" end)
  s.wait(function()
    for _, pid in ipairs(s.child_pids(master.program.pid)) do
      for _, target in pairs(s.fds(pid)) do
        if target:find "err%.log%.1$" then
          return false
        end
      end
    end
    return true
  end, 10)
end

T["a pool that is left out of the config does what it has to do, and ends"] = function()
  local more = [[ max_processes = 1 }, more = { worker = "work.lua", options = { notes = here .. "/done" },
    max_processes = 1 ]]
  local master = start { pool = more }
  master:lua [[ for i = 1, 5 do brood.pool("more"):enqueue { note = "more" .. i, sleep = 0.05 } end ]]
  s.wait(function() return #master:done() >= 1 end)
  lu.assertTrue((master:change { pool = "max_processes = 1" }))
  each_once(master, 5)
  s.wait(function()
    local _, status = master:ask "/status"
    return status.pools.more == nil
  end)
  lu.assertStrContains(master:lua [[ return (select(2, pcall(brood.pool, "more"))) ]], "no pool 'more'")
end

T["pools come and go with the last of them"] = function()
  local master = require("spec.support.master").start { workers = 1 }
  master:address()
  lu.assertTrue((master:hup {
    config = "pools = { late = { worker = function(job) return job.data end, max_processes = 1 } },",
    app = 'return function(req, res) res:finish(require("brood").pool("late"):run "hello") end',
  }))
  lu.assertEquals(master:get().body, "hello")
  lu.assertTrue((master:hup { app = 'return function(req, res) res:finish "none" end' }))
  s.wait(function()
    local _, status = master:ask "/status"
    return next(status.pools) == nil
  end)
  lu.assertEquals(master:get().body, "none")
  lu.assertEquals((master:stop "QUIT"), 0)
end

-- ---- logs, upgrade --------------------------------------------------------------------------------------------------

T["USR1 gives the workers of pools the new log files, too"] = function()
  local master = pools.start {
    config = 'stderr_path = "err.log", stdout_path = "out.log",', pool = "max_processes = 1",
    worker = "return function(job) print(job.data) io.stdout:flush() return 1 end",
  }
  master:up()
  local function run(word)
    local _, status = master:ask "/status"
    master:post("/run", '"' .. word .. '"', status.clusters.web.listen[1])
  end
  s.wait(function() return (pcall(run, "before")) end, 10)
  assert(os.rename(master.dir .. "/out.log", master.dir .. "/out.1"))
  master.program:kill "USR1"
  s.wait(function() return s.exists(master.dir .. "/out.log") end)
  s.wait(function()
    run "after"
    return s.read_file(master.dir .. "/out.log"):find "after"
  end)
  lu.assertStrContains(s.read_file(master.dir .. "/out.1"), "before")
end

T["an upgrade with a hundred waiting jobs ends each of them once"] = function()
  local master = start { pool = "max_processes = 2", config = 'pidfile = "run.pid",' }
  local old = master.program.pid
  master:post("/many", { count = 100, note = "job", sleep = 0.03 })
  master.program:kill "USR2"
  master.program:expect("serves beside this one", 15)
  local new = tonumber(s.read_file(master.dir .. "/run.pid"))
  lu.assertNotEquals(new, old)
  for i = 1, 4 do
    master:post("/many", { count = 5, note = ("more%d-"):format(i), sleep = 0.01 }) -- whoever accepts
  end
  lu.assertEquals((master:stop "QUIT"), 0)
  master:post("/many", { count = 5, note = "new", sleep = 0.01 })
  each_once(master, 125)
  uv.kill(new, "sigquit")
  s.wait(function() return not s.alive(new) end)
  lu.assertNil(master:log():find 'with "exit"')
end

return T
