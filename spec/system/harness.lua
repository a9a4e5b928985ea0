--- The harness itself: the runner catches what a spec leaves behind, and the shim makes calls fail.
local lu = require "luaunit"
local s = require "spec.support"
local uv = require "luv"
local T = {}

-- Runs one spec text through a copy of the runner, in a tree of its own.
local function outcome_of(text)
  local root = s.temp_dir()
  s.write_file(root .. "/spec/unit/x.lua", text)
  local copied = s.run { "/bin/cp", "-r", s.root .. "/spec/support", s.root .. "/spec/run.lua", root .. "/spec" }
  lu.assertEquals(copied.code, 0)
  return s.brood({ "exec", root .. "/spec/run.lua" }):finish(20)
end

T["a passing spec is counted, and the run ends with 0"] = function()
  local run = outcome_of 'return { ["it is so"] = function() end }'
  lu.assertStrContains(run.stdout, "1 passed, 0 failed\n")
  lu.assertEquals(run.code, 0)
end

T["a failed assertion, an error and a file that does not load are failures"] = function()
  local run = outcome_of [[
    return { ["a"] = function() require("luaunit").assertEquals(1, 2) end, ["b"] = function() error("boo") end }]]
  lu.assertStrMatches(run.stdout, ".*expected: 2, actual: 1.*boo.*0 passed, 2 failed\n")
  lu.assertEquals(run.code, 1)
  lu.assertStrContains(outcome_of("not lua").stdout, "0 passed, 1 failed\n")
end

T["a run without any test fails"] = function()
  local run = outcome_of "return {}"
  lu.assertStrContains(run.stdout, "0 passed, 0 failed\n")
  lu.assertEquals(run.code, 1)
end

T["an open fd, a child and a socket file left by a test are named"] = function()
  local run = outcome_of [[
    local s, uv = require "spec.support", require "luv"
    return {
      ["fd"] = function() kept = uv.fs_open("/dev/zero", "r", 0) end,
      ["child"] = function() uv.spawn("/bin/sleep", { args = { "30" }, stdio = {} }, function() end):unref() end,
      ["socket"] = function()
        local pipe, dir = uv.new_pipe(false), s.temp_dir()
        pipe:bind(dir .. "/x")
        os.rename(dir .. "/x", dir .. "/left.sock")
        pipe:close()
      end,
    }]]
  lu.assertStrMatches(run.stdout, ".*left behind: fd %d+ %(/dev/zero%).*")
  lu.assertStrMatches(run.stdout, ".*left behind: child %d+ %(sleep S%).*")
  lu.assertStrContains(run.stdout, "left a socket file behind: left.sock")
end

T["a daemon and a file left by a spec are named, and the daemon is killed"] = function()
  local daemon = "/bin/sleep 34." .. uv.os_getpid() -- no other run's
  local run = outcome_of(([[
    return { ["it"] = function()
      io.open(os.getenv("TMPDIR") .. "/left", "w"):close()
      os.execute("setsid -f env -i %s >/dev/null 2>&1")
    end }]]):format(daemon))
  lu.assertStrContains(run.stdout, "left behind in its temp dir: left")
  lu.assertStrMatches(run.stdout, ".*left behind: .*sleep.*")
  for _, p in ipairs(s.processes()) do
    lu.assertNotEquals(table.concat(s.cmdline(p.pid) or {}, " "), daemon)
  end
end

T["a hanging test is killed at its file's limit, and named"] = function()
  local run = outcome_of [[
    -- time limit: 1 s
    return { ["this one hangs"] = function() while true do end end }]]
  lu.assertStrMatches(run.stdout, ".*this one hangs\n%s*hung: not over after.*0 passed, 1 failed\n")
end

T["a crash is a failure of the test that ran"] = function()
  local run = outcome_of [[
    require("ffi").cdef "int raise(int);"
    return { ["this one crashes"] = function() require("ffi").C.raise(9) end }]]
  lu.assertStrMatches(run.stdout, ".*this one crashes\n%s*the process ended in it: signal 9.*")
end

T["the shim fails the nth call alone, and each in turn"] = function()
  local calls = s.faults.each({
    call = "open", errno = "EMFILE", from = "arm",
    script = [[
      local fault, uv = require "spec.support.faults", require "luv"
      fault.arm()
      for i = 1, 3 do print(i, select(3, uv.fs_open("/etc/passwd", "r", 0))) end
      fault.disarm()
      os.exit(0)]],
  }, function(result, n)
    lu.assertEquals(result.code, 0)
    lu.assertStrContains(result.stdout, n .. "\tEMFILE\n")
    lu.assertEquals(select(2, result.stdout:gsub("EMFILE", "")), 1)
    lu.assertEquals(result.failed.open, 1)
  end)
  lu.assertEquals(calls, 3)
end

T["a rule for the shim that makes no sense ends the program"] = function()
  local result = s.faults.run("opne:EMFILE:1", { script = "print(1)" })
  lu.assertEquals(result.code, 125)
  lu.assertStrContains(result.stderr, "cannot read 'opne:EMFILE:1'")
end

return T
