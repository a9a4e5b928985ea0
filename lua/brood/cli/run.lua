--- `brood run [CONFIG]` and `brood -s APP`: a master in the foreground, until it is told to stop.
local boot = require "brood.boot"
local config = require "brood.master.config"
local core = require "brood.core"
local log = require "brood.log"

local M = {}

local function setup_log(options)
  core.log.setup {
    level = options.log_level or (options.quiet and "warn") or (options.verbose and "debug") or "info",
    format = options.log_format or "text",
  }
end

--- Run until stopped.
---@param options table from the command line
---@return integer status
function M.main(options)
  boot.forgive()
  setup_log(options)
  local effective, why = config.load(options)
  if not effective then
    log.error(why)
    return 1
  end
  local master = require("brood.master").new(effective)
  core.posix.setproctitle("brood: master " .. effective.path)
  local ok, err = master:start()
  if not ok then
    if err.code == "stopped" then
      return 0
    end
    log.error(("cannot start: %s"):format(err))
    return 1
  end
  for _, cluster in ipairs(effective.clusters) do
    log.info(("%s: %d workers serve %s"):format(cluster.name, cluster.workers,
      table.concat(master.listeners:addresses(cluster.name), ", ")))
  end
  return 0
end

return M
