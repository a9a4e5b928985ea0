--- Process.run: one program from start to end, with what it wrote.
local lu = require "luaunit"
local Process = require "brood.process"
local s = require "spec.support"
local p = require "spec.support.process"

local function sh(text, options)
  return Process.run({ "sh", "-c", text }, options)
end

local function raises(pattern, ...)
  local arguments = { ... }
  local ok, why = pcall(function() local result = Process.run(unpack(arguments)) return result end)
  lu.assertFalse(ok)
  lu.assertStrMatches(tostring(why), ".*process_run.lua:%d+: .*" .. pattern .. ".*")
end

return {
  teardown = p.cleanup,

  ["the result is code, signal and both outputs, byte for byte"] = function()
    local expected = { code = 3, stdout = "a\0b\r\n\nc", stderr = "err" }
    lu.assertEquals(sh [[printf 'a\0b\r\n\nc'; printf err >&2; exit 3]], expected)
    lu.assertEquals(sh "kill -USR1 $$", { signal = "USR1", stdout = "", stderr = "" })
    lu.assertEquals(Process.run({ "true" }), { code = 0, stdout = "", stderr = "" })
  end,

  ["a command among the options is told where it belongs"] = function()
    raises("the command is the first argument", { command = { "true" } })
  end,

  ["with a callback it returns at once"] = function()
    local got
    lu.assertNil(Process.run({ "echo", "x" }, function(err, result) got = { err, result } end))
    lu.assertNil(got)
    s.wait(function() return got end)
    lu.assertEquals(got, { nil, { code = 0, stdout = "x\n", stderr = "" } })
    got = nil
    Process.run({ "echo", "y" }, { env = {} }, function(_, result) got = result end)
    s.wait(function() return got end)
    lu.assertEquals(got.stdout, "y\n")
  end,

  ["input is given to it, and then its end"] = function()
    local text = ("some line\n"):rep(50000)
    lu.assertEquals(Process.run({ "cat" }, { input = text }).stdout, text)
    lu.assertEquals(Process.run({ "wc", "-c" }, { input = "" }).stdout:match("%d+"), "0")
    lu.assertEquals(sh("cat; echo end").stdout, "end\n")
  end,

  ["input bigger than a pipe to a program that does not read is no error and no wait"] = function()
    local seconds, result = s.timed(sh, "exit 4", { input = ("x"):rep(5000000) })
    lu.assertEquals(result.code, 4)
    lu.assertTrue(seconds < 5 * s.slow)
  end,

  ["check makes every other end an error, with the last lines of stderr"] = function()
    local ok, err = sh("echo out; seq 1 30 >&2; exit 5", { check = true })
    lu.assertNil(ok)
    lu.assertEquals({ err.code, err.exit_code, err.stdout }, { "exit", 5, "out\n" })
    lu.assertStrContains(tostring(err), "sh ended with status 5:\n21\n22\n")
    lu.assertStrContains(tostring(err), "\n30")
    lu.assertNotStrContains(tostring(err), "20")
    ok, err = sh("kill -KILL $$", { check = true })
    lu.assertEquals({ ok, err.code, err.exit_signal, tostring(err) }, { nil, "exit", "KILL", "sh was killed by KILL" })
    lu.assertEquals(sh("echo fine", { check = true }).stdout, "fine\n")
  end,

  ["timeout ends it, and what it wrote so far comes with the error"] = function()
    local seconds, ok, err = s.timed(sh, "echo out; echo err >&2; exec sleep 60", { timeout = "200ms" })
    lu.assertNil(ok)
    lu.assertEquals({ err.code, err.stdout, err.stderr, err.exit_signal }, { "timeout", "out\n", "err\n", "TERM" })
    lu.assertTrue(seconds >= 0.2 and seconds < 2 * s.slow)
    lu.assertStrContains(tostring(err), "sh ran longer than 0.2 s")
  end,

  ["a program that ignores TERM, with a grandchild that does as well, is gone after the timeout"] = function()
    local _, err = sh([[
      trap "" TERM
      sleep 61 & echo $!
      while :; do sleep 0.02; done
    ]], { timeout = 0.1, stop_timeout = 0.2 })
    lu.assertEquals({ err.code, err.exit_signal }, { "timeout", "KILL" })
    lu.assertFalse(s.alive(tonumber(err.stdout)))
  end,

  ["more output than max_output ends it"] = function()
    local ok, err = Process.run({ "yes" }, { max_output = "10k" })
    lu.assertNil(ok)
    lu.assertEquals({ err.code, #err.stdout }, { "too_large", 10240 })
    lu.assertStrContains(tostring(err), "yes wrote more than 10240 bytes to stdout")
    ok, err = sh("yes >&2", { max_output = 100 })
    lu.assertEquals({ ok, err.code, #err.stderr }, { nil, "too_large", 100 })
    lu.assertEquals(#Process.run({ "head", "-c", "10240", "/dev/zero" }, { max_output = 10240 }).stdout, 10240)
  end,

  ["max_output = false takes all, and a timeout ends what never ends"] = function()
    lu.assertEquals(#Process.run({ "head", "-c", "11000000", "/dev/zero" }, { max_output = false }).stdout, 11000000)
    local _, err = sh("while :; do echo some text; done", { max_output = false, timeout = 0.1 })
    lu.assertEquals(err.code, "timeout")
  end,

  ["the streams may go elsewhere, line by line for a function"] = function()
    local path, lines = s.temp_dir() .. "/out", p.lines()
    local result = sh("echo a; printf 'b\\nc' >&2", { stdout = path, stderr = lines.add })
    lu.assertEquals(result, { code = 0, stdout = "", stderr = "" })
    lines.add = nil
    lu.assertEquals({ s.read_file(path), lines }, { "a\n", { "b", "c" } })
    lines = p.lines()
    result = sh("printf 'one\\ntwo\\n'; echo three >&2", { stdout = lines.add })
    lu.assertEquals({ lines[1], lines[2], result.stderr }, { "one", "two", "three\n" })
  end,

  ["the options of a process are its options too"] = function()
    local dir = s.temp_dir()
    lu.assertEquals(sh("pwd; echo $X", { cwd = dir, env = { X = "y" } }).stdout, dir .. "\ny\n")
  end,

  ["a program that cannot be started is nil and the error, at once"] = function()
    local result = s.script [[
      local Process = require "brood.process"
      local ok, err = Process.run({ "/no/such" }, { timeout = 30, input = "x", check = true })
      print(ok, err.code, err)
      print(select(2, Process.run({ "true" }, { cwd = "/no/such" })).code)
    ]]
    local code = result:wait(5)
    lu.assertEquals(code, 0)
    lu.assertStrContains(result:stdout(), "nil\tENOENT\tsuch: exec /no/such: No such file")
    lu.assertStrContains(result:stdout(), "\nENOENT\n")
  end,

  ["mistakes raise at the caller's line"] = function()
    raises("unknown option 'timout' %(did you mean 'timeout'%?%)", { "true" }, { timout = 1 })
    raises("option 'timeout'", { "true" }, { timeout = "soon" })
    raises("option 'input'", { "true" }, { input = 5 })
    raises("Process.run: option 'command'", "true")
    raises("option 'max_output'", { "true" }, { max_output = -1 })
    raises("the options must be a table", { "true" }, 5)
    raises("Process.run: option 'cwd'", { "true" }, { cwd = 5 })
  end,

  ["50 at a time, and nothing is left of them"] = function()
    local before, done = s.fd_count(), 0
    for i = 1, 50 do
      Process.run({ "sh", "-c", "cat; echo " .. i }, { input = ("x"):rep(100000) }, function(err, result)
        lu.assertNil(err)
        lu.assertEquals(result.stdout, ("x"):rep(100000) .. i .. "\n")
        done = done + 1
      end)
    end
    s.wait(function() return done == 50 end, 20)
    lu.assertEquals(s.fd_count(), before)
  end,
}
