--- From the sockets of one config to those of the next: which are kept, which are opened, and what
--- is put back when the config does not come into force. How a socket is opened is
--- brood.listeners' business.
local core = require "brood.core"
local E = require "brood.error"
local merged = require "brood.rules.merged"
local passed = require("brood.lazy").passing "brood.rules.passed"
local resolved = require "brood.listen_entry"

---@class brood.ListenersPlan
---@field by_cluster table<string, brood.Sockets>
---@field held brood.Endpoint[]
---@field undo fun()[] what puts back the options of kept sockets
local Plan = {}
Plan.__index = Plan

-- ---- what is kept ---------------------------------------------------------------------------------------------------

-- A socket file that somebody has removed or replaced, or to which a symlink leads no longer, is no way to its socket
-- any more.
local function usable(endpoint)
  return endpoint.list[1]:in_place()
end

-- The passes, from the surest to the least sure: port 0 may stand in several places, an address may have moved to
-- another cluster, and one may now be written as what it turned out to be.
local passes = {
  function(endpoint, entry, cluster)
    return endpoint.entry.address == entry.address and endpoint.cluster == cluster
  end,
  function(endpoint, entry)
    return endpoint.entry.address == entry.address
  end,
  function(endpoint, entry)
    local actual = endpoint.list[1]:address()
    -- Of our own, one without IPv6 is not all that a port alone asks for.
    return passed.means(entry.address, actual)
      and (endpoint.passed ~= nil or actual == entry.address or not actual:find "^0%.0%.0%.0:")
  end,
}

local function match(self, wanted)
  local claimed = {}
  for _, fits in ipairs(passes) do
    for _, one in ipairs(wanted) do
      for _, endpoint in ipairs(one.endpoint and {} or self.endpoints) do
        if not claimed[endpoint] and fits(endpoint, one.entry, one.cluster) and usable(endpoint) then
          claimed[endpoint], one.endpoint = true, endpoint
          break
        end
      end
    end
  end
end

-- ---- options of a socket that is kept -------------------------------------------------------------------------------

local function change_all(endpoint, entry)
  for _, listener in ipairs(endpoint.list) do
    local ok, err = listener:change(entry)
    if not ok then
      return nil, err
    end
  end
  return true
end

-- An owner that is not named any more is who we are, as for a socket that is opened.
local function without_owner(entry, former)
  return merged(entry, {
    uid = entry.uid or former.uid and core.posix.getuid(), gid = entry.gid or former.gid and core.posix.getgid(),
  })
end

local lasting = { "backlog", "mode", "uid", "gid" }

local function differs(a, b)
  for _, name in ipairs(lasting) do
    if a[name] ~= b[name] then
      return true
    end
  end
  -- Others may then be opened beside it; that it stays so does no harm.
  return b.reuseport and not a.reuseport
end

local function adapt(plan, endpoint, entry)
  local old = endpoint.entry
  if endpoint.passed then
    return true -- by a supervisor, who has chosen its options
  elseif (entry.ipv6only or false) ~= (old.ipv6only or false) then
    return nil, E.new("EINVAL", "listen: ipv6only of %s can only be changed by a restart", entry.address)
  elseif not differs(old, entry) then
    return true
  end
  table.insert(plan.undo, function()
    change_all(endpoint, without_owner(old, entry))
  end)
  return change_all(endpoint, without_owner(entry, old))
end

-- ---- the plan -------------------------------------------------------------------------------------------------------

