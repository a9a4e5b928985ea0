--- One roll of a group: every member replaced, up to `surge` at a time, with
--- `pause` between them. The first replacement that does not become ready halts it at
--- once, a later one is tried twice. How one member is replaced is the group's.
local E = require "brood.error"
local timer = require "brood.timer"

local M = {}

---@class brood.RollPlan
---@field reason string why the old ones go
---@field replaced? integer how many slots have a new one already (0)
---@field is_new? fun(member: brood.Member): boolean who holds its slot and need not be replaced

local function is_done(self, plan, slot)
  local holder = self.holders[slot]
  return plan.is_new and holder and plan.is_new(holder)
end

-- The next slot whose member is to be replaced, if there is one.
local function next_slot(self, plan, slot)
  repeat
    slot = slot + 1
  until slot > self.size or not is_done(self, plan, slot)
  return slot <= self.size and slot or nil
end

local function run(self, token, plan, done)
  local slot, running, replaced, failed, over = 0, 0, plan.replaced or 0, nil, false
  local begin

  -- Why this roll goes no further, whatever became of a replacement.
  local function called_off()
    if self.rolling ~= token then
      return E.new("superseded", "a newer wish took the place of this roll of %s", self.name)
    elseif self.state ~= "running" then
      return E.new("stopped", "%s was stopped during the roll", self.name)
    end
  end

  local function finished()
    if running == 0 and not over then
      over = true
      done(failed, replaced)
    end
  end

  -- It counts as running, so that the roll is not over before.
  local function pause()
    running = running + 1
    local waiting
    local function go_on()
      waiting:cancel()
      self.pauses[go_on] = nil
      running = running - 1
      begin()
    end
    waiting = timer.after(self.pause, go_on)
    self.pauses[go_on] = true
  end

  local function one(which, attempt)
    running = running + 1
    self:replace(which, plan.reason, function(err)
      running = running - 1
      if not err then
        replaced = replaced + 1
      end
      if err and which <= self.size then
        failed = failed or called_off()
        if not failed and replaced > 0 and attempt == 1 then
          return one(which, 2)
        end
        failed = failed or err
      elseif not err and self.pause > 0 and next_slot(self, plan, slot) and not called_off() then
        return pause()
      end
      begin()
    end)
  end

  function begin()
    local following = next_slot(self, plan, slot)
    failed = failed or following and called_off() or nil
    while not failed and following and running < math.max(1, self.surge) do
      slot = following
      one(slot, 1)
      if replaced == 0 then
        return -- the first one shows whether the new ones can serve at all
      end
      following = next_slot(self, plan, slot)
    end
    finished()
  end

  if replaced > 0 and self.pause > 0 and next_slot(self, plan, slot) then
    return pause()
  end
  begin()
end

--- Begin a roll, which takes the place of one that is under way: what that one was starting goes.
---@param self brood.Group
---@param plan brood.RollPlan
---@param done fun(err: brood.Error?, replaced: integer)
function M.begin(self, plan, done)
  if self.state ~= "running" then
    return done(E.new("stopped", "%s does not run", self.name))
  end
  local token, coming = {}, {}
  self.rolling = token
  self:wake_rolls()
  for member in pairs(self.coming) do
    coming[#coming + 1] = member
  end
  for _, member in ipairs(coming) do
    self:dismiss(member, "reload")
  end
  run(self, token, plan, function(err, replaced)
    if self.rolling == token then
      self.rolling = nil
    end
    if err then
      err.replaced = replaced
    end
    done(err, replaced)
    self:emit("rolled")
  end)
end

return M
