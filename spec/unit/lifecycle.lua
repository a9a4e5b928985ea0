--- Lifecycle: in order and in reverse, every call in every state, and what becomes of errors.
local lu = require "luaunit"
local brood = require "brood"
local Lifecycle = require "brood.lifecycle"
local logged = require "spec.support.logged"
local p = require "spec.support.process"
local s = require "spec.support"

-- A lifecycle whose functions note that they ran: made("a", "b", ...).
local function made(...)
  local life, log = Lifecycle.new "test", {}
  for _, title in ipairs { ... } do
    life:add(title, function() table.insert(log, "+" .. title) end, function() table.insert(log, "-" .. title) end)
  end
  return life, log
end

-- An item that starts (or stops) when its gate is opened; gate.waiting tells that it has begun.
local function gate()
  local self = {}
  function self.fn(done)
    self.waiting = true
    function self.open(err)
      self.waiting = false
      done(err)
    end
  end
  return self
end

local function text(log)
  return table.concat(log, " ")
end

local function fails(what, ok, err)
  lu.assertNil(ok, what)
  lu.assertNotNil(err, what)
  return err
end

return {
  ["items start in the order of their adding, and stop in reverse"] = function()
    local life, log = made("a", "b", "c")
    lu.assertEquals(life.state, "stopped")
    lu.assertTrue(life:start())
    lu.assertEquals(life.state, "ready")
    lu.assertTrue(life:stop())
    lu.assertEquals({ life.state, text(log) }, { "stopped", "+a +b +c -c -b -a" })
    lu.assertTrue(life:start())
    lu.assertTrue(life:stop())
    lu.assertEquals(text(log), "+a +b +c -c -b -a +a +b +c -c -b -a")
  end,

  ["functions may wait, call done, return or be left out"] = function()
    local life, log = Lifecycle.new(), {}
    life:add("waits", function() brood.sleep(0.01) table.insert(log, "waits") end)
    life:add("done", function(done)
      require("brood.timer").after(0.01, function() table.insert(log, "done") done() end)
    end)
    life:add("neither")
    life:add("stop", nil, function(done) table.insert(log, "stop") done() end)
    lu.assertTrue(life:start())
    lu.assertEquals(text(log), "waits done")
    lu.assertTrue(life:stop())
    lu.assertEquals(text(log), "waits done stop")
  end,

  ["the next one starts only once the one before has"] = function()
    local life, first = Lifecycle.new(), gate()
    local second = false
    life:add("first", first.fn)
    life:add("second", function() second = true end)
    local start = p.call(life, "start")
    s.remains(function() return first.waiting and not second and start.answers == 0 end, 0.05)
    lu.assertEquals(life.state, "starting")
    first.open()
    p.answered(start)
    lu.assertTrue(second)
  end,

  ["events come in order, each with its item"] = function()
    local life, list = Lifecycle.new(), {}
    life:on("*", function(name, item) table.insert(list, item and name .. " " .. item.title or name) end)
    life:add("a", function() table.insert(list, "runs") end)
    life:add("b")
    life:start()
    life:stop()
    lu.assertTrue(life:remove "a")
    lu.assertFalse(life:remove "a")
    lu.assertEquals(list, {
      "add a", "add b", "start a", "runs", "start b", "online", "stop b", "stop a", "offline", "remove a",
    })
  end,

  ["a thousand items need no stack"] = function()
    local life, count = Lifecycle.new(), 0
    for i = 1, 1000 do
      life:add("item " .. i, function() count = count + 1 end, function(done) count = count - 1 done() end)
    end
    lu.assertTrue(life:start())
    lu.assertEquals(count, 1000)
    lu.assertTrue(life:stop())
    lu.assertEquals(count, 0)
  end,

  ["a failed start stops what ran, in reverse, and its error arrives whole"] = function()
    local life, log = made("a", "b")
    life:add("c", function(done) done { message = "no port", code = "EADDRINUSE", port = 80 } end, function()
      table.insert(log, "-c")
    end)
    life:add("d", function() table.insert(log, "+d") end)
    local online = 0
    life:on("online", function() online = online + 1 end)
    life:on("offline", function() online = online + 1 end)
    local err = fails("start", life:start())
    lu.assertEquals({ err.message, err.code, err.port, err.item }, { "no port", "EADDRINUSE", 80, "c" })
    lu.assertEquals({ text(log), life.state, online }, { "+a +b -b -a", "stopped", 0 })
  end,

  ["raising is a failure, and so is returning nil and an error"] = function()
    for _, fn in ipairs {
      function() error "boom" end,
      function() return nil, { message = "boom" } end,
      function(done) done "boom" end,
      function(_) error { message = "boom" } end,
    } do
      local life = Lifecycle.new()
      life:add("x", fn)
      lu.assertStrContains(tostring(fails("start", life:start())), "boom")
    end
    local life = Lifecycle.new()
    life:add("x", function() error "boom" end)
    lu.assertStrContains(fails("start", life:start()).traceback, "stack traceback")
  end,

  ["after a failed stop the others still run; all errors are returned, and it is not offline"] = function()
    local life, log = made("a", "b", "c", "d")
    life.items[2].stop = function() error { message = "stuck", code = "EBUSY" } end
    life.items[4].stop = function(done) done "no way" end
    local offline = false
    life:on("offline", function() offline = true end)
    life:start()
    local err = fails("stop", life:stop())
    lu.assertEquals(text(log), "+a +b +c +d -c -a")
    lu.assertEquals(tostring(err), "d: no way; b: stuck")
    lu.assertEquals({ #err.errors, err.errors[1].item, err.errors[2].code }, { 2, "d", "EBUSY" })
    lu.assertEquals({ life.state, life.items[2].state, life.items[1].state, offline },
      { "faulted", "faulted", "stopped", false })
  end,

  ["what could not be stopped is given up by the next stop, or started by the next start"] = function()
    local life, log = made("a", "b")
    local stop = life.items[2].stop
    life.items[2].stop = function() error "stuck" end
    life:start()
    fails("stop", life:stop())
    lu.assertTrue(life:stop())
    lu.assertEquals({ life.state, life.items[2].state }, { "stopped", "stopped" })
    life:start()
    fails("stop", life:stop())
    life.items[2].stop = stop
    lu.assertTrue(life:start())
    lu.assertTrue(life:stop())
    lu.assertEquals(text(log), "+a +b -a +a +b -a +a +b -b -a")
  end,

  ["where a start fails and a stop after it as well, the error names both"] = function()
    local life = made "a"
    life.items[1].stop = function() error { message = "stuck" } end
    life:add("b", function() error { message = "boom", code = "EBOOM" } end)
    local err = fails("start", life:start())
    lu.assertEquals({ tostring(err), err.code, #err.errors, life.state },
      { "b: boom; a: stuck", "EBOOM", 2, "faulted" })
  end,

  ["a start that takes too long fails, and what ran is stopped"] = function()
    local life, log = made "a"
    life:add("slow", function(_) end, nil, { start_timeout = "50ms" })
    local err = fails("start", life:start())
    lu.assertEquals({ err.code, tostring(err) }, { "timeout", "slow: its start took longer than 0.05 s" })
    lu.assertEquals(text(log), "+a -a")
  end,

  ["a stop that takes too long is an error, and the others still stop"] = function()
    local life, log = made("a", "b")
    life:add("slow", nil, function(_) end, { stop_timeout = 0.05 })
    life:start()
    local err = fails("stop", life:stop())
    lu.assertEquals({ err.code, tostring(err) }, { "timeout", "slow: its stop took longer than 0.05 s" })
    lu.assertEquals(text(log), "+a +b -b -a")
  end,

  ["a failure that comes too late is logged; a second done means nothing"] = function()
    local life, late = Lifecycle.new(), nil
    life:add("slow", function(done) late = done end, nil, { start_timeout = 0.02 })
    lu.assertStrContains(logged(function()
      fails("start", life:start())
      late "after all"
      late()
    end), "slow: its start failed after its time: after all")
    life:remove "slow"
    life:add("twice", function(done) done() done() end)
    lu.assertTrue(life:start())
    lu.assertTrue(life:stop())
  end,

  ["add raises what is wrong at the caller's line"] = function()
    local life = made "a"
    for _, case in ipairs {
      { "already", "a" }, { "title", 5 }, { "title", "" }, { "start of 'x'", "x", 5 }, { "stop of 'x'", "x", nil, {} },
      { "did you mean 'start_timeout'", "x", nil, nil, { start_timeot = 1 } },
      { "option 'stop_timeout' must be", "x", nil, nil, { stop_timeout = "soon" } },
    } do
      local ok, why = pcall(function()
        local item = life:add(case[2], case[3], case[4], case[5])
        return item
      end)
      lu.assertFalse(ok)
      lu.assertStrContains(why, "spec/unit/lifecycle.lua:")
      lu.assertStrContains(why, case[1])
    end
    lu.assertEquals(#life.items, 1)
  end,

  -- ---- state x call ----

  ["start while starting joins"] = function()
    local life, item = Lifecycle.new(), gate()
    life:add("x", item.fn)
    local one, two = p.call(life, "start"), p.call(life, "start")
    item.open()
    p.answered(one, two)
    lu.assertNil(one.err or two.err)
  end,

  ["start while ready starts nothing but what was added since"] = function()
    local life, log = made("a", "b")
    local online = 0
    life:on("online", function() online = online + 1 end)
    life:start()
    lu.assertTrue(life:start())
    life:add("c", function() table.insert(log, "+c") end, function() table.insert(log, "-c") end)
    lu.assertEquals(text(log), "+a +b")
    lu.assertTrue(life:start())
    lu.assertTrue(life:stop())
    lu.assertEquals({ text(log), online }, { "+a +b +c -c -b -a", 1 })
  end,

  ["where what was added fails to start, only that start is undone"] = function()
    local life, log = made("a", "b")
    life:start()
    life:add("c", function() table.insert(log, "+c") end, function() table.insert(log, "-c") end)
    life:add("d", function() error "boom" end)
    fails("start", life:start())
    lu.assertEquals({ text(log), life.state }, { "+a +b +c -c", "ready" })
    lu.assertTrue(life:stop())
    lu.assertEquals(text(log), "+a +b +c -c -b -a")
  end,

  ["start while stopping starts when the stop is done"] = function()
    local life, log = made "a"
    local item = gate()
    life:add("x", nil, item.fn)
    life:start()
    local stop, start = p.call(life, "stop"), p.call(life, "start")
    lu.assertEquals({ life.state, start.answers }, { "stopping", 0 })
    item.open()
    p.answered(stop, start)
    lu.assertNil(stop.err or start.err)
    lu.assertEquals({ life.state, text(log) }, { "ready", "+a -a +a" })
  end,

  ["stop while stopped is answered at once"] = function()
    local life, log = made "a"
    lu.assertTrue(life:stop())
    lu.assertEquals(#log, 0)
  end,

  ["stop while starting lets the current item start, then stops all in reverse"] = function()
    local life, log = made "a"
    local item = gate()
    life:add("x", item.fn, function() table.insert(log, "-x") end)
    life:add("never", function() table.insert(log, "+never") end)
    local start, stop = p.call(life, "start"), p.call(life, "stop")
    lu.assertEquals({ life.state, start.answers, stop.answers }, { "stopping", 0, 0 })
    item.open()
    p.answered(start, stop)
    lu.assertEquals({ start.err.code, stop.err, text(log), life.state }, { "stopped", nil, "+a -x -a", "stopped" })
  end,

  ["stop while starting, where the current item fails"] = function()
    local life, log = made "a"
    local item = gate()
    life:add("x", item.fn, function() table.insert(log, "-x") end)
    local start, stop = p.call(life, "start"), p.call(life, "stop")
    item.open "boom"
    p.answered(start, stop)
    lu.assertEquals({ tostring(start.err), stop.err, text(log) }, { "boom", nil, "+a -a" })
  end,

  ["stop and start again while starting: both have their way"] = function()
    local life, log = made "a"
    local item = gate()
    life:add("x", item.fn)
    local first, stop, second = p.call(life, "start"), p.call(life, "stop"), p.call(life, "start")
    item.open()
    s.wait(function() return item.waiting end)
    item.open()
    p.answered(first, stop, second)
    lu.assertEquals({ first.err.code, stop.err, second.err, text(log) }, { "stopped", nil, nil, "+a -a +a" })
  end,

  ["stop while ready and while stopping: the second joins, and ends a start that waits"] = function()
    local life, item = Lifecycle.new(), gate()
    life:add("x", nil, item.fn)
    life:start()
    local one, start, two = p.call(life, "stop"), p.call(life, "start"), p.call(life, "stop")
    p.answered(start)
    lu.assertEquals(start.err.code, "stopped")
    item.open "stuck"
    p.answered(one, two)
    lu.assertEquals({ tostring(one.err), tostring(two.err), life.state }, { "x: stuck", "x: stuck", "faulted" })
  end,

  ["stop while what was added later is undone stops the rest as well"] = function()
    local life, log = made "a"
    life:start()
    local item = gate()
    life:add("b", nil, item.fn)
    life:add("c", function() error "boom" end)
    local start = p.call(life, "start")
    s.wait(function() return item.waiting end)
    local stop = p.call(life, "stop")
    item.open()
    p.answered(start, stop)
    lu.assertEquals({ stop.err, text(log), life.state }, { nil, "+a -a", "stopped" })
  end,

  ["an item added while others start has its turn after them"] = function()
    local life, log, item = Lifecycle.new(), {}, gate()
    life:add("x", item.fn)
    local start = p.call(life, "start")
    life:add("y", function() table.insert(log, "+y") end)
    item.open()
    p.answered(start)
    lu.assertEquals(text(log), "+y")
  end,

  ["an item removed before its turn is not started; one that runs is still stopped, but not started again"] = function()
    local life, log = made("a", "b", "c")
    local item = gate()
    life.items[1].start = item.fn
    local start = p.call(life, "start")
    life:remove "b"
    item.open()
    p.answered(start)
    life:remove "c"
    lu.assertTrue(life:stop())
    start = p.call(life, "start")
    item.open()
    p.answered(start)
    lu.assertTrue(life:stop())
    lu.assertEquals(text(log), "+c -c -a -a")
  end,

  ["a listener of offline may start it again, one of online stop it"] = function()
    local life, log = made "a"
    local again
    life:once("offline", function() again = p.call(life, "start") end)
    life:start()
    lu.assertTrue(life:stop())
    p.answered(again)
    lu.assertEquals({ life.state, again.err }, { "ready", nil })
    life:stop()
    local stop
    life:once("online", function() stop = p.call(life, "stop") end)
    lu.assertTrue(life:start())
    p.answered(stop)
    lu.assertEquals(text(log), "+a -a +a -a +a -a")
  end,
}
