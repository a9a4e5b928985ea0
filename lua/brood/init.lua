--- The module `brood`: small things everybody needs, and the other modules by
--- name (`brood.process` is `require "brood.process"`).
local clock = require "brood.clock"
local core = require "brood.core"
local task = require "brood.task"

---@class brood
---@field version string
---@field worker? brood.Peer this process's line to its master; nil in the master and outside
local M = {
  version = core.version,
  async = task.async,
  sleep = task.sleep,
  now = clock.now,
}

return setmetatable(M, {
  __index = function(self, name)
    if name == "worker" or type(name) ~= "string" then
      return nil
    end
    local found, module = pcall(require, "brood." .. name)
    if not found then
      if tostring(module):find("module 'brood." .. name .. "' not found", 1, true) then
        return nil
      end
      error(module, 2)
    end
    rawset(self, name, module)
    return module
  end,
})
