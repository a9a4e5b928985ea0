--- stdin, stdout and stderr of a process in every form, its environment, folder, mask and limits.
local lu = require "luaunit"
local posix = require "brood.posix"
local Process = require "brood.process"
local s = require "spec.support"
local p = require "spec.support.process"

local function run(process)
  lu.assertTrue(process:start())
  process:wait()
  return process
end

local function raises(options, pattern)
  local ok, why = pcall(function() Process.new(options) end)
  lu.assertFalse(ok)
  lu.assertStrMatches(tostring(why), ".*process_stdio.lua:%d+: .*" .. pattern .. ".*")
end

return {
  teardown = p.cleanup,

  ["a path is opened for appending, and made"] = function()
    local path = s.temp_dir() .. "/out"
    s.write_file(path, "before\n")
    run(p.sh("echo one; echo two >&2", { stdout = path, stderr = path }))
    lu.assertEquals(s.read_file(path), "before\none\ntwo\n")
    local fresh = s.temp_dir() .. "/fresh"
    run(p.sh("echo made", { stdout = fresh, umask = "077" }))
    lu.assertEquals(s.read_file(fresh), "made\n")
  end,

  ["a descriptor is used as it is, and stays ours"] = function()
    local r, w = posix.pipe()
    run(p.sh("echo one", { stdout = w }))
    run(p.sh("echo two >&2", { stderr = w }))
    posix.close(w)
    lu.assertEquals(posix.read(r, 100), "one\ntwo\n")
    lu.assertEquals(posix.read(r, 100), "")
    posix.close(r)
  end,

  ["stdout and stderr can be swapped"] = function()
    local result = s.script([[
      local p = require("brood.process").new { command = { "sh", "-c", "echo out; echo err >&2" }, stdout = 2, stderr = 1 }
      p:start() p:wait()
    ]]):finish()
    lu.assertEquals({ result.stdout, result.stderr }, { "err\n", "out\n" })
  end,

  ["nil inherits, false is /dev/null"] = function()
    local result = s.script([[
      local Process = require "brood.process"
      for _, o in ipairs { {}, { stdout = false }, { stderr = false } } do
        o.command = { "sh", "-c", "echo out; echo err >&2" }
        local p = Process.new(o)
        p:start() p:wait()
      end
    ]]):finish()
    lu.assertEquals({ result.stdout, result.stderr }, { "out\nout\n", "err\nerr\n" })
  end,

  ["stdin is /dev/null unless told otherwise"] = function()
    for _, stdin in ipairs { false, "none" } do
      local lines = p.lines()
      local options = { stdout = lines.add }
      if stdin ~= "none" then options.stdin = stdin end
      run(p.sh("readlink /proc/self/fd/0; cat; echo end", options))
      lu.assertEquals({ lines[1], lines[2] }, { "/dev/null", "end" })
    end
  end,

  ["stdin from a path or a descriptor"] = function()
    local path = s.write_file("in", "text\n")
    local lines = p.lines()
    run(p.new { command = { "cat" }, stdin = path, stdout = lines.add })
    local r, w = posix.pipe()
    posix.write(w, "piped\n")
    posix.close(w)
    run(p.new { command = { "cat" }, stdin = r, stdout = lines.add })
    posix.close(r)
    lu.assertEquals({ lines[1], lines[2] }, { "text", "piped" })
  end,

  ["stdin = 'pipe' is written to, and closed"] = function()
    local lines = p.lines()
    local process = p.new { command = { "cat" }, stdin = "pipe", stdout = lines.add }
    local ok, err = process:write("early")
    lu.assertEquals({ ok, err.code }, { nil, "closed" })
    process:start()
    lu.assertTrue(process:write("one\ntw"))
    lu.assertTrue(process:write("o\n"))
    s.wait(function() return lines[2] end)
    local last, close = p.call(process, "write", ("x"):rep(200000) .. "\n"), p.call(process, "close_stdin")
    local late = p.call(process, "write", "late")
    p.answered(last, close, late)
    lu.assertEquals({ last.err, close.err, late.err.code }, { nil, nil, "closed" })
    lu.assertTrue(process:close_stdin())
    lu.assertEquals({ process:wait() }, { 0 })
    lu.assertEquals({ lines[1], lines[2] }, { "one", "two" })
    lu.assertEquals(#table.concat(lines, "", 3), 200000)
  end,

  ["what was written to a program that ends without reading is an error, answered once"] = function()
    local process = p.sh("sleep 0.1; exit 3", { stdin = "pipe" })
    process:start()
    local write, close = p.call(process, "write", ("x"):rep(1000000)), p.call(process, "close_stdin")
    p.answered(write, close)
    lu.assertNotNil(write.err)
    lu.assertEquals({ process:wait() }, { 3 })
  end,

  ["a stdin that a surviving grandchild keeps open holds nothing up"] = function()
    local lines = p.lines()
    local options = { stdin = "pipe", kill_group = false, stderr = lines.add }
    local process = p.sh("exec 3<&0; sleep 60 <&3 & echo $! >&2; exit 0", options)
    process:start()
    local write, close = p.call(process, "write", ("x"):rep(1000000)), p.call(process, "close_stdin")
    lu.assertEquals({ process:wait() }, { 0 })
    p.answered(write, close)
    posix.kill(tonumber(lines[1]), "KILL")
    posix.waitpid(tonumber(lines[1]))
    lu.assertEquals(write.err.code, "closed")
  end,

  ["a path that cannot be opened fails the start, with the stream's name"] = function()
    for name, value in pairs { stdout = "/nowhere/x", stderr = "/", stdin = "/nowhere/in" } do
      local process = p.new { command = { "true" }, [name] = value }
      local ok, err = process:start()
      lu.assertNil(ok)
      lu.assertStrContains(tostring(err), name .. ": ")
      lu.assertStrContains(tostring(err), value)
      lu.assertNotNil(({ ENOENT = 1, EISDIR = 1 })[err.code])
    end
    local ok, err = p.new({ command = { "true" }, stdout = 999 }):start()
    lu.assertEquals({ ok, err.code }, { nil, "EBADF" })
  end,

  ["nothing of ours is left open in the program"] = function()
    local r, w = posix.pipe()
    local lines = p.lines()
    local other = p.sh("sleep 60", { stdin = "pipe", stdout = function() end })
    other:start()
    run(p.sh("ls /proc/self/fd | wc -l", { stdout = lines.add }))
    lu.assertEquals(lines[1]:match("%d+"), "4") -- 0, 1, 2, and the folder that ls reads
    posix.close(r)
    posix.close(w)
  end,

  ["env adds and removes, and values may be numbers"] = function()
    local result = s.script([[
      print((require("brood.process").run({ "sh", "-c", "echo $A-$B-${C-gone}-$D" },
        { env = { A = "new", C = false, D = 5 } }).stdout:gsub("\n", "")))
    ]], {}, { env = { A = "old", B = "kept", C = "there" } }):finish()
    lu.assertEquals(result.stderr, "")
    lu.assertEquals(result.stdout, "new-kept-gone-5\n")
  end,

  ["the program is looked up in the PATH that it is given"] = function()
    local dir = s.temp_dir()
    s.write_file(dir .. "/mine", "#!/bin/sh\necho found", 493)
    local lines = p.lines()
    run(p.new { command = { "mine" }, env = { PATH = dir .. ":/bin:/usr/bin" }, stdout = lines.add })
    lu.assertEquals(lines[1], "found")
  end,

  ["cwd, umask and limits are its own"] = function()
    local dir, lines = s.temp_dir(), p.lines()
    run(p.sh("pwd; umask; ulimit -n; ulimit -c", {
      cwd = dir, umask = "027", limits = { nofile = 77, core = 0 }, stdout = lines.add,
    }))
    lu.assertEquals({ lines[1], lines[2], lines[3], lines[4] }, { dir, "0027", "77", "0" })
  end,

  ["mistakes in options raise at the caller's line"] = function()
    raises({ command = { "true" }, stdout = true }, "option 'stdout'")
    raises({ command = { "true" }, stdin = print }, "option 'stdin'")
    raises({ command = { "true" }, ready = "soon" }, "option 'ready'")
    raises({ command = { "true" }, ready = {} }, "option 'ready'")
    raises({ command = { "true" }, ready = { port = 0 } }, "option 'ready'")
    raises({ command = { "true" }, ready = { port = 1, prot = 2 } }, "unknown option 'ready.prot'")
    raises({ command = { "true" }, ready = { http = "ftp://x" } }, "neither a path nor")
    raises({ command = { "true" }, ready = { http = "/x" } }, "`port` or `socket` is needed")
    raises({ command = { "true" }, ready = { port = 80, host = "example.org" } }, "IP address")
    raises({ command = { "true" }, ready = { socket = ("x"):rep(108) } }, "at most 107 bytes")
    raises({ command = { "true" }, umask = 22 }, "umask")
    raises({ command = { "true" }, stop_signal = "NONE" }, "stop_signal")
    raises({ command = { "true" }, main = print }, "not both")
    raises({}, "either option 'command' or option 'main'")
    raises({ command = { "true" }, comand = 1 }, "unknown option 'comand' %(did you mean 'command'%?%)")
    raises({ command = {} }, "option 'command'")
    raises({ command = "ls -l" }, "option 'command'")
  end,
}
