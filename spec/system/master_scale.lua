--- The master as hooks and the code in its config see it: scale, drain, its fields and events, and what a hook may wait
--- for without holding itself up.
local lu = require "luaunit"
local masters = require "spec.support.master"
local s = require "spec.support"
local uv = require "luv"

-- A master whose "go" function runs in a task of its own once it serves; what it notes is what the test looks at.
local function with(go, options)
  options = options or {}
  options.config = ([[
    on_start = function(m)
      m:on("ready", function()
        local function go(master) %s end
        local ok, err = pcall(go, m)
        if not ok then note("raised", err) end
        note "over"
      end)
    end, %s]]):format(go, options.config or "")
  local master = masters.start(options)
  master:noted "over"
  return master
end

local function ends_by_itself(master, seconds)
  lu.assertEquals({ master.program:wait(seconds) }, { 0 }, master:log())
  lu.assertNotStrContains(master:log(), "not waiting any longer")
  lu.assertNotStrContains(master:log(), ": KILL")
end

return {
  ["scale returns when the new workers are ready, or the surplus has finished and gone"] = function()
    local master = with [[
      note("up", master:scale(4), #master.workers, master.clusters.web.group:ready_count())
      note("down", master:scale("web", 1), #master.workers, master.workers[1].slot)
      note("same", master:scale(1))
      master:scale(2, function(err) note("callback", tostring(err), #master.workers) end)
      note "goes on"]]
    master:noted "callback"
    lu.assertEquals(master:notes(), "up true 4 4\ndown true 1 1\nsame true\ngoes on\nover\ncallback nil 2\n")
    lu.assertEquals(master:stop "QUIT", 0)
  end,

  ["scale lets the workers that go finish their requests"] = function()
    local master = masters.start { workers = 2, app = [[
      local brood = require "brood"
      return function(req, res)
        io.open("begun", "w"):close()
        brood.sleep(0.5)
        res:finish("slow " .. brood.worker.slot) end]],
      config = [[on_start = function(m) m:on("message", function(w, v) note("scaled", m:scale(v)) end) end,
        worker_exit = function(m, w) note("exit", w.slot, w.reason) end,
        signals = nil, after_fork = function(m, w) if w.slot == 2 then brood.worker:send(1) end end]] }
    master:noted "scaled true"
    lu.assertStrContains(master:notes(), "exit 2 scale")
    lu.assertEquals(#master:ready(1), 1)
    lu.assertEquals(master:get().body, "slow 1")
  end,

  ["mistakes in scale raise at the caller's line, and change nothing"] = function()
    local master = with [[
      for _, n in ipairs { -1, 1.5, 70000, "3", {} } do note(select(2, pcall(master.scale, master, "web", n))) end
      note(select(2, pcall(master.scale, master)))
      note(select(2, pcall(master.scale, master, "nix", 1)))
      note(select(2, pcall(master.scale, master, 0/0)))
      note("size", master.clusters.web.group.size)]]
    local notes = master:notes()
    lu.assertEquals(select(2, notes:gsub("must be a whole one from 0 to 65535", "")), 6)
    lu.assertStrContains(notes, "there is no cluster 'nil'; the clusters are: web")
    lu.assertStrContains(notes, "there is no cluster 'nix'; the clusters are: web")
    lu.assertStrContains(notes, "size 2")
    master = with [[master:scale("nix", 1)]]
    lu.assertStrMatches(master:notes(), "raised [^\n]*brood.lua:%d+: master:scale: there is no cluster 'nix'.*")
  end,

  ["a scale whose new worker cannot start says so, and goes on trying"] = function()
    local master = with([[
      local ok, err = master:scale(2)
      note("scaled", tostring(ok), tostring(err))]], { workers = 1, app = [[
      local brood = require "brood"
      if brood.worker.slot == 2 and not io.open("now") then error "not yet" end
      return function(req, res) res:finish("x") end]] })
    lu.assertStrMatches(master:notes(), "scaled nil [^\n]*not yet\n.*")
    s.write_file(master.dir .. "/now", "")
    master:ready(2)
  end,

  ["drain takes all workers away and the master stays; scale brings them back"] = function()
    local master = with([[
      note("drained", master:drain(), #master.workers, master.state)
      brood.sleep(0.2)
      note("back", master:scale(2), #master.workers)]], { config = "control = false" })
    lu.assertEquals(master:notes(), "drained true 0 ready\nback true 2\nover\n")
    lu.assertEquals(master:get().status, 200)
    lu.assertEquals(master:stop "QUIT", 0)
  end,

  ["a drained master stays, keeps its sockets, and answers who has waited"] = function()
    local master = with("master:drain()", { config = [[
      worker_exit = function(m) if #m.workers == 0 then note "empty" end end]] })
    master:noted "empty"
    local address = master:address()
    local socket = s.connect(address)
    socket:send "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    s.remains(function()
      return not master.program.over
    end, 0.5, "a drained master")
    local _, status = master:ask "/status"
    lu.assertEquals({ status.state, status.clusters.web.workers, status.clusters.web.ready }, { "ready", 0, 0 })
    lu.assertEquals(master:stop "QUIT", 0)
  end,

  ["scale before the start is the number to start with"] = function()
    local master = masters.start { workers = 1, config = [[
      on_start = function(m) note("scaled", m:scale(3), #m.workers) end]] }
    lu.assertEquals(#master:ready(3), 3)
    lu.assertEquals(master:notes(), "scaled true 0\n")
  end,

  ["scale and drain during a stop are refused with the code stopped"] = function()
    local master = masters.start { workers = 1, config = [[
      on_stop = function(m)
        local _, err = m:scale(3)
        note(err.code, err)
        _, err = m:drain()
        note(err.code)
      end]] }
    lu.assertEquals(master:stop "QUIT", 0)
    lu.assertEquals(master:notes(), "stopped master:scale: the master is stopping\nstopped\n")
  end,

  ["its fields are what the reference says"] = function()
    local master = with([[
      note("pid", master.pid == posix.getpid(), master.pidfile, type(master.config), tostring(master.old_pid))
      note("lists", #master.workers, master.clusters.web.name, next(master.pools), next(master.services))
      note("config", master.config.workers, master.config.listen[1].address, master.config.graceful_timeout)
      note("status", master:status().clusters.web.ready)]], { config = "pidfile = 'm.pid'" })
    local notes = master:notes()
    lu.assertStrContains(notes, ("pid true %s/m.pid table nil\n"):format(master.dir))
    lu.assertStrContains(notes, "lists 2 web nil nil\n")
    lu.assertStrContains(notes, "config 2 127.0.0.1:0 30\n")
    lu.assertStrContains(notes, "status 2\n")
  end,

  ["in a worker the same methods raise, and say where they work"] = function()
    local master = masters.start { workers = 1, config = [[
      after_fork = function(m)
        for _, name in ipairs { "scale", "drain", "quit", "terminate", "broadcast", "reload" } do
          note(select(2, pcall(m[name], m, 1)))
        end
      end]] }
    master:address()
    for _, name in ipairs { "scale", "drain", "quit", "terminate", "broadcast", "reload" } do
      lu.assertStrContains(master:notes(), ("master:%s: only in the master itself"):format(name))
    end
  end,

  ["its events tell a whole life in order"] = function()
    local master = masters.start { workers = 1, config = [[
      on_start = function(m)
        for _, name in ipairs { "online", "exit", "ready", "stopping", "stopped" } do
          m:on(name, function(w, code, signal) note(name, w and w.id or "-", tostring(code), tostring(signal)) end)
        end
      end]] }
    uv.kill(master:pids()[1], "sigkill")
    master:noted "online 2"
    lu.assertEquals(master:stop "QUIT", 0)
    lu.assertEquals(master:notes(), table.concat({
      "online 1 nil nil", "ready - nil nil", "exit 1 nil KILL", "online 2 nil nil", "stopping - nil nil",
      "exit 2 0 nil", "stopped - nil nil", "",
    }, "\n"))
  end,

  ["the error event tells who listens of a worker that could not start, which is logged once either way"] = function()
    local master = masters.start { workers = 2, app = [[
      local brood = require "brood"
      if brood.worker.slot == 2 and not io.open("now") then error "not yet" end
      return function() end]], config = [[
      on_start = function(m) m:on("error", function(err, w) note("error", w.slot, err.message) end) end]] }
    master:noted "error 2 [^\n]*not yet"
    s.write_file(master.dir .. "/now", "")
    master:ready(2)
  end,

  ["hooks may scale and wait for it"] = function()
    for _, hook in ipairs { "before_fork", "worker_ready", "worker_exit" } do
      local master = masters.start { workers = 1, config = ([[%s = function(m, w)
        if m.asked then return end
        m.asked = true
        note("scaled", m:scale(3), #m.workers >= 2)
      end]]):format(hook) }
      if hook == "worker_exit" then
        uv.kill(master:pids()[1], "sigkill")
      end
      master:noted "scaled true true"
      master:ready(3)
      lu.assertEquals(master:stop "QUIT", 0)
      lu.assertNotStrContains(master:log(), "not waiting any longer")
    end
  end,

  ["hooks may scale down below themselves, or drain, and wait for it"] = function()
    for _, hook in ipairs { "worker_ready", "worker_exit" } do
      for _, call in ipairs { "scale(0)", "drain()" } do
        local master = masters.start { workers = 2, config = ([[%s = function(m, w)
          if m.asked then return end
          m.asked = true
          note("gone", m:%s, #m.workers)
        end]]):format(hook, call) }
        if hook == "worker_exit" then
          master:ready(2)
          uv.kill(master:pids()[1], "sigkill")
        end
        master:noted "gone true 0"
        lu.assertEquals(master:stop "QUIT", 0)
        lu.assertNotStrContains(master:log(), "not waiting any longer")
      end
    end
  end,

  ["a before_fork may drain, which takes away the very worker it is about"] = function()
    local master = masters.start { workers = 2, config = [[before_fork = function(m, w)
        if m.asked then return end
        m.asked = true
        note("gone", m:drain(), #m.workers)
      end, control = "unix:control.sock"]] }
    master:noted "gone true 0"
    master:up()
    master.program:kill "QUIT"
    ends_by_itself(master)
  end,

  ["hooks may wait for the end of the master"] = function()
    for _, hook in ipairs { "worker_ready", "worker_exit", "on_stop" } do
      local master = masters.start { workers = 1, config = ([[%s = function(m)
        if m.asked then return end
        m.asked = true
        note "waits"
        m:wait()
        note("over", m.state)
      end]]):format(hook) }
      master:bring_about(hook)
      if hook ~= "on_stop" then
        master:noted "waits"
        master:up()
        master.program:kill "QUIT"
      end
      ends_by_itself(master)
      lu.assertEquals(master:notes(), "waits\nover stopped\n", hook)
    end
  end,

  ["a hook that only asks for the end, with a callback, is waited for itself"] = function()
    local master = masters.start { workers = 1, config = [[
      worker_ready = function(m)
        m:quit(function() note "stopped" end)
        brood.sleep(0.3)
        note "hook over"
      end, on_stop = function() note "on_stop" end]] }
    ends_by_itself(master)
    lu.assertEquals(master:notes(), "hook over\non_stop\nstopped\n")
  end,
}
