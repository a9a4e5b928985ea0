--- `-D` and `daemonize`: brood starts itself once more, as it was started, in a session of its own, and waits for
--- that one's verdict. What reads the config and serves is never a fork of what was typed: it has
--- nothing of it but its command line, directory, environment and passed sockets. Until it serves it writes to where
--- it was started from, and so says there why it cannot.
local core = require "brood.core"
local E = require "brood.error"
local log = require "brood.log"
local notify = require "brood.master.notify"
local peer = require "brood.peer"
local Process = require "brood.process"
local signals = require "brood.master.signals"
local supervised = require "brood.supervised"
local task = require "brood.task"
local uv = require "luv"

local M = {}

local MARK, CHANNEL = "BROOD_DAEMON", "BROOD_CHANNEL_FD"
local FLUSH = 1 -- seconds that the verdict may take

---@class brood.Daemon
---@field starter? brood.Peer the command that waits, until it has its answer

-- ---- in the daemon --------------------------------------------------------------------------------------------------

-- Nobody would know of it: it is not left behind half started.
local function abandoned(master)
  log.error("the command that was to start this daemon is gone: stopping")
  master:terminate(function() end)
end

--- Whether this process is the daemon that a command waits for; then its line to that is taken up. Called once, at the
--- start, before anything else looks at the environment.
---@param master brood.Master
---@return brood.Daemon?
function M.take(master)
  local environ = core.posix.environ()
  if not environ[MARK] then
    return nil
  end
  uv.os_unsetenv(MARK)
  local self = {}
  local fd = tonumber(environ[CHANNEL])
  if fd then
    uv.os_unsetenv(CHANNEL)
    local err
    self.starter, err = peer.new(fd, {
      role = "child", name = "the command that starts this daemon", disconnect = function()
        if self.starter then
          abandoned(master)
        end
      end,
    })
    if not self.starter then
      log.warn("nobody waits for this daemon: " .. E.text(err))
    end
  end
  return self
end

--- It serves: whoever waits for that hears so, and nothing of this process holds on to where it was started from.
---@param self brood.Daemon
---@param master brood.Master
function M.serves(self, master)
  local path = master.config.stderr_path
  log.info(("in the background as process %d; the log goes %s"):format(core.posix.getpid(),
    path and "to " .. path or "nowhere from now on: `stderr_path` names a file for it"))
  master.logs:detach()
  signals.look_at_terminals(master)
  local starter = self.starter
  self.starter = nil
  if starter then
    starter:post "ready"
    starter:flush_blocking(FLUSH)
    starter:close()
  end
end

-- ---- in the command that starts it ----------------------------------------------------------------------------------

--- Whether a master that was told to go into the background is to do so here.
---@param master brood.Master
---@param daemon? brood.Daemon
---@return boolean
function M.applies(master, daemon)
  if daemon or master.inherited.upgrade then
    return false -- it is there
  elseif master.pid == 1 then
    log.warn "not in the background: as PID 1 this master's end would be that of the container"
    return false
  end
  return true
end

local function new_process(master)
  local origin, sockets = master.origin, {}
  for i, socket in ipairs(master.inherited.sockets) do
    sockets[i] = { fd = socket.listener:fd(), name = socket.name }
  end
  return Process.new({
    name = "the daemon", command = origin.argv, cwd = origin.cwd, survive = true, ready = "channel",
    start_timeout = false,
    env = { [MARK] = "1", NOTIFY_SOCKET = origin.environ.NOTIFY_SOCKET, WATCHDOG_USEC = origin.environ.WATCHDOG_USEC },
  }, {
    program = origin:executable(), environ = origin.environ, sockets = sockets[1] and sockets or nil, session = true,
  })
end

-- It has told the reason itself, unless it could not.
local function status_of(process, err)
  local code = process.exit_code
  if code ~= 1 then
    log.error("cannot start: " .. E.text(err))
  end
  return code ~= nil and code > 0 and code or 1
end

--- Start the daemon and wait until it serves, or has ended.
---@async
---@param master brood.Master
---@return integer status to exit with
function M.start(master)
  local process = new_process(master)
  -- Whoever is told to stop while it waits takes it along.
  master:wait(function()
    process:stop(function() end)
  end)
  local ok, err = process:start()
  if not ok then
    return status_of(process, err)
  end
  notify.send { MAINPID = process.pid, READY = 1 } -- of the two only we may be heard until then
  supervised.remove(process) -- from now on it outlives us
  task.sleep(0)
  return 0
end

return M
