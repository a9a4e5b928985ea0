--- Watching over services: files, tandem, idle, memory, health.
local brood = require "brood"
local lu = require "luaunit"
local p = require "spec.support.process"
local s = require "spec.support"
local sp = require "spec.support.spinner"
local uv = require "luv"

local function script(text)
  return s.write_file("api.lua", sp.SERVER .. text)
end

return {
  teardown = sp.cleanup,

  -- ---- files ----

  ["a change of a file, by an editor that renames, or of one in a directory, restarts it once"] = function()
    local dir = s.temp_dir()
    s.write_file(dir .. "/src/deep/a.js", "1")
    local spinner = sp.new { port = false }
    local path, lines = sp.journal()
    spinner:start { name = "x", command = { "sh", "-c", "echo x >>" .. path .. "; exec sleep 60" },
      monitor = { dir .. "/src", dir .. "/config" } }
    s.wait(function() return #lines() == 1 end)
    for _ = 1, 5 do
      s.write_file(dir .. "/src/deep/a.js", "2")
    end
    s.wait(function() return #lines() == 2 end)
    s.write_file(dir .. "/config.new", "y")
    assert(uv.fs_rename(dir .. "/config.new", dir .. "/config"))
    s.wait(function() return #lines() == 3 end)
    s.remains(function() return #lines() == 3 end, 0.4)
    lu.assertEquals(spinner:get("x").restarts, 2)
  end,

  ["a stopped one is not watched; one that ended by itself is"] = function()
    local dir = s.temp_dir()
    local spinner = sp.new { port = false, monitor = dir }
    local path, lines = sp.journal()
    spinner:start { name = "x", command = { "sh", "-c", "echo x >>" .. path }, restart = false }
    s.wait(function() return spinner:get("x").state == "stopped" end)
    s.write_file(dir .. "/f", "1")
    s.wait(function() return #lines() == 2 end)
    spinner:stop "x"
    s.write_file(dir .. "/f", "2")
    s.remains(function() return #lines() == 2 end, 0.4)
  end,

  ["a change while it starts begins the start anew, and whoever waits gets the new one"] = function()
    local spinner = sp.new()
    local journal, lines = sp.journal()
    local path = script(("io.open(%q, 'w'):write('read'):close() brood.sleep(60)"):format(journal))
    local call = p.call(spinner, "start", { script = path, timeout = 30 })
    s.wait(function() return lines()[1] end)
    s.write_file(path, sp.SERVER .. 'listen(nil, function() return "new" end)')
    p.answered(call)
    lu.assertNil(call.err)
    lu.assertEquals(sp.ask(call.values[1]), "new")
  end,

  -- ---- tandem ----

  ["tandem: the new one is started on a new port, then the old one is stopped; no request fails"] = function()
    local spinner = sp.new()
    local path = script "brood.sleep(0.05) listen()"
    spinner:start { script = path, tandem = true }
    local service = spinner:get(path)
    local events = sp.record(service)
    local failed, answered, over = 0, 0, false
    local clients = {}
    for i = 1, 3 do
      clients[i] = require("brood").async(function()
        while not over do
          if sp.ask(service.port) then answered = answered + 1 else failed = failed + 1 end
        end
      end)
    end
    local pids, ports = { service.pid }, { service.port }
    for n = 1, 3 do
      s.write_file(path, sp.SERVER .. "listen() --" .. n)
      s.wait(function() return service.restarts == n end)
      table.insert(pids, service.pid)
      table.insert(ports, service.port)
      lu.assertEquals(service.state, "ready")
      s.wait(function() return not s.alive(pids[n]) end)
    end
    over = true
    for _, client in ipairs(clients) do client:wait() end
    lu.assertEquals(failed, 0)
    lu.assertTrue(answered > 20, answered)
    for n = 1, 3 do
      lu.assertNotEquals(ports[n], ports[n + 1])
    end
    lu.assertEquals(sp.names(events), "restarted exit restarted exit restarted exit")
    lu.assertEquals(events[1], { "restarted", ports[2] })
    lu.assertEquals(service.last_exit.why, "change")
  end,

  ["tandem: a new one that does not start leaves the old one serving, and the next change tries again"] = function()
    local spinner = sp.new()
    local path = script "listen()"
    local port = spinner:start { script = path, tandem = true, attempts = 1 }
    local service = spinner:get(path)
    local pid, errors = service.pid, {}
    service:on("error", function(err) table.insert(errors, err) end)
    s.write_file(path, "os.exit(5)")
    s.wait(function() return errors[1] end)
    lu.assertStrContains(tostring(errors[1]), "the one that is to follow does not start, the old one goes on: it ended "
      .. "with status 5")
    lu.assertEquals({ service.state, service.port, service.pid, sp.ask(port) }, { "ready", port, pid, tostring(pid) })
    local _, err = spinner:restart(path)
    lu.assertEquals({ err.code, service.state }, { "exit", "ready" })
    s.write_file(path, sp.SERVER .. "listen()")
    s.wait(function() return service.restarts == 1 end)
    lu.assertNotEquals(service.pid, pid)
  end,

  ["tandem: stopped while both run, both end; where the old one dies the new one takes its place"] = function()
    local spinner = sp.new()
    local hold = s.temp_dir() .. "/go"
    local command = sp.server(([[
      while not io.open(%q) do brood.sleep(0.005) end
      listen()
    ]]):format(hold))
    s.write_file(hold, "")
    spinner:start { name = "x", command = command, tandem = true }
    local service = spinner:get "x"
    os.remove(hold)
    local call = p.call(spinner, "restart", "x")
    local old, new = service.pid, nil
    s.wait(function()
      new = service.successor and service.successor.process and service.successor.process.pid
      return new
    end)
    lu.assertEquals(service.state, "ready")
    spinner:stop "x"
    p.answered(call)
    lu.assertEquals({ call.err.code, s.alive(old), s.alive(new) }, { "stopped", false, false })
    s.write_file(hold, "")
    spinner:start "x"
    os.remove(hold)
    call = p.call(spinner, "restart", "x")
    s.wait(function() return service.successor and service.successor.process.pid end)
    uv.kill(service.pid, "sigkill")
    s.wait(function() return service.state == "starting" end)
    s.write_file(hold, "")
    p.answered(call)
    lu.assertEquals({ call.err, service.state, service.restarts }, { nil, "ready", 1 })
  end,

  ["tandem: a change while the new one starts begins that one anew"] = function()
    local spinner = sp.new()
    local path = script 'listen(nil, function() return "first" end)'
    spinner:start { script = path, tandem = true, timeout = 20 }
    local service = spinner:get(path)
    s.write_file(path, "require('brood').sleep(60)")
    s.wait(function() return service.successor end)
    -- Whole at once: what is empty for a moment would be a change of its own.
    s.write_file(path .. ".new", sp.SERVER .. 'listen(nil, function() return "third" end)')
    os.rename(path .. ".new", path)
    s.wait(function() return sp.ask(service.port) == "third" end)
    lu.assertEquals(service.restarts, 1)
  end,

  ["tandem works with Unix sockets, and without a port"] = function()
    local spinner = sp.new()
    local first = spinner:start { name = "unix", command = sp.server(), port = "socket", tandem = true }
    local second = spinner:restart "unix"
    lu.assertNotEquals(first, second)
    lu.assertEquals(sp.ask(second), tostring(spinner:get("unix").pid))
    spinner:start { name = "none", command = { "sleep", "60" }, port = false, tandem = true }
    local pid = spinner:get("none").pid
    lu.assertTrue(spinner:restart "none")
    lu.assertNotEquals(spinner:get("none").pid, pid)
    s.wait(function() return not s.alive(pid) end)
  end,

  -- ---- idle ----

  ["idle: stopped when neither start nor touch has come for so long, and started by the next start"] = function()
    local spinner = sp.new { port = false }
    spinner:start { name = "x", command = { "sleep", "60" }, idle = 0.3 }
    local service = spinner:get "x"
    local began = uv.hrtime()
    for _ = 1, 4 do
      s.remains(function() return service.state == "ready" end, 0.15)
      lu.assertTrue(spinner:touch "x")
    end
    s.wait(function() return service.state == "stopped" end)
    lu.assertTrue((uv.hrtime() - began) / 1e9 >= 0.85)
    lu.assertEquals(service.last_exit.why, "idle")
    lu.assertEquals(select(2, spinner:touch "x").code, "stopped")
    lu.assertTrue((spinner:start "x"))
    lu.assertEquals(service.state, "ready")
  end,

  ["idle: those that come after it use it, so that it is stopped after them"] = function()
    local spinner, ends = sp.new { port = false }, {}
    local function start(o)
      o.command = { "sleep", "60" }
      spinner:start(o)
      spinner:get(o.name):on("stopped", function() table.insert(ends, o.name) end)
    end
    start { name = "db", idle = 0.1 }
    start { name = "api", idle = 0.3, after = "db" }
    start { name = "web", idle = 0.3, after = "api" }
    start { name = "base", idle = 0.1 }
    start { name = "lasting", idle = false, after = "base" }
    local from = brood.now()
    while brood.now() - from < 0.8 do -- of use
      spinner:touch "web"
      brood.sleep(0.02)
    end
    lu.assertEquals(ends, {})
    s.wait(function() return #ends == 3 end, 10 * s.slow)
    lu.assertEquals(ends, { "web", "api", "db" })
    lu.assertEquals(spinner:get "base".state, "ready")
    spinner:stop "lasting"
    s.wait(function() return #ends == 5 end, 10 * s.slow)
    lu.assertEquals(ends[5], "base")
  end,

  ["idle: what brood's own rooms say of its use counts as well"] = function()
    local used = math.huge
    local spinner = sp.make({ ports = sp.ports() }, { last_used = function() return used end })
    local service = spinner:declare(require("brood.options").check(1, { command = { "sleep", "60" }, port = false,
      idle = 0.1 }, require("brood.rules.service_options").fields))
    service:start()
    s.remains(function() return service.state == "ready" end, 0.4)
    used = 0
    s.wait(function() return service.state == "stopped" end)
  end,

  ["one timer serves a hundred idle ones, and a script whose services all have ended by it ends"] = function()
    local result = s.script([[
      local uv, made, timers = require "luv", {}, 0
      local new_timer = uv.new_timer
      uv.new_timer = function() local one = new_timer() table.insert(made, one) return one end
      local spinner = require("brood.spinner").new { port = false, idle = 0.3 }
      for i = 1, 30 do spinner:start { name = "n" .. i, command = { "sleep", "60" } } end
      for _, one in ipairs(made) do timers = timers + (one:is_closing() and 0 or 1) end
      print(timers)
    ]]):finish(10)
    lu.assertEquals({ result.code, result.stdout }, { 0, "1\n" })
  end,

  -- ---- memory ----

  ["max_memory: one that takes more, its children included, is restarted"] = function()
    local spinner = sp.new { port = false }
    local path = s.write_file("eat.py", "import time\nx = bytearray(60 << 20)\ntime.sleep(60)\n")
    spinner:start { name = "parent", command = { "sh", "-c", "python3 " .. path .. " & wait" }, max_memory = "40m",
      tandem = true }
    spinner:start { name = "modest", command = { "sleep", "60" }, max_memory = "40m" }
    local service = spinner:get "parent"
    s.wait(function() return service.restarts == 1 end, 20)
    lu.assertEquals({ service.last_exit and service.last_exit.why or "memory", spinner:get("modest").restarts },
      { "memory", 0 })
  end,

  -- ---- health ----

  ["health: one that does not answer well is restarted, and faulted where that does not help"] = function()
    local spinner = sp.new()
    local path = s.temp_dir() .. "/sick"
    spinner:start { name = "x", health = { path = "/healthz", interval = 0.05, failures = 2, timeout = 1 },
      command = sp.server(([[
        listen(nil, function(request) return request:find "^GET /healthz " and not io.open(%q) and "fine" end)
      ]]):format(path)) }
    local service = spinner:get "x"
    s.remains(function() return service.restarts == 0 and service.state == "ready" end, 0.4)
    s.write_file(path, "")
    s.wait(function() return service.restarts == 1 end)
    lu.assertEquals(service.last_exit.why, "health")
    s.wait(function() return service.state == "faulted" end)
    lu.assertStrContains(tostring(service.error), "for the second time within 60 s")
  end,
}
