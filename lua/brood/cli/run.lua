--- `brood run [CONFIG]` and `brood -s APP`: a master in the foreground, until it is told to stop.
local boot = require "brood.boot"
local config = require "brood.master.config"
local core = require "brood.core"
local log = require "brood.log"

local M = {}

local function setup_log(options)
  core.log.setup { level = options.log_level or "info", format = options.log_format or "text" }
end

local function report(master)
  for _, cluster in ipairs(master.config.clusters) do
    log.info(("%s: %d of %d workers serve %s"):format(cluster.name, master.clusters[cluster.name].group:ready_count(),
      cluster.workers, table.concat(master.listeners:addresses(cluster.name), ", ")))
  end
  if master.control then
    log.debug("control: " .. master.control.address)
  end
end

-- What hooks have started is stopped as well, and nothing of theirs keeps a stopped master running.
local function leave(status)
  require("brood.supervised").stop_all(function()
    os.exit(status)
  end)
end

--- Run until stopped.
---@param options table from the command line
---@return integer status
function M.main(options)
  boot.forgive()
  setup_log(options)
  local master = require("brood.master").new()
  require("brood.master.signals").watch(master)
  local effective, why = config.load(options, master)
  if not effective then
    log.error(why)
    return leave(1)
  end
  core.posix.setproctitle("brood: master " .. effective.path)
  local ok, err = master:start(effective)
  if ok then
    report(master)
  elseif err.code ~= "stopped" then
    log.error(("cannot start: %s"):format(err))
    return leave(1)
  end
  master:wait()
  return leave(0)
end

return M
