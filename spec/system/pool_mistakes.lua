--- What whoever sets up a pool, or writes a worker, can get wrong, and how it is said: by `brood check`, by the log, at
--- the caller's line.
local lu = require "luaunit"
local p = require "spec.support.pool"
local pools = require "spec.support.pool_app"
local programs = require "spec.support.pool_program"
local s = require "spec.support"
local uv = require "luv"

local T = {}

-- ---- brood check, and the start -------------------------------------------------------------------------------------

local function check(config, options)
  local dir = s.temp_dir()
  s.write_file(dir .. "/brood.lua", config)
  options = options or {}
  options.cwd = dir
  return s.brood({ "check" }, options):finish(), dir
end

T["a worker file that is not there is told with the other mistakes"] = function()
  local result, dir = check [[return { wrokers = 1, pools = {
    a = { worker = "nowhere.lua", retrys = 1 }, b = { worker = "neither.lua" }, c = { worker = 5 } } }]]
  lu.assertEquals(result.code, 1)
  for _, text in ipairs {
    "did you mean 'workers'?", "did you mean 'retries'?", "pools.c.worker: expected a Lua file",
    "'pools.a.worker' cannot be read: " .. dir .. "/nowhere.lua",
    "'pools.b.worker' cannot be read: " .. dir .. "/neither.lua",
  } do
    lu.assertStrContains(result.stderr, text)
  end
end

T["a program that is not in PATH, or not where it is said to be, is named"] = function()
  local result, dir = check [[return { env = { PATH = "/bin" }, pools = {
    a = { worker = { command = { "no-such-program", "x" } } },
    b = { worker = { command = { "bin/none" } } },
    c = { worker = { command = { "sh" } } },
    d = { worker = { command = { "sh" }, env = { PATH = "/nowhere" } } },
    e = { worker = { command = { "./brood.lua" } } } } }]]
  lu.assertEquals(result.code, 1)
  local text = result.stderr
  lu.assertStrContains(text, "'pools.a.worker.command' names a program that is not in PATH: 'no-such-program'")
  lu.assertStrContains(text, "'pools.b.worker.command' names a program that is not there: " .. dir .. "/bin/none")
  lu.assertStrContains(text, "'pools.d.worker.command' names a program that is not in PATH: 'sh' (PATH is /nowhere)")
  lu.assertStrContains(text, "'pools.e.worker.command' names a program that cannot be run: " .. dir)
  lu.assertNil(text:find "pools.c")
end

local ADVICE = "after_fork does not run for programs, which stay the user that brood is: set `user`"

T["check says that after_fork does not reach a pool's programs, unless user is set"] = function()
  local config = [[return { %s after_fork = function(m, w) w:user "nobody" end,
    pools = { work = { worker = { command = { "cat" } } } } }]]
  local result = check(config:format "")
  lu.assertEquals(result.code, 0)
  lu.assertStrContains(result.stderr, "note: 'pools.work.worker.command' is a program: " .. ADVICE)
  if require("brood.posix").getuid() == 0 then
    lu.assertEquals(check(config:format "user = 65534, group = 65534,").stderr, "")
  end
  result = check [[return { after_fork = function() end, pools = { work = { worker = "brood.lua" } } }]]
  lu.assertEquals(result.stderr, "")
end

T["the start says so too, as root in a warning"] = function()
  local dir = s.temp_dir()
  s.write_file(dir .. "/brood.lua", [[return { control = false, after_fork = function() end,
    pools = { work = { worker = { command = { "cat" } }, max_processes = 1 } } }]])
  local program = s.start { s.binary, "run", dir .. "/brood.lua" }
  program:expect "1 pool worker ready"
  program:kill "TERM"
  lu.assertEquals(program:wait(10), 0)
  local level = require("brood.posix").getuid() == 0 and "warn " or "info "
  lu.assertStrMatches(program:stderr(), ".*" .. level .. " [^\n]*work: after_fork does not run for programs.*")
end

T["brood.pool in on_start says that pools start later"] = function()
  local dir = s.temp_dir()
  s.write_file(dir .. "/brood.lua", [[local brood = require "brood"
    return { control = false, on_start = function() brood.pool "work" end,
      pools = { work = { worker = function() end } } }]])
  local result = s.start({ s.binary, "run", dir .. "/brood.lua" }):finish()
  lu.assertEquals(result.code, 1)
  lu.assertStrContains(result.stderr, "no pool 'work'; pools start after on_start")
