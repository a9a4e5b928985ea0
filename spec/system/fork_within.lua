--- A fork inside something that the runtime has called: what stands on the stack below belongs to the parent, and
--- goes on there alone.
local lu = require "luaunit"
local s = require "spec.support"
local scripts = require "spec.support.scripts"

local HEAD = scripts.FORKS .. [[
  local Process, Worker = require "brood.process", require "brood.worker"
  local forked = false
  local function fork_once()
    if forked then return end
    forked = true
    local pid = posix.fork()
    if pid == 0 then say "the child" return end
    posix.waitpid(pid)
  end
]]

local function lines_of(text)
  return scripts.lines(HEAD .. text)
end

return {
  ["what follows brood.async runs in the parent alone"] = function()
    lu.assertEquals(lines_of [[
      brood.async(fork_once)
      say("after in " .. who())
    ]], { "after in parent", "the child" })
  end,

  ["the other listeners, and what follows emit, run in the parent alone"] = function()
    lu.assertEquals(lines_of [[
      local e = require("brood.emitter").new()
      e:on("x", fork_once)
      e:on("x", function() say("second in " .. who()) end)
      brood.sleep(0.01)
      e:emit("x")
      say("after in " .. who())
    ]], { "after in parent", "second in parent", "the child" })
  end,

  ["a process whose listener forks while it starts is started once"] = function()
    lu.assertEquals(lines_of [[
      local p = Process.new { command = { "echo", "started" } }
      p:once("starting", fork_once)
      p:start()
      p:wait()
      say("waited in " .. who())
    ]], { "started", "the child", "waited in parent" })
  end,

  ["an output function that forks leaves the pipe to the parent"] = function()
    lu.assertEquals(lines_of [[
      local p = Process.new {
        command = { "sh", "-c", "echo a; echo b; sleep 0.05; echo c" },
        stdout = function(line) fork_once() say(line .. " in " .. who()) end,
      }
      p:start()
      p:wait()
    ]], { "a in child", "a in parent", "b in parent", "c in parent", "the child" })
  end,

  ["a group whose listener forks is not doubled"] = function()
    lu.assertEquals(lines_of [[
      local group = require("brood.group").new { name = "g", size = 1, make = function()
        return Process.new { main = function() say "member" brood.sleep(30) end }
      end }
      group:on("exit", fork_once)
      group:start()
      brood.sleep(0.05)
      group:kill()
      brood.sleep(0.2)
      group:stop()
    ]], { "member", "member", "the child" })
  end,

  ["what a Lua child supervises ends with this process, os.exit included"] = function()
    for _, make in ipairs {
      "Process.new { main = family }:start()",
      "local w = Worker.fork() if w:is_child() then family() end",
    } do
      local script = s.script(HEAD .. [[
        local function family()
          local text = "sleep 60 & echo $!; wait"
          Process.new { command = { "sh", "-c", text }, stdout = function(line)
            say(line)
            io.open("said", "w"):close()
          end }:start()
          brood.sleep(60)
        end
        ]] .. make .. [[

        while not io.open "said" do
          brood.sleep(0.02)
        end
        os.remove "said"
        os.exit(5)
      ]])
      lu.assertEquals(script:finish().code, 5)
      local pid = tonumber(script:stdout():match("%d+"))
      s.wait(function() return not s.alive(pid) end, 2, "the end of the grandchild")
    end
  end,
}
