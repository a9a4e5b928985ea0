--- Sockets that a supervisor has passed to a script (LISTEN_FDS), for its clusters that name them: as "fd:NAME", or by
--- the address where they listen. They stay the script's: what a cluster gets is a duplicate, which it closes when it
--- stops, so that whoever connects then waits for its next start. It binds and closes nothing else.
local core = require "brood.core"
local E = require "brood.error"
local passed = require "brood.rules.passed"

local M = {}

local ABOVE_STDIO = 3

-- The listener, and the number that it has.
local function duplicate(fd)
  local copy, err = core.fd.dup_above(fd, ABOVE_STDIO)
  if not copy then
    return nil, err
  end
  local listener, why = core.listener.from_fd(copy)
  if not listener then
    core.posix.close(copy)
  end
  return listener, why
end

-- Those that an entry of `listen` means: several may bear one name.
local function meant(entry, name, listener)
  return entry.address == "fd:" .. name or passed.means(entry.address, listener:address())
end

local function is_open(endpoints, entry)
  for _, endpoint in ipairs(endpoints) do
    if endpoint.entry.address == entry.address then
      return true
    end
  end
  return false
end

--- Put those that these entries mean before the listeners, as endpoints that nobody has opened yet.
---@param listeners brood.Listeners
---@param wanted brood.ListenEntry[]
---@return true? ok, brood.Error? err
function M.offer(listeners, wanted)
  local names = passed.names(core.posix.environ(), core.posix.getpid())
  for _, entry in ipairs(names and wanted or {}) do
    local endpoint = { entry = entry, list = {}, holders = 0 }
    for i, name in ipairs(is_open(listeners.endpoints, entry) and {} or names) do
      local fd = passed.FIRST + i - 1
      local listener, err = duplicate(fd)
      if listener and meant(entry, name, listener) then
        if not endpoint.passed then
          endpoint.passed = name
          table.insert(listeners.endpoints, endpoint)
        end
        table.insert(endpoint.list, listener)
      elseif listener then
        listener:close()
      elseif entry.address == "fd:" .. name then
        return nil, E.of(("descriptor %d, passed as %s"):format(fd, entry.address), err)
      end
    end
  end
  return true
end

return M
