--- Another number of members: what is too much goes, what is missing comes.
local join = require "brood.join"
local respawn = require "brood.group.respawn"

local M = {}

--- Those of slots that are no more go.
---@param self brood.Group
---@param old integer how many slots there were
---@param gone? fun(): fun() who waits for the end of each, if anybody does
function M.shrink(self, old, gone)
  for slot = old, self.size + 1, -1 do
    respawn.forget(self, slot)
    if self.holders[slot] then
      local over = gone and gone()
      self:dismiss(self.holders[slot], "scale", over and function()
        over()
      end)
    end
  end
end

--- What a launch has failed with. One that was told to go meanwhile has not failed: another one has its slot, or the
--- slot is no more.
---@param self brood.Group
---@param err brood.Error?
---@param member brood.Member
---@return brood.Error?
function M.own_failure(self, err, member)
  if err and member.reason and self.state == "running" then
    return nil
  end
  return err
end

--- Scale a group. done(err) when the new members are ready and the surplus is gone.
---@param self brood.Group
---@param n integer
---@param done fun(err: brood.Error?)
function M.to(self, n, done)
  local old = self.size
  self.size = n
  if self.state ~= "running" then
    return done()
  end
  local all = join.new(done)
  M.shrink(self, old, function()
    return all:branch()
  end)
  for slot = 1, n do
    local wanted = self.state == "running" and slot <= self.size
    if wanted and not self.holders[slot] and not self.retries[slot] then
      local over = all:branch()
      self:launch(slot, function(err, member)
        over(M.own_failure(self, err, member))
      end)
    end
  end
  all.all_begun()
end

return M
