--- Where a program is looked at to see whether it is ready: `ready` as a table, taken apart and checked. It opens
--- nothing.
local address = require "brood.rules.address"

local M = {}

-- The parts of http://host:port/path, where the host may be [v6].
local function parse_url(url)
  local rest = url:match("^http://(.+)$")
  local host, after = (rest or ""):match("^%[([%x:.]+)%](.*)$")
  if not host then
    host, after = (rest or ""):match("^([^/:%[%]]+)(.*)$")
  end
  if not host then
    return nil
  end
  local port, path = after:match("^:(%d+)(.*)$")
  path = port and path or after
  if path ~= "" and path:sub(1, 1) ~= "/" then
    return nil
  end
  return host, tonumber(port or 80), path == "" and "/" or path, rest:match("^[^/]+")
end

local function is_port(port)
  return type(port) == "number" and port % 1 == 0 and port > 0 and port < 65536
end

local function is_ip(host)
  return type(host) == "string" and (host:find("^%d+%.%d+%.%d+%.%d+$") or host:find("^%x*:[%x:.]*$")) ~= nil
end

-- What must hold of every place to look at.
local function check_place(target)
  if target.host == "localhost" then
    target.host = nil
  end
  if target.socket ~= nil then
    if type(target.socket) ~= "string" or #target.socket == 0 or #target.socket > address.UNIX_PATH_MAX then
      return nil, ("`socket` must be a path of at most %d bytes"):format(address.UNIX_PATH_MAX)
    end
  elseif not is_port(target.port) then
    return nil, ("`port` must be a number from 1 to 65535, got %s"):format(tostring(target.port))
  elseif target.host ~= nil and not is_ip(target.host) then
    return nil, ("`host` must be an IP address or localhost, got %s"):format(tostring(target.host))
  end
  return target
end

--- Where a `ready` table looks: {port=, host=}, {socket=}, or {http=}, which is a URL, or a path on the same entry's
--- port or socket.
---@param ready table
---@return table? target, string? why
function M.target(ready)
  if ready.http == nil then
    return check_place { port = ready.port, host = ready.host, socket = ready.socket }
  elseif type(ready.http) ~= "string" then
    return nil, "`http` must be a URL or a path"
  elseif ready.http:sub(1, 1) == "/" then
    if not ready.port and not ready.socket then
      return nil, "`http` is a path, so `port` or `socket` is needed beside it"
    end
    return check_place {
      port = ready.port, host = ready.host, socket = ready.socket, path = ready.http, name = "localhost",
    }
  end
  local host, port, path, name = parse_url(ready.http)
  if not host then
    return nil, ("'%s' is neither a path nor http://host:port/path"):format(ready.http)
  end
  return check_place { host = host, port = port, path = path, name = name }
end

return M
