--- Log files that are renamed or truncated under a running master (logrotate), and files that another config names.
local lu = require "luaunit"
local masters = require "spec.support.master"
local posix = require "brood.posix"
local s = require "spec.support"
local uv = require "luv"

local APP = [[
local brood = require "brood"
return function(req, res)
  if req.path:find "^/talk" then
    print("out " .. req.path)
    io.stderr:write("err " .. req.path .. "\n")
    brood.log.info("log " .. req.path)
  elseif req.path == "/slow" then
    io.open("begun", "w"):close()
    brood.sleep(0.6)
  end
  res:finish "hello\n"
end]]

local FILES = 'stdout_path = "out.log", stderr_path = "err.log", access_log = "access.log", '

local function read(master, name)
  return s.read_file(master.dir .. "/" .. name) or ""
end

local function await(master, name, text)
  s.wait(function()
    return read(master, name):find(text, 1, true)
  end, 10, function()
    return ("'%s' in %s; there is:\n%s\nthe log: %s"):format(text, name, read(master, name), read(master, "err.log"))
  end)
end

-- Its log may be a file from the start on.
local function start(options)
  options.app = options.app or APP
  options.workers = options.workers or 1
  local master = masters.start(options)
  master:up()
  local status
  s.wait(function()
    status = select(2, master:ask "/status")
    return status.state == "ready" or master.program.over
  end, 10, function()
    return "the start\n" .. master:log() .. read(master, "err.log")
  end)
  master.at = status.clusters.web.listen[1]
  return master
end

local function rename(master, ...)
  for _, name in ipairs { ... } do
    assert(os.rename(master.dir .. "/" .. name, master.dir .. "/" .. name .. ".1"))
  end
end

-- Nobody has a renamed file open any more: the workers are told by the master, and that takes a moment.
local function all_moved(pid)
  s.wait(function()
    for _, each in ipairs { pid, unpack(s.child_pids(pid)) } do
      for _, target in pairs(s.fds(each)) do
        if target:find "%.log%.1$" or target:find "/logs%.1/" then
          return false
        end
      end
    end
    return true
  end, 10, "new files everywhere")
end

local function reopened(master, pid, name)
  uv.kill(pid or master.program.pid, "sigusr1")
  await(master, name or "err.log", "opened anew (USR1")
  all_moved(master.program.pid)
end

