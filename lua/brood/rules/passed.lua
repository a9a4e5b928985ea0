--- Sockets that somebody else has bound and passed to us: how the variables that describe them read,
--- which address of a config means which of them, and what is left for an app that names none.
--- Pure: no descriptor is looked at here.
local address = require "brood.rules.address"

local M = {}

--- Where passed descriptors begin, as in sd_listen_fds(3).
M.FIRST = 3

local UNKNOWN = "unknown" -- what systemd calls one without a name
local MOST = 4096 -- sockets: who announces more is mistaken

---@class brood.PassedSocket
---@field name string as in LISTEN_FDNAMES
---@field address string where it listens, as the system says it

--- What LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES say to the process `pid`: the names of the descriptors from 3 on.
--- nil: nothing was passed to this process.
---@param environ table<string, string>
---@param pid integer
---@return string[]?
function M.names(environ, pid)
  local count = tonumber((environ.LISTEN_FDS or ""):match "^%d+$")
  if not count or count > MOST or tonumber(environ.LISTEN_PID) ~= pid then
    return nil
  end
  local names = {}
  for name in ((environ.LISTEN_FDNAMES or "") .. ":"):gmatch "([^:]*):" do
    names[#names + 1] = name ~= "" and name or UNKNOWN
  end
  for i = 1, count do
    names[i] = names[i] or UNKNOWN
  end
  return { unpack(names, 1, count) }
end

-- All interfaces, as a socket says it.
local function is_any(host)
  return host == nil or host == "::" or host == "0.0.0.0"
end

--- Whether an address of a config means a socket that listens there.
---@param wanted string in normal form
---@param actual string as the system says it
---@return boolean
function M.means(wanted, actual)
  if wanted == actual then
    return true
  end
  local a, b = address.parse(wanted), address.parse(actual)
  if not a or not b or a.kind ~= "tcp" or b.kind ~= "tcp" or a.port ~= b.port then
    return false
  end
  return not a.host and is_any(b.host) or a.host == "localhost" and (b.host == "127.0.0.1" or b.host == "::1")
end

-- Every address that the clusters name, in normal form.
local function named_by(clusters)
  local list = {}
  for _, entry in pairs(type(clusters) == "table" and clusters or {}) do
    local listen = type(entry) == "table" and entry.listen or nil
    if type(listen) ~= "table" or listen.address ~= nil then
      listen = { listen }
    end
    for _, one in pairs(listen) do
      list[#list + 1] = address.normal(type(one) == "table" and one.address or one)
    end
  end
  return list
end

--- What an app without `listen` listens on: all that was passed and that no other cluster names.
---@param passed brood.PassedSocket[]
---@param clusters any the config's, as it was written
---@return string[]? listen nil where that is nothing
function M.default_listen(passed, clusters)
  local others, seen, list = named_by(clusters), {}, {}
  for _, socket in ipairs(passed) do
    local text, taken = "fd:" .. socket.name, false
    for _, other in ipairs(others) do
      taken = taken or other == text or M.means(other, socket.address)
    end
    if not taken and not seen[text] then
      seen[text] = true
      list[#list + 1] = text
    end
  end
  return list[1] and list or nil
end

return M
