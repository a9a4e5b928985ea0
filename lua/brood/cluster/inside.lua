--- `brood.worker` in a cluster's worker: the line to the master, and what the worker
--- knows of itself. The master's view of the same worker is cluster.worker.
local M = {}

local live = {
  state = function(known)
    return known.state
  end,
  requests = function(known)
    return known.place and known.board:get(known.place, "requests") or 0
  end,
}

--- Give the worker's object the fields of a worker. Returns where `state` is read from.
---@param worker brood.Worker
---@param member brood.Member
---@param cluster brood.Cluster
---@return { state: string }
function M.dress(worker, member, cluster)
  local known = { state = "starting", board = member.places.board, place = member.place }
  local methods = getmetatable(worker).__index
  worker.id, worker.slot, worker.cluster = member.id, member.slot, cluster.name
  worker.started_at = member.process.started_at
  function worker.user(_, name, group)
    return member.worker:user(name, group) -- a tail call: it is the caller's line that is blamed
  end
  setmetatable(worker, {
    __index = function(_, name)
      local field = live[name]
      if field then
        return field(known)
      end
      return methods[name]
    end,
  })
  return known
end

return M
