--- Services that come after others: started behind them, stopped before them.
local lu = require "luaunit"
local p = require "spec.support.process"
local s = require "spec.support"
local sp = require "spec.support.spinner"

-- A program that writes "+NAME" when it starts, takes `delay` to become ready, and writes "-NAME" when it is to end.
local function member(path, name, delay, more)
  local o = {
    name = name, port = false, ready = "notify", timeout = 10 * s.slow,
    command = { s.binary, "exec", s.write_file("member.lua", ([[
      local function tell(text) local f = io.open(%q, "a") f:write(text, "\n") f:close() end
      local signal = require("luv").new_signal()
      signal:start("sigterm", function()
        require("brood").async(function() require("brood").sleep(%g) tell "-%s" os.exit(0) end)
      end)
      tell "+%s"
      require("brood").sleep(%g)
      tell "=%s"
      assert(require("brood.core").notify.send(os.getenv "NOTIFY_SOCKET", "READY=1"))
    ]]):format(path, delay or 0, name, name, delay or 0, name)) },
  }
  for key, value in pairs(more or {}) do
    o[key] = value
  end
  return o
end

local function position(list, word)
  for i, one in ipairs(list) do
    if one == word then
      return i
    end
  end
  error(word .. " is not in " .. table.concat(list, " "))
end

local function supervised(list)
  local spinner = sp.make({ ports = sp.ports() }, { supervised = true })
  local fields = require("brood.rules.service_options").fields
  for _, o in ipairs(list) do
    assert(spinner:declare(require("brood.options").check(1, o, fields)))
  end
  return spinner
end

