--- The listening sockets of a master: opened once, by address, and lent to the
--- clusters that name them. A start that meets a socket still in use waits a little for it.
local core = require "brood.core"
local E = require "brood.error"
local duration = require "brood.rules.duration"
local log = require "brood.log"
local task = require "brood.task"

---@class brood.Listeners
local Listeners = {}
Listeners.__index = Listeners

local M = {}

local TRIES, WAIT = 10, 0.1 -- a predecessor that is just ending has a second

---@return brood.Listeners
function M.new()
  return setmetatable({ by_cluster = {}, all = {} }, Listeners)
end

--- Open one socket, trying again while its address is in use.
---@async
---@param entry table address, backlog, ...; once: do not try again
---@param called_off? fun(): boolean whether nobody wants it any more
---@return userdata? listener, brood.Error? err
function M.open(entry, called_off)
  local listener, err
  for try = 0, TRIES do
    listener, err = core.listener.open(entry)
    if listener or err.code ~= "EADDRINUSE" or entry.once or try == TRIES then
      break
    elseif try == 0 then
      log.warn(("%s: trying again for a second"):format(err))
    end
    task.sleep(WAIT)
    if called_off and called_off() then
      return nil, E.new("stopped", "called off while waiting for the address")
    end
  end
  return listener, err
end

-- The entry with its mode, owner and group as numbers.
local function identity(entry)
  local copy = {}
  for key, value in pairs(entry) do
    copy[key] = value
  end
  copy.mode = entry.mode and duration.parse_mode(entry.mode)
  if entry.owner ~= nil then
    local user, err = core.privileges.lookup_user(entry.owner)
    if not user then
      return nil, err
    end
    copy.uid = user.uid
  end
  if entry.group ~= nil then
    local group, err = core.privileges.lookup_group(entry.group)
    if not group then
      return nil, err
    end
    copy.gid = group.gid
  end
  return copy
end

--- Open the sockets of all clusters. On failure those opened so far are closed again.
---@async
---@param clusters table[] with name and listen
---@param called_off fun(): boolean
---@return true? ok, brood.Error? err
function Listeners:open(clusters, called_off)
  for _, cluster in ipairs(clusters) do
    local list = {}
    self.by_cluster[cluster.name] = list
    for _, entry in ipairs(cluster.listen) do
      local wanted, err = identity(entry)
      local listener
      if wanted then
        listener, err = M.open(wanted, called_off)
      end
      if not listener then
        self:close()
        return nil, E.new(err.code, "cannot listen on %s: %s", entry.address, err.message)
      end
      list[#list + 1] = listener
      self.all[#self.all + 1] = listener
    end
  end
  return true
end

--- The descriptors of a cluster's sockets.
---@param name string
---@return integer[]
function Listeners:fds(name)
  local fds = {}
  for i, listener in ipairs(self.by_cluster[name] or {}) do
    fds[i] = listener:fd()
  end
  return fds
end

--- Where a cluster listens, with real ports.
---@param name string
---@return string[]
function Listeners:addresses(name)
  local list = {}
  for i, listener in ipairs(self.by_cluster[name] or {}) do
    list[i] = listener:address()
  end
  return list
end

function Listeners:close()
  for _, listener in ipairs(self.all) do
    listener:close()
  end
  self.all, self.by_cluster = {}, {}
end

return M
