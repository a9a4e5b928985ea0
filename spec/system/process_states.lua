--- A supervised process: its states, and every call in every one of them.
local lu = require "luaunit"
local s = require "spec.support"
local p = require "spec.support.process"

-- Ready once the file is there.
local function late(options)
  local socket = s.temp_dir() .. "/s"
  options = options or {}
  options.ready = { socket = socket }
  local process = p.script([[
    while not uv.fs_stat(arg[1] .. ".go") do brood.sleep(0.005) end
    uv.fs_unlink(arg[1] .. ".go")
    local server = uv.new_pipe(false)
    server:bind(arg[1])
    server:listen(8, function() end)
  ]], options, { socket })
  process:on("stopped", function() os.remove(socket) end)
  return process, function() s.write_file(socket .. ".go", "") end
end

local function state_is(process, state)
  s.wait(function() return process.state == state end, 10, "the state " .. state)
end

return {
  teardown = p.cleanup,

  ["a process goes through its states, and tells each of them"] = function()
    local process = p.new { command = { "sleep", "60" }, name = "sleeper" }
    local events = p.record(process, true)
    lu.assertEquals(process.state, "stopped")
    lu.assertNil(process.pid)
    lu.assertTrue(process:start())
    lu.assertEquals({ process.state, process.name }, { "ready", "sleeper" })
    lu.assertTrue(s.alive(process.pid))
    lu.assertAlmostEquals(process.started_at, os.time(), 3)
    lu.assertNil(process.exit_code or process.exit_signal)
    lu.assertTrue(process:stop())
    lu.assertEquals({ process.state, process.exit_signal }, { "stopped", "TERM" })
    lu.assertNil(process.pid or process.exit_code)
    lu.assertEquals(events, {
      { "starting" }, { "state", "starting", "stopped" }, { "ready" }, { "state", "ready", "starting" },
      { "stopping" }, { "state", "stopping", "ready" }, { "stopped" }, { "state", "stopped", "stopping" },
      { "exit", nil, "TERM" },
    })
  end,

  ["a start while it starts joins, and while it is ready or busy is answered at once"] = function()
    local process, go = late()
    local first, second = p.call(process, "start"), p.call(process, "start")
    lu.assertEquals({ first.answers, second.answers, process.state }, { 0, 0, "starting" })
    go()
    p.answered(first, second)
    local pid = process.pid
    lu.assertTrue(process:start())
    process:set_busy(true)
    lu.assertEquals(process.state, "busy")
    lu.assertTrue(process:start())
    lu.assertEquals(process.pid, pid)
    process:set_busy(false)
    lu.assertEquals(process.state, "ready")
  end,

  ["a stop during a start ends that start with the code 'stopped'"] = function()
    local process = late()
    local first, second = p.call(process, "start"), p.call(process, "start")
    state_is(process, "starting")
    s.wait(function() return process.pid end)
    lu.assertTrue(process:stop())
    p.answered(first, second)
    lu.assertEquals({ first.err.code, second.err.code, process.state }, { "stopped", "stopped", "stopped" })
  end,

  ["a stop before the program is there keeps it from being started"] = function()
    local process = late()
    local start, stop = p.call(process, "start"), p.call(process, "stop")
    p.answered(start, stop)
    lu.assertEquals({ start.err.code, stop.err, process.state }, { "stopped", nil, "stopped" })
    lu.assertNil(process.exit_code or process.exit_signal)
  end,

  ["a start during a stop runs after it, and all such starts share it"] = function()
    local process = p.sh 'trap "sleep 0.1; exit 0" TERM; while :; do sleep 0.01; done'
    process:start()
    local pid = process.pid
    local stop, first, second = p.call(process, "stop"), p.call(process, "start"), p.call(process, "start")
    lu.assertEquals(process.state, "stopping")
    p.answered(stop, first, second)
    lu.assertEquals({ stop.err, first.err, second.err, process.state }, { nil, nil, nil, "ready" })
    lu.assertNotEquals(process.pid, pid)
  end,

  ["a stop takes back the start that waits for an earlier stop"] = function()
    local process = p.new { command = { "sleep", "60" } }
    process:start()
    local stop, start, again = p.call(process, "stop"), p.call(process, "start"), p.call(process, "stop")
    p.answered(stop, start, again)
    lu.assertEquals({ stop.err, start.err.code, again.err, process.state }, { nil, "stopped", nil, "stopped" })
  end,

  ["a stop of what does not run is answered at once"] = function()
    local process = p.new { command = { "true" } }
    lu.assertTrue(process:stop())
    process:start()
    process:wait()
    lu.assertTrue(process:stop())
    lu.assertEquals(process.state, "stopped")
  end,

  ["a restart stops what runs and starts what does not"] = function()
    local process = p.new { command = { "sleep", "60" } }
    lu.assertTrue(process:restart())
    local pid = process.pid
    lu.assertTrue(process:restart())
    lu.assertNotEquals(process.pid, pid)
    pid = process.pid
    local one, two = p.call(process, "restart"), p.call(process, "restart")
    p.answered(one, two)
    lu.assertEquals({ one.err, two.err, process.state }, { nil, nil, "ready" })
    lu.assertFalse(s.alive(pid))
  end,

  ["a stop after a restart has the last word"] = function()
    local process = p.new { command = { "sleep", "60" } }
    process:start()
    local restart, stop = p.call(process, "restart"), p.call(process, "stop")
    p.answered(restart, stop)
    lu.assertEquals({ restart.err.code, stop.err, process.state }, { "stopped", nil, "stopped" })
  end,

  ["a restart during a start ends that start and begins another"] = function()
    local process, go = late()
    local start = p.call(process, "start")
    s.wait(function() return process.pid end)
    local restart = p.call(process, "restart")
    p.answered(start)
    lu.assertEquals(start.err.code, "stopped")
    go()
    p.answered(restart)
    lu.assertEquals({ restart.err, process.state }, { nil, "ready" })
  end,

  ["wait gives code and signal to all who wait, and those of the last run later"] = function()
    local process = p.sh "exit 7"
    local ok, err = process:wait()
    lu.assertEquals({ ok, err.code }, { nil, "stopped" })
    process:start()
    local first, second = p.call(process, "wait"), p.call(process, "wait")
    p.answered(first, second)
    lu.assertEquals({ first.values, second.values }, { { 7 }, { 7 } })
    lu.assertEquals({ process:wait() }, { 7 })
    local killed = p.sh "kill -KILL $$"
    killed:start()
    lu.assertEquals({ killed:wait() }, { nil, "KILL" })
  end,

  ["one that ends before it is ready fails the start with its end"] = function()
    local process = p.sh("exit 3", { ready = { socket = s.temp_dir() .. "/none" } })
    local ok, err = process:start()
    lu.assertEquals({ ok, err.code, err.exit_code }, { nil, "exit", 3 })
    lu.assertStrContains(tostring(err), "sh ended with status 3 before it was ready")
    lu.assertEquals({ process.state, process.exit_code }, { "stopped", 3 })
  end,

  ["a listener of 'stopped' may start it again, and the exit is told as it was"] = function()
    local process, starts, exits = p.sh "exit 5", 0, {}
    process:on("stopped", function()
      starts = starts + 1
      if starts < 4 then
        process:start()
      end
    end)
    process:on("exit", function(code) table.insert(exits, code) end)
    local wait
    process:start()
    wait = p.call(process, "wait")
    s.wait(function() return #exits == 4 end)
    p.answered(wait)
    lu.assertEquals({ exits, wait.values }, { { 5, 5, 5, 5 }, { 5 } })
  end,

  ["a listener of 'starting' may stop it"] = function()
    local process = p.new { command = { "sleep", "60" } }
    process:on("starting", function() process:stop(function() end) end)
    local ok, err = process:start()
    lu.assertEquals({ ok, err.code, process.state }, { nil, "stopped", "stopped" })
  end,

  ["a start while another waits for the stop joins what a listener has started"] = function()
    local process = p.new { command = { "sleep", "60" } }
    process:once("stopped", function() process:start() end)
    process:start()
    local stop, start = p.call(process, "stop"), p.call(process, "start")
    p.answered(stop, start)
    lu.assertEquals({ stop.err, start.err, process.state }, { nil, nil, "ready" })
  end,

  ["one that was given up is faulted, says so once, and can be started"] = function()
    local process, errors = p.new { command = { "sleep", "60" } }, {}
    process:on("error", function(err) table.insert(errors, err) end)
    process:fault("hopeless")
    process:fault("hopeless")
    lu.assertEquals({ process.state, errors }, { "faulted", { "hopeless" } })
    lu.assertTrue(process:start())
    process:stop()
    process:fault("hopeless")
    lu.assertTrue(process:stop())
    lu.assertEquals(process.state, "stopped")
  end,

  ["signal reaches the process alone, and says when there is none"] = function()
    local lines = p.lines()
    local process = p.sh('trap "echo got; exit 0" USR1; echo up; while :; do sleep 0.01; done', { stdout = lines.add })
    local ok, err = process:signal "USR1"
    lu.assertEquals({ ok, err.code }, { nil, "stopped" })
    process:start()
    s.wait(function() return lines[1] end)
    lu.assertTrue(process:signal "SIGUSR1")
    process:wait()
    lu.assertEquals({ lines[1], lines[2], process.exit_code }, { "up", "got", 0 })
    local fine, why = pcall(process.signal, process, "NONE")
    lu.assertFalse(fine)
    lu.assertStrContains(why, "unknown signal 'NONE'")
  end,

  ["an error of a call that cannot wait leaves everything as it was"] = function()
    local process = p.new { command = { "sleep", "60" } }
    local fine, why = coroutine.wrap(function() return pcall(process.start, process) end)()
    lu.assertFalse(fine)
    lu.assertStrContains(why, "process:start cannot wait here")
    lu.assertEquals(process.state, "stopped")
  end,
}
