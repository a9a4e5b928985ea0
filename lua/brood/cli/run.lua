--- `brood run [CONFIG]` and `brood -s APP`: a master in the foreground, until it is told to stop.
local boot = require "brood.boot"
local cause = require "brood.master.cause"
local core = require "brood.core"
local E = require "brood.error"
local environment = require "brood.master.environment"
local lazy = require "brood.lazy"
local log = require "brood.log"
local notify = require "brood.master.notify"
local origin = require "brood.master.origin"
local supervised = require "brood.supervised"
local task = require "brood.task"
local timer = require "brood.timer"

local config = lazy.passing "brood.master.config"
local daemonize = lazy.passing "brood.cli.daemonize"
local inherit = lazy.passing "brood.master.inherit"
local predecessor = lazy.room "brood.master.predecessor"

local M = {}

local HASTE = 2 -- seconds that what hooks have started has after TERM

local function setup_log(options)
  core.log.setup { level = options.log_level or "info", format = options.log_format or "text" }
end

local function report(master)
  for _, options in ipairs(master.config.clusters) do
    local group = master.clusters[options.name].group
    log.info(("%s: %d of %d workers serve %s"):format(options.name, group:ready_count(), group.size,
      table.concat(master.listeners:addresses(options.name), ", ")))
  end
  if master.programs then
    log.info("services: " .. (master.programs:summary()))
  end
  if master.control then
    log.info("control: " .. master.control.address)
  end
end

-- Whoever has started it reads the reason where it was started, also when the log goes to a file; and what else would
-- be in the way of the next start.
local function tell_failure(master, source, err)
  local text = "cannot start: " .. E.text(err)
  local others = require("brood.cli.preflight").others(master.config, source, err)
  if others[1] then
    text = ("%s\n%s"):format(text, config.explain(source.source, others, true))
  end
  log.error(text)
  if master.old_pid then
    predecessor.failed(master, E.text(err))
  end
  if master.logs:restore() then
    log.error(text)
  end
end

-- What hooks have started is stopped as well, each with its own patience but within graceful_timeout, and quicker where
-- the master was told to be quick: nothing of theirs keeps a stopped master running.
local function leave(status, master)
  local function now()
    if master.told then
      log.info("stopped")
    end
    os.exit(status) -- which leaves nothing behind
  end
  function master.on_haste(again)
    timer.after(again and 0 or HASTE, now)
  end
  if master.haste then
    master.on_haste(false)
  elseif master.config and master.config.graceful_timeout then
    timer.after(master.config.graceful_timeout, now)
  end
  supervised.stop_all(now)
end

-- All that is wrong with a config, what it names in the file system included.
local function explain(examined)
  return config.explain(examined.source, (require("brood.cli.preflight").all(examined)))
end

-- A config may wait: whoever wants it to end does not. What reads it is run once: to compile it would take longer.
local function load(options, master)
  local loading = true
  environment.hold_compiler()
  master:wait(function()
    if loading then
      leave(0, master)
    end
  end)
  local examined, why = config.examine(options, master)
  loading = false
  if examined and examined.mistakes then
    why = explain(examined)
  end
  local effective, source
  if not why then
    effective, source = config.settle(examined)
  end
  environment.release_compiler()
  return why, effective, source
end

-- Whether it serves; else it is ending. The config is the master's alone from here on: a reload lets go of it.
local function serve(options, master, daemon)
  local why, effective, source = load(options, master)
  if master.state == "stopped" then
    return -- it is ending already
  elseif why then
    log.error(why)
    if master.old_pid then
      predecessor.failed(master, why)
    end
    return leave(1, master)
  elseif effective.daemonize and not options.daemonize and daemonize.applies(master, daemon) then
    return leave(daemonize.start(master), master)
  end
  core.posix.setproctitle("brood: master " .. effective.path)
  local ok, err = master:start(effective)
  if ok then
    report(master)
    master.logs:settle()
    if master.inherited.upgrade then
      predecessor.ready(master)
    end
    notify.ready(master)
    if daemon then
      daemonize.serves(daemon, master)
    end
  elseif err.code ~= "stopped" then
    tell_failure(master, source, err)
    return leave(1, master)
  end
  return true
end

-- os.exit in a hook, or in whatever else of the master's may wait: what runs ends in order first, as on TERM, and then
-- whoever waits for that ends the process. Where the master is ending already it does so at once.
local function end_in_order(master)
  boot.at_exit(function(status)
    if not master.config or master.state ~= "starting" and master.state ~= "ready" or not task.can_wait() then
      return
    end
    master.exit_status = status
    if cause.within(("os.exit(%g)"):format(status), master.terminate, master) then
      task.run(nil, "os.exit", function() end)
    end
  end)
end

--- Run until stopped.
---@param options table from the command line
function M.main(options)
  boot.forgive()
  setup_log(options)
  local master = require("brood.master").new(options)
  master.explain = explain
  local daemon = daemonize.take(master)
  local inherited = inherit.take()
  options.passed = inherit.by_supervisor(inherited)
  master.inherited, master.origin = inherited, origin.remember(inherited.program)
  notify.take()
  notify.watch(master)
  if inherited.upgrade then
    predecessor.attach(master)
  end
  require("brood.master.signals").watch(master)
  end_in_order(master)
  if options.daemonize and daemonize.applies(master, daemon) then
    return leave(daemonize.start(master), master)
  end
  if not serve(options, master, daemon) then
    return
  end
  master:wait()
  task.sleep(0) -- hooks that wait for the same hear of it before the process ends
  return leave(master.exit_status or 0, master)
end

return M
