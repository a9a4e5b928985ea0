--- Ports for services: one that nobody has, kept from others until the service has bound it. Among processes of brood
--- on this machine a port is reserved by name; that a stranger takes it all the same in between, only a look at who
--- listens there can tell (spinner.listening).
local core = require "brood.core"
local E = require "brood.error"
local fork = require "brood.fork"
local uv = require "luv"

local M = {}

local taken = {} ---@type table<integer, brood.Port> what services of this process have

---@class brood.Port
---@field port integer
---@field owner string the service
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

local function try(port, owner)
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
  local self = setmetatable({ port = port, owner = owner, fd = fd }, Port)
  taken[port] = self
  return self
end

local function exhausted(range)
  local ours, n = {}, 0
  for port = range[1], range[2] do
    if taken[port] then
      n = n + 1
      ours[#ours + 1] = n <= 5 and ("%d by %s"):format(port, taken[port].owner) or nil
    end
  end
  local others = range[2] - range[1] + 1 - n
  if n > 5 then
    ours[#ours + 1] = ("%d by more services"):format(n - 5)
  end
  if others > 0 then
    ours[#ours + 1] = ("%d by other programs"):format(others)
  end
  return E.new("EADDRINUSE", "no port of {%d, %d} is free (%s): give `ports` a wider range", range[1], range[2],
    table.concat(ours, ", "))
end

--- A port of the range that nobody has: the wanted one where that is so, else the lowest.
---@param range integer[]
---@param owner string
---@param wanted? integer
---@param avoid? table<integer, true> only where there is no other
---@return brood.Port? port, brood.Error? err
function M.take(range, owner, wanted, avoid)
  avoid = avoid or {}
  local port = wanted and not avoid[wanted] and wanted >= range[1] and wanted <= range[2] and try(wanted, owner)
  if port then
    return port
  end
  for n = range[1], range[2] do
    port = not avoid[n] and try(n, owner)
    if port then
      return port
    end
  end
  for n = range[1], range[2] do
    port = avoid[n] == true and try(n, owner)
    if port then
      return port
    end
  end
  return nil, exhausted(range)
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
