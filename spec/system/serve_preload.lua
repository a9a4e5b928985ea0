--- preload: the app is loaded once, in the master, and its workers share what it built.
local lu = require "luaunit"
local masters = require "spec.support.master"
local s = require "spec.support"

local function start(app, options)
  options = options or {}
  options.app, options.config = masters.NOTE .. app, "preload = true, " .. (options.config or "")
  return masters.start(options)
end

-- KiB that are a process's own.
local function own(pid)
  return tonumber(s.read_file(("/proc/%d/smaps_rollup"):format(pid)):match("Private_Dirty:%s*(%d+)"))
end

return {
  ["the app is loaded once, in the master, between on_start and the first fork; start runs in each worker"] = function()
    local master = start([[
      note("loaded", posix.getpid(), tostring(brood.worker))
      return { start = function(worker) note("started", posix.getppid(), worker.slot) end,
        server = function(req, res) res:finish(tostring(posix.getppid())) end }]], { workers = 1, config = [[
      on_start = function() note "on_start" end, before_fork = function() note "before_fork" end,
      after_fork = function() note "after_fork" end]] })
    local pid = tostring(master.program.pid)
    lu.assertEquals(master:get().body, pid)
    lu.assertEquals(master:notes(),
      ("on_start\nloaded %s nil\nbefore_fork\nafter_fork\nstarted %s 1\n"):format(pid, pid))
    require("luv").kill(master:pids()[1], "sigkill")
    s.wait(function() return master:ready(1)[1].id == 2 end)
    lu.assertEquals(select(2, master:notes():gsub("loaded", "")), 1)
  end,

  ["servers made while it was loaded serve in the workers"] = function()
    for _, app in ipairs {
      'return require("brood.http").server(function(req, res) res:finish "it" end, { idle_timeout = 5 })',
      'return { server = require("brood.http").server(function(req, res) res:finish "it" end) }',
      'return function(req, res) brood.sleep(0.01) res:finish "it" end',
    } do
      local master = start(app)
      lu.assertEquals(master:get().body, "it")
      lu.assertEquals(#master:ready(2), 2)
      lu.assertEquals(master:stop "QUIT", 0)
    end
    start(masters.ECHO):echoes()
  end,

  ["what is wrong with it fails the start with file and line, and nothing is forked"] = function()
    for app, message in pairs {
      ["error 'no database'"] = "cannot start: web: %S+/app.lua:%d+: no database",
      ["return = 1"] = "cannot start: web: cannot load the app: %S+app.lua:%d+: unexpected symbol",
      ["return 42"] = "cannot start: web: %S+app.lua must return a handler",
      ["require 'no_such_module'"] = "cannot start: web: [^\n]*module 'no_such_module' not found",
      ["error { message = 'a table' }"] = "cannot start: web: a table",
    } do
      local master = start(app, { config = "before_fork = function() note 'fork' end" })
      lu.assertEquals(master.program:wait(20), 1)
      lu.assertStrMatches(master:log(), ".*" .. message .. ".*", nil, nil, app)
      lu.assertEquals(select(2, master:log():gsub("stack traceback", "")) <= 1, true, master:log())
      lu.assertEquals(master:notes(), "")
      lu.assertFalse(s.exists(master.control))
    end
  end,

  ["an app that waits while it is loaded may, and a stop meanwhile ends with 0 and forks nothing"] = function()
    local master = start("note 'waits' brood.sleep(0.2) return function(req, res) res:finish 'it' end")
    lu.assertEquals(master:get().body, "it")
    for _, signal in ipairs { "QUIT", "TERM" } do
      master = start("note 'waits' brood.sleep(0.5) note 'on' return function() end",
        { config = "before_fork = function() note 'fork' end" })
      master:noted "waits"
      master.program:kill(signal)
      lu.assertEquals(master.program:wait(), 0)
      lu.assertNotStrContains(master:notes(), "fork")
      lu.assertNotStrContains(master:log(), "cannot start")
    end
  end,

  ["workers draw different random numbers, whatever the app seeded"] = function()
    local master = start([[
      math.randomseed(7) math.random()
      return { server = function() end, start = function(worker) note("drew", math.random(1, 1e9)) end }]],
      { workers = 3 })
    master:ready(3)
    local seen = {}
    for number in master:notes():gmatch("drew (%d+)") do
      lu.assertNil(seen[number])
      seen[number] = true
    end
  end,

  ["timers and connections that loading opened are the master's: workers neither run nor hold them"] = function()
    local listener = assert(require("brood.core").listener.open { address = "127.0.0.1:0" })
    local master = start(([[
      require("luv").new_timer():start(50, 50, function() note("tick", posix.getpid()) end)
      local conn = assert(require("brood.net").connect(%q))
      return function(req, res)
        local ok, err = conn:write "x"
        res:finish(tostring(ok) .. " " .. tostring(err and err.code))
      end]]):format(listener:address()))
    lu.assertEquals(master:get().body, "nil closed")
    local pids = master:pids()
    s.wait(function() return select(2, master:notes():gsub("tick", "")) >= 4 end)
    for pid in master:notes():gmatch("tick (%d+)") do
      lu.assertEquals(tonumber(pid), master.program.pid)
    end
    local sockets = {}
    for i, pid in ipairs { master.program.pid, pids[1] } do
      sockets[i] = 0
      for _, target in pairs(s.fds(pid)) do
        sockets[i] = sockets[i] + (target:find "^socket:" and 1 or 0)
      end
    end
    lu.assertEquals(sockets[2], 2) -- the listener and the channel
    listener:close()
    lu.assertEquals(master:stop "QUIT", 0)
  end,

  ["50 MB of numbers, text or cdata cost a worker less than 5 MB, whatever it does"] = function()
    for _, data in ipairs {
      "local data = {} for i = 1, 6.5e6 do data[i] = i + 0.5 end",
      "local data = ('x'):rep(50 * 1024 * 1024)",
      "local data = require('ffi').new('uint8_t[?]', 50 * 1024 * 1024) require('ffi').fill(data, 50 * 1024 * 1024, 7)",
    } do
      local master = start(data .. [[
        return function(req, res)
          if req.path == "/gc" then collectgarbage() collectgarbage() end
          local garbage = {}
          for i = 1, 200 do garbage[i] = i end
          res:finish(type(data))
        end]], { workers = 1 })
      local pid = master:pids()[1]
      local socket = s.connect(master:address())
      local function ask(path, n)
        socket:send(("GET %s HTTP/1.1\r\nHost: x\r\n\r\n"):format(path):rep(n))
        for _ = 1, n do
          socket:response()
        end
      end
      for _ = 1, 200 do
        ask("/", 20)
      end
      lu.assertTrue(own(pid) < 5 * 1024, data .. ": " .. own(pid))
      ask("/gc", 2)
      lu.assertTrue(own(pid) < 5 * 1024, data .. ": " .. own(pid))
      socket:close()
    end
  end,
}
