--- A group keeps so many processes: started, kept, scaled and stopped.
local lu = require "luaunit"
local E = require "brood.error"
local s = require "spec.support"
local p = require "spec.support.process"

-- A group whose members run a shell text, or what `text(member)` returns.
local function new(text, options, process_options)
  options = options or {}
  options.name = "test"
  options.make = options.make or function(member)
    local more = {}
    for name, value in pairs(process_options or {}) do more[name] = value end
    return p.sh(type(text) == "function" and text(member) or text, more)
  end
  return p.group(options)
end

local function pids(self)
  local list = {}
  for _, member in ipairs(self:current()) do
    table.insert(list, member.process.pid)
  end
  return list
end

local function alive_count(list)
  local n = 0
  for _, pid in ipairs(list) do
    n = n + (s.alive(pid) and 1 or 0)
  end
  return n
end

local function settled(self, n)
  s.wait(function() return self:ready_count() == n end, 10, n .. " ready members")
end

local FAILS = { ready = { socket = "/nowhere/s" } } -- never ready: its end is a failed start

return {
  teardown = p.cleanup,

  ["start starts all of them, stop leaves none"] = function()
    local self = new("exec sleep 60", { size = 3 })
    local events = {}
    self:on("*", function(name) table.insert(events, name) end)
    lu.assertTrue(self:start())
    lu.assertEquals({ self:ready_count(), self.state }, { 3, "running" })
    lu.assertTrue(self:start())
    local list = pids(self)
    lu.assertTrue(self:stop())
    lu.assertEquals({ alive_count(list), self.state, next(self.members) }, { 0, "stopped" })
    lu.assertEquals(events, { "online", "online", "online", "started", "stopping", "exit", "exit", "exit", "stopped" })
    lu.assertTrue(self:stop())
  end,

  ["it starts again after a stop, and during one"] = function()
    local self = new("exec sleep 60", { size = 2 })
    self:start()
    local stop, start = p.call(self, "stop"), p.call(self, "start")
    p.answered(stop, start)
    lu.assertEquals({ stop.err, start.err, self:ready_count() }, { nil, nil, 2 })
    local stop1, start1, stop2 = p.call(self, "stop"), p.call(self, "start"), p.call(self, "stop")
    p.answered(stop1, start1, stop2)
    lu.assertEquals({ stop1.err, start1.err.code, stop2.err, self.state }, { nil, "stopped", nil, "stopped" })
  end,

  ["a size of 0 starts and stops"] = function()
    local self = new("exec sleep 60", { size = 0 })
    lu.assertTrue(self:start())
    lu.assertTrue(self:stop())
  end,

  ["a start of which none becomes ready fails with the error, and leaves nothing"] = function()
    local tries = 0
    local self = new(function() tries = tries + 1 return "exit 3" end, { size = 2 }, FAILS)
    local start, another = p.call(self, "start"), p.call(self, "start")
    p.answered(start, another)
    lu.assertEquals({ start.err.code, another.err.code, start.err.exit_code }, { "exit", "exit", 3 })
    lu.assertEquals(self.state, "stopped")
    lu.assertEquals(tries, 6)
    s.remains(function() return tries == 6 end, 0.3)
  end,

  ["one that keeps failing does not fail the start of the others, and is tried again"] = function()
    local fails = true
    local self = new("exec sleep 60", { size = 3, make = function(member)
      if member.slot == 2 and fails then
        return p.sh("exit 3", FAILS)
      end
      return p.sh "exec sleep 60"
    end })
    lu.assertTrue(self:start())
    lu.assertEquals(self:ready_count(), 2)
    fails = false
    settled(self, 3)
  end,

  ["a maker that returns an error, or raises, is a failed start"] = function()
    local self = new(nil, { make = function() return nil, E.new("hook", "not today") end })
    local ok, err = self:start()
    lu.assertEquals({ ok, err.code, err.message }, { nil, "hook", "not today" })
    self = new(nil, { make = function() error("broken hook") end })
    ok, err = self:start()
    lu.assertNil(ok)
    lu.assertStrContains(tostring(err), "broken hook")
    lu.assertEquals({ self.state, next(self.members) }, { "stopped" })
  end,

  ["one told to go while it is still being made is never started"] = function()
    local go, made = false, 0
    local self = new(nil, { make = function()
      s.wait(function() return go end)
      made = made + 1
      return p.sh("echo never >&2; exec sleep 60")
    end })
    local start, stop = p.call(self, "start"), p.call(self, "stop")
    lu.assertEquals(stop.answers, 0)
    go = true
    p.answered(start, stop)
    lu.assertEquals({ start.err.code, stop.err, made, self.state }, { "stopped", nil, 1, "stopped" })
    lu.assertEquals(s.child_pids(), {})
  end,

  ["one that dies is replaced in its slot, at once"] = function()
    local self = new("exec sleep 60", { size = 2 })
    local exits = {}
    self:on("exit", function(member, code, signal)
      table.insert(exits, { member.slot, code, signal, member.reason })
    end)
    self:start()
    local second = self:current()[2].id
    self:current()[1].process:signal "KILL"
    s.wait(function() return #exits == 1 end)
    settled(self, 2)
    lu.assertEquals(exits, { { 1, nil, "KILL", "signal" } })
    lu.assertEquals({ self:current()[1].id, self:current()[2].id }, { 3, second })
  end,

  ["without respawn it is not"] = function()
    local self = new("exec sleep 60", { size = 2, respawn = false })
    self:start()
    self:current()[1].process:signal "TERM"
    settled(self, 1)
    s.remains(function() return self:ready_count() == 1 end, 0.2)
    self:stop()
    local failing = new("exit 3", { respawn = false }, FAILS)
    local ok, err = failing:start()
    lu.assertEquals({ ok, err.code }, { nil, "exit" })
  end,

  ["one that dies again and again waits longer and longer"] = function()
    local starts = 0
    local self = new(function() starts = starts + 1 return "exit 1" end,
      { after_ready = { immediate = 2, delay = 0.2, factor = 10, jitter = 0, stable_after = 5 } })
    self:start()
    s.wait(function() return starts == 4 end) -- the first, two at once, one after 0.2 s; the next only after 2 s
    s.remains(function() return starts == 4 end, 0.4)
    local seconds = s.timed(self.stop, self)
    lu.assertTrue(seconds < 1.5, "the stop waited for the next try")
  end,

  ["too many ends in too short a time, and it is given up"] = function()
    local starts, faulted = 0, {}
    local self = new(function() starts = starts + 1 return "exit 1" end,
      { after_ready = { immediate = 10, max_exits = 3, window = 60 } })
    self:on("faulted", function(member, err) table.insert(faulted, { member.process.state, err.code }) end)
    self:start()
    s.wait(function() return faulted[1] end)
    s.remains(function() return starts == 3 end, 0.2)
    lu.assertEquals(faulted, { { "faulted", "faulted" } })
  end,

  ["scale starts more, and ends the surplus"] = function()
    local self = new("exec sleep 60", { size = 1 })
    self:start()
    lu.assertTrue(self:scale(4))
    lu.assertEquals(self:ready_count(), 4)
    local list = pids(self)
    lu.assertTrue(self:scale(1))
    lu.assertEquals({ self:ready_count(), alive_count(list), s.alive(list[1]) }, { 1, 1, true })
    lu.assertTrue(self:scale(0))
    lu.assertEquals(alive_count(list), 0)
    lu.assertTrue(self:scale(2))
    self:stop()
    lu.assertTrue(self:scale(3))
    self:start()
    lu.assertEquals(self:ready_count(), 3)
    lu.assertErrorMsgContains("whole number", self.scale, self, 1.5)
  end,

  ["scale during a start, both ways"] = function()
    local self = new(nil, { size = 3, make = function(member)
      return member.slot == 1 and p.sh "exec sleep 60" or p.sh("exec sleep 60", FAILS)
    end })
    local start = p.call(self, "start")
    lu.assertEquals(start.answers, 0)
    local scale = p.call(self, "scale", 1)
    p.answered(start, scale)
    lu.assertEquals({ start.err, scale.err, self:ready_count() }, { nil, nil, 1 })
    self:stop()
    self.make = function() return p.sh "exec sleep 60" end
    start, scale = p.call(self, "start"), p.call(self, "scale", 5)
    p.answered(start, scale)
    settled(self, 5)
  end,

  ["a stop during a start, a scale and a respawn ends all of them"] = function()
    local self = new("exec sleep 60", { size = 2 }, FAILS)
    local start, scale, stop = p.call(self, "start"), p.call(self, "scale", 4), p.call(self, "stop")
    p.answered(start, scale, stop)
    lu.assertEquals({ start.err.code, scale.err.code, stop.err, self.state }, { "stopped", "stopped", nil, "stopped" })
    lu.assertEquals(s.child_pids(), {})
  end,

  ["kill ends all at once, and they are replaced"] = function()
    local self = new("trap '' TERM; while :; do sleep 0.02; done", { size = 3 })
    self:start()
    local list = pids(self)
    self:kill()
    s.wait(function() return alive_count(list) == 0 end)
    settled(self, 3)
  end,
}
