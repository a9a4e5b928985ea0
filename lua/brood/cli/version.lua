--- `brood --version`.
local core = require "brood.core"

local M = {}

--- Print the version.
---@return integer status
function M.main()
  return io.stdout:write("brood ", core.version, "\n") and io.stdout:flush() and 0 or 1
end

return M
