--- Channels between two real processes: order and speed, large values, descriptors, ends of either side.
local lu = require "luaunit"
local s = require "spec.support"

local T = {}

-- Runs `parent` (Lua; `w` is the Worker) beside a child that runs `child`, and returns all that was printed.
local function run(child, parent, timeout)
  local program = s.script(([[
    local Worker, posix, uv = require "brood.worker", require "brood.posix", require "luv"
    io.stdout:setvbuf("line")
    local w = Worker.fork()
    if w:is_child() then
      %s
    else
      w:on("exit", function(code, signal) print("exit " .. tostring(code) .. " " .. tostring(signal)) end)
      %s
    end
  ]]):format(child, parent))
  return program:finish(timeout or 30)
end

T["a hundred thousand messages arrive in order"] = function()
  local result = run([[
    local n = 0
    w:on("message", function(v)
      n = n + 1
      assert(v.n == n and v.text == "hello", "out of order")
      if n == 100000 then w:send("all") end
    end)
  ]], [[
    for i = 1, 100000 do w:send { n = i, text = "hello" } end
    w:on("message", function(v) print(v) w:exit() end)
  ]])
  lu.assertEquals(result.stdout, "all\nexit 0 nil\n")
end

T["64 MB of text go there and back"] = function()
  local result = run([[
    w:on("message", function(v) w:send(v) end)
  ]], [[
    local text = ("0123456789abcdef"):rep(4 * 1024 * 1024)
    w:send(text)
    w:on("message", function(v) print(v == text) w:exit() end)
  ]])
  lu.assertEquals(result.stdout, "true\nexit 0 nil\n")
end

T["a descriptor works in the other process"] = function()
  local result = run([[
    w:on("message", function(v, fd)
      posix.write(fd, v .. " from the child")
      w:exit(4)
    end)
  ]], [[
    local r, x = posix.pipe()
    w:send("hello", x)
    posix.close(x)
    w:on("exit", function() print(posix.read(r, 100)) end)
  ]])
  lu.assertEquals(result.stdout, "exit 4 nil\nhello from the child\n")
end

T["what a child sent before its end arrives before its exit"] = function()
  local result = run([[
    for i = 1, 3 do w:send(i) end
    w:exit(5)
  ]], [[
    w:on("message", function(v) print(v) end)
  ]])
  lu.assertEquals(result.stdout, "1\n2\n3\nexit 5 nil\n")
end

T["a child that the parent stops reading from is slowed down, not lost"] = function()
  local result = run([[
    local text, sent = ("x"):rep(100000), 0
    local function more()
      while sent < 300 do
        sent = sent + 1
        if w:send(text) == false then return end
      end
      w:exit()
    end
    w:on("drain", more)
    more()
  ]], [[
    local n = 0
    require("brood").sleep(0.2)
    w:on("message", function(v) n = n + #v end)
    w:on("exit", function() print(n) end)
  ]])
  lu.assertEquals(result.stdout, "exit 0 nil\n30000000\n")
end

T["sending to a child that has ended says stopped"] = function()
  local result = run([[
    w:exit()
  ]], [[
    w:on("exit", function()
      local ok, err = w:send(1)
      print(ok, err.code)
    end)
  ]])
  lu.assertEquals(result.stdout, "exit 0 nil\nnil\tstopped\n")
end

T["a child learns that its parent was killed"] = function()
  local dir = s.temp_dir()
  local program = s.script(([[
    local w = require("brood.worker").fork()
    if w:is_child() then
      w:on("disconnect", function()
        io.open(%q, "w"):write("gone"):close()
      end)
      w:on("message", function() end)
      w:send(w.pid)
    else
      w:on("message", function() io.stdout:write("up\n") io.stdout:flush() end)
    end
  ]]):format(dir .. "/told"))
  program:expect("up")
  program:kill("KILL")
  program:wait()
  s.wait(function()
    return s.read_file(dir .. "/told") == "gone"
  end, 10, "the child's disconnect")
end

return T
