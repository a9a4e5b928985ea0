--- Another number of members: what is too much goes, what is missing comes.
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
  local waiting, first = 1, nil
  local function one_less(err)
    first = first or err
    waiting = waiting - 1
    if waiting == 0 then
      done(first)
    end
  end
  for slot = old, n + 1, -1 do
    respawn.drop(self, slot)
    self.failures[slot], self.given_up[slot] = nil, nil
    if self.holders[slot] then
      waiting = waiting + 1
      self:dismiss(self.holders[slot], "scale", function()
        one_less()
      end)
    end
  end
  for slot = 1, n do
    if self.state == "running" and not self.holders[slot] and not self.retries[slot] then
      waiting = waiting + 1
      self:launch(slot, one_less)
    end
  end
  one_less()
end
