--- A group whose members are to be of another kind, and perhaps of another number: what has
--- been on trial takes its slot, empty slots are filled at once, the surplus goes, and the others are rolled.
local E = require "brood.error"
local join = require "brood.join"
local respawn = require "brood.group.respawn"
local roll = require "brood.group.roll"
local scale = require "brood.group.scale"

-- The one on trial, if it is still there.
local function adopt(self, member, reason)
  if not member or not self.members[member.id] or member.reason or not member.ready_at then
    return 0
  end
  self:take_over(member, reason)
  return self.holders[member.slot] == member and 1 or 0
end

-- Slots without anybody, also those that wait for another try with the old kind, or were given up. Tells how many got
-- one, when all are ready or have failed twice, as in a roll; who failed is tried again by its slot.
local function fill(self, done)
  local filled = 0
  local all = join.new(function(err)
    done(err, filled)
  end)
  for slot = 1, self.size do
    if self.state == "running" and slot <= self.size and not self.holders[slot] then
      respawn.forget(self, slot)
      local over = all:branch()
      local function second(err, member)
        filled = filled + (member and not err and 1 or 0)
        over(member and scale.own_failure(self, err, member) or not member and err or nil)
      end
      self:launch(slot, function(err, member)
        if scale.own_failure(self, err, member) then
          return respawn.await(self, slot, second)
        end
        filled = filled + (err and 0 or 1)
        over()
      end)
    end
  end
  all.all_begun()
end

--- Renew a group.
---@param self brood.Group
---@param plan table size, reason, is_new, first: see Group:renew
---@param done fun(err: brood.Error?, replaced: integer)
return function(self, plan, done)
  if self.state ~= "running" then
    return done(E.new("stopped", "%s does not run", self.name), 0)
  end
  local old, replaced = self.size, 0
  self.size = plan.size
  local all = join.new(function(err)
    if err then
      err.replaced = replaced
    end
    done(err, replaced)
  end)
  local function branch()
    local over = all:branch()
    return function(err, n)
      replaced = replaced + (n or 0)
      over(err)
    end
  end
  scale.shrink(self, old)
  local adopted = adopt(self, plan.first, plan.reason)
  local filled, rolled = branch(), branch()
  -- What is being filled is of the new kind: the roll passes it by.
  fill(self, filled)
  roll.begin(self, { reason = plan.reason, replaced = adopted, is_new = plan.is_new }, rolled)
  all.all_begun()
end