end

-- ---- the log --------------------------------------------------------------------------------------------------------

T["hooks know how many jobs a pool's worker has done, and the status how many workers have died"] = function()
  local master = pools.start {
    pool = "max_processes = 1, retries = 1",
    config = [[worker_ready = function(m, w) if w.pool then note("ready", w.requests) end end,
      worker_exit = function(m, w)
        if w.pool then note(("exit %s %d %s"):format(w.pool, w.requests, w.reason)) end
      end,]],
  }
  master:address()
  master:noted "ready 0"
  master:post("/run", { value = 1 })
  master:post("/run", { value = 2 })
  local pid = master:pool().processes[1].pid
  uv.kill(pid, "sigkill")
  master:noted "exit work 2 signal"
  s.wait(function() return master:pool().restarts == 1 end)
  s.wait(function()
    return master:log():find(("warn  %%[%%d+%%] work worker %%d+ %%(pid %d%%) was killed by KILL\n"):format(pid))
  end)
  local id = master:post("/jobs", { die = true })
  master:ended(id)
  lu.assertEquals(master:pool().restarts, 3)
  lu.assertStrMatches(master:log(), (".*work worker %%d+ %%(pid %%d+%%) was killed by KILL while it ran job %s\n.*")
    :format((id:gsub("%-", "%%-"))))
end

T["ends that were asked for, and jobs that take too long, are no worker's death"] = function()
  local text = programs.logged(function()
    local pool = p.new(function(job)
      require("brood").sleep(job.data)
      return 1
    end, { max_jobs_per_process = 2 })
    for _ = 1, 5 do
      lu.assertEquals(pool:run(0), 1)
    end
    lu.assertEquals(select(2, pool:run(5, { timeout = 0.05 })).code, "timeout")
    local job = pool:enqueue(5)
    s.wait(function() return job.state == "running" end)
    job:abort()
    lu.assertEquals(pool:run(0), 1)
    lu.assertEquals(pool:stats().restarts, 1)
    pool:exit()
  end)
  lu.assertEquals(text, "")
end

T["a recover that raises or takes too long is told with its worker"] = function()
  local pool = p.new(p.file [[
    return { job = function() end, recover = function() brood.sleep(5) end }]], { timeout_recovering = 0.05 })
  local text = programs.logged(function()
    pool:run()
    s.wait(function() return pool:stats().restarts == 1 end)
  end)
  lu.assertStrMatches(text, "pool worker 1: recover took longer than 0.05 s; its worker %(pid %d+%) is replaced")
  local result = s.script([[
    local file = assert(io.open(arg[1], "w"))
    file:write 'return { job = function() end, recover = function() error "bad" end }'
    file:close()
    local pool = require("brood.pool").new { max_processes = 1, worker = arg[1] }
    pool:once("exit", function() pool:exit() end)
    pool:run()]], { s.temp_dir() .. "/worker.lua" }):finish()
  lu.assertStrMatches(result.stderr, ".*pool worker 1: recover failed, the worker is replaced: .*bad.*")
end

T["TERM while jobs wait is told once"] = function()
  local master = pools.start { pool = "max_processes = 1, timeout_working = 60" }
  master:post("/many", { count = 5, sleep = 60 })
  s.wait(function() return master:pool().backlog == 4 end)
  master.program:kill "TERM"
  lu.assertEquals(master.program:wait(10), 0)
  lu.assertStrContains(master:log(), 'work: 5 jobs that had not ended end with "exit": 4 still waited, 1 ran')
  lu.assertNil(master:log():find "nobody waited for")
end

T["that no worker can be started is told with the reason, and an init that raises with the worker"] = function()
  local pool = p.new(p.file [[return { init = function() error "no disk" end, job = print }]])
  local text = programs.logged(function()
    lu.assertEquals(select(2, pool:run()).code, "faulted")
  end)
  lu.assertStrMatches(text, "pool: worker 1: [^\n]*worker.lua:2: no disk.*jobs fail until one can: [^\n]*no disk.*")
  lu.assertStrContains(text, "in function 'init'")
end

T["an after_fork that raises in a pool's worker is told with the pool's name in every line"] = function()
  local master = pools.start { config = "after_fork = function(_, worker) if worker.pool then error 'no luck' end end" }
  lu.assertEquals(master.program:wait(20), 1)
  local said = 0
  for line in master:log():gmatch "[^\n]*no luck" do
    said = said + 1
    lu.assertStrContains(line, "work: ")
  end
  lu.assertTrue(said >= 2, master:log())
