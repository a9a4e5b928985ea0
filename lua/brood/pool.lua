--- Job pools: `Pool.new` makes one, and calling the module, `brood.pool(name)`, opens one of the config's.
--- What a pool does is in the modules beside this one, which are loaded when a pool is made here: a process that only
--- enqueues into the config's pools needs none of them.
local M = {
  coming = nil, ---@type boolean? the master's config has pools, which are not there yet
}

local function check(given, level)
  local fields = require("brood.rules.pool_options").fields
  local checked = require("brood.options").check(level + 1, given, fields, "Pool.new")
  local worker = checked.worker
  if type(worker) == "table" then
    require("brood.pool.program").check(checked.options, level + 1, "Pool.new")
  end
  return checked
end

--- A pool of workers in processes of their own. No worker is started before there is a job for it, or `spawn_workers`
--- is called. Options, and what they are without a word: see the reference.
---@param given brood.PoolOptions
---@return brood.Pool
function M.new(given)
  local checked = check(given, 2)
  return M.make(checked, {})
end

--- A pool whose options are normalised already, for brood's own rooms.
---@private
---@param checked table
---@param inner { name: string?, next_seq: (fun(): integer)?, [string]: any }
---@return brood.Pool
function M.make(checked, inner)
  return require("brood.pool.object").new(checked, inner or {})
end

return setmetatable(M, {
  __call = function(_, name)
    return require("brood.pool.client").open(name)
  end,
})
