--- The environment of a child: ours, without what is about us, and with what it is told.
local core = require "brood.core"
local merged = require "brood.rules.merged"

local M = {}

local FIRST_FD = 3 -- where a program finds passed sockets, and behind them its channel; BROOD_CHANNEL_FD says so
M.FIRST_FD = FIRST_FD

-- What says how our own supervisor talks to us is not the child's.
local OURS_ALONE = {
  "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "BROOD_CHANNEL_FD",
  "BROOD_CHANNEL", "BROOD_STOP_TIMEOUT", "BROOD_UPGRADE",
}

-- Whether the child's environment is ours as it stands: then it need not be copied for every start.
local function inherits_environment(self, run)
  local o = self.options
  if run.notify or run.child_channel or o.environ or o.sockets or o.env and next(o.env) then
    return false
  end
  for i = 1, #OURS_ALONE do
    if os.getenv(OURS_ALONE[i]) then
      return false
    end
  end
  return true
end

-- As sd_listen_fds(3) reads it; LISTEN_PID comes with the number.
local function describe_sockets(sockets, env)
  local names = {}
  for i, socket in ipairs(sockets) do
    names[i] = socket.name
  end
  env.LISTEN_FDS, env.LISTEN_FDNAMES = tostring(#sockets), table.concat(names, ":")
end

--- What its environment has that ours has not: values, and false for what it lacks.
---@param self brood.Process
---@param run table
---@return table<string, string|false>
function M.changes(self, run)
  local env = {}
  for _, name in ipairs(OURS_ALONE) do
    env[name] = false
  end
  if run.notify then
    env.NOTIFY_SOCKET = run.notify:path()
    if self.options.watchdog then
      env.WATCHDOG_USEC = ("%d"):format(self.options.watchdog * 1e6)
    end
  end
  if run.child_channel and self.options.command then
    env.BROOD_CHANNEL_FD = tostring(FIRST_FD + #(self.options.sockets or {}))
  end
  if self.options.sockets then
    describe_sockets(self.options.sockets, env)
  end
  for name, value in pairs(self.options.env or {}) do
    env[name] = value and tostring(value)
  end
  return env
end

--- The whole of it, as "NAME=value" each; nil where it is ours as it stands.
---@param self brood.Process
---@param run table
---@return string[]?
function M.of(self, run)
  if inherits_environment(self, run) then
    return nil
  end
  local env = merged(self.options.environ or core.posix.environ())
  for name, value in pairs(M.changes(self, run)) do
    env[name] = value or nil
  end
  local list = {}
  for name, value in pairs(env) do
    list[#list + 1] = name .. "=" .. value
  end
  return list
end

return M
