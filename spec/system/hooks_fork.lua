--- The hooks of a worker's life: when they run, where, with what, and what becomes of what they raise.
local lu = require "luaunit"
local masters = require "spec.support.master"
local s = require "spec.support"
local uv = require "luv"

return {
  ["each hook gets the master and the worker, in the order of a life"] = function()
    local master = masters.start { workers = 1, config = [[
      on_start = function(m, why) note("on_start", why, m.state, m.pid == posix.getpid() and "here" or "elsewhere") end,
      before_fork = function(m, w)
        note("before_fork", m.pid == posix.getpid() and "here" or "elsewhere", tostring(w.pid), w.id, w.slot, w.cluster,
          w.state, tostring(w.started_at), w.requests)
      end,
      after_fork = function(m, w)
        note("after_fork", m.pid == posix.getppid() and "child" or "elsewhere",
          w.pid == posix.getpid() and "own pid" or "wrong", w.id, w.slot, w.cluster, w.state, brood.worker.id)
      end,
      worker_ready = function(m, w)
        note("worker_ready", m.pid == posix.getpid() and "here" or "elsewhere", w.id, w.state, #m.workers,
          m.workers[1] == w and "listed" or "missing", tostring(w.started_at > 1e9), m.clusters.web.name)
      end,
      worker_exit = function(m, w, code, signal)
        note("worker_exit", w.id, type(w.pid), tostring(code), tostring(signal), w.reason, w.state, w.requests,
          #m.workers)
      end,
      on_stop = function(m) note("on_stop", m.state, #m.workers) end]] }
    lu.assertEquals(master:get().status, 200)
    lu.assertEquals(master:stop "QUIT", 0)
    lu.assertEquals(master:notes(), table.concat({
      "on_start start starting here",
      "before_fork here nil 1 1 web starting nil 0",
      "after_fork child own pid 1 1 web starting 1",
      "worker_ready here 1 ready 1 listed true web",
      "worker_exit 1 number 0 nil stop stopped 1 0",
      "on_stop stopping 0", "",
    }, "\n"))
  end,

  ["worker_exit tells how each worker ended, and why"] = function()
    local master = masters.start { workers = 1, app = [[
      return function(req, res) os.exit(tonumber(req.path:sub(2))) end]], config = [[
      worker_exit = function(m, w, code, signal) note("exit", w.id, tostring(code), tostring(signal), w.reason) end]] }
    pcall(s.get, master:address(), "/3")
    master:noted "exit 1 3 nil crash"
    uv.kill(master:ready(1)[1].pid, "sigabrt")
    master:noted "exit 2 nil ABRT crash"
    master:ready(1)
    master:stop "TERM"
    lu.assertEquals(master:notes(), "exit 1 3 nil crash\nexit 2 nil ABRT crash\nexit 3 0 nil stop\n")
  end,

  ["a before_fork that waits delays its fork, while the master's loop turns"] = function()
    local master = masters.start { workers = 2, config = [[
      before_fork = function(m, w) brood.sleep(0.3) note("forks", w.id) end]] }
    master:up()
    local status, body = master:ask "/health"
    lu.assertEquals({ status, body.status }, { 503, "starting" })
    lu.assertEquals(#master:ready(2), 2)
    lu.assertEquals(select(2, master:notes():gsub("forks", "")), 2)
  end,

  ["a stop while before_fork waits ends with 0, and that fork does not happen"] = function()
    for _, signal in ipairs { "QUIT", "TERM" } do
      local master = masters.start { workers = 2, config = [[
        before_fork = function(m, w) note("waits", w.id) brood.sleep(0.3) end,
        after_fork = function() note "forked" end, worker_exit = function() note "exit" end]] }
      master:noted "waits"
      master.program:kill(signal)
      lu.assertEquals(master.program:wait(), 0)
      lu.assertEquals(select(2, master:notes():gsub("forked", "")), 0)
      lu.assertNotStrContains(master:log(), "cannot start")
    end
  end,

  ["an after_fork that waits delays its app, and hears a stop meanwhile"] = function()
    local master = masters.start { workers = 1, config = [[
      after_fork = function(m, w) note "waits" brood.sleep(0.1) note "goes on" end]],
      app = "local f = io.open('notes', 'a') f:write('app\\n') f:close() return function() end" }
    master:address()
    lu.assertEquals(master:notes(), "waits\ngoes on\napp\n")
    master:stop "QUIT"
    master = masters.start { workers = 1, config = [[after_fork = function(m, w) note "waits" brood.sleep(30) end]] }
    master:noted "waits"
    local pids = s.child_pids(master.program.pid)
    master.program:kill "QUIT"
    local seconds = s.timed(master.program.wait, master.program)
    lu.assertEquals(master.program.code, 0)
    lu.assertTrue(seconds < 1.5 * s.slow, seconds)
    lu.assertFalse(s.alive(pids[1]))
  end,

  ["a fork hook that raises cancels that one fork, which is tried again"] = function()
    for _, name in ipairs { "before_fork", "after_fork" } do
      local master = masters.start { workers = 2, config = name .. [[ = function(m, w)
        note("try", w.id, w.slot)
        if w.id == 2 then error("not this one") end
      end, worker_exit = function(m, w) note("exit", w.id) end]] }
      local slots = {}
      for _, worker in ipairs(master:ready(2)) do
        slots[worker.slot] = worker.id
      end
      lu.assertEquals(slots, { 1, 3 }, name)
      lu.assertStrContains(master:log(), name .. ": ")
      lu.assertStrContains(master:log(), "not this one")
      lu.assertStrContains(master:log(), "next try")
      lu.assertEquals(select(2, master:log():gsub("stack traceback", "")), 1, master:log())
      lu.assertEquals(master:notes():match("exit 2"), name == "after_fork" and "exit 2" or nil)
      lu.assertEquals(master:stop "QUIT", 0)
    end
  end,

  ["worker_ready, worker_exit and on_stop that raise are logged, and that is all"] = function()
    local master = masters.start { workers = 1, config = [[
      worker_ready = function() error("ready breaks") end, worker_exit = function() error("exit breaks") end,
      on_stop = function() error("stop breaks") end]] }
    lu.assertEquals(master:get().status, 200)
    uv.kill(master:pids()[1], "sigkill")
    master:ready(1)
    lu.assertEquals(master:stop "QUIT", 0)
    for _, what in ipairs {
      "worker_ready: ", "ready breaks", "worker_exit: ", "exit breaks", "on_stop: ", "stop breaks", "brood.lua:",
    } do
      lu.assertStrContains(master:log(), what)
    end
  end,

  ["hooks of one worker that wait follow upon each other, and the end waits for them"] = function()
    local master = masters.start { workers = 1, config = [[
      worker_ready = function(m, w) brood.sleep(0.3) note "ready" end,
      worker_exit = function(m, w) brood.sleep(0.1) note "exit" end,
      on_stop = function() brood.sleep(0.1) note "stop" end]] }
    lu.assertEquals(master:stop "QUIT", 0)
    lu.assertEquals(master:notes(), "ready\nexit\nstop\n")
  end,

  ["hooks that never end hold up the end for graceful_timeout, or until a TERM"] = function()
    local config = "on_stop = function() note 'stop' brood.sleep(60) end, graceful_timeout = %s"
    local master = masters.start { workers = 1, config = config:format "0.3" }
    local code, _, seconds = master:stop "QUIT"
    lu.assertEquals(code, 0)
    lu.assertTrue(seconds < 2 * s.slow, seconds)
    lu.assertStrContains(master:log(), "not waiting any longer for on_stop: it still runs 0.3 s (graceful_timeout)")
    master = masters.start { workers = 1,
      config = "worker_exit = function() brood.sleep(60) end, graceful_timeout = 0.3" }
    lu.assertEquals(master:stop "QUIT", 0)
    lu.assertStrContains(master:log(), "not waiting any longer for worker_exit of web worker 1: ")
    master = masters.start { workers = 1, config = config:format "30" }
    master:address()
    master.program:kill "QUIT"
    master:noted "stop"
    code, _, seconds = master:stop "TERM"
    lu.assertEquals(code, 0)
    lu.assertTrue(seconds < 1 * s.slow, seconds)
  end,

  ["a hook may stop the master"] = function()
    for _, how in ipairs { "quit", "terminate" } do
      for _, hook in ipairs { "on_start", "before_fork", "worker_ready", "worker_exit", "on_stop" } do
        local master = masters.start { config = ([[%s = function(m, w)
          if m.asked then return end
          m.asked = true
          m:%s()
          note "over"
        end,]]):format(hook, how) }
        master:bring_about(hook)
        lu.assertEquals({ master.program:wait() }, { 0 }, hook)
        lu.assertEquals(master:notes(), "over\n", hook)
        lu.assertNotStrContains(master:log(), "not waiting any longer", hook)
      end
    end
  end,

  ["in after_fork the master is a copy that can stop nothing"] = function()
    local master = masters.start { workers = 1, config = [[
      after_fork = function(m) note(select(2, pcall(m.quit, m))) note(select(2, pcall(m.broadcast, m, 1))) end]] }
    lu.assertEquals(master:get().status, 200)
    lu.assertStrContains(master:notes(), "master:quit: only in the master itself")
    lu.assertStrContains(master:notes(), "master:broadcast: only in the master itself")
  end,

  ["a before_fork that never ends does not hold up a stop"] = function()
    local master = masters.start { workers = 2, config = [[
      before_fork = function(m, w) note "waits" brood.sleep(600) end]] }
    master:noted "waits"
    master.program:kill "QUIT"
    local seconds = s.timed(master.program.wait, master.program)
    lu.assertEquals(master.program.code, 0)
    lu.assertTrue(seconds < 1 * s.slow, seconds)
  end,

  ["a hook may kill a worker and send to it"] = function()
    local master = masters.start { workers = 1, config = [[
      worker_ready = function(m, w)
        if w.id == 1 then w:kill("KILL") elseif w.id == 2 then w:kill() end
        note("bad signal", tostring(pcall(w.kill, w, "NONSENSE")), tostring(pcall(w.kill, w, {})))
      end,
      worker_exit = function(m, w, code, signal) note("exit", w.id, tostring(code), tostring(signal)) end]] }
    master:noted "exit 1 nil KILL"
    master:noted "exit 2 0 nil"
    lu.assertEquals(master:ready(1)[1].id, 3)
    master:noted "bad signal false false"
  end,

  ["a worker that is not forked yet takes no signal and no message, which is no mistake"] = function()
    local master = masters.start { workers = 1, config = [[
      before_fork = function(m, w)
        local _, kill_err = w:kill()
        local sent, send_err = w:send "early"
        note("not yet", kill_err.code, tostring(sent), send_err.code, tostring(kill_err))
      end]] }
    master:noted "not yet stopped nil stopped this worker is not forked yet"
    lu.assertEquals(#master:ready(1), 1)
  end,

  ["worker:user gives up root in after_fork, and refuses to in the master"] = function()
    if require("brood.posix").getuid() ~= 0 then
      lu.skip "only root can give up root"
    end
    local dir = uv.fs_mkdtemp "/tmp/brood-open-XXXXXX"
    uv.fs_chmod(dir, 493)
    s.write_file(dir .. "/app.lua", [[
      local uid = require("brood.posix").getuid()
      return function(req, res) res:finish(tostring(uid)) end]])
    local master = masters.start { workers = 1, config = ([[
      app = %q, working_directory = "/", user = "root",
      before_fork = function(m, w) note(tostring(select(2, pcall(w.user, w, "nobody")))) end,
      after_fork = function(m, w)
        if not pcall(w.user, w, "no such user") then w:user("nobody") end
      end]]):format(dir .. "/app.lua") }
    local body = master:get().body
    os.remove(dir .. "/app.lua")
    os.remove(dir)
    lu.assertEquals(tonumber(body), require("brood.posix").getpwnam("nobody").uid)
    lu.assertStrContains(master:notes(), "only in after_fork")
    lu.assertEquals(s.status_field(master.program.pid, "Uid"), "0\t0\t0\t0")
  end,
}
