--- access_log in a config: where the lines go, which processes hold the file, and how clusters share or avoid it.
local lu = require "luaunit"
local masters = require "spec.support.master"
local s = require "spec.support"
local uv = require "luv"

local function read(master, name)
  return s.read_file(master.dir .. "/" .. name) or ""
end

-- Wait until n lines are there, and return them.
local function lines(get, n)
  local list
  s.wait(function()
    list = {}
    for line in get():gmatch "[^\n]+" do
      list[#list + 1] = line
    end
    return #list >= n
  end, 5, function()
    return ("%d lines in:\n%s"):format(n, get())
  end)
  lu.assertEquals(#list, n)
  return list
end

local function holds(pid, path)
  local n = 0
  for _, target in pairs(s.fds(pid)) do
    n = n + (target == path and 1 or 0)
  end
  return n
end

return {
  ["a path is appended to, and gets a line for each request, in the combined format"] = function()
    local master = masters.start { workers = 2, config = 'access_log = "access.log"',
      files = { ["access.log"] = "old\n" } }
    local address = master:address()
    for i = 1, 4 do
      s.get(address, "/page" .. i)
    end
    local list = lines(function() return read(master, "access.log") end, 5)
    lu.assertEquals(list[1], "old")
    local seen = {}
    for i = 2, 5 do
      seen[list[i]:match '^127%.0%.0%.1 %- %- %[.-%] "GET (/page%d) HTTP/1%.1" 200 6 ' or list[i]] = true
    end
    lu.assertEquals(seen, { ["/page1"] = true, ["/page2"] = true, ["/page3"] = true, ["/page4"] = true })
    lu.assertEquals(master:stop "QUIT", 0)
  end,

  ["nothing is lost at a graceful end, nor when a worker is told to go quickly"] = function()
    for _, signal in ipairs { "QUIT", "TERM" } do
      local master = masters.start { workers = 2, config = 'access_log = "access.log"' }
      local address = master:address()
      for _ = 1, 20 do
        s.get(address, "/")
      end
      lu.assertEquals(master:stop(signal), 0)
      lines(function() return read(master, "access.log") end, 20)
    end
  end,

  ['"-" is stdout, wherever that goes; a function makes the lines, or none'] = function()
    local master = masters.start { workers = 1, config = 'access_log = "-"' }
    s.get(master:address(), "/one")
    lu.assertStrContains(lines(function() return master.program:stdout() end, 1)[1], '"GET /one HTTP/1.1" 200 6')
    master = masters.start { workers = 1, config = [[stdout_path = "out.log", access_log = function(req, status, bytes)
      if req.path ~= "/quiet" then return ("%s %d %d"):format(req.path, status, bytes) end
    end]] }
    local address = master:address()
    s.get(address, "/quiet")
    s.get(address, "/two")
    lu.assertEquals(lines(function() return read(master, "out.log") end, 1), { "/two 200 6" })
  end,

  ["with --log-format json each line is a JSON object"] = function()
    local master = masters.start { workers = 1, config = 'access_log = "access.log"',
      args = { "--log-format", "json" } }
    master:up()
    s.wait(function() return select(2, master:ask "/health").status == "ok" end)
    s.get(select(2, master:ask "/status").clusters.web.listen[1], "/x")
    local record = require("brood").json.decode(lines(function() return read(master, "access.log") end, 1)[1])
    lu.assertEquals(record.status, 200)
    lu.assertEquals(record.path or record.request or record.target, "/x")
  end,

  ["a cluster may have a file of its own, share the other's, or have none; only its workers hold it"] = function()
    local app = 'return function(req, res) res:finish("x") end'
    local master = masters.start { workers = 1, files = { ["a.lua"] = app }, config = [[access_log = "access.log",
      clusters = {
        own = { app = "a.lua", listen = "127.0.0.1:0", access_log = "own.log" },
        shared = { app = "a.lua", listen = "127.0.0.1:0" },
        none = { app = "a.lua", listen = "127.0.0.1:0", access_log = false },
      }]] }
    master:address()
    local clusters = select(2, master:ask "/status").clusters
    for name, cluster in pairs(clusters) do
      s.get(cluster.listen[1], "/" .. name)
    end
    local own = lines(function() return read(master, "own.log") end, 1)
    lu.assertStrContains(own[1], "GET /own ")
    local both = table.concat(lines(function() return read(master, "access.log") end, 2), "\n")
    lu.assertStrContains(both, "GET /web ")
    lu.assertStrContains(both, "GET /shared ")
    local access, private = master.dir .. "/access.log", master.dir .. "/own.log"
    local held = { master = { holds(master.program.pid, access), holds(master.program.pid, private) } }
    for name, cluster in pairs(clusters) do
      held[name] = { holds(cluster.processes[1].pid, access), holds(cluster.processes[1].pid, private) }
    end
    lu.assertEquals(held, { master = { 1, 1 }, web = { 1, 0 }, own = { 0, 1 }, shared = { 1, 0 }, none = { 0, 0 } })
  end,

  ["what a worker starts or forks does not hold it"] = function()
    local master = masters.start { workers = 1, config = 'access_log = "access.log"', app = [[
      local Process, Worker = require "brood.process", require "brood.worker"
      return function(req, res)
        local out = Process.run({ "sh", "-c", "ls -l /proc/self/fd/" }).stdout
        res:finish(tostring(out:find("access.log", 1, true)))
      end]] }
    lu.assertEquals(master:get().body, "nil")
  end,

  ["a path that cannot be opened fails the start with the key and the path"] = function()
    local master = masters.start { config = 'access_log = "no/access.log"' }
    lu.assertEquals(master.program:wait(), 1)
    lu.assertStrContains(master:log(),
      ("cannot start: web: access_log %s/no/access.log: no such file or directory"):format(master.dir))
  end,

  ["a full disk harms nobody"] = function()
    local master = masters.start { workers = 1, config = 'access_log = "/dev/full"' }
    local pid = master:pids()[1]
    for _ = 1, 5 do
      lu.assertEquals(master:get().body, "hello\n")
    end
    lu.assertEquals(master:pids(), { pid })
    lu.assertEquals(master:stop "QUIT", 0)
  end,

  ["workers that have given up root go on writing to a file that root has opened"] = function()
    if require("brood.posix").getuid() ~= 0 then
      lu.skip "only root can give up root"
    end
    local dir = s.open_temp_dir()
    s.write_file(dir .. "/app.lua", 'return function(req, res) res:finish("x") end')
    s.write_file(dir .. "/brood.lua", [[return { app = "app.lua", listen = "127.0.0.1:0", workers = 1, control = false,
      user = "nobody", access_log = "access.log" }]])
    local program = s.brood { dir .. "/brood.lua" }
    local address = program:expect "serve ([^\n]+)\n"
    s.get(address, "/")
    uv.kill(s.child_pids(program.pid)[1], "sigkill")
    s.wait(function()
      local ok, answer = pcall(s.get, address, "/again")
      return ok and answer.body == "x"
    end)
    s.wait(function() return (s.read_file(dir .. "/access.log") or ""):find "GET /again " end)
    lu.assertEquals(uv.fs_stat(dir .. "/access.log").uid, 0)
    lu.assertEquals(program:stop(), 0)
  end,
}
