--- What is known to bite when a Lua process with a running loop is forked: one test for each trap.
local lu = require "luaunit"
local s = require "spec.support"
local scripts = require "spec.support.scripts"

local HEAD = scripts.FORKS .. [[
brood.sleep(0.001) -- from here on the loop's own frames are below us, and what was started is registered with it
]]

local function lines_of(text, options)
  return scripts.lines(HEAD .. text, options)
end

return {
  ["a child that closes what it inherited leaves the parent's watchers alone"] = function()
    lu.assertEquals(lines_of [[
      local r, w = posix.pipe()
      local got = 0
      local poll = uv.new_poll(r)
      poll:start("r", function() got = got + 1; posix.read(r, 10); poll:stop(); poll:close(); say "parent read" end)
      brood.sleep(0.01)
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
      t:start(20, 0, function() say("fired in the " .. who()); t:close() end)
      local pid = posix.fork()
      if pid == 0 then brood.sleep(0.1) say "child slept" return end
      repeat brood.sleep(0.01) until posix.waitpid(pid, { nohang = true }) ~= 0
    ]], { "child slept", "fired in the parent" })
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
      uv.fs_open("/dev/null", "r", 0, function(err, fd)
        say(who() .. " opened")
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
      local forked = false
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
      local other = brood.async(function() brood.sleep(0.03) say("other task: " .. who()) end)
      local forking = brood.async(function()
        brood.sleep(0.01)
        local pid = posix.fork()
        say("the one that forked: " .. who())
        return pid
      end)
      brood.async(function()
        local pid = forking:wait()
        say("the one that waits for it: " .. who())
        posix.waitpid(pid)
      end)
      other:wait()
    ]], { "other task: parent", "the one that forked: child", "the one that forked: parent",
      "the one that waits for it: parent" })
  end,

  ["requests that were done in one batch are not reported in the child of the first"] = function()
    lu.assertEquals(lines_of [[
      local forked = false
      for i = 1, 3 do
        uv.fs_stat("/", function()
          if forked then return say("another in " .. who()) end
          forked = true
          local pid = posix.fork()
          say("first in " .. who())
          if pid ~= 0 then posix.waitpid(pid) end
        end)
      end
      local t0 = brood.now()
      while brood.now() - t0 < 0.1 do end -- the pool's threads finish all three before the loop looks
    ]], { "another in parent", "another in parent", "first in child", "first in parent" })
  end,

  ["a close that is under way is reported in the parent alone"] = function()
    lu.assertEquals(lines_of [[
      local t = uv.new_timer()
      t:close(function() say("closed in " .. who()) end)
      local pid = posix.fork()
      if pid ~= 0 then posix.waitpid(pid) end
    ]], { "closed in parent" })
  end,

  ["uv.spawn works in the child of a parent that has a program of its own running"] = function()
    lu.assertEquals(lines_of [[
      local handle
      handle = uv.spawn("sleep", { args = { "0.1" } }, function() say("sleep ended in " .. who()) handle:close() end)
      local pid = posix.fork()
      if pid == 0 then
        local mine
        mine = uv.spawn("true", {}, function(code) say("true ended in " .. who()) mine:close() end)
        return
      end
      posix.waitpid(pid)
    ]], { "sleep ended in parent", "true ended in child" })
  end,

  ["a signal that a C library ignores is default in the child"] = function()
    lu.assertEquals(lines_of [[
      local ffi = require "ffi"
      ffi.cdef "void *signal(int, void *);"
      ffi.C.signal(12, ffi.cast("void *", 1))
      posix.kill(ME, "USR2")
      local pid = posix.fork()
      if pid == 0 then posix.kill(posix.getpid(), "USR2") say "ignored it" os.exit(0) end
      local _, how, status = posix.waitpid(pid)
      say(how .. " " .. status)
    ]], { "killed 12" })
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
