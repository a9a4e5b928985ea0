--- Who accepts from what, where each slot of a cluster has a socket of its own
--- (`reuseport`): the kernel spreads connections over the sockets, and one from which nobody
--- accepts keeps its share waiting. So a slot without a worker has its socket served by another
--- one, which gets it over its channel and keeps it. Nothing is ever taken back or closed: two
--- workers on one socket harm nobody, a closed one resets the connections that wait in it.
local log = require "brood.log"
local oldest_first = require "brood.group.oldest_first"
local uv = require "luv"

local M = {}

-- A socket is known by its inode, which is nobody else's as long as anybody has it open: descriptors are used again.
local function inode(fd)
  local stat = uv.fs_fstat(fd)
  return stat and stat.ino or fd
end

--- The descriptors that a new worker accepts from: what all share, its slot's own, and those of slots beyond the size
--- of the cluster.
---@param cluster brood.Cluster
---@param member brood.Member of its generation
---@return integer[]
function M.for_member(cluster, member)
  local generation = member.generation
  local sockets = generation.sockets
  local size = math.max(1, member.tentative and generation.options.workers or cluster.group.size)
  local fds = { unpack(sockets:shared()) }
  member.serves = {}
  for slot = 1, sockets:slots() do
    if slot == member.slot or slot > size and (slot - 1) % size + 1 == member.slot then
      for _, fd in ipairs(sockets:own(slot)) do
        fds[#fds + 1] = fd
        member.serves[inode(fd)] = true
      end
    end
  end
  return fds
end

-- Who can take a socket over. One on trial may soon be gone.
local function able(cluster)
  local list = {}
  for _, member in ipairs(oldest_first(cluster.group)) do
    if member.ready_at and not member.reason and not member.tentative and member.process.state == "ready" then
      list[#list + 1] = member
    end
  end
  return list
end

local function is_served(list, socket)
  for _, member in ipairs(list) do
    if member.serves[socket] then
      return true
    end
  end
  return false
end

-- The worker of that slot has it, or will have it when it has started.
local function has_holder(cluster, slot, socket)
  local holder = slot <= cluster.group.size and cluster.group.holders[slot]
  return holder and (not holder.serves or holder.serves[socket])
end

local function count(member)
  local n = 0
  for _ in pairs(member.serves) do
    n = n + 1
  end
  return n
end

local function hand_over(cluster, fd, socket, list, slot)
  local chosen
  for _, member in ipairs(list) do
    if not chosen or count(member) < count(chosen) then
      chosen = member
    end
  end
  if chosen.process:post("listen", nil, fd) == nil then
    return -- it is ending: whoever comes next is asked again
  end
  chosen.serves[socket] = true
  log.debug(("%s: worker %d accepts for slot %d as well"):format(cluster.name, chosen.id, slot))
end

--- See that no socket is left without a worker. A slot whose worker is just starting waits for it.
---@param cluster brood.Cluster
function M.cover(cluster)
  local slots = cluster.sockets:slots()
  local list = slots > 0 and able(cluster) or {}
  if #list == 0 then
    return
  end
  for slot = 1, slots do
    for _, fd in ipairs(cluster.sockets:own(slot)) do
      local socket = inode(fd)
      if not has_holder(cluster, slot, socket) and not is_served(list, socket) then
        hand_over(cluster, fd, socket, list, slot)
      end
    end
  end
end

return M