end

-- ---- the worker -----------------------------------------------------------------------------------------------------

local function refused(worker, options)
  local pool, err = p.new(worker, options), nil
  programs.logged(function()
    err = select(2, pool:run())
  end)
  lu.assertEquals(err.code, "faulted")
  return err.message
end

T["a worker table with an unknown name is refused with what was meant"] = function()
  lu.assertStrContains(refused(p.file "return { iniit = print, job = print }"),
    "got a table with 'iniit' (did you mean 'init'?)")
end

T["a worker file that is not there is told with the folder, and one in another language with what to say"] = function()
  lu.assertStrContains(refused "nowhere.lua", "nowhere.lua: No such file or directory (in " .. uv.cwd() .. ")")
  local path = p.file("import json", "resize.py")
  lu.assertStrContains(refused(path), ('(a program needs worker = { command = { "python3", "%s" } })'):format(path))
end

T["a program whose answer does not come is suspected of not having flushed it"] = function()
  local pool = programs.program("for job in jobs(): print(json.dumps({'success': 1}))\n",
    { timeout_working = 0.3, env = { PYTHONUNBUFFERED = false } })
  local err = select(2, pool:run(1))
  lu.assertEquals({ err.code, err.message }, { "timeout",
    "the job took longer than 0.3 s (did the program flush its stdout?)" })
end

T["the README's program in Python works as it stands"] = function()
  local text = s.read_file(s.root .. "/README.md"):match "```python\n(.-)```"
  local pool = programs.keep(require("brood.pool").new {
    worker = { command = { "python3", s.write_file("worker.py", text) } }, max_processes = 1,
  })
  lu.assertEquals(pool:run { path = "a.jpg" }, 5)
  lu.assertEquals(select(2, pool:run {}).message, "'path'")
end

-- ---- the caller -----------------------------------------------------------------------------------------------------

T["a dot in place of the colon is a mistake of the caller's line"] = function()
  local pool = p.new(function() end)
  for _, name in ipairs { "run", "enqueue", "get", "drain", "exit", "spawn_workers", "stats" } do
    for _, given in ipairs { 1, { path = "x" }, "text" } do
      local ok, err = pcall(function() pool[name](given) end)
      lu.assertFalse(ok)
      lu.assertStrMatches(err,
        ("[^:]*pool_mistakes.lua:%%d+: pool:%s: call it with a colon: pool:%s%%(.*"):format(name, name))
    end
  end
  local job = pool:enqueue(1)
  for _, name in ipairs { "wait", "abort" } do
    local ok, err = pcall(function() job[name]() end)
    lu.assertFalse(ok)
    lu.assertStrMatches(err, ("[^:]*pool_mistakes.lua:%%d+: job:%s: call it with a colon: .*"):format(name))
  end
  local master = pools.start {}
  for _, name in ipairs { "pool.run(1)", "pool:enqueue(1).wait()", "pool:enqueue(1).abort()" } do
    lu.assertStrContains(master:lua(("return (select(2, pcall(function() return %s end)))"):format(name)),
      ":" .. name:match "%w+%(%d?%)$":match "%w+" .. ": call it with a colon")
  end
  for _, call in ipairs { "pool:on 'x'", "pool:once('x', 1)", "pool.off 'x'", "pool:drain()", "pool:exit()" } do
    lu.assertStrContains(master:lua(("return (select(2, pcall(function() %s end)))"):format(call)), '"]:2: ')
  end
end

T["a wait that runs out is told from the job's own timeout"] = function()
  local pool = p.new(function(job) require("brood").sleep(job.data) end, { timeout_working = 0.2 })
  local job = pool:enqueue(5)
  local first = select(2, job:wait(0.01))
  lu.assertEquals({ first.code, first.waiting, job.state ~= "ended" }, { "timeout", true, true })
  local second = select(2, job:wait(5))
  lu.assertEquals({ second.code, second.waiting, job.state }, { "timeout", nil, "ended" })
  local master = pools.start {}
  lu.assertEquals(master:lua "return select(2, pool:enqueue({ sleep = 0.3 }):wait(0.01)).waiting", "true")
end

T.teardown = function()
  p.cleanup()
  programs.cleanup()
end

return T
