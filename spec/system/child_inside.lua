--- The inside of a child's script: Child.once and Child.run, scripts without a parent, and those whose parent is gone.
local lu = require "luaunit"
local Child = require "brood.child"
local c = require "spec.support.child"
local fails = require "spec.support.fails"
local s = require "spec.support"

local function run(text, options)
  return Child.run(c.write(text), options)
end

-- It notes what it does in the file of its first argument.
local NOTE = [[
local function note(text) local f = io.open(arg[1], "a") f:write(text, "\n") f:close() end
]]
local JOURNAL = NOTE .. 'Child.main("noted", function() note "start" end, function() note "stop" end)\n'

-- A script without a parent.
local function alone(text, args)
  return s.brood { "exec", c.write(text), unpack(args or {}) }
end

-- A parent with a child that runs `text`: the parent's program, and the pid of the child.
local function parent(text, options, args)
  local all = {}
  for name, value in pairs(options or {}) do
    table.insert(all, ("%s = %s"):format(name, type(value) == "string" and ("%q"):format(value) or tostring(value)))
  end
  local program = s.script(([[
    local child = require("brood.child").new(%q, { args = { ... }, %s })
    assert(child:start())
    print(child.pid)
    io.stdout:flush()
  ]]):format(c.write(text, "child.lua"), table.concat(all, ", ")), args)
  return program, tonumber(program:expect "(%d+)\n")
end

