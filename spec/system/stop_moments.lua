--- A stop at any moment of a start, and of what resists it: it ends with status 0, and nothing is left.
local lu = require "luaunit"
local masters = require "spec.support.master"
local s = require "spec.support"

-- Everybody below a process, however deep.
local function below(pid)
  local children = {}
  for _, p in ipairs(s.processes()) do
    children[p.ppid] = children[p.ppid] or {}
    table.insert(children[p.ppid], p.pid)
  end
  local found, todo = {}, { pid }
  while #todo > 0 do
    for _, child in ipairs(children[table.remove(todo)] or {}) do
      table.insert(found, child)
      table.insert(todo, child)
    end
  end
  return found
end

local SOCKETS = 'listen = "unix:web.sock", pidfile = "m.pid", '

-- Send the signal, and look that it ends with 0 within `seconds` and that nothing remains of it.
local function stopped(master, signal, seconds)
  local pids = below(master.program.pid)
  master.program:kill(signal)
  local took = s.timed(master.program.wait, master.program, 20)
  lu.assertEquals({ master.program.code, master.program.signal }, { 0 }, master:log())
  lu.assertTrue(took < (seconds or 1.5) * s.slow, took)
  for _, pid in ipairs(pids) do
    lu.assertFalse(s.alive(pid), master:log())
  end
  for _, name in ipairs { "web.sock", "control.sock", "m.pid" } do
    lu.assertFalse(s.exists(master.dir .. "/" .. name), name)
  end
  lu.assertNotStrContains(master:log(), "cannot start")
end

local function each_signal(fn)
  for _, signal in ipairs { "QUIT", "TERM", "INT" } do
    fn(signal)
  end
end

