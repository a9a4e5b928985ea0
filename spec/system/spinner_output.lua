--- Where the output of services goes.
local lu = require "luaunit"
local p = require "spec.support.process"
local s = require "spec.support"
local sp = require "spec.support.spinner"

return {
  teardown = sp.cleanup,

  ["a path is appended to, by every run and both streams; false is nowhere; a descriptor is used as it is"] = function()
    local path = s.temp_dir() .. "/log"
    local spinner = sp.new { port = false, restart = false }
    for _ = 1, 2 do
      spinner:start { name = "x", command = { "sh", "-c", "echo out; echo err >&2" }, stdout = path, stderr = path }
      s.wait(function() return spinner:get("x").state == "stopped" end)
    end
    lu.assertEquals(s.read_file(path), "out\nerr\nout\nerr\n")
    local uv = require "luv"
    local fd = assert(uv.fs_open(path, "a", 420))
    spinner:start { name = "fd", command = { "sh", "-c", "echo fd; echo err >&2" }, stdout = fd, stderr = false }
    s.wait(function() return spinner:get("fd").state == "stopped" end)
    uv.fs_close(fd)
    lu.assertEquals(s.read_file(path), "out\nerr\nout\nerr\nfd\n")
  end,

  ["one function for both streams gets their lines in order"] = function()
    local spinner = sp.new { port = false, restart = false }
    local lines = p.lines()
    spinner:start { name = "x", command = { "sh", "-c", "for i in 1 2 3; do echo o$i; echo e$i >&2; done" },
      stdout = lines.add, stderr = lines.add }
    s.wait(function() return lines[6] end)
    lu.assertEquals({ unpack(lines) }, { "o1", "e1", "o2", "e2", "o3", "e3" })
  end,

  ["a function that waits gets every line; the program waits with it"] = function()
    local spinner = sp.new { port = false, restart = false }
    local n = 0
    spinner:start { name = "x", command = { "sh", "-c", "yes 0123456789012345678901234567890123456789 | head -60000" },
      stdout = function()
        n = n + 1
        if n % 2000 == 0 then
          require("brood").sleep(0.002)
        end
      end }
    s.wait(function() return n == 60000 end, 20)
  end,

  ["a function that never comes back does not hold the program up for good, and is told of"] = function()
    local result = s.script([[
      local brood = require "brood"
      local spinner = require("brood.spinner").new { port = false, restart = false }
      spinner:start { name = "x", command = { "sh", "-c", "yes 0123456789 | head -400000; exit 7" },
        stdout = function() brood.sleep(10000) end }
      while spinner:get("x").pid do brood.sleep(0.05) end
      print(spinner:get("x").last_exit.code)
      os.exit(0)
    ]]):finish(30)
    lu.assertEquals(result.stdout, "7\n")
    lu.assertStrContains(result.stderr, "x: its output function has taken nothing for 5 s: lines are left out")
  end,

  ["on a terminal each line has the service's name before it, in a colour, however long the names"] = function()
    local script = s.write_file("script.lua", [[
      local brood = require "brood"
      local spinner = require("brood.spinner").new { port = false, restart = false }
      spinner:declare(require("brood.options").check(1, { name = "longer", command = { "sh", "-c", "echo two >&2" },
        port = false, restart = false }, require("brood.rules.service_options").fields))
      spinner:start { name = "x", command = { "sh", "-c", "test -t 1 || echo one" } }
      while spinner:get("x").state ~= "stopped" do brood.sleep(0.01) end
      spinner:start "longer"
      while spinner:get("longer").state ~= "stopped" do brood.sleep(0.01) end
    ]])
    local python = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]))"
    local out = s.run({ "python3", "-c", python, s.binary, "exec", script },
      { env = { NO_COLOR = false, TERM = "xterm" }, timeout = 20 }).stdout
    lu.assertEquals(out, "\27[33mx      | \27[0mone\r\n\27[36mlonger | \27[0mtwo\r\n")
  end,

  ["elsewhere a program writes where brood writes, with nothing in between"] = function()
    local result = s.script([[
      local spinner = require("brood.spinner").new { port = false, restart = false }
      spinner:start { name = "x", command = { "sh", "-c", "echo plain; readlink /proc/self/fd/1" } }
    ]]):finish()
    lu.assertStrMatches(result.stdout, "plain\n/.*\n")
  end,
}