return {
  teardown = c.cleanup,

  ["Child.run: nil and the error whole, or true"] = function()
    lu.assertTrue(run 'Child.once("x", function(done) done() end)')
    lu.assertTrue(run 'Child.once("x", function() brood.sleep(0.01) end)')
    local err = fails(run 'Child.once("x", function(done) done { message = "no", code = "E", left = { 1 } } end)')
    lu.assertEquals({ err.message, err.code, err.left }, { "no", "E", { 1 } })
    err = fails(run 'Child.once("x", function() error "boom" end)')
    lu.assertStrMatches(tostring(err), ".*script.lua:2: boom")
    lu.assertStrContains(err.traceback, "stack traceback")
  end,

  ["Child.run with a callback, with and without options"] = function()
    local path, answers = c.write 'Child.once("x", function() if arg[1] then error { message = arg[1] } end end)', {}
    local function add(err) table.insert(answers, tostring(err)) end
    Child.run(path, add)
    s.wait(function() return #answers == 1 end)
    Child.run(path, { args = { "boom" } }, add)
    s.wait(function() return #answers == 2 end)
    Child.run({ script = path, args = { "bang" } }, nil, add)
    s.wait(function() return #answers == 3 end)
    lu.assertEquals(answers, { "nil", "boom", "bang" })
  end,

  ["Child.run with a timeout: the script is ended"] = function()
    local pid = s.write_file("pid", "")
    local err = fails(run('local f = io.open(arg[1], "w") f:write(posix.getpid()) f:close() Child.once("x", '
      .. "function() brood.sleep(100) end)", { timeout = 1, args = { pid } }))
    lu.assertEquals({ err.code, tostring(err) }, { "timeout", "script.lua ran longer than 1 s" })
    lu.assertFalse(s.alive(tonumber(s.read_file(pid))))
    err = fails(run("while true do end", { timeout = 0.5, stop_timeout = 0.2 }))
    lu.assertEquals(err.code, "timeout")
  end,

  ["Child.run of a script that is merely a script: its status counts"] = function()
    lu.assertTrue(run "local x = 1")
    local err = fails(run "os.exit(3)")
    lu.assertEquals({ err.code, err.exit_code, tostring(err) }, { "exit", 3, "script.lua ended with status 3" })
    lu.assertStrContains(tostring(fails(run('io.stderr:write "last words\\n" os.exit(3)',
      { stderr = function() end }))), "script.lua ended with status 3:\nlast words")
    lu.assertEquals(fails(run 'posix.kill(posix.getpid(), "KILL")').exit_signal, "KILL")
    lu.assertEquals(fails(run 'error { message = "top", code = "E" }').code, "E")
    lu.assertStrContains(tostring(fails(Child.run "missing.lua")), "No such file")
  end,

  ["a function that nothing will end any more is a failure"] = function()
    local err = fails(run('Child.once("x", function(_) end)', { stderr = function() end }))
    lu.assertStrContains(tostring(err), "x: nothing is left that could end the function of Child.once")
    err = fails(run 'Child.once("x", function() os.exit(0) end)')
    lu.assertStrContains(tostring(err), "ended before its function was done")
    local result = alone('Child.once("x", function(_) end)'):finish()
    lu.assertEquals(result.code, 1)
  end,

  ["Child.run of a program: its status counts"] = function()
    lu.assertTrue(Child.run { command = { "true" } })
    lu.assertEquals(fails(Child.run { command = { "sh", "-c", "exit 4" } }).exit_code, 4)
    lu.assertEquals(fails(Child.run({ command = { "sleep", "100" }, timeout = 0.2 })).code, "timeout")
  end,

  ["alone: Child.once ends with 0, or with 1 and the error in the log"] = function()
    lu.assertEquals(alone('Child.once("x", function(done) done() end)'):finish().code, 0)
    local result = alone('Child.once("job", function() error "boom" end)'):finish()
    lu.assertEquals(result.code, 1)
    lu.assertStrContains(result.stderr, "job: failed: ")
    lu.assertStrContains(result.stderr, "script.lua:2: boom")
  end,

  ["alone: TERM, INT and HUP run the stop function, and the end is 0"] = function()
    for _, signal in ipairs { "TERM", "INT", "HUP" } do
      local path, journal = c.journal()
      local program = alone(JOURNAL, { path })
      s.wait(function() return journal() == "start\n" end)
      program:kill(signal)
      lu.assertEquals({ program:wait() }, { 0 })
      lu.assertEquals(journal(), "start\nstop\n")
    end
  end,

  ["alone: a failed stop ends with 1, a failed start too, and the log has the error"] = function()
    local program = alone [[
      Child.main("server", function() print "up" io.stdout:flush() end, function() error "boom" end)
    ]]
    program:expect "up\n"
    program:kill "TERM"
    local result = program:finish()
    lu.assertEquals(result.code, 1)
    lu.assertStrContains(result.stderr, "server: the stop failed: ")
    result = alone('Child.main("server", function() error "boom" end)'):finish()
    lu.assertEquals(result.code, 1)
    lu.assertStrContains(result.stderr, "server: the start failed: ")
  end,

  ["alone: a second TERM does not wait for the stop function"] = function()
    local program = alone([[
      Child.main("x", function() print "up" io.stdout:flush() end, function(_) print "stopping" io.stdout:flush() end)
    ]])
    program:expect "up\n"
    program:kill "TERM"
    program:expect "stopping\n"
    program:kill "TERM"
    lu.assertEquals({ program:wait() }, { nil, 15 })
  end,

  ["alone: TERM while it starts: the start function ends, then the stop function runs"] = function()
    local path, journal = c.journal()
    local program = alone(NOTE .. [[
      Child.main("x", function() note "starting" brood.sleep(0.3) note "started" end, function() note "stop" end)
    ]], { path })
    s.wait(function() return journal() == "starting\n" end)
    program:kill "TERM"
    lu.assertEquals({ program:wait() }, { 0 })
    lu.assertEquals(journal(), "starting\nstarted\nstop\n")
  end,

  ["a child whose parent is killed runs its stop function and exits"] = function()
    local path, journal = c.journal()
    local program, pid = parent(NOTE .. [[
      Child.main("x", function() note "start" end, function() brood.sleep(0.2) note "stop" end)
    ]], {}, { path })
    program:kill "KILL"
    program:wait()
    s.gone({ pid }, 10)
    lu.assertEquals(journal(), "start\nstop\n")
  end,

  ["so does one whose parent is killed while it starts, or while it stops"] = function()
    local path, journal = c.journal()
    local program = s.script(([[
      require("brood.child").new(%q, { args = { ... } }):start()
    ]]):format(c.write(NOTE .. [[
      Child.main("x", function() note(posix.getpid()) brood.sleep(0.5) note "start" end, function() note "stop" end)
    ]], "child.lua")), { path })
    local pid = s.wait(function() return journal():match "^(%d+)\n" end)
    program:kill "KILL"
    program:wait()
    s.gone({ tonumber(pid) }, 10)
    lu.assertEquals(journal(), pid .. "\nstart\nstop\n")
    path, journal = c.journal()
    program, pid = parent(NOTE .. [[
      Child.main("x", nil, function() note "stopping" brood.sleep(0.5) note "stop" end)
    ]], {}, { path })
    program:kill "TERM"
    s.wait(function() return journal() == "stopping\n" end)
    program:kill "KILL"
    program:wait()
    s.gone({ pid }, 10)
    lu.assertEquals(journal(), "stopping\nstop\n")
  end,

  ["a child that is stuck when its parent is killed, or stops for too long, is gone after stop_timeout"] = function()
    for _, text in ipairs {
      [[Child.main("x", function(done) done() require("brood.timer").after(0, function() while true do end end) end)]],
      [[Child.main("x", nil, function(_) end)]],
    } do
      local program, pid = parent(text, { stop_timeout = 0.5 })
      program:kill "KILL"
      program:wait()
      s.gone({ pid }, 10)
    end
  end,

  ["a parent that is told to end stops its child first"] = function()
    for _, signal in ipairs { "TERM", "INT", "HUP" } do
      local path, journal = c.journal()
      local program, pid = parent(JOURNAL, {}, { path })
      program:kill(signal)
      program:wait()
      lu.assertFalse(s.alive(pid))
      lu.assertEquals(journal(), "start\nstop\n")
    end
  end,

  ["a parent that leaves at once leaves nothing behind, nor does its child"] = function()
    local path, journal = c.journal()
    local script = c.write([[
      local f = io.open(arg[1], "a")
      local p = require("brood.process").new { command = { "sh", "-c", "trap '' TERM; while :; do sleep 0.05; done" } }
      Child.main("x", function() assert(p:start()) f:write(posix.getpid(), " ", p.pid, "\n") f:close() end)
    ]], "child.lua")
    local program = s.script(([[
      assert(require("brood.child").new(%q, { args = { ... } }):start())
      os.exit(3)
    ]]):format(script), { path })
    lu.assertEquals({ program:wait() }, { 3 })
    local child, sleeper = journal():match "^(%d+) (%d+)\n$"
    s.gone({ tonumber(child), tonumber(sleeper) }, 5)
  end,

  ["what has been sent before the end arrives, however much, at a parent that is slow"] = function()
    local child = c.lua [[
      Child.once("x", function()
        for i = 1, 30 do brood.worker:send { i, ("x"):rep(1000000) } end
      end)
    ]]
    child:start()
    require("luv").sleep(1500)
    local list = c.messages(child)
    s.wait(function() return #list == 30 and child.state == "stopped" end, 20)
    lu.assertEquals({ list[30][1], child.exit_code }, { 30, 0 })
  end,

  ["a listener of disconnect that returns true lives on without a parent"] = function()
    local path, journal = c.journal()
    local program, pid = parent(NOTE .. [[
      brood.worker:on("disconnect", function() note "alone" return true end)
      Child.main("x", nil, function() note "stop" end)
    ]], { stop_timeout = 0.2 }, { path })
    program:kill "KILL"
    program:wait()
    s.wait(function() return journal() == "alone\n" end)
    s.remains(function() return s.alive(pid) end, 1)
    require("luv").kill(pid, "sigterm")
    s.gone({ pid }, 10)
    lu.assertEquals(journal(), "alone\nstop\n")
  end,
}
