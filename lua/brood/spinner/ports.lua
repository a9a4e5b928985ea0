--- Ports for services: one that nobody has, kept from others until the service has bound it. Among processes of brood
--- on this machine a port is reserved by name; that a stranger takes it all the same in between, only a look at who
--- listens there can tell (spinner.listening).
local core = require "brood.core"
local E = require "brood.error"
local fork = require "brood.fork"
local listening = require("brood.lazy").room "brood.spinner.listening"
local uv = require "luv"

local M = {}

local taken = {} ---@type table<integer, brood.Port> what services of this process have

---@class brood.Port
---@field port integer
---@field owner string the service
---@field holder any whose range it is of: a spinner
---@field fd integer? while it is reserved
local Port = {}
Port.__index = Port

-- In the child of a fork none of them is ours; the descriptors are closed there.
fork.on_child(function()
  taken = {}
end)

-- Whether somebody listens on the port, at whatever address.
local function is_free(port)
  for _, host in ipairs { "::", "0.0.0.0" } do
    local tcp = uv.new_tcp()
    local bound = tcp:bind(host, port)
    local ok, _, code = tcp:listen(1, function() end)
    tcp:close()
    if bound and ok then
      return true
    elseif code == "EADDRINUSE" or code == "EACCES" then
      return false
    end
    -- No IPv6 here: the other one says.
  end
  return false
end

local function try(port, owner, holder)
  if taken[port] then
    return nil
  end
  local fd, err = core.fd.reserve("brood-port-" .. port)
  if not fd and err.code == "EADDRINUSE" then
    return nil
  end
  if not is_free(port) then
    if fd then
      core.fd.close(fd)
    end
    return nil
  end
  local self = setmetatable({ port = port, owner = owner, holder = holder, fd = fd }, Port)
  taken[port] = self
  return self
end

local SHOWN = 4 -- ports of each kind that are named

-- Who has a port that is none of this process's.
local function stranger(port)
  local who = listening.who(port)
  return who and ("%d by %s, pid %d"):format(port, who.name, who.pid) or tostring(port)
end

local function exhausted(range, holder)
  local kinds = {
    { title = "this spinner's own services have" }, { title = "others in this process have" },
    { title = "other programs have" },
  }
  for port = range[1], range[2] do
    local mine = taken[port]
    local kind = kinds[not mine and 3 or mine.holder == holder and 1 or 2]
    kind.count = (kind.count or 0) + 1
    if kind.count <= SHOWN then
      kind[kind.count] = mine and ("%d by %s"):format(port, mine.owner) or stranger(port)
    end
  end
  local parts = {}
  for _, kind in ipairs(kinds) do
    local more = (kind.count or 0) - SHOWN
    if kind.count then
      parts[#parts + 1] = ("%s %s%s"):format(kind.title, table.concat(kind, ", "),
        more > 0 and (" and %d more"):format(more) or "")
    end
  end
  local cure = not kinds[2].count and not kinds[3].count and "stop one of them, or give" or "give"
  return E.new("EADDRINUSE", "no port of {%d, %d} is free: %s: %s `ports` a wider range", range[1], range[2],
    table.concat(parts, "; "), cure)
end

--- A port of the range that nobody has: the wanted one where that is so, else the lowest.
---@param range integer[]
---@param owner string
---@param wanted? integer
---@param avoid? table<integer, true> only where there is no other
---@param holder? any who gives the ports of that range
---@return brood.Port? port, brood.Error? err
function M.take(range, owner, wanted, avoid, holder)
  avoid = avoid or {}
  local port = wanted and not avoid[wanted] and wanted >= range[1] and wanted <= range[2] and try(wanted, owner, holder)
  if port then
    return port
  end
  for n = range[1], range[2] do
    port = not avoid[n] and try(n, owner, holder)
    if port then
      return port
    end
  end
  for n = range[1], range[2] do
    port = avoid[n] == true and try(n, owner, holder)
    if port then
      return port
    end
  end
  return nil, exhausted(range, holder)
end

--- The port is bound: who looks now sees so.
function Port:bound()
  if self.fd then
    core.fd.close(self.fd)
    self.fd = nil
  end
end

--- Nothing is left of whoever had it.
function Port:free()
  self:bound()
  if taken[self.port] == self then
    taken[self.port] = nil
  end
end

return M
