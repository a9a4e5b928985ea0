--- A program that cannot be started: the start fails with the step and the system's own error, and leaves nothing.
local lu = require "luaunit"
local s = require "spec.support"
local p = require "spec.support.process"

local is_root = require("brood.posix").getuid() == 0

-- The error of a start that fails.
local function failure(options)
  local process = p.new(options)
  local events = p.record(process)
  local ok, err = process:start()
  lu.assertNil(ok)
  lu.assertEquals({ process.state, process.pid, process.exit_code, process.exit_signal }, { "stopped" })
  lu.assertEquals(events, { "starting", "stopped" })
  lu.assertEquals(s.child_pids(), {})
  return err
end

local function fails(options, code, ...)
  local err = failure(options)
  lu.assertEquals(err.code, code, tostring(err))
  for _, part in ipairs { ... } do
    lu.assertStrContains(tostring(err), part)
  end
end

return {
  teardown = p.cleanup,

  ["no such program"] = function()
    fails({ command = { "/no/such" } }, "ENOENT", "such: ", "exec /no/such", "No such file or directory")
    local path = os.getenv "PATH"
    fails({ command = { "no-such-program" } }, "ENOENT", "exec no-such-program", (" (not in PATH: %s)"):format(path))
    fails({ command = { "no-such-program" }, env = { PATH = "/no:/where" } }, "ENOENT", "(not in PATH: /no:/where)")
  end,

  ["a file that may not be executed, or is a folder"] = function()
    fails({ command = { s.write_file("plain", "#!/bin/sh\n", 420) } }, "EACCES", "Permission denied")
    fails({ command = { s.temp_dir() } }, "EACCES")
  end,

  ["a script whose interpreter is missing"] = function()
    fails({ command = { s.write_file("odd", "#!/no/interpreter\n", 493) } }, "ENOENT")
  end,

  ["a file in no executable format runs in the shell, as execvp does"] = function()
    local process = p.new { command = { s.write_file("bare", "exit 6\n", 493) } }
    lu.assertTrue(process:start())
    lu.assertEquals({ process:wait() }, { 6 })
  end,

  ["no such folder to work in"] = function()
    fails({ command = { "true" }, cwd = "/no/such" }, "ENOENT", "/no/such")
    fails({ command = { "true" }, cwd = s.write_file("file", "") }, "ENOTDIR")
  end,

  ["no such user or group"] = function()
    for _, option in ipairs { "user", "group" } do
      local err = failure { command = { "true" }, [option] = "no-such-" .. option }
      lu.assertStrContains(tostring(err), "no-such-" .. option)
    end
  end,

  ["a user that we may not become"] = function()
    if is_root then
      return lu.skip "root may"
    end
    fails({ command = { "true" }, user = "root" }, "EPERM")
  end,

  ["as root it becomes that user, with its groups, for good"] = function()
    if not is_root then
      return lu.skip "needs root"
    end
    local lines = p.lines()
    local options = { user = "nobody", group = "daemon", stdout = lines.add }
    local process = p.sh("id -u; id -g; id -G; exec sleep 60", options)
    lu.assertTrue(process:start())
    s.wait(function() return lines[3] end)
    lu.assertNotEquals(lines[1], "0")
    lu.assertEquals(lines[2], "1")
    lu.assertNotStrContains(" " .. lines[3] .. " ", " 0 ")
    process:stop()
    lu.assertEquals(process.exit_signal, "TERM")
  end,

  ["a limit that cannot be"] = function()
    local err = failure { command = { "true" }, limits = { nofile = "unlimited" } }
    lu.assertEquals(err.code, "EPERM")
    lu.assertStrContains(tostring(err), "nofile")
  end,

  ["a main function fails in the same words"] = function()
    local limits = { nofile = "unlimited" }
    for _, options in ipairs { { cwd = "/no/such" }, { user = "no-such-user" }, { limits = limits } } do
      local called = false
      options.main = function() called = true end
      local process = p.new(options)
      local ok, err = process:start()
      lu.assertNil(ok)
      lu.assertNotNil(err.code)
      lu.assertEquals(process.state, "stopped")
      lu.assertFalse(called)
    end
  end,

  ["a failed start can be tried again"] = function()
    local path = s.temp_dir() .. "/late"
    local process = p.new { command = { path } }
    lu.assertNil((process:start()))
    s.write_file(path, "#!/bin/sh\nexit 4\n", 493)
    lu.assertTrue(process:start())
    lu.assertEquals({ process:wait() }, { 4 })
  end,

  ["every start that joined a failing one hears of it"] = function()
    local process = p.new { command = { "/no/such" }, ready = { port = s.free_port() } }
    local first, second, wait = p.call(process, "start"), p.call(process, "start"), p.call(process, "wait")
    p.answered(first, second, wait)
    lu.assertEquals({ first.err.code, second.err.code, wait.err.code }, { "ENOENT", "ENOENT", "ENOENT" })
  end,

  ["200 failed starts leave no descriptor behind"] = function()
    local before = s.fd_count()
    for _ = 1, 200 do
      local process = p.new {
        command = { "/no/such" }, stdin = "pipe", stdout = function() end, stderr = s.temp_dir() .. "/err",
        ready = "channel",
      }
      process:start()
    end
    lu.assertEquals(s.fd_count(), before)
  end,
}
