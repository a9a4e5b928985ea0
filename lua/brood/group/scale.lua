--- Another number of members: what is too much goes, what is missing comes.
local join = require "brood.join"
local respawn = require "brood.group.respawn"

--- Scale a group. done(err) when the new members are ready and the surplus is gone.
---@param self brood.Group
---@param n integer
---@param done fun(err: brood.Error?)
return function(self, n, done)
  local old = self.size
  self.size = n
  if self.state ~= "running" then
    return done()
  end
  local all = join.new(done)
  for slot = old, n + 1, -1 do
    respawn.drop(self, slot)
    self.failures[slot], self.given_up[slot] = nil, nil
    if self.holders[slot] then
      local gone = all:branch()
      self:dismiss(self.holders[slot], "scale", function()
        gone()
      end)
    end
  end
  for slot = 1, n do
    local wanted = self.state == "running" and slot <= self.size
    if wanted and not self.holders[slot] and not self.retries[slot] then
      self:launch(slot, all:branch())
    end
  end
  all.all_begun()
end
