--- Tasks, the clock that they wait by (brood.clock), and how `brood exec` ends (brood.boot).
local lu = require "luaunit"
local s = require "spec.support"
local scripts = require "spec.support.scripts"

local HEAD = 'local brood, uv = require "brood", require "luv"\n'

local function run(text, args, options)
  return s.script(HEAD .. text, args, options):finish(10)
end

local prints = scripts.printer(HEAD)

local function cannot_wait(why)
  return ("brood.sleep cannot wait here: %s; call it with a callback, or inside brood.async(function() ... end)\n")
    :format(why)
end

return {
  ["a script gets arg and ... as in stock Lua"] = function()
    local text = 'print(#arg, arg[1], arg[2], select("#", ...), ...) print(arg[0]:match("[^/]+$") ~= nil)'
    local result = run(text, { "a b", "-h" })
    lu.assertEquals(result.stdout, "2\ta b\t-h\t2\ta b\t-h\ntrue\n")
  end,

  ["sleep suspends its task for that long, and with a callback it does not"] = function()
    prints([[
      local t0 = brood.now()
      print(brood.sleep("50ms"))
      print(brood.now() - t0 >= 0.05 and brood.now() - t0 < 1)
      brood.sleep(0.05, function(err) print("called", err) end)
      print "at once"
    ]], "true\ntrue\nat once\ncalled\tnil\n")
  end,

  ["a timer armed after a long computation does not fire early"] = function()
    prints([[
      local t0 = brood.now()
      while brood.now() - t0 < 0.4 do end
      local t1 = brood.now()
      brood.sleep(0.3)
      print(brood.now() - t1 >= 0.295)
    ]], "true\n")
  end,

  ["wait returns what the task returned, at once when it has ended"] = function()
    prints([[
      local t = brood.async(function(a, b) brood.sleep(0.01) return a + b, nil, "x" end, 1, 2)
      print(t:wait())
      print(t:wait())
      t:wait(nil, function(err, ...) print(err, ...) end)
    ]], "3\tnil\tx\n3\tnil\tx\nnil\t3\tnil\tx\n")
  end,

  ["a task that raises gives nil and the error with its traceback to who waits, and that is all"] = function()
    prints([[
      local ok, err = brood.async(function() brood.sleep(0.01) error("boom") end):wait()
      print(ok, err.message:match("boom$"), tostring(err) == err.message, ("x " .. err):match("^x "))
      print(err.traceback:match("traceback") ~= nil)
      local ok, err = brood.async(function() error({ message = "table", code = "mine" }) end):wait()
      print(ok, err.message, err.code)
    ]], "nil\tboom\ttrue\tx \ntrue\nnil\ttable\tmine\n")
  end,

  ["wait with a timeout gives up, and the task goes on"] = function()
    prints([[
      local t = brood.async(function() brood.sleep(0.1) return "late" end)
      local ok, err = t:wait(0.01)
      print(ok, err.code)
      print(t:wait("2s"))
      print(t:wait(false))
    ]], "nil\ttimeout\nlate\nlate\n")
  end,

  ["an async function that cannot wait raises, and says what to do"] = function()
    prints([[
      local function why(fn) local ok, err = pcall(fn) return ok, (tostring(err):gsub("^.-: ", "", 1)) end
      print(select(2, coroutine.wrap(function() return why(function() brood.sleep(1) end) end)()))
      table.sort({ 1, 2 }, function() print(select(2, why(function() brood.sleep(1) end))) return false end)
      local timer = uv.new_timer()
      timer:start(1, 0, function() timer:close() print(select(2, why(function() brood.sleep(1) end))) end)
    ]], cannot_wait "a coroutine of your own is not a task"
      .. cannot_wait "a C call (require, table.sort, string.gsub, a metamethod, ...) is in between"
      .. cannot_wait "in a raw luv callback there is no task")
  end,

  ["a mistake raises at the caller's line"] = function()
    local result = run 'brood.sleep("soon")'
    lu.assertEquals(result.code, 1)
    lu.assertStrContains(result.stderr, "script.lua:2:")
    lu.assertStrContains(result.stderr, "soon")
  end,

  ["an uncaught error of the main task ends the script at once with status 1"] = function()
    local result = run [[
      brood.sleep(3, function() print "never" end)
      error("no good")
    ]]
    lu.assertEquals(result.code, 1)
    lu.assertEquals(result.stdout, "")
    lu.assertStrContains(result.stderr, "no good")
    lu.assertStrContains(result.stderr, "traceback")
  end,

  ["an uncaught error of another task or a luv callback is logged, the script goes on, and ends with 1"] = function()
    for _, text in ipairs {
      [[brood.async(function() brood.sleep(0.01) error("lost") end)
        brood.sleep(0.05) print "goes on"]],
      [[local t = uv.new_timer()
        t:start(1, 0, function() t:close() error("lost") end) brood.sleep(0.05) print "goes on"]],
      [[brood.sleep(0.01, function() error("lost") end) brood.sleep(0.05) print "goes on"]],
    } do
      local result = run(text)
      lu.assertEquals(result.code, 1)
      lu.assertEquals(result.stdout, "goes on\n")
      lu.assertStrContains(result.stderr, "lost")
      lu.assertStrContains(result.stderr, "traceback")
    end
  end,

  ["a main task that waits for nothing is an error, not a silent end"] = function()
    local result = run [[
      local other
      other = brood.async(function() coroutine.yield() end)
      other:wait()
    ]]
    lu.assertEquals(result.code, 1)
    lu.assertStrContains(result.stderr, "nothing is left that could wake it")
  end,

  ["os.exit gives its status, with true and false as in stock Lua"] = function()
    lu.assertEquals(run("os.exit(7)").code, 7)
    lu.assertEquals(run("os.exit(true)").code, 0)
    lu.assertEquals(run("os.exit(false)").code, 1)
    lu.assertEquals(run('io.write("kept") os.exit()').stdout, "kept")
  end,

  ["a script that cannot be read or compiled is status 1, with its name"] = function()
    local missing = s.brood({ "exec", "/nowhere/x.lua" }):finish()
    lu.assertEquals(missing.code, 1)
    lu.assertStrContains(missing.stderr, "/nowhere/x.lua")
    local broken = run "this is not Lua"
    lu.assertEquals(broken.code, 1)
    lu.assertStrContains(broken.stderr, "script.lua:2:")
  end,

  ["what os.execute and io.popen start has a default SIGPIPE, as in stock Lua"] = function()
    local result = run [[
      local pipe = io.popen("yes | head -n 1")
      print(pipe:read("*a"))
      pipe:close()
    ]]
    lu.assertEquals(result.stdout, "y\n\n")
    lu.assertEquals(result.stderr, "")
  end,

  ["uv.walk meets the handles of Lua that are open, a parent's not in its child, and may close them"] = function()
    prints([[
      local posix = require "brood.posix"
      local timer, closing, idle = uv.new_timer(), uv.new_timer(), uv.new_idle()
      closing:close()
      timer:start(60000, 0, print)
      local function meet(who)
        uv.walk(function(handle)
          print(who, handle == timer and "timer" or handle == idle and "idle" or tostring(handle))
        end)
      end
      io.stdout:setvbuf "line"
      local pid = posix.fork()
      if pid == 0 then
        meet "child"
        os.exit(0)
      end
      posix.waitpid(pid)
      idle:close()
      meet "parent"
      uv.walk(uv.close)
      meet "nobody"
    ]], "parent\ttimer\n")
  end,

  ["a failed task that is waited for later does not fail the script, however late"] = function()
    local result = run [[
      local slow = brood.async(function() brood.sleep(1.3) return "slow" end)
      local bad = brood.async(function() brood.sleep(0.01) error("broke") end)
      print(slow:wait())
      print((bad:wait()))
    ]]
    lu.assertEquals(result.stdout, "slow\nnil\n")
    lu.assertEquals(result.code, 0)
  end,

  ["the folder of the script comes first in package.path, and C modules load"] = function()
    local dir = s.temp_dir()
    s.write_file(dir .. "/mine.lua", 'return "my module"')
    s.write_file(dir .. "/deep/init.lua", 'return "my folder"')
    local script = s.write_file(dir .. "/main.lua", [[
      print(require "mine", require "deep", type(require("lfs").currentdir()), type(require("posix").getpid))
    ]])
    local result = s.brood({ "exec", script }, { cwd = "/" }):finish()
    lu.assertEquals(result.stdout, "my module\tmy folder\tstring\tfunction\n")
  end,

  ["a #! line is no syntax error, and line numbers stay right"] = function()
    local path = s.write_file("x.lua", "#!/usr/bin/env -S brood exec\nprint 'ok'\nerror('here')")
    local result = s.brood({ "exec", path }):finish()
    lu.assertEquals(result.stdout, "ok\n")
    lu.assertStrContains(result.stderr, "x.lua:3: here")
  end,

  ["listeners run each in a task of their own, in order, and one that raises harms nobody"] = function()
    local result = run [[
      local e = require("brood.emitter").new()
      e:on("x", function(v) brood.sleep(0.02) print("first", v) end)
      e:on("x", function() error("second breaks") end)
      e:once("x", function(v) print("third", v) end)
      e:on("*", function(name, v) print(name, v) end)
      e:emit("x", 1)
      print "emitted"
      e:off("*")
      e:emit("x", 2)
    ]]
    lu.assertEquals(result.stdout, "third\t1\nx\t1\nemitted\nfirst\t1\nfirst\t2\n")
    lu.assertStrContains(result.stderr, "second breaks")
  end,

  ["a coroutine that was a task and is resumed later disturbs neither the next tasks nor their waits"] = function()
    prints([[
      local stale
      brood.async(function() stale = coroutine.running() end)
      print(coroutine.resume(stale, print, "not to be called"))
      local tasks = {}
      for i = 1, 3 do
        tasks[i] = brood.async(function() brood.sleep(0.01 * i) return i, coroutine.running() == stale end)
      end
      print(coroutine.resume(stale, nil, "no answer to what it waits for"))
      for i = 1, 3 do print(i, tasks[i]:wait()) end
    ]], "true\ntrue\n1\t1\ttrue\n2\t2\tfalse\n3\t3\tfalse\n")
  end,

  ["a task's own coroutine.yield is resumed by whoever the user wants"] = function()
    prints([[
      local co
      local task = brood.async(function()
        co = coroutine.running()
        local got = coroutine.yield()
        brood.sleep(0.01)
        return got
      end)
      coroutine.resume(co, "mine")
      print(task:wait())
    ]], "mine\n")
  end,

  ["an error event that nobody listens to is logged"] = function()
    local result = run [[
      local e = require("brood.emitter").new()
      e:emit("error", require("brood.error").new("mine", "nobody hears"))
      e:on("error", function(err) print(err.code) end)
      e:emit("error", require("brood.error").new("mine", "somebody hears"))
    ]]
    lu.assertStrContains(result.stderr, "nobody hears")
    lu.assertNotStrContains(result.stderr, "somebody hears")
    lu.assertEquals(result.stdout, "mine\n")
  end,
}