-- A list of all entries; nil and why where an owner is nobody.
local function collect(clusters)
  local wanted = {}
  for _, cluster in ipairs(clusters) do
    for _, given in ipairs(cluster.listen) do
      local entry, err = resolved(given)
      if not entry then
        return nil, err
      end
      entry.blocking = cluster.command ~= nil
      wanted[#wanted + 1] = { cluster = cluster.name, entry = entry }
    end
  end
  return wanted
end

local function port_of(address)
  return not address:find "^unix:" and tonumber(address:match ":(%d+)$") or nil
end

-- Ours that have the same port, on other interfaces.
local function namesakes(self, entry)
  local port, list = port_of(entry.address), {}
  for _, endpoint in ipairs(port and port ~= 0 and self.endpoints or {}) do
    if port_of(endpoint.list[1]:address()) == port then
      list[#list + 1] = endpoint
    end
  end
  return list
end

-- From all interfaces of a port to one of them, or the other way round: both are open for a while, which the system
-- allows where both say so at that moment.
local function open_beside_ours(self, entry)
  local list = namesakes(self, entry)
  if not list[1] then
    return nil
  end
  local listener, err = core.listener.open(entry)
  if listener or err.code ~= "EADDRINUSE" then
    return listener
  end
  for _, endpoint in ipairs(list) do
    change_all(endpoint, merged(endpoint.entry, { reuseport = true }))
  end
  listener = core.listener.open(merged(entry, { reuseport = true }))
  if listener then
    listener:change(entry)
  end
  for _, endpoint in ipairs(list) do
    change_all(endpoint, endpoint.entry)
  end
  return listener
end

local function open(self, entry, called_off, M)
  local listener, err = open_beside_ours(self, entry), nil
  if not listener then
    listener, err = M.open(entry, called_off)
  end
  if not listener then
    return nil, err
  elseif entry.blocking then
    -- As systemd passes them: a program that waits for many things at once switches that off itself. It is the same for
    -- all that share the socket, so it is done once, before anybody has it.
    core.fd.nonblock(listener:fd(), false)
  end
  local endpoint = { entry = entry, list = { listener }, holders = 0 }
  table.insert(self.endpoints, endpoint)
  return endpoint
end

local function hold(plan, one)
  local endpoint = one.endpoint
  endpoint.cluster = endpoint.cluster or one.cluster
  endpoint.holders = endpoint.holders + 1
  table.insert(plan.held, endpoint)
end

local function fill(plan, wanted, clusters, M)
  local entries = {}
  for _, cluster in ipairs(clusters) do
    entries[cluster.name] = {}
    plan.by_cluster[cluster.name] = M.sockets(entries[cluster.name])
  end
  for _, one in ipairs(wanted) do
    table.insert(entries[one.cluster], { entry = one.entry, endpoint = one.endpoint, list = one.endpoint.list })
  end
end

--- It comes into force. What it returns is called when the workers of the former config have been told to go: the
--- sockets that nobody names any more are closed then.
---@return fun() release
function Plan:commit()
  local owner, former = self.owner, self.owner.held
  owner.by_cluster, owner.held = self.by_cluster, self.held
  for name, sockets in pairs(self.by_cluster) do
    for _, one in ipairs(sockets.entries) do
      one.endpoint.cluster, one.endpoint.entry = name, one.entry
    end
  end
  return function()
    owner:release(former)
  end
end

--- It does not: all is as it was.
function Plan:cancel()
  for i = #self.undo, 1, -1 do
    self.undo[i]()
  end
  self.owner:release(self.held)
end

--- Make a plan.
---@async
---@param self brood.Listeners
---@param clusters table[] with name and listen
---@param called_off fun(): boolean whether nobody wants it any more
---@param M table brood.listeners
---@return brood.ListenersPlan? plan, brood.Error? err
return function(self, clusters, called_off, M)
  local wanted, err = collect(clusters)
  if not wanted then
    return nil, err
  end
  match(self, wanted)
  local plan = setmetatable({ owner = self, by_cluster = {}, held = {}, undo = {} }, Plan)
  for _, one in ipairs(wanted) do
    if one.endpoint then
      hold(plan, one) -- first of all: nobody may close it while others are waited for
    end
  end
  for _, one in ipairs(wanted) do
    local ok
    if one.endpoint then
      ok, err = adapt(plan, one.endpoint, one.entry)
    else
      one.endpoint, err = open(self, one.entry, called_off, M)
      if one.endpoint then
        hold(plan, one)
      end
      ok = one.endpoint ~= nil
    end
    if ok and called_off() then
      ok, err = false, E.new("stopped", "called off")
    end
    if not ok then
      plan:cancel()
      return nil, err
    end
  end
  fill(plan, wanted, clusters, M)
  return plan
end
