--- Whether this master can give its workers the user, group and limits that a config asks for:
--- found out before anything is forked, in place of once per worker. It changes nothing.
local E = require "brood.error"

local M = {}

--- Check `user`, `group` and `limits` of a cluster's options.
---@param options table
---@return true? ok, brood.Error? err
function M.check(options)
  if options.user ~= nil or options.group ~= nil then
    local err = require("brood.cluster.rights").identity(options)
    if err then
      return nil, err
    end
  end
  local _, problem = next(options.limits and require("brood.cluster.rights").limits(options.limits) or {})
  if problem then
    return nil, E.new("EPERM", "%s", problem)
  end
  return true
end

return M
