--- The places of a cluster's workers on a scoreboard. A worker keeps its place to its end,
--- however many come and go beside it; one that finds none serves all the same, unseen.
local core = require "brood.core"

local M = {}

local SPARE = 1024 -- beside two for each worker (one that goes, one that comes)

---@class brood.Places
---@field board userdata
---@field capacity integer
local Places = {}
Places.__index = Places

--- Places for so many workers.
---@param workers integer
---@return brood.Places?, brood.Error? err
function M.new(workers)
  local capacity = 2 * workers + SPARE
  local board, err = core.scoreboard.create(capacity)
  if not board then
    return nil, err
  end
  return setmetatable({ board = board, capacity = capacity, used = 0, free = {} }, Places)
end

--- Whether so many workers fit.
---@param workers integer
---@return boolean
function Places:suffice(workers)
  return 2 * workers <= self.capacity
end

--- Give a member a place: `place`, and `counters(field)` to read what stands there.
---@param member brood.Member
function Places:take(member)
  local place = table.remove(self.free)
  if not place and self.used < self.capacity then
    self.used = self.used + 1
    place = self.used
  end
  member.places, member.place = self, place
  member.counters = place and function(field)
    return self.board:get(place, field)
  end
end

--- It has ended.
---@param member brood.Member
function Places:leave(member)
  member.counters = nil
  if member.place then
    self.board:set(member.place, "accepting", 0) -- or its siblings would wait for it to take connections
    table.insert(self.free, member.place)
    member.place = nil
  end
end

return M
