--- Who accepts from what, where each slot of a cluster has a socket of its own
--- (`reuseport`): the kernel spreads connections over the sockets, and one from which nobody
--- accepts keeps its share waiting. So a slot without a worker has its socket served by another
--- one, which gets it over its channel and keeps it. Nothing is ever taken back or closed: two
--- workers on one socket harm nobody, a closed one resets the connections that wait in it.
local log = require "brood.log"

local M = {}

local function add(list, more)
  for _, value in ipairs(more) do
    list[#list + 1] = value
  end
end

--- The descriptors that a new worker accepts from: what all share, its slot's own, and those of slots beyond the size
--- of the cluster.
---@param cluster brood.WebCluster
---@param member brood.Member
---@return integer[]
function M.for_member(cluster, member)
  local sockets, size = cluster.sockets, math.max(1, cluster.group.size)
  local fds = { unpack(sockets:shared()) }
  member.serves = {}
  for slot = 1, sockets:slots() do
    if slot == member.slot or slot > size and (slot - 1) % size + 1 == member.slot then
      member.serves[slot] = true
      add(fds, sockets:own(slot))
    end
  end
  return fds
end

local function able(cluster)
  local list = {}
  for _, member in pairs(cluster.group.members) do
    if member.ready_at and not member.reason and member.process.state == "ready" then
      list[#list + 1] = member
    end
  end
  table.sort(list, function(a, b)
    return a.id < b.id
  end)
  return list
end

local function is_served(list, slot)
  for _, member in ipairs(list) do
    if member.serves[slot] then
      return true
    end
  end
  return false
end

local function count(member)
  local n = 0
  for _ in pairs(member.serves) do
    n = n + 1
  end
  return n
end

local function hand_over(cluster, slot, list)
  local chosen
  for _, member in ipairs(list) do
    if not chosen or count(member) < count(chosen) then
      chosen = member
    end
  end
  for _, fd in ipairs(cluster.sockets:own(slot)) do
    if chosen.process.run.peer:post("listen", nil, fd) == nil then
      return -- it is ending: whoever comes next is asked again
    end
  end
  chosen.serves[slot] = true
  log.debug(("%s: worker %d accepts for slot %d as well"):format(cluster.name, chosen.id, slot))
end

--- See that no socket is left without a worker. A slot whose worker is just starting waits for it.
---@param cluster brood.WebCluster
function M.cover(cluster)
  local slots, group = cluster.sockets:slots(), cluster.group
  local list = slots > 0 and able(cluster) or {}
  if #list == 0 then
    return
  end
  for slot = 1, slots do
    if not (slot <= group.size and group.holders[slot]) and not is_served(list, slot) then
      hand_over(cluster, slot, list)
    end
  end
end

return M
