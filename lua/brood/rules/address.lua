--- Addresses as text: what a user may write, and its one normal form. It opens
--- nothing and resolves no names.
local M = {}

---@class brood.Address
---@field kind "tcp"|"unix"|"fd"
---@field host? string of tcp; nil is all interfaces
---@field port? integer of tcp
---@field path? string of unix
---@field name? string of fd

M.EXPECTED = 'an address (a port, "host:port", "[v6]:port" or "unix:/path")'

local function tcp(host, port_text)
  local port = tonumber(port_text)
  if not port_text:match("^%d+$") or port > 65535 then
    return nil, ("'%s' is not a port (0 to 65535)"):format(port_text)
  end
  return { kind = "tcp", host = host, port = port }
end

local function unix(path)
  if path == "" then
    return nil, "the path is missing"
  elseif path:find("%z") then
    return nil, "a path cannot contain a zero byte"
  end
  return { kind = "unix", path = path }
end

-- "[...]": an IPv6 address, perhaps with a zone.
local function bracketed(host, port)
  local digits = host:match("^[%x:.]+$") or host:match("^([%x:.]+)%%[%w._-]+$")
  if not digits or not digits:find(":", 1, true) then
    return nil, ("'[%s]' is not an IPv6 address"):format(host)
  end
  return tcp(host, port)
end

-- Digits and dots alone are meant as an IPv4 address, never as a name.
local function is_bad_ipv4(host)
  local a, b, c, d = host:match("^(%d+)%.(%d+)%.(%d+)%.(%d+)$")
  return host:match("^[%d.]+$") and not (a and math.max(a, b, c, d) <= 255)
end

--- Take an address apart. A bare port, ":port" and "*:port" mean all interfaces; what begins
--- with "/" or "./" is the path of a Unix socket.
---@param value any
---@return brood.Address? address, string? why
function M.parse(value)
  if type(value) == "number" then
    return tcp(nil, ("%.14g"):format(value))
  elseif type(value) ~= "string" then
    return nil, "not a string or a port number"
  elseif value:match("^unix:") then
    return unix(value:sub(6))
  elseif value:match("^%.?%.?/") then
    return unix(value)
  elseif value:match("^fd:") then
    local name = value:sub(4)
    if name == "" or name:find("[%c:]") then
      return nil, "the name after 'fd:' is missing or not a name"
    end
    return { kind = "fd", name = name }
  elseif value:match("^%a+://") then
    return nil, "it is a URL; leave out what surrounds host:port"
  elseif value:match("^%d+$") then
    return tcp(nil, value)
  end
  local host, port = value:match("^%[([^%]]*)%]:(.*)$")
  if host then
    return bracketed(host, port)
  end
  host, port = value:match("^(.*):([^:]*)$")
  if not host then
    return nil, "the port is missing"
  elseif host:find(":", 1, true) then
    return nil, ("an IPv6 address stands in brackets: [%s]:%s"):format(host, port)
  elseif host == "" or host == "*" then
    return tcp(nil, port)
  elseif not host:match("^[%w._-]+$") then
    return nil, ("'%s' is not a host"):format(host)
  elseif is_bad_ipv4(host) then
    return nil, ("'%s' is not an IPv4 address"):format(host)
  end
  return tcp(host, port)
end

--- The normal form: ":8080", "127.0.0.1:8080", "[::1]:8080", "unix:/path", "fd:NAME".
---@param address brood.Address
---@return string
function M.format(address)
  if address.kind == "unix" then
    return "unix:" .. address.path
  elseif address.kind == "fd" then
    return "fd:" .. address.name
  end
  local host = address.host or ""
  if host:find(":", 1, true) then
    host = "[" .. host .. "]"
  end
  return ("%s:%d"):format(host, address.port)
end

--- The normal form of whatever a user wrote.
---@param value any
---@return string? text, string? why
function M.normal(value)
  local address, why = M.parse(value)
  if not address then
    return nil, why
  end
  return M.format(address)
end

return M
