--- Workers that were told to go and finish: which of them keep idle connections until those have
--- asked once more, and how many may finish beside the one that serves. A worker reads on the scoreboard
--- whether it is to wait, and whether its requests have less time than others', as it is recycled; asked again by QUIT,
--- it looks there again. When one is told to go is decided elsewhere.
local clock = require "brood.clock"
local log = require "brood.log"
local oldest_first = require "brood.group.oldest_first"
local signals = require "brood.signals"

local M = {}

local MOST = 2 -- for one slot at once
local CUT = 5 -- seconds that one beyond it has left at most

-- A cluster that ends serves nobody any more. An upgraded master does in its place: whoever is connected may ask once
-- more, and then finds that one.
local function may_linger(cluster, member)
  return member.reason ~= nil and (member.reason ~= "stop" or cluster.lingers == true)
end

local NO, YES, RECYCLED = 0, 1, 2

local function set(member, how)
  if member.place then
    member.places.board:set(member.place, "linger", how)
  end
end

local function is_finishing(member)
  return member.ready_at ~= nil and member.process.state == "stopping" and member.reason ~= nil
end

-- Those that left a slot and have all their time yet.
local function finishing(cluster, slot)
  local list = {}
  for _, member in ipairs(oldest_first(cluster.group)) do
    if member.slot == slot and is_finishing(member) and not member.is_cut then
      list[#list + 1] = member
    end
  end
  return list
end

-- It has finished for long enough: others do so for the same slot.
local function cut(cluster, member)
  member.is_cut = true
  local run = member.process.run
  local left = run and run.deadline and run.deadline - clock.now() or CUT
  log.warn(("%s: worker %d (pid %d) still finishes, as %d younger ones of its slot do: it has %.1f s left"):format(
    cluster.name, member.id, member.process.pid, MOST, math.min(CUT, math.max(0, left))))
  local seconds = math.min(CUT, math.max(0.001, left))
  if member.is_program then
    return member.process:limit_stop(seconds) -- many take a second signal for haste
  end
  set(member, NO)
  member.process:hurry(signals.number("QUIT"), seconds, "too many of its slot finish")
end

--- A worker is about to be asked to end.
---@param cluster brood.Cluster
---@param member brood.Member
function M.told(cluster, member)
  if not member.reason or member.reason == "signal" then
    return -- it ends by itself, or has begun to because of somebody else
  end
  set(member, member.due == member.reason and RECYCLED or may_linger(cluster, member) and YES or NO)
  if member.reason == "stop" then
    return -- nobody comes in its place
  end
  local list = finishing(cluster, member.slot)
  for i = 1, #list - MOST do
    cut(cluster, list[i])
  end
end

--- Whether one more that leaves this slot would cut another short whose time is over soon enough anyway. One that may
--- finish for ever holds up nobody.
---@param cluster brood.Cluster
---@param slot integer
---@return boolean
function M.is_full(cluster, slot)
  local n = 0
  for _, member in ipairs(finishing(cluster, slot)) do
    n = n + (member.process.run.deadline and 1 or 0)
  end
  return n >= MOST
end

--- The cluster stops: those that finish already wait for nobody any more.
---@param cluster brood.Cluster
function M.no_longer(cluster)
  for _, member in ipairs(oldest_first(cluster.group)) do
    if is_finishing(member) and member.process.pid and not member.is_program then
      set(member, NO)
      member.process:signal "QUIT"
    end
  end
end

return M
