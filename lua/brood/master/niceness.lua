--- How nice the master is: it is what replaces workers, and on a busy machine it would wait for the processor behind
--- those that it is to relieve. What it forks is as nice as ever; core.process.nice sees to that.
local core = require "brood.core"
local log = require "brood.log"

local M = {}

local USUAL = -10 -- where the config says nothing, and this process may

--- Be as the config says.
---@param config brood.Config
function M.apply(config)
  local wanted = config.master_nice
  local ok, err = core.process.nice(wanted or USUAL)
  if not ok and wanted and wanted < 0 then
    log.warn(("master_nice = %d: %s"):format(wanted, err.code == "EBUSY"
      and "it stays as nice as whoever started it wished" or "only root, CAP_SYS_NICE or RLIMIT_NICE allow it"))
  end
end

return M