-- What a worker has open by that name alone, and no older file of it.
local function held(pid, path)
  local n = 0
  for _, target in pairs(s.fds(pid)) do
    n = n + (target == path and 1 or 0)
    lu.assertFalse(target:sub(1, #path + 2) == path .. ".1", target)
  end
  return n
end

local function post(master, path)
  local socket = s.connect("unix:" .. master.control)
  socket:send(("POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"):format(path))
  local response = socket:response()
  socket:close()
  return response.status, response.body
end

local function count(text, pattern)
  return select(2, text:gsub(pattern, ""))
end

local function change(master, from, to)
  local text, n = read(master, "brood.lua"):gsub(from, to)
  lu.assertEquals(n, 1)
  s.write_file(master.dir .. "/brood.lua", text)
end

local function reload(master)
  return post(master, "/reload")
end

return {
  ["after a rename and USR1 all goes to new files, of master and workers, and what came before to the old"] = function()
    local master = start { workers = 2, config = FILES }
    local pids = master:pids()
    for _ = 1, 8 do
      master:get "/talk/before"
    end
    rename(master, "out.log", "err.log", "access.log")
    reopened(master)
    for _ = 1, 8 do
      master:get "/talk/after"
    end
    await(master, "access.log", "GET /talk/after ")
    for _, name in ipairs { "out.log", "err.log", "access.log" } do
      s.wait(function() return count(read(master, name), "/talk/after") >= 8 end)
      lu.assertNotStrContains(read(master, name), "before")
      lu.assertNotStrContains(read(master, name .. ".1"), "after")
      s.wait(function() return count(read(master, name .. ".1"), "/talk/before") >= 8 end)
    end
    lu.assertEquals(master:pids(), pids)
    for _, pid in ipairs { master.program.pid, unpack(pids) } do
      lu.assertEquals({ held(pid, master.dir .. "/out.log"), held(pid, master.dir .. "/err.log"),
        held(pid, master.dir .. "/access.log") }, { 1, 1, 1 })
    end
    master.program:kill "QUIT"
    lu.assertEquals(master.program:wait(), 0)
    lu.assertStrContains(read(master, "err.log"), "stopping gracefully")
  end,

  ["a worker that has given up root goes on in files that it could not open"] = function()
    if posix.getuid() ~= 0 then
      lu.skip "only root can give up root"
    end
    local dir = s.open_temp_dir()
    local logs = dir .. "/logs"
    uv.fs_mkdir(logs, 448)
    s.write_file(dir .. "/app.lua", APP)
    s.write_file(dir .. "/brood.lua", [[return { app = "app.lua", listen = "127.0.0.1:0", workers = 1, control = false,
      user = "nobody", stdout_path = "logs/out.log", access_log = "logs/access.log" }]])
    local program = s.brood { dir .. "/brood.lua" }
    local address = program:expect "serve ([^\n]+)\n"
    s.get(address, "/talk/before")
    for _, name in ipairs { "/out.log", "/access.log" } do
      assert(os.rename(logs .. name, logs .. name .. ".1"))
    end
    program:kill "USR1"
    program:expect "opened anew %(USR1%)"
    all_moved(program.pid)
    s.get(address, "/talk/after")
    for _, name in ipairs { "/out.log", "/access.log" } do
      s.wait(function() return (s.read_file(logs .. name) or ""):find("/talk/after", 1, true) end)
      lu.assertNotStrContains(s.read_file(logs .. name .. ".1"), "after")
      lu.assertEquals(uv.fs_stat(logs .. name).uid, 0)
    end
    lu.assertEquals(program:stop(), 0)
  end,

  ["a file that is copied and truncated is written on from its beginning"] = function()
    local master = start { config = FILES }
    for _ = 1, 5 do
      master:get "/talk/before"
    end
    await(master, "access.log", "/talk/before")
    await(master, "out.log", "/talk/before")
    for _, name in ipairs { "out.log", "err.log", "access.log" } do
      local fd = assert(uv.fs_open(master.dir .. "/" .. name, "r+", 420))
      assert(uv.fs_ftruncate(fd, 0))
      uv.fs_close(fd)
    end
    master:get "/talk/after"
    await(master, "access.log", "/talk/after")
    for _, name in ipairs { "out.log", "err.log", "access.log" } do
      lu.assertNil(read(master, name):find("%z"), name)
      lu.assertStrContains(read(master, name), "/talk/after")
    end
  end,

  ["a worker that is sent USR1 has all files opened anew; sent to all at once it is done for all together"] = function()
    local master = start { workers = 3, config = FILES }
    local pids = master:pids()
    rename(master, "err.log", "access.log")
    reopened(master, pids[2])
    master:get "/talk/after"
    await(master, "access.log", "/talk/after")
    rename(master, "err.log", "access.log")
    for _, pid in ipairs { master.program.pid, unpack(pids) } do
      uv.kill(pid, "sigusr1")
    end
    await(master, "err.log", "opened anew")
    all_moved(master.program.pid)
    s.remains(function() return count(read(master, "err.log"), "opened anew") <= 2 end, 0.2)
    lu.assertEquals(master:pids(), pids)
  end,

  ["a file that cannot be opened anew goes on as it is, and the others do not wait for it"] = function()
    local master = start { config = [[stderr_path = "err.log", access_log = (function()
      require("luv").fs_mkdir(here .. "/logs", 511)
      return "logs/access.log"
    end)()]] }
    rename(master, "logs", "err.log")
    uv.kill(master.program.pid, "sigusr1")
    await(master, "err.log", "opened anew (USR1): " .. master.dir .. "/err.log\n")
    await(master, "err.log.1", ("error [%d] cannot be opened anew (USR1), the old file is written on: access_log "
      .. "%s/logs/access.log: no such file or directory"):format(master.program.pid, master.dir))
    master:get "/still"
    await(master, "logs.1/access.log", "GET /still ")
    local status, body = post(master, "/reopen")
    lu.assertEquals(status, 500)
    lu.assertStrContains(body, "no such file or directory")
    uv.fs_mkdir(master.dir .. "/logs", 511)
    lu.assertEquals(post(master, "/reopen"), 200)
    all_moved(master.program.pid)
    master:get "/again"
    await(master, "logs/access.log", "GET /again ")
  end,

  ["a request in flight in a worker that goes is written to the new file"] = function()
    local master = start { config = FILES }
    local socket = s.connect(master:address())
    socket:send "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"
    s.wait(function() return s.exists(master.dir .. "/begun") end)
    lu.assertEquals(reload(master), 200)
    rename(master, "err.log", "access.log")
    reopened(master)
    lu.assertEquals(socket:response().body, "hello\n")
    await(master, "access.log", "GET /slow ")
    lu.assertNotStrContains(read(master, "access.log.1"), "/slow")
  end,

  ["no line is lost or broken while files are rotated under requests"] = function()
    local master = start { workers = 2, config = FILES }
    local requests, rotations = 300, 15
    for i = 1, rotations do
      for j = 1, requests / rotations do
        lu.assertEquals(master:get(("/talk/%d/%d"):format(i, j)).status, 200)
      end
      for _, name in ipairs { "out.log", "access.log" } do
        os.rename(master.dir .. "/" .. name, ("%s/%s.%d"):format(master.dir, name, i))
      end
      master.program:kill "USR1"
    end
    local lines = {
      ["out.log"] = "out (/talk/%d+/%d+)\n", ["access.log"] = '"GET (/talk/%d+/%d+) HTTP/1.1" 200 6 [^\n]*\n',
    }
    for name, pattern in pairs(lines) do
      local seen, n = {}, 0
      s.wait(function()
        seen, n = {}, 0
        for i = 0, rotations do
          for path in read(master, i == 0 and name or ("%s.%d"):format(name, i)):gmatch(pattern) do
            n = n + (seen[path] and 0 or 1)
            seen[path] = true
          end
        end
        return n == requests
      end, 10, function() return ("%d lines in %s, there are %d"):format(requests, name, n) end)
    end
  end,

  ["opening anew leaks no descriptor"] = function()
    local master = start { workers = 1, config = FILES }
    local pid = master:pids()[1]
    lu.assertEquals(post(master, "/reopen"), 200)
    local before = { s.fd_count(master.program.pid), s.fd_count(pid) }
    for _ = 1, 30 do
      lu.assertEquals(post(master, "/reopen"), 200)
    end
    s.wait(function()
      return s.fd_count(master.program.pid) <= before[1] and s.fd_count(pid) <= before[2]
    end, 10, function()
      return ("%d and %d descriptors, there are %d and %d"):format(before[1], before[2], s.fd_count(master.program.pid),
        s.fd_count(pid))
    end)
  end,

  ["without a log file there is nothing to open, and the log says so"] = function()
    local master = masters.start { workers = 1 }
    master:address()
    master.program:kill "USR1"
    master.program:expect "no log goes to a file"
    lu.assertEquals(master:get().body, "hello\n")
  end,

  ["another config has other files; those it does not name are closed"] = function()
    local master = start { config = FILES }
    master:get "/talk/before"
    change(master, '"out.log", stderr_path = "err.log", access_log = "access.log"',
      '"out2.log", stderr_path = "err2.log", access_log = "access2.log"')
    local old = master:pids()
    lu.assertEquals({ reload(master) }, { 200, '{"ok":true}\n' })
    s.gone(old, 5) -- which goes on in its own file until then
    master:get "/talk/after"
    for _, name in ipairs { "out2.log", "err2.log", "access2.log" } do
      await(master, name, "/talk/after")
    end
    for _, name in ipairs { "out.log", "err.log", "access.log" } do
      lu.assertNotStrContains(read(master, name), "/talk/after")
      lu.assertEquals(held(master.program.pid, master.dir .. "/" .. name), 0)
    end
    rename(master, "err2.log", "access2.log")
    reopened(master, nil, "err2.log")
    master:get "/talk/again"
    await(master, "access2.log", "/talk/again")
  end,

  ["a reload opens renamed files anew as well"] = function()
    local master = start { config = FILES }
    rename(master, "out.log", "err.log", "access.log")
    lu.assertEquals(reload(master), 200)
    all_moved(master.program.pid)
    master:get "/talk/after"
    for _, name in ipairs { "out.log", "err.log", "access.log" } do
      await(master, name, "/talk/after")
    end
  end,

  ["a reload whose files cannot be opened, or that fails later, leaves all as it was"] = function()
    local master = start { config = FILES }
    local before = s.fd_count(master.program.pid)
    change(master, 'access_log = "access.log"', 'access_log = "no/access.log"')
    local status, body = reload(master)
    lu.assertEquals(status, 500)
    lu.assertStrContains(body, "access_log " .. master.dir .. "/no/access.log: no such file or directory")
    change(master, 'stdout_path = "out.log"', 'on_start = function() error "no" end, stdout_path = "other.log"')
    change(master, 'access_log = "no/access.log"', 'access_log = "more.log"')
    lu.assertEquals(reload(master), 500)
    master:get "/talk/after"
    await(master, "out.log", "/talk/after")
    await(master, "access.log", "/talk/after")
    lu.assertEquals(read(master, "other.log"), "")
    lu.assertEquals(read(master, "more.log"), "")
    s.wait(function() return s.fd_count(master.program.pid) <= before end, 10, "no descriptor more")
  end,

  ["a stdout_path that is left out stays in use, with a warning"] = function()
    local master = start { config = FILES }
    change(master, 'stdout_path = "out.log", ', "")
    lu.assertEquals(reload(master), 200)
    await(master, "err.log", "only a restart brings about what the config says now of stdout_path (what went to that "
      .. "file still does)")
    master:get "/talk/after"
    await(master, "out.log", "/talk/after")
  end,
}
