--- One version of a cluster: its options, hooks and sockets, and the app where it is preloaded.
--- A worker belongs to the one that was in force when it was launched. Which one that is, the cluster decides.
local E = require "brood.error"
local preload = require "brood.cluster.preload"

local M = {}

---@class brood.Generation
---@field number integer the younger the higher
---@field name string the cluster's
---@field options table as in the config
---@field hooks table<string, function>
---@field sockets brood.Sockets
---@field app? table the preloaded app
---@field inherited? table what a worker's collector is to know of it
local Generation = {}
Generation.__index = Generation

--- A generation of a cluster; nothing is checked or loaded yet.
---@param cluster brood.Cluster
---@param options table
---@return brood.Generation
function M.new(cluster, options)
  cluster.last_generation = (cluster.last_generation or 0) + 1
  return setmetatable({
    number = cluster.last_generation, name = cluster.name, options = options, hooks = options.hooks or {},
    sockets = options.sockets,
  }, Generation)
end

--- Why its workers could not be what is asked for.
---@return brood.Error?
function Generation:problem()
  local o = self.options
  if o.command and self.sockets:is_divided() then
    return E.new("EINVAL", "listen: each worker had a socket of its own there (reuseport): a command can have that "
      .. "address only after a restart")
  end
  if o.user ~= nil or o.group ~= nil or o.limits then
    return require("brood.cluster.rights").check(o)
  end
end

--- Load its app, if it is to be loaded in the master and is not yet.
---@param done fun(err: brood.Error?)
function Generation:load(done)
  if not self.options.preload or self.app then
    return done()
  end
  preload.load(self, done)
end

--- It is not wanted any more.
function Generation:cancel()
  preload.cancel(self)
end

return M
