--- What is known to bite when a Lua process with a running loop is forked: one test for each trap.
local lu = require "luaunit"
local s = require "spec.support"

local HEAD = [[
local brood, posix, uv = require "brood", require "brood.posix", require "luv"
local function say(...) io.write(table.concat({ ... }, " "), "\n") io.flush() end
]]

-- Run a script, and return what it printed, sorted by line: parent and child write in any order.
local function lines_of(text, options)
  local result = s.script(HEAD .. text, {}, options):finish(10)
  lu.assertEquals(result.stderr, "")
  lu.assertEquals(result.code, 0)
  local lines = {}
  for line in result.stdout:gmatch("[^\n]+") do
    lines[#lines + 1] = line
  end
  table.sort(lines)
  return lines
end

return {
  ["a child that closes what it inherited leaves the parent's watchers alone"] = function()
    lu.assertEquals(lines_of [[
      local r, w = posix.pipe()
      local got = 0
      local poll = uv.new_poll(r)
      poll:start("r", function() got = got + 1; posix.read(r, 10); poll:stop(); poll:close(); say "parent read" end)
      local pid = posix.fork()
      if pid == 0 then os.exit(0) end
      posix.waitpid(pid)
      posix.write(w, "x")
    ]], { "parent read" })
  end,

  ["a signal to the child does not wake its parent"] = function()
    lu.assertEquals(lines_of [[
      local seen = 0
      local sig = uv.new_signal()
      sig:start("sigusr1", function() seen = seen + 1 end)
      local pid = posix.fork()
      if pid == 0 then
        local mine = uv.new_signal()
        mine:start("sigusr1", function() say "child got it"; os.exit(0) end)
        posix.kill(posix.getpid(), "USR1")
        brood.sleep(5)
      end
      repeat brood.sleep(0.01) until posix.waitpid(pid, { nohang = true }) ~= 0
      brood.sleep(0.05)
      say("parent saw " .. seen)
      sig:close()
    ]], { "child got it", "parent saw 0" })
  end,

  ["a signal that is pending when it forks does not spin in the child"] = function()
    local lines = lines_of [[
      local sig = uv.new_signal()
      sig:start("sigusr1", function() sig:close(); say "parent got it" end)
      posix.kill(posix.getpid(), "USR1")
      local pid = posix.fork()
      if pid == 0 then
        brood.sleep(0.2)
        local cpu = uv.getrusage().utime
        say(cpu.sec * 1e6 + cpu.usec < 150000 and "child is idle" or "child spins")
        return
      end
      posix.waitpid(pid)
    ]]
    lu.assertEquals(lines, { "child is idle", "parent got it" })
  end,

  ["the socket file of the parent stays when the child lets go of its pipe"] = function()
    local dir = s.temp_dir()
    lu.assertEquals(lines_of(([[
      local server = uv.new_pipe(false)
      assert(server:bind(arg_dir .. "/sock"))
      server:listen(8, function() end)
      local pid = posix.fork()
      if pid == 0 then brood.sleep(0.02) os.exit(0) end
      posix.waitpid(pid)
      say(uv.fs_stat(arg_dir .. "/sock") and "still there" or "gone")
      server:close()
    ]]):gsub("arg_dir", ("%q"):format(dir)), nil), { "still there" })
  end,

  ["timers of the parent do not fire in the child"] = function()
    lu.assertEquals(lines_of [[
      local t = uv.new_timer()
      t:start(20, 0, function() say("fired in " .. posix.getpid() % 1 + (posix.getpid() == ME and 1 or 2)); t:close() end)
      ME = posix.getpid()
      local pid = posix.fork()
      if pid == 0 then brood.sleep(0.1) say "child slept" return end
      repeat brood.sleep(0.01) until posix.waitpid(pid, { nohang = true }) ~= 0
    ]], { "child slept", "fired in 1" })
  end,

  ["what the parent has not flushed yet is written once"] = function()
    local result = s.script(HEAD .. [[
      io.stdout:setvbuf("full")
      io.write("only once\n")
      local pid = posix.fork()
      if pid == 0 then io.write("child\n") os.exit(0) end
      posix.waitpid(pid)
      io.write("parent\n")
    ]]):finish(10)
    lu.assertEquals(result.stdout, "only once\nchild\nparent\n")
  end,

  ["a request in the thread pool when it forks ends in the parent alone"] = function()
    lu.assertEquals(lines_of [[
      local me = posix.getpid()
      uv.fs_open("/dev/null", "r", 0, function(err, fd)
        say((posix.getpid() == me and "parent" or "child") .. " opened")
        uv.fs_close(fd)
      end)
      local pid = posix.fork()
      if pid == 0 then
        uv.fs_stat("/", function() say "child's own stat" end)
        return
      end
      posix.waitpid(pid)
    ]], { "child's own stat", "parent opened" })
  end,

  ["the second of two ready descriptors is not reported in the child of the first"] = function()
    lu.assertEquals(lines_of [[
      local me, forked = posix.getpid(), false
      local function who() return posix.getpid() == me and "parent" or "child" end
      for i = 1, 2 do
        local r, w = posix.pipe()
        posix.write(w, "x")
        local poll = uv.new_poll(r)
        poll:start("r", function()
          posix.read(r, 1)
          poll:stop()
          if not forked then
            forked = true
            local pid = posix.fork()
            if pid == 0 then say "child after fork" return end
            posix.waitpid(pid)
            poll:close()
            say("first in " .. who())
          else
            poll:close()
            say("second in " .. who())
          end
        end)
      end
    ]], { "child after fork", "first in parent", "second in parent" })
  end,

  ["a fork inside a timer's callback goes on in both, with a loop each"] = function()
    lu.assertEquals(lines_of [[
      local t = uv.new_timer()
      t:start(5, 0, function()
        t:stop()
        local pid = posix.fork()
        local name = pid == 0 and "child" or "parent"
        if pid ~= 0 then t:close() end
        brood.async(function() brood.sleep(0.02) say(name .. " slept") if pid ~= 0 then posix.waitpid(pid) end end)
      end)
    ]], { "child slept", "parent slept" })
  end,

  ["a child can fork a child of its own"] = function()
    lu.assertEquals(lines_of [[
      local pid = posix.fork()
      if pid == 0 then
        local inner = posix.fork()
        if inner == 0 then brood.sleep(0.02) say "grandchild" return end
        posix.waitpid(inner)
        say "child"
        return
      end
      posix.waitpid(pid)
      say "parent"
    ]], { "child", "grandchild", "parent" })
  end,

  ["only the task that called fork goes on in the child"] = function()
    lu.assertEquals(lines_of [[
      local me = posix.getpid()
      local waiting = brood.async(function() brood.sleep(0.03) say(posix.getpid() == me and "other task: parent" or "other task: child") end)
      local after = brood.async(function() waiting:wait() say(posix.getpid() == me and "waiter: parent" or "waiter: child") end)
      local pid = posix.fork()
      if pid == 0 then brood.sleep(0.1) say "child done" return end
      repeat brood.sleep(0.01) until posix.waitpid(pid, { nohang = true }) ~= 0
    ]], { "child done", "other task: parent", "waiter: parent" })
  end,

  ["two hundred forks leave as many descriptors as there were"] = function()
    lu.assertEquals(lines_of [[
      local function count()
        local n = 0
        local dir = uv.fs_scandir("/proc/self/fd")
        while uv.fs_scandir_next(dir) do n = n + 1 end
        return n
      end
      local function one() local pid = posix.fork() if pid == 0 then os.exit(0) end posix.waitpid(pid) end
      one()
      local before = count()
      for _ = 1, 200 do one() end
      say(count() == before and "same" or ("%d before, %d after"):format(before, count()))
    ]], { "same" })
  end,

  ["each child draws other random numbers"] = function()
    local lines = lines_of [[
      math.randomseed(1)
      for _ = 1, 3 do
        local pid = posix.fork()
        if pid == 0 then say(("%.17g"):format(math.random())) os.exit(0) end
        posix.waitpid(pid)
      end
    ]]
    lu.assertNotEquals(lines[1], lines[2])
    lu.assertNotEquals(lines[2], lines[3])
  end,

  ["a child starts with default signals"] = function()
    lu.assertEquals(lines_of [[
      local sig = uv.new_signal()
      sig:start("sigterm", function() end)
      local pid = posix.fork()
      if pid == 0 then brood.sleep(5) return end
      posix.kill(pid, "TERM")
      local _, how, status = posix.waitpid(pid)
      say(how .. " " .. status)
      sig:close()
    ]], { "killed 15" })
  end,
}
