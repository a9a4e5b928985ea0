--- Worker.fork: a copy of the process with a line to it.
-- time limit: 120 s
local lu = require "luaunit"
local s = require "spec.support"
local scripts = require "spec.support.scripts"

local HEAD = [[
local brood, posix, uv = require "brood", require "brood.posix", require "luv"
local Worker = require "brood.worker"
io.stdout:setvbuf("line")
]]

local function run(text, seconds)
  return s.script(HEAD .. text):finish(seconds or 20)
end

local function prints(text, expected, seconds)
  scripts.prints(HEAD .. text, expected, { timeout = seconds or 20 })
end

return {
  ["it returns in both, and both have its pid and id"] = function()
    prints([[
      local w = Worker.fork()
      if w:is_child() then
        w:send({ w.pid, w.id, posix.getpid(), posix.getppid() })
        return
      end
      w:on("message", function(v) print(v[1] == w.pid, v[2] == w.id, v[3] == w.pid, v[4] == posix.getpid()) end)
      w:on("exit", function(code, signal) print(code, signal, w.exit_code) end)
    ]], "true\ttrue\ttrue\ttrue\n0\tnil\t0\n")
  end,

  ["100,000 messages each way arrive whole and in order, and before the exit"] = function()
    prints([[
      local N = 100000
      local w = Worker.fork()
      local got = 0
      w:on("message", function(v)
        got = got + 1
        assert(v.n == got and v.text == "message " .. got, "out of order")
        if w:is_child() and got == N then w:exit(7) end
      end)
      w:on("exit", function(code) print(got, code) end)
      for i = 1, N do assert(w:send({ n = i, text = "message " .. i }) ~= nil) end
    ]], "100000\t7\n", 60)
  end,

  ["a message of 60 MB goes both ways, one beyond 64 MB is an error"] = function()
    prints([[
      local w = Worker.fork()
      w:on("message", function(v)
        if w:is_child() then w:send(v:reverse()) w:exit() else print(#v, v:sub(1, 1), v:sub(-1)) end
      end)
      if not w:is_child() then
        print(select(2, w:send(("x"):rep(65 * 1024 * 1024))).code)
        w:send("a" .. ("x"):rep(60 * 1024 * 1024) .. "b")
      end
    ]], "too_large\n62914562\tb\ta\n", 60)
  end,

  ["descriptors go with messages, and the sender may close its own at once"] = function()
    prints([[
      local w = Worker.fork()
      if w:is_child() then
        w:on("message", function(v, fd)
          posix.write(fd, "from the child, " .. v)
          posix.close(fd)
          w:exit()
        end)
        return
      end
      local r, wr = posix.pipe()
      w:send("thanks", wr)
      posix.close(wr)
      w:on("exit", function()
        print(posix.read(r, 100))
        print(posix.read(r, 100) == "")
        posix.close(r)
      end)
    ]], "from the child, thanks\ntrue\n")
  end,

  ["send is false when too much waits, and drain tells when it is gone"] = function()
    prints([[
      local w = Worker.fork()
      if w:is_child() then
        posix.read(0, 1) -- stands still for a moment: stdin is /dev/null
        local t0 = brood.now()
        while brood.now() - t0 < 0.2 do end
        local n = 0
        w:on("message", function(v) n = n + 1 if v == "end" then w:send(n) w:exit() end end)
        return
      end
      local sent, ok = 0, nil
      repeat
        ok = w:send(("x"):rep(100000))
        sent = sent + 1
      until ok ~= true or sent > 10000
      print(ok, sent * 100000 > 1000000)
      local drained = false
      w:once("drain", function()
        drained = true
        w:send("end")
      end)
      w:on("message", function(n) print(drained, n == sent + 1) end)
    ]], "false\ttrue\ntrue\ttrue\n")
  end,

  ["flush returns when the kernel has all"] = function()
    prints([[
      local w = Worker.fork()
      if w:is_child() then
        local n = 0
        w:on("message", function() n = n + 1 if n == 30 then w:exit(n) end end)
        return
      end
      for _ = 1, 30 do w:send(("x"):rep(200000)) end
      print(w:flush())
      w:on("exit", function(code) print(code) end)
    ]], "true\n30\n")
  end,

  ["what is sent before the other side listens is kept"] = function()
    prints([[
      local w = Worker.fork()
      if w:is_child() then
        for i = 1, 5000 do w:send(i) end
        w:exit(3)
      end
      local exited = false
      w:on("exit", function(code) exited = code end)
      while not exited do brood.sleep(0.01) end
      local got = 0
      w:on("message", function(v) got = got + 1 assert(v == got) end)
      while got < 5000 do brood.sleep(0.01) end
      print(exited, got)
    ]], "3\t5000\n")
  end,

  ["exit of the parent comes after the messages before it, and after listeners that wait"] = function()
    prints([[
      local w = Worker.fork()
      if w:is_child() then
        w:on("message", function(v) brood.sleep(0.05) w:send("done " .. v) end)
        return
      end
      w:on("message", function(v) print(v) end)
      w:on("exit", function(code, signal) print(code, signal) end)
      for i = 1, 3 do w:send(i) end
      w:exit(4)
    ]], "done 1\ndone 2\ndone 3\n4\tnil\n")
  end,

  ["a listener that raises in the child is logged, and the exit still comes"] = function()
    local result = run [[
      local w = Worker.fork()
      if w:is_child() then
        w:on("message", function() error("bad message") end)
        return
      end
      w:on("exit", function(code) print(code) end)
      w:send(1)
      w:exit(4)
    ]]
    lu.assertStrContains(result.stderr, "bad message")
    lu.assertEquals(result.stdout, "4\n")
  end,

  ["after its end send and kill say that it is stopped"] = function()
    prints([[
      local w = Worker.fork()
      if w:is_child() then os.exit(0) end
      w:on("exit", function()
        print(w:send(1), select(2, w:send(1)).code)
        print(w:kill(), select(2, w:kill()).code)
        print(w:stop())
      end)
    ]], "nil\tstopped\nnil\tstopped\ntrue\n")
  end,

  ["kill sends a signal, stop ends it and its group"] = function()
    prints([[
      local w = Worker.fork()
      if w:is_child() then
        local sig = uv.new_signal()
        sig:start("sigusr1", function() w:send("got it") end)
        w:send("up")
        brood.sleep(60)
      end
      w:on("message", function(v)
        print(v)
        if v == "up" then w:kill("USR1") else print(w:stop(), w.exit_signal) end
      end)
      w:on("exit", function(code, signal) print(code, signal) end)
    ]], "up\ngot it\nnil\tTERM\ntrue\tTERM\n")
  end,

  ["when the parent is killed the child hears it, and ends"] = function()
    local script = s.script(HEAD .. [[
      local w = Worker.fork()
      if w:is_child() then
        w:on("disconnect", function() io.stderr:write("alone\n") end)
        w:on("message", function() end)
        print(w.pid)
        brood.sleep(60)
      end
      brood.sleep(60)
    ]])
    local pid = tonumber(script:expect "(%d+)\n")
    script:kill("KILL")
    script:wait()
    s.wait(function() return not s.alive(pid) end, 5)
    lu.assertStrContains(script:stderr(), "alone")
  end,

  ["a listener of disconnect that returns true lives on"] = function()
    local script = s.script(HEAD .. [[
      local w = Worker.fork()
      if w:is_child() then
        w:on("disconnect", function()
          brood.sleep(0.2, function() io.stderr:write("finished\n") os.exit(0) end)
          return true
        end)
        print(w.pid)
        brood.sleep(60)
      end
      brood.sleep(60)
    ]])
    local pid = tonumber(script:expect "(%d+)\n")
    script:kill("KILL")
    s.wait(function() return script:stderr():find("finished") end)
    s.wait(function() return not s.alive(pid) end, 5)
  end,

  ["a child that spins ends soon after its parent was killed"] = function()
    local script = s.script(HEAD .. [[
      local w = Worker.fork()
      if w:is_child() then
        print(w.pid)
        while true do end
      end
      brood.sleep(60)
    ]])
    local pid = tonumber(script:expect "(%d+)\n")
    script:kill("KILL")
    s.wait(function() return not s.alive(pid) end, 8)
  end,

  ["workers fork workers, and 50 of them leave nothing behind"] = function()
    prints([[
      local done = 0
      for i = 1, 50 do
        local w = Worker.fork()
        if w:is_child() then
          local inner = Worker.fork()
          if inner:is_child() then inner:send(i) return end
          inner:on("message", function(v) w:send(v * 2) end)
          inner:on("exit", function() w:exit() end)
          return
        end
        w:on("message", function(v) assert(v == i * 2) end)
        w:on("exit", function(code) assert(code == 0) done = done + 1 if done == 50 then print "all" end end)
      end
    ]], "all\n", 30)
  end,
}
