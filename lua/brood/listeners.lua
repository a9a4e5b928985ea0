--- The listening sockets of a master, or of a script's cluster: opened once, kept by the address that the config names,
--- and lent to the clusters that name them. Another config is a plan first: what is new is opened, and
--- nothing is closed before the plan is committed and the workers that used it were told to go.
local core = require "brood.core"
local E = require "brood.error"
local lazy = require "brood.lazy"
local log = require "brood.log"
local merged = require "brood.rules.merged"
local task = require "brood.task"
local uv = require "luv"

local change = lazy.passing "brood.listeners.change"

--- What one entry of `listen` stands for: one socket that all workers share, or one for each slot.
---@class brood.Endpoint
---@field entry table as the config has it, with mode, owner and group as numbers
---@field list userdata[] the sockets
---@field cluster string who had it last
---@field holders integer configs that name it: the one in force, a plan, one whose workers are still going
---@field passed? string its name, where a supervisor has passed it

---@class brood.Listeners
---@field endpoints brood.Endpoint[] all that is open
---@field by_cluster table<string, brood.Sockets> of the config in force
---@field held brood.Endpoint[] the same as a list
---@field let_go fun(listener: userdata) closes one that no config names any more
local Listeners = {}
Listeners.__index = Listeners

local M = {}

local TRIES, WAIT = 10, 0.1 -- a predecessor that is just ending has a second

---@param let_go fun(listener: userdata) closes one that no config names any more: its file may be another's by then
---@return brood.Listeners
function M.new(let_go)
  return setmetatable({ endpoints = {}, by_cluster = {}, held = {}, let_go = let_go }, Listeners)
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
  local name = entry.address:match "^fd:(.*)$"
  if name then
    return nil, E.new("ENOENT",
      "cannot listen on fd:%s: no socket of that name was passed to this process (LISTEN_FDNAMES)", name)
  end
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

-- ---- one cluster's sockets ------------------------------------------------------------------------------------------

-- The entry says what the config in question wants of the endpoint, which may still serve an older one.
---@class brood.Sockets
---@field entries {entry: table, endpoint: brood.Endpoint, list: userdata[]}[]
local Sockets = {}
Sockets.__index = Sockets

--- The sockets that a config gives a cluster.
---@param entries {entry: table, endpoint: brood.Endpoint, list: userdata[]}[]
---@return brood.Sockets
function M.sockets(entries)
  return setmetatable({ entries = entries }, Sockets)
end

-- The others of an address are where the first one is: port 0 is one port for all.
local function open_more(entry, list, n)
  local next_entry = merged(entry, { address = list[1]:address() })
  while #list < n do
    local listener, err = core.listener.open(next_entry)
    if not listener then
      return nil, E.of("worker slot " .. #list + 1, err)
    end
    list[#list + 1] = listener
  end
  return true
end

--- How many slots have sockets of their own: those of `reuseport`. 0 where there are none.
---@return integer
function Sockets:slots()
  local n = 0
  for _, one in ipairs(self.entries) do
    n = one.entry.reuseport and math.max(n, #one.list) or n
  end
  return n
end

--- See that there are n slots with sockets, where they have sockets of their own. None is ever closed before the end:
--- that would reset the connections that wait in it.
---@param n integer
---@return true? ok, brood.Error? err
function Sockets:grow(n)
  for _, one in ipairs(self.entries) do
    if one.entry.reuseport then
      local ok, err = open_more(one.entry, one.list, n)
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

--- The descriptors that all workers share: an address that once had a socket for each slot has them all.
---@return integer[]
function Sockets:shared()
  local fds = {}
  for _, one in ipairs(self.entries) do
    for _, listener in ipairs(one.entry.reuseport and {} or one.list) do
      fds[#fds + 1] = listener:fd()
    end
  end
  return fds
end

--- Whether a slot has, or had, a socket of its own.
---@return boolean
function Sockets:is_divided()
  for _, one in ipairs(self.entries) do
    if #one.list > 1 and not one.endpoint.passed then
      return true
    end
  end
  return false
end

--- All of them as a program gets them (LISTEN_FDS): one that a supervisor has named keeps that name, the others have
--- the cluster's.
---@param name string
---@return { fd: integer, name: string }[]
function Sockets:named(name)
  local list = {}
  for _, one in ipairs(self.entries) do
    for _, listener in ipairs(one.list) do
      list[#list + 1] = {
        fd = listener:fd(), name = one.endpoint.passed or one.entry.address:match "^fd:(.*)$" or name,
      }
    end
  end
  return list
end

--- Where they listen, with real ports.
---@return string[]
function Sockets:addresses()
  local list, seen = {}, {}
  for _, one in ipairs(self.entries) do
    for _, listener in ipairs(one.list) do
      local address = listener:address()
      if not seen[address] then
        seen[address] = true
        list[#list + 1] = address
      end
    end
  end
  return list
end

-- ---- all of them ----------------------------------------------------------------------------------------------------

--- Open the sockets of all clusters. On failure nothing of it is left.
---@async
---@param clusters table[] with name, listen and workers
---@param called_off fun(): boolean
---@return true? ok, brood.Error? err
function Listeners:open(clusters, called_off)
  local plan, err = self:change(clusters, called_off)
  if not plan then
    return nil, err
  end
  for _, cluster in ipairs(clusters) do
    local ok
    ok, err = plan.by_cluster[cluster.name]:grow(cluster.workers)
    if not ok then
      plan:cancel()
      return nil, err
    end
  end
  plan:commit()
  return true
end

--- Prepare for other clusters: what is new is opened, what stays is kept, and lasting options are changed on it.
---@async
---@param clusters table[] with name and listen
---@param called_off fun(): boolean
---@return brood.ListenersPlan? plan, brood.Error? err
function Listeners:change(clusters, called_off)
  return change(self, clusters, called_off, M)
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

local function each(endpoint, fn)
  for _, listener in ipairs(endpoint.list) do
    fn(listener)
  end
end

--- A config that named these endpoints needs them no longer; those that nobody names are closed.
---@param list brood.Endpoint[]
function Listeners:release(list)
  for _, endpoint in ipairs(list) do
    endpoint.holders = endpoint.holders - 1
  end
  local open = {}
  for _, endpoint in ipairs(self.endpoints) do
    if endpoint.holders > 0 then
      open[#open + 1] = endpoint
    else
      each(endpoint, self.let_go)
    end
  end
  self.endpoints = open
end

--- All that is open.
---@return userdata[]
function Listeners:all()
  local list = {}
  for _, endpoint in ipairs(self.endpoints) do
    each(endpoint, function(listener)
      list[#list + 1] = listener
    end)
  end
  return list
end

local function close(endpoint)
  each(endpoint, function(listener)
    listener:close()
  end)
end

-- Those that are a cluster's alone.
local function close_of(self, name)
  local open = {}
  for _, endpoint in ipairs(self.endpoints) do
    if endpoint.cluster == name then
      close(endpoint)
    else
      open[#open + 1] = endpoint
    end
  end
  self.endpoints, self.by_cluster[name] = open, nil
end

--- Close them.
---@param name? string those of a cluster; default: all
function Listeners:close(name)
  if name then
    return close_of(self, name)
  end
  for _, endpoint in ipairs(self.endpoints) do
    close(endpoint)
  end
  self.endpoints, self.by_cluster, self.held = {}, {}, {}
end

return M
