--- A process whose `main` is a Lua function in a forked child: messages, errors, ends.
local lu = require "luaunit"
local posix = require "brood.posix"
local brood = require "brood"
local s = require "spec.support"
local p = require "spec.support.process"

local function running(main, options)
  options = options or {}
  options.main = main
  local process = p.new(options)
  lu.assertTrue(process:start())
  return process
end

return {
  teardown = p.cleanup,

  ["what main returns is the status, 0 without; what still runs is waited for"] = function()
    lu.assertEquals({ running(function() return 7 end):wait() }, { 7 })
    lu.assertEquals({ running(function() end):wait() }, { 0 })
    lu.assertEquals({ running(function(w) brood.sleep(0.02, function() w:exit(9) end) end):wait() }, { 9 })
    lu.assertEquals({ running(function() brood.async(error, "lost") end, { stderr = false }):wait() }, { 1 })
  end,

  ["messages go both ways, in order, and arrive before the exit"] = function()
    local got, at_exit = {}, nil
    local process = p.new { main = function(worker)
      worker:on("message", function(v)
        if v == "end" then
          for i = 1, 1000 do worker:send(i) end
          worker:exit(3)
        end
        worker:send(v)
      end)
    end }
    process:on("message", function(v) table.insert(got, v) end)
    process:on("exit", function() at_exit = #got end)
    process:start()
    process:send({ a = 1 })
    process:send("end")
    lu.assertEquals({ process:wait() }, { 3 })
    lu.assertEquals({ got[1], got[2], got[1001], at_exit }, { { a = 1 }, 1, 1000, 1001 })
  end,

  ["an error before readiness reaches start whole, with its traceback"] = function()
    local process = p.new { ready = "channel", name = "worker", main = function()
      local function deeper() error({ message = "no database", code = "EDB", detail = { host = "x" } }) end
      brood.sleep(0.01)
      deeper()
    end }
    local ok, err = process:start()
    lu.assertNil(ok)
    lu.assertEquals({ err.message, err.code, err.detail }, { "no database", "EDB", { host = "x" } })
    lu.assertStrContains(err.traceback, "deeper")
    lu.assertStrContains(err.traceback, "process_main.lua")
    lu.assertEquals({ tostring(err), process.exit_code }, { "no database", 1 })
  end,

  ["an error after readiness is an error event, and is logged where nobody listens"] = function()
    local errors = {}
    local process = p.new { main = function() brood.sleep(0.02) error("too late") end }
    process:on("error", function(err) table.insert(errors, err) end)
    lu.assertTrue(process:start())
    lu.assertEquals({ process:wait() }, { 1 })
    lu.assertEquals(#errors, 1)
    lu.assertStrContains(tostring(errors[1]), "too late")
    lu.assertStrContains(errors[1].traceback, "process_main.lua")
    local result = s.script([[
      local p = require("brood.process").new { name = "mine", main = function() error("nobody hears") end }
      p:start() p:wait()
    ]]):finish()
    lu.assertStrContains(result.stderr, "mine: ")
    lu.assertStrContains(result.stderr, "nobody hears")
  end,

  ["ready = 'channel' waits for worker:ready()"] = function()
    local process = p.new { ready = "channel", main = function(worker)
      brood.sleep(0.1)
      worker:ready()
      brood.sleep(60)
    end }
    local seconds, ok = s.timed(process.start, process)
    lu.assertTrue(ok)
    lu.assertTrue(seconds >= 0.09)
    local silent = p.new { ready = "channel", start_timeout = 0.1, main = function() brood.sleep(60) end }
    local done, err = silent:start()
    lu.assertEquals({ done, err.code, silent.state }, { nil, "timeout", "stopped" })
  end,

  ["it gets its options: stdio, env, folder, mask"] = function()
    local dir, lines = s.temp_dir(), p.lines()
    posix.chdir("/")
    local process = running(function()
      print(os.getenv("MINE"), os.getenv("HOME"), os.getenv("BROOD_CHANNEL_FD"))
      io.stdout:write(require("luv").cwd(), "\n")
      io.stdout:flush()
      io.stderr:write("to stderr\n")
      os.execute("umask; cat")
    end, { stdin = s.write_file("in", "from stdin"), stdout = lines.add, stderr = lines.add, cwd = dir, umask = "077",
      env = { MINE = "yes", HOME = false } })
    process:wait()
    lines.add = nil
    table.sort(lines)
    local expected = { "0077", dir, "from stdin", "to stderr", "yes\tnil\tnil" }
    table.sort(expected)
    lu.assertEquals(lines, expected)
  end,

  ["a descriptor given as stdout is still of use to main itself"] = function()
    local r, w = posix.pipe()
    local process = running(function() posix.write(w, "direct ") posix.write(1, "stdout") end, { stdout = w })
    lu.assertEquals({ process:wait() }, { 0 })
    posix.close(w)
    lu.assertEquals(posix.read(r, 100), "direct stdout")
    posix.close(r)
  end,

  ["it reads the end of its stdin when that is closed, and its output ends with it"] = function()
    local lines = p.lines()
    local process = running(function() print(#io.read("*a")) end, { stdin = "pipe", stdout = lines.add })
    local sibling = running(function() brood.sleep(60) end)
    process:write(("x"):rep(100000))
    process:close_stdin()
    lu.assertEquals({ process:wait() }, { 0 })
    lu.assertEquals(lines[1], "100000")
    sibling:stop()
  end,

  ["it has nothing of its siblings: their pipes and channels"] = function()
    local one = running(function() brood.sleep(60) end, { stdin = "pipe", stdout = function() end })
    local two = running(function() brood.sleep(60) end, { stdin = "pipe", stdout = function() end })
    s.wait(function() return s.fd_count(one.pid) == s.fd_count(two.pid) end)
    one:stop()
    lu.assertEquals(one.exit_signal, "TERM")
  end,

  ["a stop that it does not handle ends it, and what it supervises"] = function()
    local got = {}
    local process = p.new { main = function(worker)
      local inner = require("brood.process").new { command = { "sleep", "60" } }
      inner:start()
      worker:send(inner.pid)
      brood.sleep(60)
    end }
    process:on("message", function(v) table.insert(got, v) end)
    process:start()
    s.wait(function() return got[1] end)
    process:stop()
    lu.assertEquals(process.exit_signal, "TERM")
    lu.assertFalse(s.alive(got[1]))
  end,

  ["its own supervised programs end with it, however it ends"] = function()
    for _, last in ipairs { function() error("dies") end, function(w) w:exit(3) end } do
      local got = {}
      local process = p.new { stderr = false, main = function(worker)
        local stubborn = { "sh", "-c", "trap '' TERM; while :; do sleep 0.05; done" }
        local inner = require("brood.process").new { command = stubborn }
        inner:start()
        worker:send(inner.pid)
        last(worker)
      end }
      process:on("error", function() end)
      process:on("message", function(v) table.insert(got, v) end)
      process:start()
      process:wait()
      s.wait(function() return got[1] and not s.alive(got[1]) end, 1)
    end
  end,

  ["a main that never comes back to the loop can be stopped, and its programs get their signals"] = function()
    local process = running(function()
      os.execute "trap 'exit 0' TERM; while :; do sleep 0.02; done"
      while true do end
    end)
    local seconds = s.timed(process.stop, process)
    lu.assertEquals(process.exit_signal, "TERM")
    lu.assertTrue(seconds < 3 * s.slow)
  end,

  ["a child that is busy with itself ends soon after its parent was killed"] = function()
    local script = s.script [[
      local Process, posix = require "brood.process", require "brood.posix"
      local function start(fn) local p = Process.new { main = fn, stop_timeout = "300ms" } assert(p:start()) return p.pid end
      local spins = start(function() while true do end end)
      local waits = start(function() require("brood").sleep(60) end)
      print(spins, waits, "up")
      io.stdout:flush()
    ]]
    local spins, waits = script:expect "(%d+)\t(%d+)\tup"
    script:kill("KILL")
    s.wait(function() return not s.alive(tonumber(waits)) and not s.alive(tonumber(spins)) end, 5)
  end,
}
