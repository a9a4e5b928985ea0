--- The listening sockets of a master: opened once, by address, and lent to the
--- clusters that name them. A start that meets a socket still in use waits a little for it.
local core = require "brood.core"
local E = require "brood.error"
local duration = require "brood.rules.duration"
local log = require "brood.log"
local task = require "brood.task"
local uv = require "luv"

---@class brood.Listeners
local Listeners = {}
Listeners.__index = Listeners

local M = {}

local TRIES, WAIT = 10, 0.1 -- a predecessor that is just ending has a second

---@return brood.Listeners
function M.new()
  return setmetatable({ by_cluster = {}, all = {} }, Listeners)
end

-- Whether somebody who is just ending may leave this address to us: not what lies in a socket's way.
local function may_become_free(entry)
  local path = entry.address:match "^unix:(.*)$"
  local stat = path and uv.fs_lstat(path)
  return not stat or stat.type == "socket"
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
    if listener or err.code ~= "EADDRINUSE" or entry.once or try == TRIES or not may_become_free(entry) then
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

-- ---- one cluster's sockets ------------------------------------------------------------------------------------------

-- An address is a list of sockets: one that all workers share, or one for each slot.
---@class brood.Sockets
---@field entries {entry: table, list: userdata[]}[]
local Sockets = {}
Sockets.__index = Sockets

-- The others of an address are where the first one is: port 0 is one port for all.
local function open_more(self, entry, list, n)
  local next_entry = {}
  for key, value in pairs(entry) do
    next_entry[key] = value
  end
  next_entry.address = list[1]:address()
  while #list < n do
    local listener, err = core.listener.open(next_entry)
    if not listener then
      return nil, E.new(err.code, "worker slot %d: %s", #list + 1, err.message)
    end
    list[#list + 1] = listener
    self.all[#self.all + 1] = listener
  end
  return true
end

--- How many slots have sockets of their own: those of `reuseport`. 0 where there are none.
---@return integer
function Sockets:slots()
  for _, one in ipairs(self.entries) do
    if one.entry.reuseport then
      return #one.list
    end
  end
  return 0
end

--- See that there are n slots with sockets, where they have sockets of their own. None is ever closed before the end:
--- that would reset the connections that wait in it.
---@param n integer
---@return true? ok, brood.Error? err
function Sockets:grow(n)
  for _, one in ipairs(self.entries) do
    if one.entry.reuseport then
      local ok, err = open_more(self.owner, one.entry, one.list, n)
      if not ok then
        return nil, err
      end
    end
  end
  return true
end

--- The descriptors that belong to a slot alone.
---@param slot integer
---@return integer[]
function Sockets:own(slot)
  local fds = {}
  for _, one in ipairs(self.entries) do
    if one.entry.reuseport and one.list[slot] then
      fds[#fds + 1] = one.list[slot]:fd()
    end
  end
  return fds
end

--- The descriptors that all workers share.
---@return integer[]
function Sockets:shared()
  local fds = {}
  for _, one in ipairs(self.entries) do
    if not one.entry.reuseport then
      fds[#fds + 1] = one.list[1]:fd()
    end
  end
  return fds
end

--- Where they listen, with real ports.
---@return string[]
function Sockets:addresses()
  local list = {}
  for i, one in ipairs(self.entries) do
    list[i] = one.list[1]:address()
  end
  return list
end

-- ---- all of them ----------------------------------------------------------------------------------------------------

local function open_one(self, sockets, given, workers, called_off)
  local entry, err = identity(given)
  if not entry then
    return nil, E.new(err.code, "cannot listen on %s: %s", given.address, err.message)
  end
  local listener
  listener, err = M.open(entry, called_off)
  if not listener then
    return nil, err
  end
  self.all[#self.all + 1] = listener
  local list = { listener }
  table.insert(sockets.entries, { entry = entry, list = list })
  return not entry.reuseport or open_more(self, entry, list, workers)
end

--- Open the sockets of all clusters. On failure those opened so far are closed again.
---@async
---@param clusters table[] with name, listen and workers
---@param called_off fun(): boolean
---@return true? ok, brood.Error? err
function Listeners:open(clusters, called_off)
  for _, cluster in ipairs(clusters) do
    local sockets = setmetatable({ entries = {}, owner = self }, Sockets)
    self.by_cluster[cluster.name] = sockets
    for _, given in ipairs(cluster.listen) do
      local ok, err = open_one(self, sockets, given, cluster.workers, called_off)
      if not ok then
        self:close()
        return nil, err
      end
    end
  end
  return true
end

--- The sockets of a cluster.
---@param name string
---@return brood.Sockets
function Listeners:of(name)
  return self.by_cluster[name]
end

--- Where a cluster listens, with real ports.
---@param name string
---@return string[]
function Listeners:addresses(name)
  local sockets = self.by_cluster[name]
  return sockets and sockets:addresses() or {}
end

function Listeners:close()
  for _, listener in ipairs(self.all) do
    listener:close()
  end
  self.all, self.by_cluster = {}, {}
end

return M
