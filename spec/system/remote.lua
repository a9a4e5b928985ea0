--- Requests over the channel: what a process asks of its master, answers, orders, events, and what becomes of all that
--- at an end. Both ends live in this process; spec/system/pool_client.lua has them in two.
local brood = require "brood"
local core = require "brood.core"
local E = require "brood.error"
local lu = require "luaunit"
local peers = require "brood.peer"
local remote = require "brood.remote"
local s = require "spec.support"
local uv = require "luv"

local T = {}
local open, before

uv.new_pipe(false):close() -- libuv's first stream opens /dev/null for good

local function new(fd, role)
  local peer = assert(peers.new(fd, { role = role, name = "the spec's " .. role, disconnect = function() end }))
  open[#open + 1] = peer
  return peer
end

-- Both ends: the master's peer, and the line of the process that asks.
local function both()
  local a, b = assert(core.channel.pair())
  local master, child = new(a, "parent"), new(b, "child")
  master:hold_loop(true)
  brood.worker = { pid = core.posix.getpid(), peer = child }
  return master, remote.line(), child
end

function T.setup()
  open, before = {}, brood.worker
end

function T.teardown()
  for _, peer in ipairs(open) do
    peer:close()
  end
  rawset(brood, "worker", before)
  for _, name in ipairs { "room", "other" } do
    remote.room(name, nil)
  end
end

local function ask(line, ...)
  local args, n = { ... }, select("#", ...)
  local task = require "brood.task"
  return task.run(nil, "ask", function(done)
    line:call(done, unpack(args, 1, n))
  end)
end

T["a call is answered with all its values, nil and false among them"] = function()
  local _, line = both()
  remote.room("room", { methods = {
    echo = function(_, ...)
      return ...
    end,
  } })
  lu.assertEquals({ ask(line, "room", "echo", 1, "two", { 3 }) }, { 1, "two", { 3 } })
  local a, b, c = ask(line, "room", "echo", false, nil, "x")
  lu.assertEquals(a, false)
  lu.assertNil(b)
  lu.assertEquals(c, "x")
  lu.assertNil((ask(line, "room", "echo", nil)))
end

T["answers find the calls that they belong to, whatever their order"] = function()
  local _, line = both()
  remote.room("room", { methods = {
    after = function(_, seconds)
      brood.sleep(seconds)
      return seconds
    end,
  } })
  local got = {}
  for _, seconds in ipairs { 0.03, 0.02, 0.01 } do
    line:call(function(_, value)
      got[#got + 1] = value
    end, "room", "after", seconds)
  end
  s.wait(function() return #got == 3 end)
  lu.assertEquals(got, { 0.01, 0.02, 0.03 })
end

T["an error comes whole: its message, code, fields and traceback"] = function()
  local _, line = both()
  remote.room("room", { methods = {
    fails = function()
      local err = E.new("ENOENT", "no such thing")
      err.path = "/x"
      return nil, err
    end,
    raises = function()
      error { message = "raised", code = "mine", deep = { 1 } }
    end,
    text = function()
      error "in words"
    end,
  } })
  local value, err = ask(line, "room", "fails")
  lu.assertNil(value)
  lu.assertEquals({ err.message, err.code, err.path }, { "no such thing", "ENOENT", "/x" })
  _, err = ask(line, "room", "raises")
  lu.assertEquals({ err.message, err.code, err.deep[1] }, { "raised", "mine", 1 })
  lu.assertStrContains(err.traceback, "remote.lua")
  _, err = ask(line, "room", "text")
  lu.assertStrContains(tostring(err), "in words")
end

T["what nobody answers is an error at once, and so is what cannot be sent"] = function()
  local _, line = both()
  remote.room("room", { methods = {
    bad = function()
      return print
    end,
  } })
  local _, err = ask(line, "nowhere", "x")
  lu.assertEquals(err.code, "unknown")
  _, err = ask(line, "room", "nothing")
  lu.assertEquals(err.code, "unknown")
  _, err = ask(line, "room", "bad", print)
  lu.assertEquals(err.code, "type")
  _, err = ask(line, "room", "bad")
  lu.assertEquals(err.code, "type")
  lu.assertEquals(next(line.waiting), nil)
end

T["orders are heard in their order, and one that raises harms nobody"] = function()
  local _, line = both()
  local got = {}
  remote.room("room", { methods = {
    note = function(caller, value)
      got[#got + 1] = value
      caller:tell("room", "noted", value)
    end,
  } })
  local told = {}
  line:listen("room", { event = function(what, value)
    told[#told + 1] = what .. value
  end })
  for i = 1, 3 do
    lu.assertTrue(line:order("room", "note", i))
  end
  line:order("room", "no such", 1)
  line:order("nowhere", "note", 1)
  s.wait(function() return #told == 3 end)
  lu.assertEquals(got, { 1, 2, 3 })
  lu.assertEquals(told, { "noted1", "noted2", "noted3" })
end

T["a call whose master goes is answered with the code stopped, and one after it too"] = function()
  local master, line = both()
  local asked, gone = false, nil
  remote.room("room", { methods = {
    never = function()
      asked = true
      return require("brood.task").run(nil, "never", function() end)
    end,
  } })
  line:listen("room", { event = function() end, gone = function(err)
    gone = err.code
  end })
  local code
  line:call(function(err)
    code = err.code
  end, "room", "never")
  s.wait(function() return asked end)
  master:close()
  s.wait(function() return code end)
  lu.assertEquals(code, "stopped")
  lu.assertEquals(gone, "stopped")
  local _, err = ask(line, "room", "never")
  lu.assertEquals(err.code, "stopped")
  lu.assertNil((line:order("room", "never")))
end

T["the master hears once of the end of a process that has asked"] = function()
  local master, line, child = both()
  local gone = {}
  remote.room("room", {
    methods = { hello = function(caller) return caller.number end },
    gone = function(caller)
      gone[#gone + 1] = caller.number
    end,
  })
  local number = ask(line, "room", "hello")
  child:close()
  s.wait(function() return #gone == 1 end)
  master:close()
  lu.assertEquals(gone, { number })
end

T["an answer to a process that is gone meanwhile is dropped"] = function()
  local master, line, child = both()
  local go
  remote.room("room", { methods = {
    wait = function()
      return require("brood.task").run(nil, "wait", function(done) go = done end)
    end,
  } })
  line:call(function() end, "room", "wait")
  s.wait(function() return go end)
  child:close()
  s.wait(function() return master.closed end)
  go(nil, "late")
end

T["frames of any make do no harm"] = function()
  local _, line, child = both()
  remote.room("room", { methods = { ok = function() return 1 end } })
  for _, value in ipairs {
    1, "x", {}, { 99, 2, 3, -1 }, { 99, "room", "ok", 1e9 }, { 99, {}, {}, 0 }, { 99, "room", "ok", 0.5 },
    { {}, "", "", 1 },
  } do
    child:post("call", value)
    child:post("order", value)
  end
  child:post "call"
  lu.assertEquals(ask(line, "room", "ok"), 1)
end

T["a copy of the process has no line"] = function()
  both()
  brood.worker.pid = 1
  lu.assertNil(remote.line())
  rawset(brood, "worker", nil)
  lu.assertNil(remote.line())
end

T["a process that waits for an answer runs on, and no longer than that"] = function()
  local _, line, child = both()
  remote.room("room", { methods = {
    after = function()
      brood.sleep(0.01)
      return 1
    end,
  } })
  local over
  lu.assertFalse(child.held)
  line:call(function() over = true end, "room", "after")
  lu.assertTrue(child.held)
  s.wait(function() return over end)
  lu.assertFalse(child.held)
end

return T
