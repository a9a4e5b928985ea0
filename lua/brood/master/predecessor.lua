--- The new master's view of the old one, from whom it has its sockets: what it tells it, what becomes its
--- own when the old one goes, and what it does meanwhile. The old one's view is master.upgrade.
local E = require "brood.error"
local lazy = require "brood.lazy"
local line = require "brood.master.line"
local log = require "brood.log"
local notify = require "brood.master.notify"
local peer = require "brood.peer"
local pidfile = require "brood.master.pidfile"

local inherit = lazy.passing "brood.master.inherit"

local M = {}

local FLUSH = 1 -- seconds that an end waits for the old master to take what was sent

-- Nobody shares anything with us any more.
local function alone(master)
  local pid = master.old_pid
  master.old_pid, master.line = nil, nil
  inherit.adopt_files(master)
  if master.control then
    master.control:accept(master)
  end
  if master.state ~= "stopping" and master.state ~= "stopped" then
    pidfile.old_is_gone(master, master.inherited.old_pidfile)
  end
  line.alone(master)
  if master.programs then
    master.programs:alone()
  end
  log.info(("the old master (pid %d) is gone"):format(pid))
end

--- Take up the line to the old master, where there is one. From now on `master.old_pid` is its pid, until it is gone.
---@param master brood.Master
function M.attach(master)
  local inherited = master.inherited
  if not inherited.old_pid then
    return
  end
  local old, err
  if inherited.channel then
    old, err = peer.new(inherited.channel, {
      role = "child", name = "the old master", disconnect = function()
        alone(master)
      end,
    })
  end
  if not old then
    log.warn(("no line to the old master: %s"):format(err or "it has left none"))
    return
  end
  master.old_pid = inherited.old_pid
  master.line = line.new(master, function(name, value, fd)
    return old:post(name, value, fd)
  end)
  old:handle("master", function(told, fd)
    if master.line then
      master.line:hear(told, fd)
    end
  end)
  master.predecessor = old
  master:on("online", function()
    M.tell(master, "progress")
  end)
end

--- Tell the old master something; nothing where there is none.
---@param master brood.Master
---@param name string
---@param value? any
function M.tell(master, name, value)
  if master.old_pid then
    master.line:post(name, value)
  end
end

--- We serve, on these sockets of its.
---@param master brood.Master
function M.ready(master)
  if master.old_pid then
    M.tell(master, "claimed", inherit.claimed(master))
    master.is_main = true
    master.predecessor:post("ready")
    log.info(("the old master (pid %d) serves as well: QUIT ends it"):format(master.old_pid))
  elseif master.control then
    master.control:accept(master) -- it ended while we started
  end
end

--- We cannot serve.
---@param master brood.Master
---@param why string
function M.failed(master, why)
  if master.old_pid then
    master.predecessor:post("failed", E.new("failed", "%s", why))
    master.predecessor:flush_blocking(FLUSH)
  end
end

--- We begin to end: what is the service's main process is the old one again.
---@param master brood.Master
function M.leaving(master)
  if master.old_pid then
    if master.is_main then
      notify.main_pid(master.old_pid)
    end
    M.tell(master, "leaving")
  end
end

--- Before the end: what the old master may have left us at the last moment is not left lying about.
---@param master brood.Master
function M.hear_all(master)
  if master.old_pid then
    master.predecessor:read_now()
  end
end

-- It is going for good: what is on disk is ours.
line.handle("files", function(master)
  inherit.adopt_files(master)
  M.tell(master, "taken")
end)

return M
