--- Addresses as text: what a user may write, and its one normal form. It opens
--- nothing and resolves no names.
local M = {}

---@class brood.Address
---@field kind "tcp"|"unix"|"fd"
---@field host? string of tcp; nil is all interfaces
---@field port? integer of tcp
---@field path? string of unix
---@field name? string of fd

M.UNIX_PATH_MAX = 107 -- bytes: what sockaddr_un holds
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

-- Leading zeros would be octal to some, decimal to others.
local function ipv4(text)
  local parts = { text:match("^(%d+)%.(%d+)%.(%d+)%.(%d+)$") }
  for i, part in ipairs(parts) do
    if #part > 3 or tonumber(part) > 255 or part:match("^0%d") then
      return nil
    end
    parts[i] = tonumber(part)
  end
  return parts[1] and parts
end

-- Groups of hex digits, the last ones perhaps written as IPv4: a list of numbers; nil when it is none.
local function groups(text)
  local list, dotted = {}, nil
  if text == "" then
    return list
  end
  for part in (text .. ":"):gmatch("([^:]*):") do
    if dotted then
      return nil
    elseif part:find(".", 1, true) then
      dotted = ipv4(part)
      if not dotted then
        return nil
      end
      list[#list + 1], list[#list + 2] = dotted[1] * 256 + dotted[2], dotted[3] * 256 + dotted[4]
    elseif part:match("^%x%x?%x?%x?$") then
      list[#list + 1] = tonumber(part, 16)
    else
      return nil
    end
  end
  return list, dotted
end

-- The eight groups of an IPv6 address; nil when it is none.
local function ipv6(text)
  local before, after = text:match("^(.-)::(.*)$")
  local head, dotted = groups(before or text)
  local tail = groups(after or "")
  if not head or not tail or (before and (dotted or #head + #tail > 7)) then
    return nil
  end
  for _ = #head + #tail + 1, before and 8 or 0 do
    head[#head + 1] = 0
  end
  for _, group in ipairs(tail) do
    head[#head + 1] = group
  end
  return #head == 8 and head or nil
end

-- The longest run of zeros, where it begins and how long it is; two are the least that "::" stands for.
local function zeros(list)
  local best, length, i = nil, 1, 1
  while i <= 8 do
    local first = i
    while list[i] == 0 do
      i = i + 1
    end
    if i - first > length then
      best, length = first, i - first
    end
    i = i + 1
  end
  return best, length
end

-- One spelling for each address, as the system writes it.
local function spelled(list)
  local first, length = zeros(list)
  local parts = {}
  for i, group in ipairs(list) do
    parts[i] = ("%x"):format(group)
  end
  if first == 1 and (length == 6 or length == 5 and list[6] == 0xffff) then
    return ("::%s%d.%d.%d.%d"):format(length == 5 and "ffff:" or "", math.floor(list[7] / 256), list[7] % 256,
      math.floor(list[8] / 256), list[8] % 256)
  elseif not first then
    return table.concat(parts, ":")
  end
  return table.concat(parts, ":", 1, first - 1) .. "::" .. table.concat(parts, ":", first + length)
end

-- "[...]": an IPv6 address, perhaps with a zone.
local function bracketed(host, port)
  local digits, zone = host:match("^([%x:.]+)(.*)$")
  local list = digits and ipv6(digits)
  if not list or not (zone == "" or zone:match("^%%[%w._-]+$")) then
    return nil, ("'[%s]' is not an IPv6 address"):format(host)
  end
  return tcp(spelled(list) .. zone, port)
end

-- Digits and dots alone are meant as an IPv4 address, never as a name.
local function is_bad_ipv4(host)
  return host:match("^[%d.]+$") and not ipv4(host)
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
