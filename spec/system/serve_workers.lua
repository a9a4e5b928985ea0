--- The workers of a serving master: replaced when they die, and what they hold.
local lu = require "luaunit"
local masters = require "spec.support.master"
local s = require "spec.support"
local uv = require "luv"

-- Inodes of the sockets that a process has open.
local function sockets(pid)
  local found = {}
  for fd, target in pairs(s.fds(pid)) do
    local inode = target:match("^socket:%[(%d+)%]")
    if inode then
      found[inode] = fd
    end
  end
  return found
end

local function socket_count(pid)
  local n = 0
  for _ in pairs(sockets(pid)) do
    n = n + 1
  end
  return n
end

return {
  ["a worker killed by KILL is replaced at once, in its slot, under a new id"] = function()
    local master = masters.start { config = [[
      worker_exit = function(m, w, code, signal) note("exit", w.id, w.pid, tostring(code), signal, w.reason) end]] }
    local before = master:ready(2)
    uv.kill(before[1].pid, "sigkill")
    local seconds = s.timed(master.noted, master, "exit 1")
    lu.assertTrue(seconds < 1 * s.slow)
    local after = master:ready(2)
    lu.assertEquals(master:notes(), ("exit 1 %d nil KILL signal\n"):format(before[1].pid))
    lu.assertEquals({ after[1].id, after[1].slot, after[2].id, after[2].slot }, { 2, 2, 3, 1 })
    lu.assertNotStrContains(master:log(), "next try")
  end,

  ["a worker that somebody sends QUIT is replaced at once, and has graceful_timeout to finish"] = function()
    local master = masters.start { workers = 1, config = [[graceful_timeout = 1,
      worker_exit = function(_, w, _, signal) note("exit", w.id, signal, w.reason) end]], app = [[
      local brood = require "brood"
      return function(req, res)
        if req.path == "/endless" then
          while res:write("x\n") do brood.sleep(0.05) end
        end
        res:finish(tostring(require("brood.posix").getpid()))
      end]] }
    local first = master:ready(1)[1].pid
    local endless = s.connect(master:address())
    endless:send "GET /endless HTTP/1.1\r\nHost: x\r\n\r\n"
    endless:receive "2\r\n"
    uv.kill(first, "sigquit")
    s.wait(function()
      return master:log():find "worker 2 %(pid %d+%) is ready"
    end, 10)
    lu.assertTrue(s.alive(first))
    lu.assertNotEquals(tonumber(master:get().body), first)
    master:noted "exit 1 KILL signal"
    lu.assertEquals(#master:ready(1), 1)
    lu.assertEquals(master:stop "QUIT", 0)
  end,

  ["killing one worker again and again loses no slot and no request of its sibling"] = function()
    local master = masters.start { app = [[
      local brood = require "brood"
      return function(req, res)
        if req.path == "/slow" then brood.sleep(1) end
        res:finish(tostring(require("brood.posix").getpid()))
      end]] }
    local socket = s.connect(master:address())
    socket:send "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"
    -- Whoever serves the request has a connection more, and lives; the other one dies five times.
    local serving
    s.wait(function()
      local list = master:pids()
      local counts = { socket_count(list[1]), socket_count(list[2]) }
      serving = counts[1] > counts[2] and list[1] or counts[2] > counts[1] and list[2]
      return serving
    end)
    for _ = 1, 5 do
      for _, worker in ipairs(master:ready(2)) do
        if worker.pid ~= serving then
          uv.kill(worker.pid, "sigkill")
          s.wait(function() return not s.alive(worker.pid) end)
        end
      end
    end
    lu.assertEquals(socket:response().body, tostring(serving))
    local slots = {}
    for _, worker in ipairs(master:ready(2)) do
      slots[worker.slot] = true
    end
    lu.assertEquals(slots, { true, true })
  end,

  ["a worker that keeps dying is started with more and more patience, and comes back"] = function()
    local master = masters.start { workers = 1, app = [[
      local brood = require "brood"
      if io.open("broken") then error "broken" end
      return function(req, res) res:finish(tostring(brood.worker.id)) end]] }
    lu.assertEquals(master:get().body, "1")
    s.write_file(master.dir .. "/broken", "")
    uv.kill(master:pids()[1], "sigkill")
    local last = 0
    s.wait(function()
      local _, tries = master:log():gsub("next try", "")
      last = tries
      return tries >= 4
    end, 15)
    lu.assertTrue(last < 7, last)
    os.remove(master.dir .. "/broken")
    lu.assertEquals(master:ready(1)[1].slot, 1)
    lu.assertTrue(tonumber(master:get().body) > 5)
  end,

  ["an app that dies right after it is ready does not spin"] = function()
    local master = masters.start { workers = 1, app = [[
      require("brood").sleep(0.02, function() os.exit(3) end)
      return function(req, res) res:finish "x" end]] }
    master:address()
    master.program:expect "next try"
    local first = master:workers()
    lu.assertTrue(#first <= 1)
    local function count()
      return select(2, master:log():gsub("is ready", ""))
    end
    local before = count()
    require("brood").sleep(1)
    lu.assertTrue(count() - before <= 8, count() - before)
    lu.assertStrContains(master:log(), "status 3 (crash)")
    lu.assertEquals(master:stop "TERM", 0)
  end,

  ["a worker holds its listeners and its channel, and nothing else of the master or its siblings"] = function()
    local master = masters.start { workers = 3, config = 'listen = { "127.0.0.1:0", "unix:web.sock" }' }
    local pids = {}
    for i, worker in ipairs(master:ready(3)) do
      pids[i] = worker.pid
    end
    uv.kill(pids[1], "sigkill") -- a replacement is forked while all else is open
    pids = {}
    local control = s.connect(master.control) -- and a control connection too
    for i, worker in ipairs(master:ready(3)) do
      pids[i] = worker.pid
    end
    uv.kill(pids[1], "sigkill")
    s.wait(function() return not s.alive(pids[1]) end)
    local seen, inherited = {}, s.fds()
    for _, worker in ipairs(master:ready(3)) do
      local own = {}
      for inode in pairs(sockets(worker.pid)) do
        own[#own + 1] = inode
        seen[inode] = (seen[inode] or 0) + 1
      end
      lu.assertEquals(#own, 3, worker.pid) -- two listeners, one channel
      for fd, target in pairs(s.fds(worker.pid)) do
        local of_loop = target:find "^anon_inode:%[event" or target:find "^pipe:" or target == "/dev/null"
        -- Which starts us with its own files open, and with what it was given.
        local of_the_runner = target:find("%.run%.") or target == inherited[fd]
        lu.assertTrue(fd <= 2 or (of_loop or of_the_runner or target:find "^socket:") ~= nil, fd .. " " .. target)
      end
    end
    local shared, alone = 0, 0
    for _, n in pairs(seen) do
      shared, alone = shared + (n == 3 and 1 or 0), alone + (n == 1 and 1 or 0)
    end
    lu.assertEquals({ shared, alone }, { 2, 3 })
    control:close()
  end,

  ["each worker leads a process group of its own, and none is the master's"] = function()
    local master = masters.start()
    for _, worker in ipairs(master:ready(2)) do
      lu.assertEquals(s.stat(worker.pid).group, worker.pid)
    end
  end,

  ["a worker without descriptors left leaves connections to its sibling"] = function()
    local master = masters.start { app = [[
      local brood, posix = require "brood", require "brood.posix"
      local held = {}
      local function fill()
        while posix.pipe() do end
        while posix.socketpair() do end
        repeat
          local file = io.open "/dev/null"
          held[#held + 1] = file
        until not file
      end
      if brood.worker.slot == 1 then
        brood.sleep(0.05, function() io.open("full", "w"):close() fill() end)
      end
      return {
        server = function(req, res) res:finish("slot " .. brood.worker.slot) end }]],
      config = "limits = { nofile = 64 }" }
    master:address()
    s.wait(function() return s.exists(master.dir .. "/full") end)
    for _ = 1, 30 do
      local seconds, answer = s.timed(master.get, master)
      lu.assertEquals(answer.status, 200)
      lu.assertTrue(seconds < 3 * s.slow, seconds)
    end
    lu.assertEquals(#master:pids(), 2)
  end,

  ["status counts the requests of each worker"] = function()
    local master = masters.start { workers = 1 }
    for _ = 1, 5 do
      master:get()
    end
    local _, status = master:ask "/status"
    local worker = status.clusters.web.processes[1]
    lu.assertEquals(worker.requests, 5)
    lu.assertEquals(worker.state, "ready")
    lu.assertEquals(worker.kind, "worker")
    lu.assertTrue(worker.uptime >= 0 and worker.uptime < 60)
    uv.kill(worker.pid, "sigkill")
    s.wait(function() return not s.alive(worker.pid) end)
    lu.assertEquals(master:ready(1)[1].requests, 0)
  end,

  ["messages go both ways between the master and its workers"] = function()
    local master = masters.start { app = [[
      local brood = require "brood"
      brood.worker:on("message", function(value) brood.worker:send { id = brood.worker.id, got = value } end)
      return function() end]], config = [[
      on_start = function(master)
        master:on("message", function(worker, value) note("message", worker.id, value.id, value.got) end)
        master:on("ready", function() master:broadcast("to all") master.workers[1]:send("to one") end)
      end]] }
    master:address()
    s.wait(function()
      return select(2, master:notes():gsub("\n", "")) == 3
    end, 5, master:notes())
    local lines = {}
    for line in master:notes():gmatch("[^\n]+") do
      lines[#lines + 1] = line
    end
    table.sort(lines)
    lu.assertEquals(lines, { "message 1 1 to all", "message 1 1 to one", "message 2 2 to all" })
  end,
}
