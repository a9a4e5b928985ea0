--- A roll of a group: every member replaced, the new one first.
local lu = require "luaunit"
local s = require "spec.support"
local p = require "spec.support.process"

local NEVER = { ready = { socket = "/nowhere/s" } }

local function good()
  return p.sh "exec sleep 60"
end

local function failing()
  return p.sh("exit 3", NEVER)
end

-- Ready after so many seconds.
local function late(seconds)
  return function()
    return p.script(("brood.sleep(%g) brood.worker:ready() brood.sleep(60)"):format(seconds), { ready = "channel" })
  end
end

local function never_ready()
  return p.sh("exec sleep 60", NEVER)
end

-- A group that runs; `make` can be changed for the members to come.
local function running(size, options)
  options = options or {}
  options.name, options.size, options.make = "test", size, good
  local self = p.group(options)
  assert(self:start())
  return self
end

local function ids(self)
  local list = {}
  for _, member in ipairs(self:current()) do
    table.insert(list, member.id)
  end
  return list
end

local function members(self)
  local n = 0
  for _ in pairs(self.members) do n = n + 1 end
  return n
end

local function roll(self)
  local replaced, err = self:roll("reload")
  return replaced or err.replaced, err
end

return {
  teardown = p.cleanup,

  ["every member is replaced, and never fewer serve than before"] = function()
    local self = running(3)
    local least, reasons = 3, {}
    self:on("*", function() least = math.min(least, self:ready_count()) end)
    self:on("exit", function(member) table.insert(reasons, member.reason) end)
    lu.assertEquals(roll(self), 3)
    lu.assertEquals(ids(self), { 4, 5, 6 })
    s.wait(function() return members(self) == 3 end)
    lu.assertEquals({ least, reasons }, { 3, { "reload", "reload", "reload" } })
  end,

  ["surge is how many come at once, after the first alone"] = function()
    for surge, most in pairs { [1] = 1, [2] = 2, [10] = 4 } do
      local self = running(5, { surge = surge })
      local coming, seen = 0, 0
      self.make = function()
        coming = coming + 1
        seen = math.max(seen, coming)
        local process = p.script([[
          brood.sleep(0.03)
          brood.worker:ready()
          brood.worker:on("message", function() end)
        ]], { ready = "channel" })
        process:once("ready", function() coming = coming - 1 end)
        return process
      end
      lu.assertEquals(roll(self), 5)
      lu.assertEquals(seen, most)
      self:stop()
    end
  end,

  ["pause lies between two replacements"] = function()
    local self = running(3, { pause = 0.1 })
    local seconds, replaced = s.timed(roll, self)
    lu.assertEquals(replaced, 3)
    lu.assertTrue(seconds >= 0.2 and seconds < 2 * s.slow)
  end,

  ["the first replacement that fails halts it, and all old ones stay"] = function()
    local self = running(3, { surge = 3 })
    local tries = 0
    self.make = function() tries = tries + 1 return failing() end
    local replaced, err = roll(self)
    lu.assertEquals({ replaced, err.code, err.exit_code, tries }, { 0, "exit", 3, 1 })
    lu.assertEquals({ ids(self), self:ready_count() }, { { 1, 2, 3 }, 3 })
    lu.assertNil(self.rolling)
  end,

  ["a later one is tried twice"] = function()
    local self = running(3)
    local tries = 0
    self.make = function()
      tries = tries + 1
      return tries == 2 and failing() or good()
    end
    lu.assertEquals({ roll(self), tries }, { 3, 4 })
  end,

  ["a second failure halts it, with what is replaced replaced"] = function()
    local self = running(4)
    local tries = 0
    self.make = function()
      tries = tries + 1
      return tries == 1 and good() or failing()
    end
    local replaced, err = roll(self)
    lu.assertEquals({ replaced, err.code, tries }, { 1, "exit", 3 })
    lu.assertEquals({ ids(self), self:ready_count() }, { { 5, 2, 3, 4 }, 4 })
  end,

  ["a newer roll takes its place, and what the older one was starting goes"] = function()
    local self = running(2)
    self.make = never_ready
    local older = p.call(self, "roll", "reload")
    s.wait(function() return members(self) == 3 end)
    self.make = good
    local newer = p.call(self, "roll", "reload")
    p.answered(older, newer)
    lu.assertEquals({ older.err.code, newer.err, newer.values }, { "superseded", nil, { 2 } })
    s.wait(function() return members(self) == 2 end)
    lu.assertEquals(ids(self), { 4, 5 })
  end,

  ["a newer roll does not wait for the pause of the older one"] = function()
    local self = running(3, { pause = 30 })
    local older = p.call(self, "roll", "reload")
    s.wait(function() return members(self) == 3 and self:current()[1].id == 4 end)
    self.pause = 0
    local newer = p.call(self, "roll", "reload")
    p.answered(older, newer)
    lu.assertEquals({ older.err.code, older.err.replaced, newer.values }, { "superseded", 1, { 3 } })
  end,

  ["a stop during a roll, and in its pause, ends both at once"] = function()
    for _, pause in ipairs { 0, 30 } do
      local self = running(3, { pause = pause })
      self.make = pause == 0 and never_ready or good
      local rolling = p.call(self, "roll", "reload")
      s.wait(function() return pause == 0 and members(self) == 4 or pause > 0 and self:current()[1].id == 4 end)
      local seconds = s.timed(self.stop, self)
      p.answered(rolling)
      lu.assertEquals({ rolling.err.code, self.state, members(self) }, { "stopped", "stopped", 0 })
      lu.assertTrue(seconds < 5 * s.slow)
    end
  end,

  ["a kill during a roll costs nobody's place"] = function()
    local self = running(3)
    self.make = late(0.05)
    local rolling = p.call(self, "roll", "reload")
    s.wait(function() return members(self) == 4 end)
    self:kill()
    p.answered(rolling)
    s.wait(function() return self:ready_count() == 3 and members(self) == 3 end)
    lu.assertNil(self.rolling)
  end,

  ["an old member that dies while its replacement comes is replaced all the same"] = function()
    local self = running(2)
    self.make = late(0.1)
    local rolling = p.call(self, "roll", "reload")
    s.wait(function() return members(self) == 3 end)
    self:current()[1].process:signal "KILL"
    p.answered(rolling)
    lu.assertEquals(rolling.values, { 2 })
    s.wait(function() return self:ready_count() == 2 and members(self) == 2 end)
  end,

  ["a scale during a roll is done by both"] = function()
    local self = running(4, { pause = 0.02 })
    local rolling = p.call(self, "roll", "reload")
    local down = p.call(self, "scale", 2)
    p.answered(rolling, down)
    lu.assertNil(down.err)
    s.wait(function() return members(self) == 2 and self:ready_count() == 2 end)
  end,

  ["one on trial holds no slot, takes none over by itself, and nobody comes for it"] = function()
    local self = running(2)
    local trial
    local function try(make)
      self.make, trial = make, nil
      local done
      local member = self:launch(1, function(err) trial, done = err, true end, { tentative = true })
      s.wait(function() return done end)
      return member
    end
    try(failing)
    lu.assertEquals({ trial.code, ids(self), self.failures, self.retries }, { "exit", { 1, 2 }, { 0, 0 }, {} })
    local member = try(good)
    lu.assertEquals({ trial, ids(self), self:ready_count() }, { nil, { 1, 2 }, 3 })
    member.process:signal "KILL"
    s.wait(function() return members(self) == 2 end)
    -- Nor where its slot is empty.
    self.make = late(0.2)
    self:current()[1].process:signal "KILL"
    s.wait(function() return self:current()[1] and self:current()[1].id == 5 end)
    self:dismiss(self.holders[1], "test")
    member = try(good)
    lu.assertEquals(ids(self), { 2 })
    self:take_over(member, "test")
    lu.assertEquals(ids(self), { member.id, 2 })
  end,

  ["a change of kind and number: the tried one first, the empty slots at once, then the others, and no surplus"] =
    function()
      local self = running(3)
      local new = {}
      local function renew(size, first)
        new = {}
        self.make = function(member)
          new[member] = true
          return good()
        end
        if first then
          local member
          self:launch(1, function(_, it) member = it end, { tentative = true })
          s.wait(function() return member end)
          first = member
        end
        local replaced, err = self:renew {
          size = size, reason = "reload", first = first, is_new = function(member) return new[member] end,
        }
        lu.assertNil(err)
        for slot = 1, size do
          lu.assertTrue(new[self.holders[slot]])
        end
        s.wait(function() return members(self) == size end)
        return replaced
      end
      lu.assertEquals({ renew(3, true), renew(5, true), renew(2, true), renew(2), renew(0), renew(4) },
        { 3, 5, 2, 2, 0, 4 })
    end,

  ["it begins with a pause behind the tried one, and ends without one"] = function()
    for size, least in pairs { 0, 0.2 } do
      local self = running(size, { pause = 0.2 })
      local first
      self:launch(1, function(_, it) first = it end, { tentative = true })
      s.wait(function() return first end)
      local seconds, replaced = s.timed(self.renew, self, {
        size = size, reason = "reload", first = first, is_new = function(member) return member.id > size end,
      })
      lu.assertEquals(replaced, size)
      lu.assertTrue(seconds >= least and (least > 0 or seconds < 0.2 * s.slow))
    end
  end,

  ["who has respawned as the new kind is not replaced once more"] = function()
    local self = running(3, { pause = 0.2 })
    local made = 0
    self.make = function() made = made + 1 return good() end
    local call = p.call(self, "renew", { size = 3, reason = "reload", is_new = function(m) return m.id > 3 end })
    s.wait(function() return self:current()[1].id == 4 end)
    self:current()[3].process:signal "KILL"
    p.answered(call)
    lu.assertEquals({ call.err, call.values, made }, { nil, { 2 }, 3 })
    s.wait(function() return self:ready_count() == 3 and members(self) == 3 end)
  end,

  ["a roll calls off what else is replacing a member; that one is its own again"] = function()
    local self = running(2)
    self.make = never_ready
    local answer
    self:replace(2, "age", function(err) answer = err end)
    s.wait(function() return members(self) == 3 end)
    self.make = good
    lu.assertEquals(roll(self), 2)
    s.wait(function() return answer and members(self) == 2 end)
    lu.assertEquals({ answer.code, self.coming, ids(self) }, { "stopped", {}, { 4, 5 } })
  end,

  ["an empty slot whose first try fails is no failure of the change when the second one is ready"] = function()
    for _, case in ipairs {
      { fails = 1, replaced = 3 }, { fails = 2, replaced = 2, err = "exit" }, { fails = 1, scale = 1, replaced = 2 },
      { fails = 1, stop = true, err = "stopped" },
    } do
      local self = running(0, { after_failure = { delay = case.scale and 60 or case.stop and 60 or 0.05 } })
      local failures = 0
      self.make = function(member)
        if member.slot == 2 and failures < case.fails then
          failures = failures + 1
          return failing()
        end
        return good()
      end
      local call = p.call(self, "renew", { size = 3, reason = "reload", is_new = function() return true end })
      if case.scale or case.stop then
        s.wait(function() return self.retries[2] and self:ready_count() == 2 end)
        if case.stop then self:stop() else self:scale(case.scale) end
      end
      p.answered(call)
      lu.assertEquals(call.err and call.err.code, case.err)
      lu.assertEquals(call.err and call.err.replaced or call.values[1], case.replaced or call.err.replaced)
      if case.fails == 2 then
        s.wait(function() return self:ready_count() == 3 end)
      end
      lu.assertEquals(self.awaiting, {})
    end
  end,

  ["a stop during a change ends it"] = function()
    local self = running(1)
    self.make = never_ready
    local call = p.call(self, "renew", { size = 3, reason = "reload", is_new = function(m) return m.id > 1 end })
    s.wait(function() return members(self) == 4 end)
    self:stop()
    p.answered(call)
    lu.assertEquals({ call.err.code, self.state, members(self) }, { "stopped", "stopped", 0 })
  end,

  ["a group that does not run is not rolled"] = function()
    local self = running(1)
    self:stop()
    local replaced, err = self:roll()
    lu.assertEquals({ replaced, err.code }, { nil, "stopped" })
  end,
}