return {
  ["while the config itself waits"] = function()
    each_signal(function(signal)
      local dir = s.temp_dir()
      s.write_file(dir .. "/brood.lua", [[
        return function() print "waits" io.stdout:flush() require("brood").sleep(600) end]])
      local program = s.brood { dir .. "/brood.lua" }
      program:expect "waits"
      program:kill(signal)
      lu.assertTrue(s.timed(program.wait, program) < 1.5 * s.slow)
      lu.assertEquals(program.code, 0)
    end)
  end,

  ["while the config runs a program"] = function()
    local dir = s.temp_dir()
    s.write_file(dir .. "/brood.lua", [[
      local Process = require "brood.process"
      local p = Process.new { command = { "sleep", "600" } }
      p:start()
      print "waits"
      io.stdout:flush()
      p:wait()]])
    local program = s.brood { dir .. "/brood.lua" }
    program:expect "waits"
    local pids = below(program.pid)
    lu.assertEquals(#pids, 1)
    program:kill "QUIT"
    lu.assertEquals({ program:wait() }, { 0 })
    lu.assertFalse(s.alive(pids[1]))
  end,

  ["while on_start waits, for ever or for a program"] = function()
    each_signal(function(signal)
      for _, what in ipairs { "brood.sleep(600)", [[
        require("brood.process").run { "sh", "-c", "sleep 600 & wait" }]] } do
        local master = masters.start { config = SOCKETS .. ([[
          on_start = function(m) note "waits" %s end, before_fork = function() note "fork" end,
          on_stop = function() note "on_stop" end]]):format(what) }
        master:noted "waits"
        stopped(master, signal)
        lu.assertEquals(master:notes(), "waits\n")
      end
    end)
  end,

  ["while an address is still in use"] = function()
    each_signal(function(signal)
      local taken = masters.start()
      local master = masters.start { config = ("listen = { 'unix:web.sock', %q }"):format(taken:address()) }
      master.program:expect "trying again"
      stopped(master, signal)
    end)
  end,

  ["while before_fork or after_fork waits"] = function()
    each_signal(function(signal)
      for _, hook in ipairs { "before_fork", "after_fork" } do
        local master = masters.start { config = SOCKETS .. hook .. [[ = function() note "waits" brood.sleep(600) end]] }
        master:noted "waits"
        stopped(master, signal)
      end
    end)
  end,

  ["while the first workers load their app, waiting"] = function()
    each_signal(function(signal)
      local master = masters.start { config = SOCKETS, app = [[
        io.open("loads", "w"):close() require("brood").sleep(600)]] }
      s.wait(function() return s.exists(master.dir .. "/loads") end)
      stopped(master, signal)
    end)
  end,

  ["while the first worker is stuck in loading its app: KILL after two seconds, at once when told twice"] = function()
    each_signal(function(signal)
      local master = masters.start { config = SOCKETS, app = [[
        io.open("loads", "w"):close() while true do end]] }
      s.wait(function() return s.exists(master.dir .. "/loads") end)
      stopped(master, signal, 4)
    end)
    local master = masters.start { config = SOCKETS, app = [[io.open("loads", "w"):close() while true do end]] }
    s.wait(function() return s.exists(master.dir .. "/loads") end)
    master.program:kill "TERM"
    master.program:expect "stopping quickly"
    s.remains(function() return true end, 0.06) -- sooner it would be the same one, sent to the group as well
    stopped(master, "TERM")
    local _, times = master:log():gsub("stopping quickly", "")
    lu.assertEquals(times, 2)
  end,

  ["a TERM that comes to the process and to its group is one"] = function()
    local master = masters.start { config = SOCKETS, app = [[io.open("loads", "w"):close() while true do end]] }
    s.wait(function() return s.exists(master.dir .. "/loads") end)
    master.program:kill "TERM"
    master.program:kill "TERM"
    local seconds = s.timed(master.program.wait, master.program, 20)
    lu.assertTrue(seconds > 1.5, seconds)
    lu.assertEquals(select(2, master:log():gsub("stopping quickly", "")), 1)
  end,

  ["while a failed start waits for its next try"] = function()
    each_signal(function(signal)
      local master = masters.start { config = SOCKETS .. "worker_exit = function() note 'exit' end,", workers = 1,
        app = "error 'not yet'" }
      master:noted "exit\nexit"
      master.program:kill(signal)
      master.program:wait(20)
      lu.assertFalse(s.exists(master.dir .. "/web.sock"))
      lu.assertFalse(s.exists(master.dir .. "/m.pid"))
      lu.assertEquals(below(master.program.pid), {})
    end)
  end,

  ["between clusters: one serves, the other still loads"] = function()
    each_signal(function(signal)
      local master = masters.start { files = { ["admin.lua"] = "require('brood').sleep(600)" }, config = SOCKETS .. [[
        worker_ready = function(m, w) note(w.cluster, "ready") end,
        clusters = { admin = { app = "admin.lua", listen = "127.0.0.1:0" } }]] }
      master:noted "web ready\nweb ready"
      stopped(master, signal)
      lu.assertNotStrContains(master:log(), "workers serve")
    end)
  end,

  ["at any other moment: so many milliseconds after the fork of the master"] = function()
    for i = 1, 30 do
      local master = masters.start { workers = 2, config = SOCKETS }
      local started = require("brood").now()
      s.wait(function() return require("brood").now() - started >= i * 0.002 end)
      master.program:kill(({ "QUIT", "TERM", "INT" })[i % 3 + 1])
      master.program:wait(20)
      -- Before it has taken the signals over, they do what they always do.
      lu.assertTrue(master.program.code == 0 or master.program.signal ~= nil, master:log())
      for _, name in ipairs { "web.sock", "control.sock", "m.pid" } do
        lu.assertFalse(s.exists(master.dir .. "/" .. name), name .. " " .. i)
      end
    end
  end,

  ["workers that ignore TERM are killed two seconds later, with what they have started"] = function()
    local app = [[
      require("ffi").cdef "void (*signal(int, void (*)(int)))(int);"
      local ffi, signals = require "ffi", { 1, 2, 3, 15 }
      os.execute "sh -c 'trap \"\" TERM INT QUIT HUP; echo $$ > grandchild.pid; while :; do sleep 1; done' &"
      require("luv").new_timer():start(50, 0, function()
        for _, n in ipairs(signals) do ffi.C.signal(n, ffi.cast("void (*)(int)", 1)) end
        io.open("deaf", "w"):close()
      end)
      return function(req, res) res:finish("x") end]]
    for _, signal in ipairs { "TERM", "QUIT" } do
      local master = masters.start { workers = 1, app = app, config = SOCKETS .. "graceful_timeout = 2, umask = '022'" }
      master:address()
      s.wait(function() return s.exists(master.dir .. "/deaf") and s.exists(master.dir .. "/grandchild.pid") end)
      stopped(master, signal, 5)
      lu.assertFalse(s.alive(tonumber(s.read_file(master.dir .. "/grandchild.pid"))))
    end
  end,

  ["QUIT is for the worker alone: what a request has started, and waits for, goes on"] = function()
    local master = masters.start { workers = 1, app = [[
      return function(req, res)
        io.open("begun", "w"):close()
        res:finish(io.popen("sleep 0.5; echo done"):read("*a"))
      end]] }
    local socket = s.connect(master:address())
    socket:send "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    s.wait(function() return s.exists(master.dir .. "/begun") end)
    stopped(master, "QUIT", 3)
    lu.assertEquals(socket:response().body, "done\n")
  end,

  ["what a worker has started goes with it, also when it is the worker alone that is killed"] = function()
    local master = masters.start { workers = 1, app = [[
      os.execute "sleep 600 & echo $! > grandchild.pid"
      return function(req, res) res:finish("x") end]] }
    local pid = master:pids()[1]
    local function grandchild()
      return tonumber(s.read_file(master.dir .. "/grandchild.pid"))
    end
    s.wait(grandchild)
    local first = grandchild()
    require("luv").kill(pid, "sigkill")
    s.wait(function() return not s.alive(first) end, 5, "the end of what the dead worker had started")
    master:ready(1)
    stopped(master, "QUIT")
    lu.assertFalse(s.alive(grandchild()))
  end,

  ["programs that hooks have started have their own patience, which a TERM cuts short"] = function()
    local config = [[on_start = function()
      local deaf = "trap '' TERM; echo deaf >deaf; while :; do sleep 1; done"
      assert(require("brood.process").new({ command = { "sh", "-c", deaf }, stop_timeout = 60, cwd = here }):start())
      end,]]
    local master = masters.start { workers = 1, config = config }
    master:address()
    s.wait(function() return s.exists(master.dir .. "/deaf") end)
    stopped(master, "TERM", 4)
    master = masters.start { workers = 1, config = config }
    master:address()
    s.wait(function() return s.exists(master.dir .. "/deaf") end)
    master.program:kill "QUIT"
    master.program:expect "ended: status 0"
    master.program:kill "TERM"
    master.program:expect "stopping quickly"
    s.remains(function() return true end, 0.06) -- sooner it would be the same one, sent to the group as well
    stopped(master, "TERM")
  end,
}
