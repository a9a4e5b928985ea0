--- Another child in place of one that ended unasked: after a delay, with more and more patience, and only then.
local lu = require "luaunit"
local c = require "spec.support.child"
local clock = require "brood.clock"
local p = require "spec.support.process"
local s = require "spec.support"

local PLAIN = 'Child.main("plain")'

-- The pids of those that came in place of others.
local function respawns(child)
  local list = {}
  child:on("respawn", function(pid)
    table.insert(list, pid)
  end)
  return list
end

local function counted(child, event)
  local list = {}
  child:on(event, function(...)
    table.insert(list, { at = clock.now(), ... })
  end)
  return list
end

return {
  teardown = c.cleanup,

  ["by default one that ends unasked is started again, whatever ended it"] = function()
    local child = c.new(c.write(PLAIN), { respawn_delay = 0.05 })
    local pids = respawns(child)
    child:start()
    local first = child.pid
    lu.assertTrue(child:kill "KILL")
    s.wait(function() return #pids == 1 end)
    lu.assertNotEquals(pids[1], first)
    lu.assertEquals({ child.pid, child.state }, { pids[1], "ready" })
    child:kill() -- TERM: it ends well, but nobody has stopped it
    s.wait(function() return #pids == 2 end)
    lu.assertTrue(child:stop())
    lu.assertEquals(#pids, 2)
  end,

  ["respawn = false leaves it ended"] = function()
    local child = c.lua(PLAIN, { respawn_delay = 0 })
    local pids, exits = respawns(child), counted(child, "exit")
    child:start()
    child:kill "KILL"
    s.wait(function() return #exits == 1 end)
    s.remains(function() return #pids == 0 and child.state == "stopped" end, 0.3)
  end,

  ["a stop is an end that was asked for, also where KILL ended it"] = function()
    local child = c.new(c.write 'Child.main("x", nil, function(_) end)', { respawn_delay = 0, stop_timeout = 0.1 })
    local pids = respawns(child)
    child:start()
    lu.assertTrue(child:stop())
    lu.assertEquals(child.exit_signal, "KILL")
    s.remains(function() return #pids == 0 and child.state == "stopped" end, 0.3)
  end,

  ["the first start that fails is not tried again"] = function()
    local child = c.new(c.write 'Child.main("x", function() error "boom" end)', { respawn_delay = 0 })
    local exits = counted(child, "exit")
    lu.assertNil((child:start()))
    s.wait(function() return #exits == 1 end)
    s.remains(function() return #exits == 1 and child.state == "stopped" end, 0.3)
  end,

  ["the delay counts from the end, and a crash loop backs off"] = function()
    local child = c.new(c.write [[
      Child.main("x", function() require("brood.timer").after(0.01, function() os.exit(3) end) end)
    ]], { respawn_delay = 0.1 })
    local exits, pids = counted(child, "exit"), counted(child, "respawn")
    child:start()
    s.wait(function() return #pids == 3 end, 30)
    for i, delay in ipairs { 0.1, 0.2, 0.4 } do
      lu.assertTrue(pids[i].at - exits[i].at >= delay * 0.95, ("the delay %d"):format(i))
    end
    lu.assertEquals(exits[1][1], 3)
    child:stop()
  end,

  ["without a delay the first is replaced at once, and a crash loop backs off all the same"] = function()
    local child = c.new(c.write [[
      Child.main("x", function() require("brood.timer").after(0.01, function() os.exit(3) end) end)
    ]], { respawn_delay = 0 })
    local exits, pids = counted(child, "exit"), counted(child, "respawn")
    child:start()
    s.wait(function() return #pids == 3 end, 30)
    lu.assertTrue(pids[3].at - exits[3].at >= 0.15)
    child:stop()
  end,

  ["replacements that fail to start are errors, and tried again until one does"] = function()
    local path = s.write_file("state", "good")
    local child = c.new(c.write [[
      Child.main("x", function()
        local f = io.open(arg[1]) local text = f:read "*a" f:close()
        if text ~= "good" then error { message = "no database", code = "EDB" } end
      end)
    ]], { args = { path }, respawn_delay = 0.05 })
    local errors, pids = counted(child, "error"), respawns(child)
    child:start()
    s.write_file(path, "bad")
    child:kill "KILL"
    s.wait(function() return #errors >= 2 end)
    lu.assertEquals({ errors[1][1].message, errors[1][1].code, #pids }, { "no database", "EDB", 0 })
    s.write_file(path, "good")
    s.wait(function() return #pids == 1 end, 30)
    lu.assertEquals(child.state, "ready")
    child:stop()
  end,

  ["stop while it waits to be started again: nothing more is started"] = function()
    local child = c.new(c.write(PLAIN), { respawn_delay = 0.2 })
    local exits, pids = counted(child, "exit"), respawns(child)
    child:start()
    child:kill "KILL"
    s.wait(function() return #exits == 1 end)
    lu.assertEquals(child.state, "stopped")
    lu.assertEquals(select(2, child:kill()).code, "stopped")
    lu.assertEquals(select(2, child:send(1)).code, "stopped")
    lu.assertTrue(child:stop())
    s.remains(function() return #pids == 0 and child.state == "stopped" end, 0.5)
  end,

  ["start while it waits to be started again starts it at once"] = function()
    local child = c.new(c.write(PLAIN), { respawn_delay = 60 })
    local exits, pids = counted(child, "exit"), respawns(child)
    child:start()
    child:kill "KILL"
    s.wait(function() return #exits == 1 end)
    lu.assertTrue(child:start())
    lu.assertEquals({ child.state, #pids }, { "ready", 0 })
    child:stop()
  end,

  ["start while a replacement starts joins, and hears of its failure in place of the event"] = function()
    local path = s.write_file("state", "good")
    local child = c.new(c.write [[
      local f = io.open(arg[1]) local text = f:read "*a" f:close()
      local go
      if text ~= "good" then brood.worker:once("message", function() go "boom" end) end
      Child.main("x", function(done) go = done if text == "good" then done() else brood.worker:send "starting" end end)
    ]], { args = { path }, respawn_delay = 0 })
    local list, errors = c.messages(child), counted(child, "error")
    child:start()
    s.write_file(path, "bad")
    child:kill "KILL"
    s.wait(function() return list[1] end)
    local start = p.call(child, "start")
    child:send "go"
    p.answered(start)
    lu.assertEquals({ tostring(start.err), #errors }, { "boom", 0 })
    child:stop()
  end,

  ["stop while a replacement starts ends that, and start while it stops starts one"] = function()
    local child = c.new(c.write [[
      local go
      brood.worker:on("message", function() go() end)
      Child.main("x", function(done) go = done brood.worker:send "starting" end)
    ]], { respawn_delay = 0 })
    local list, pids, errors = c.messages(child), respawns(child), counted(child, "error")
    local start = p.call(child, "start")
    s.wait(function() return #list == 1 end)
    child:send "go"
    p.answered(start)
    child:kill "KILL"
    s.wait(function() return #list == 2 end)
    local stop = p.call(child, "stop")
    child:send "go"
    p.answered(stop)
    s.remains(function() return #pids == 0 and #errors == 0 and child.state == "stopped" end, 0.3)
  end,

  ["Child.once that is done is over; one that failed is started again"] = function()
    local child = c.new(c.write [[
      local f = io.open(arg[1]) local text = f:read "*a" f:close()
      f = io.open(arg[1], "w") f:write(text .. "x") f:close()
      Child.once("x", function(done) if #text < 2 then error "not yet" end done() end)
    ]], { args = { s.write_file("count", "") }, respawn_delay = 0 })
    local exits, errors = counted(child, "exit"), counted(child, "error")
    lu.assertTrue(child:start())
    s.wait(function() return #exits == 3 end, 30)
    lu.assertEquals({ exits[1][1], exits[2][1], exits[3][1], #errors }, { 1, 1, 0, 2 })
    s.remains(function() return #exits == 3 and child.state == "stopped" end, 0.3)
  end,

  ["an end of this process while one waits to be started again starts nothing"] = function()
    local text = ([[
      local Child, brood = require "brood.child", require "brood"
      local child = Child.new(%q, { respawn_delay = 1 })
      child:on("respawn", function() print "respawned" end)
      child:start()
      child:once("exit", function() print "waiting" io.stdout:flush() end)
      child:kill "KILL"
      brood.sleep(60)
    ]]):format(c.write(PLAIN, "plain.lua"))
    local program = s.script(text)
    program:expect "waiting\n"
    program:kill "TERM"
    lu.assertEquals({ program:wait() }, { nil, 15 })
    lu.assertEquals(program:stdout(), "waiting\n")
  end,
}