return {
  teardown = sp.cleanup,

  ["those that come before are started first and ready, side by side; stop_all goes the other way"] = function()
    local path, lines = sp.journal()
    local spinner = supervised { member(path, "db", 0.1), member(path, "cache", 0.1),
      member(path, "api", 0, { after = { "db", "cache" } }), member(path, "web", 0, { after = "api" }) }
    lu.assertTrue(spinner:get("web"):start())
    local list = lines()
    lu.assertTrue(position(list, "+cache") < position(list, "=db") and position(list, "+db") < position(list, "=cache"))
    lu.assertTrue(math.max(position(list, "=db"), position(list, "=cache")) < position(list, "+api"))
    lu.assertTrue(position(list, "=api") < position(list, "+web"))
    spinner:stop_all()
    list = lines()
    lu.assertTrue(position(list, "-web") < position(list, "-api"))
    lu.assertTrue(position(list, "-api") < math.min(position(list, "-db"), position(list, "-cache")))
  end,

  ["the process that has the spinner stops them in that order when it is told to end"] = function()
    local path, lines = sp.journal()
    local quoted = {}
    for i, o in ipairs { member(path, "db", 0.05), member(path, "api", 0.05) } do
      quoted[i] = ("%q"):format(o.command[3])
    end
    local script = s.script(([[
      local spinner = require("brood.spinner").new { port = false, ready = "notify", timeout = 30 }
      spinner:start { name = "db", command = { %q, "exec", %s } }
      spinner:start { name = "api", command = { %q, "exec", %s }, after = "db" }
      print "up"
    ]]):format(s.binary, quoted[1], s.binary, quoted[2]))
    script:expect "up"
    script:kill "TERM"
    script:wait()
    lu.assertEquals({ unpack(lines(), 5) }, { "-api", "-db" })
  end,

  ["an unknown name, a circle and itself are errors by name"] = function()
    local spinner = sp.new { port = false }
    local _, err = spinner:start { name = "api", command = { "sleep", "60" }, after = "bd" }
    lu.assertEquals(err.code, "unknown")
    lu.assertEquals(tostring(err), "service 'api' is to come after 'bd', which is no service; there are no others")
    spinner:start { name = "a", command = { "sleep", "60" } }
    spinner:start { name = "b", command = { "sleep", "60" }, after = "a" }
    _, err = spinner:start { name = "a", command = { "sleep", "60" }, after = { "b" } }
    lu.assertEquals({ err.code, tostring(err) },
      { "circle", "services come after each other in a circle: a after b after a" })
    lu.assertStrContains(tostring(select(2, spinner:start { name = "c", command = { "x" }, after = "c" })),
      "service 'c' cannot come after itself")
    lu.assertNil(spinner:get "c")
  end,

  ["where one before fails, those behind it fail with its reason, and are not started"] = function()
    local path, lines = sp.journal()
    local spinner = supervised { { name = "db", command = { "sh", "-c", "exit 9" }, ready = "notify", port = false,
      attempts = 1 }, member(path, "api", 0, { after = "db" }) }
    local _, err = spinner:get("api"):start()
    lu.assertEquals({ err.code, spinner:get("api").state, lines() }, { "exit", "faulted", {} })
    lu.assertStrContains(tostring(err), "api comes after db: db: its start has failed: it ended with status 9")
  end,

  ["one that failed because of another is started as soon as that one is well again"] = function()
    local spinner, dir = sp.new { port = false }, s.temp_dir()
    s.write_file(dir .. "/wish", "bad")
    spinner:start { name = "db", cwd = dir, command = { "sh", "-c", "grep -q good wish && exec sleep 60" },
      monitor = dir .. "/wish", attempts = 1, ready = "notify" }
    local db = spinner:get "db"
    lu.assertEquals(db.state, "faulted")
    local api = { name = "api", command = { "sleep", "60" }, after = "db" }
    lu.assertStrContains(tostring(select(2, spinner:start(api))), "api comes after db: db is faulted")
    lu.assertStrContains(tostring(select(2, spinner:start(api))), "api comes after db: db is faulted")
    db.options.ready = nil
    s.write_file(dir .. "/wish", "good")
    s.wait(function() return db.state == "ready" end, 10 * s.slow)
    lu.assertTrue(spinner:start(api))
  end,

  ["a stop while it waits for those before it ends its start, and not theirs"] = function()
    local path, lines = sp.journal()
    local spinner = supervised { member(path, "db", 0.3), member(path, "api", 0, { after = "db" }) }
    local call = p.call(spinner:get "api", "start")
    s.wait(function() return lines()[1] end)
    lu.assertEquals(spinner:get("api").state, "starting")
    spinner:get("api"):stop()
    p.answered(call)
    lu.assertEquals(call.err.code, "stopped")
    s.wait(function() return spinner:get("db").state == "ready" end)
    lu.assertEquals({ spinner:get("api").state, lines() }, { "stopped", { "+db", "=db" } })
  end,

  ["one that is there for one thing holds those behind it until it has done that, and is not run again"] = function()
    local path, lines = sp.journal()
    local errand = { name = "migrate", port = false, restart = false,
      command = { "sh", "-c", "echo begin >>" .. path .. "; sleep 0.3; echo done >>" .. path } }
    local spinner = supervised { errand, member(path, "api", 0, { after = "migrate" }) }
    lu.assertTrue(spinner:get("api"):start())
    lu.assertEquals(lines(), { "begin", "done", "+api", "=api" })
    lu.assertEquals(spinner:get("migrate").state, "stopped")
    spinner:get("api"):restart()
    spinner:get("api"):stop()
    spinner:get("api"):start()
    lu.assertEquals(#table.concat(lines(), " "):gsub("[^b]", ""), 1)
  end,

  ["one that does not end keeps those behind it for its timeout only; with a port or `ready` it is not waited for"] =
    function()
      local path, lines = sp.journal()
      local spinner = supervised {
        { name = "stays", port = false, restart = false, timeout = 0.3, command = { "sleep", "60" } },
        { name = "says", port = false, restart = false, ready = "spawn", command = { "sleep", "60" } },
        { name = "listens", restart = false, command = sp.server() },
        member(path, "api", 0, { after = { "says", "listens" } }), member(path, "late", 0, { after = "stays" }),
      }
      lu.assertTrue(spinner:get("api"):start())
      lu.assertEquals({ spinner:get("says").state, spinner:get("listens").state }, { "ready", "ready" })
      local warnings = require("spec.support.logged")(function()
        lu.assertTrue(spinner:get("late"):start())
      end)
      lu.assertStrContains(warnings, "stays still runs after its timeout of 0.3 s: those after it are started")
      lu.assertEquals({ spinner:get("stays").state, lines() }, { "ready", { "+api", "=api", "+late", "=late" } })
    end,

  ["one that fails at its one thing keeps those behind it from starting"] = function()
    local path, lines = sp.journal()
    local spinner = supervised {
      { name = "migrate", port = false, restart = false, command = { "sh", "-c", "sleep 0.1; exit 3" } },
      member(path, "api", 0, { after = "migrate" }),
    }
    local _, err = spinner:get("api"):start()
    lu.assertEquals(tostring(err), "api comes after migrate: migrate ended with status 3")
    lu.assertEquals(lines(), {})
  end,

  ["a member of many is stopped only when all behind it are, however many there are"] = function()
    local list = { { name = "db", command = { "sleep", "60" }, port = false } }
    for i = 1, 60 do
      list[#list + 1] = { name = "n" .. i, command = { "sleep", "60" }, port = false,
        after = { i % 3 == 0 and "db" or i > 3 and "n" .. i - 3 or "db" } }
    end
    local spinner = supervised(list)
    for _, service in ipairs(spinner:in_order()) do
      service:start()
    end
    local stopped = {}
    for name, service in pairs(spinner.services) do
      service:on("stopped", function()
        stopped[name] = true
        for other, one in pairs(spinner.services) do
          lu.assertTrue((one.options.after or {})[1] ~= name or stopped[other] ~= nil, other .. " behind " .. name)
        end
      end)
    end
    spinner:stop_all()
    lu.assertTrue(stopped.db)
  end,
}
