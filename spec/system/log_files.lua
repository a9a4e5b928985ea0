--- stdout_path, stderr_path and access_log: what is written there, who has it open, and that a log harms nobody.
local lu = require "luaunit"
local masters = require "spec.support.master"
local s = require "spec.support"
local uv = require "luv"

local function start(options)
  local master = masters.start(options)
  master:up()
  s.wait(function()
    return select(2, master:ask "/health").status == "ok" or master.program.over
  end, 10, function()
    return "the start\n" .. master:log()
  end)
  local _, status = master:ask "/status"
  master.at = status.clusters.web.listen[1]
  return master
end

local function read(master, name)
  return s.read_file(master.dir .. "/" .. name) or ""
end

local function mode(path)
  return require("bit").band(uv.fs_stat(path).mode, 511)
end

local PATHS = 'stdout_path = "out.log", stderr_path = "err.log", '

return {
  ["the log goes to stderr_path, print to stdout_path, of master, workers and programs alike"] = function()
    local master = start { workers = 1, config = PATHS .. [[
      on_start = function()
        print "master prints"
        io.stdout:flush()
        require("brood.process").run({ "sh", "-c", "echo program out; echo program err >&2" }, { stdout = 1, stderr = 2 })
        assert(require("brood.process").new({ command = { "sh", "-c", "echo kept >&2; exec sleep 60" } }):start())
      end]], app = [[
      print "worker prints"
      io.stdout:flush()
      io.stderr:write("worker complains\n")
      require("brood").log.info("worker logs")
      return function(req, res) res:finish("x") end]] }
    lu.assertEquals(master:get().body, "x")
    s.wait(function()
      return read(master, "err.log"):find "workers serve" and read(master, "err.log"):find "kept"
    end)
    local out, err = read(master, "out.log"), read(master, "err.log")
    lu.assertEquals(out:gsub("program out\n", ""), "master prints\nworker prints\n")
    for _, part in ipairs { "worker complains", "worker logs", "is ready", "workers serve", "kept" } do
      lu.assertStrContains(err, part)
    end
    lu.assertEquals(master:log(), "")
    lu.assertEquals(master.program:stdout(), "")
    master.program:kill "QUIT"
    lu.assertEquals(master.program:wait(), 0)
    lu.assertStrContains(read(master, "err.log"), "stopping gracefully")
    lu.assertEquals(master:log(), "")
  end,

  ["files are made with 0644 less the umask, and appended to; both may be one"] = function()
    local master = masters.start { config = 'stdout_path = "one.log", stderr_path = "one.log", workers = 1',
      files = { ["one.log"] = "from before\n" } }
    master:up()
    uv.fs_chmod(master.dir .. "/one.log", 416)
    s.wait(function()
      return read(master, "one.log"):find "workers serve"
    end)
    lu.assertStrMatches(read(master, "one.log"), "from before\n.*")
    lu.assertEquals(mode(master.dir .. "/one.log"), 416)
    local dir = s.temp_dir()
    s.write_file(dir .. "/app.lua", "return function() end")
    s.write_file(dir .. "/brood.lua", [[return { app = "app.lua", listen = "127.0.0.1:0", control = "unix:c.sock",
      stderr_path = "err.log", workers = 1 }]])
    local program = s.start({ "/bin/sh", "-c", ("umask 027; exec %s %s/brood.lua"):format(s.binary, dir) })
    s.wait(function()
      return (s.read_file(dir .. "/err.log") or ""):find "workers serve"
    end)
    lu.assertEquals(mode(dir .. "/err.log"), 416)
    lu.assertEquals(program:stop(), 0)
  end,

  ["a path that cannot be opened fails the start with its key and path, before anything else happens"] = function()
    for key, path in pairs { stdout_path = "no/dir/out.log", stderr_path = "no/dir/err.log" } do
      local master = masters.start { config = ([[
        %s = %q, listen = 'unix:web.sock', on_start = function() note 'started' end]]):format(key, path) }
      lu.assertEquals(master.program:wait(), 1)
      lu.assertStrContains(master:log(),
        ("cannot start: %s %s/%s: no such file or directory"):format(key, master.dir, path))
      lu.assertEquals(master:notes(), "")
      lu.assertFalse(s.exists(master.dir .. "/web.sock"))
    end
    local master = masters.start { config = "stderr_path = '.'" }
    lu.assertEquals(master.program:wait(), 1)
    lu.assertStrContains(master:log(), "illegal operation on a directory")
  end,

  ["a start that fails says why in the log and where it was started"] = function()
    local master = masters.start { config = PATHS .. "on_start = function() error 'no schema' end" }
    lu.assertEquals(master.program:wait(), 1)
    for _, text in ipairs { master:log(), read(master, "err.log") } do
      local _, times = text:gsub("cannot start: on_start: [^\n]*no schema", "")
      lu.assertEquals(times, 1, text)
      _, times = text:gsub("stack traceback", "")
      lu.assertEquals(times, 1, text)
    end
  end,

  ["a full disk, or a limit on file sizes, harms nobody"] = function()
    local master = start { workers = 1, config = 'stdout_path = "/dev/full", stderr_path = "/dev/full"', app = [[
      return function(req, res)
        print(("x"):rep(10000))
        io.stdout:flush()
        require("brood").log.error(("y"):rep(10000))
        res:finish("fine")
      end]] }
    lu.assertEquals(master:get().body, "fine")
    local pid = master:pids()[1]
    lu.assertEquals(master:get().body, "fine")
    lu.assertEquals(master:pids(), { pid })
    master.program:kill "QUIT"
    lu.assertEquals(master.program:wait(), 0)

    local dir = s.temp_dir()
    s.write_file(dir .. "/app.lua", [[
      return function(req, res)
        for i = 1, 20 do
          print(("x"):rep(1000))
          io.stdout:flush()
          require("brood").log.error(("y"):rep(1000))
        end
        res:finish("fine") end]])
    s.write_file(dir .. "/brood.lua", [[return { app = "app.lua", listen = "unix:web.sock", control = false, workers = 1,
      stdout_path = "out.log", stderr_path = "err.log" }]])
    local program = s.start({ "/bin/sh", "-c", ("ulimit -f 8; exec %s %s/brood.lua"):format(s.binary, dir) })
    s.wait(function()
      return (pcall(s.get, "unix:" .. dir .. "/web.sock")) -- the file is there a little before it listens
    end)
    for _ = 1, 5 do
      lu.assertEquals(s.get("unix:" .. dir .. "/web.sock").body, "fine")
    end
    lu.assertNotStrContains(s.read_file(dir .. "/err.log"), "ended")
    lu.assertEquals(program:stop(), 0)
  end,

  ["a pipe that nobody reads is refused at once, one with a reader is written to"] = function()
    local dir = s.temp_dir()
    s.run { "/usr/bin/mkfifo", dir .. "/pipe" }
    local config = ("stderr_path = %q, workers = 1"):format(dir .. "/pipe")
    local master = masters.start { config = config }
    lu.assertEquals(master.program:wait(), 1)
    lu.assertStrContains(master:log(), "stderr_path " .. dir .. "/pipe: ")
    local reader = s.start { "/bin/sh", "-c", ("exec cat 0<>%s/pipe"):format(dir) }
    s.wait(function()
      return s.fds(reader.pid)[0] == dir .. "/pipe"
    end, 10, "the reader of the pipe")
    master = start { config = config }
    reader:kill "KILL" -- now nobody reads any more
    reader:wait()
    uv.kill(master:pids()[1], "sigkill")
    master:ready(1)
    master.program:kill "QUIT"
    lu.assertEquals(master.program:wait(), 0)
  end,

  ["workers hold the log files as 1 and 2 alone"] = function()
    local master = start { workers = 1, config = PATHS .. "control = 'unix:control.sock'" }
    for _, pid in ipairs { master.program.pid, master:pids()[1] } do
      local held = {}
      for fd, target in pairs(s.fds(pid)) do
        if target:find(master.dir, 1, true) and target:find "%.log$" then
          held[#held + 1] = fd
        end
      end
      table.sort(held)
      lu.assertEquals(held, { 1, 2 })
    end
  end,
}
