--- Which target a request goes to: routes as a config writes them ("host", "*.suffix", "/path", "host/path"), and the
--- one that leads the way for a host and a path. A path is compared as it is understood, without escapes and dots, so
--- that no way of writing it leads around a route; what is sent on is the caller's business.
local address = require "brood.rules.address"

local M = {}

local HOST_MAX = 255 -- bytes: no host has a longer name

---@class brood.Route
---@field text string as it is written in the config, made plain
---@field host? string in small letters; nil: any host
---@field suffix? boolean whether `host` is what the host ends with, behind a dot
---@field path string "" or "/segment/segment"
---@field target any

-- ---- hosts and paths as they are compared ---------------------------------------------------------------------------

--- A host as it is compared: small letters, without the port and the dot of the root. "" for one that cannot be meant.
---@param text string? as in the Host header
---@return string
function M.host(text)
  if not text or #text > HOST_MAX + 6 then
    return ""
  end
  local host = text:match "^(%[[^%]]*%])" or text:match "^[^:]*"
  if host:sub(-1) == "." then
    host = host:sub(1, -2)
  end
  return host:lower()
end

-- Bytes for escapes; nil where one is none, or stands for a zero byte.
local function decode(path)
  local bad = path:find "%%%X" or path:find "%%%x%X" or path:find "%%%x?$" or path:find("%00", 1, true)
  return not bad and path:gsub("%%(%x%x)", function(hex)
    return string.char(tonumber(hex, 16))
  end) or nil
end

-- A path without its empty segments and dots: nil where they lead above the root.
local function without_dots(path)
  local parts, n = {}, 0
  for part in path:gmatch "[^/]+" do
    if part == ".." then
      if n == 0 then
        return nil
      end
      parts[n], n = nil, n - 1
    elseif part ~= "." then
      n = n + 1
      parts[n] = part
    end
  end
  return n > 0 and "/" .. table.concat(parts, "/") or ""
end

--- A path as it is compared: decoded once, without dots, empty segments and a slash at its end. nil for one that means
--- nothing: a broken escape, a zero byte, or more ".." than there is above them.
---@param path string as sent, without the query
---@return string? normal "" for the root
function M.path(path)
  if path:find("%", 1, true) then
    path = decode(path)
    if not path then
      return nil
    end
  end
  if path:find("/.", 1, true) or path:find("//", 1, true) then
    return without_dots(path)
  elseif path:byte(-1) == 47 then
    return path:sub(1, -2)
  end
  return path == "*" and "" or path
end

-- ---- what a config says ---------------------------------------------------------------------------------------------

local function check_path(path)
  if path:find("%", 1, true) then
    return nil, "its path is written without escapes: they are undone before it is compared"
  elseif path:find("[?#]") then
    return nil, "a path alone leads, without a query"
  elseif path:find "[%c]" then
    return nil, "it has a control character"
  end
  local normal = M.path(path)
  if normal ~= path and (normal or "") .. "/" ~= path then
    return nil, "its path has an empty segment, or one of dots"
  end
  return normal
end

local function check_host(host)
  if host:find "^[^%[%]]*:%d*$" or host:find "%]:%d*$" then
    return nil, "the port of a request is not looked at; leave it out"
  end
  local suffix = host:match "^%*%.(.+)$"
  local name = suffix or host
  if host == "*" then
    return nil, 'every host is "/"'
  elseif name:find("*", 1, true) then
    return nil, 'a "*" stands for whole names at the beginning alone, as in "*.example.com"'
  elseif #name > HOST_MAX or not (name:find "^[%w_-][%w._-]*$" or not suffix and name:find "^%[[%x:.]+%]$")
    or name:find("..", 1, true) then
    return nil, ("'%s' is not a host"):format(name)
  end
  return M.host(name), suffix ~= nil
end

--- Take a route apart.
---@param text string
---@return brood.Route? route, string? why
function M.parse(text)
  local host, path = text:match "^([^/]*)(/?.*)$"
  local suffix, why
  if text == "" then
    return nil, "it is empty"
  elseif text:find "^%a+://" then
    return nil, "it is a URL; leave out what stands before the host"
  end
  path, why = check_path(path)
  if path and host ~= "" then
    host, suffix = check_host(host)
    why = not host and suffix or nil
  end
  if why then
    return nil, why
  end
  local shown = host == "" and (path == "" and "/" or path) or (suffix and "*." or "") .. host .. path
  return { text = shown, host = host ~= "" and host or nil, suffix = suffix or nil, path = path }
end

--- What a route may lead to.
---@alias brood.RouteTarget { kind: "service"|"backend"|"cluster", name: string }|{ kind: "address", address: string }

--- What the target of a route means.
---@param value any as the config has it: a name, "host:port", "unix:/path", or a port
---@param known table<string, string> the names that there are, and what each is: "service", "backend", "cluster"
---@return brood.RouteTarget? target, string? why nil where it is a name that nobody has
function M.target(value, known)
  local kind = type(value) == "string" and known[value]
  if kind then
    return { kind = kind, name = value }
  end
  local parsed, why = address.parse(value)
  if not parsed then
    return nil, type(value) == "string" and not value:find "[:/]" and not value:find "^%d+$" and "unknown" or why
  elseif parsed.kind == "fd" then
    return nil, "a socket that was passed is nothing to connect to"
  elseif parsed.kind == "tcp" and parsed.port == 0 then
    return nil, "nobody can be reached at port 0"
  end
  return { kind = "address", address = M.reachable(address.format(parsed)) }
end

--- Where one connects to who listens at an address: "all interfaces" is this machine.
---@param text string in normal form
---@return string
function M.reachable(text)
  local parsed = address.parse(text)
  if parsed and parsed.kind == "tcp" then
    if not parsed.host or parsed.host == "0.0.0.0" then
      parsed.host = "127.0.0.1"
    elseif parsed.host:find "^[0:]+$" then
      parsed.host = "::1"
    end
    return address.format(parsed)
  end
  return text
end

-- ---- the way of a request -------------------------------------------------------------------------------------------

local function count_of(text, byte)
  return select(2, text:gsub(byte, ""))
end

-- Targets by path. `depth`: how many segments the longest one has.
local function add(paths, route)
  paths[route.path] = route
  paths.depth = math.max(paths.depth, count_of(route.path, "/"))
end

-- The first so many segments of a path.
local function head(path, depth)
  local at = 1
  for _ = 1, depth do
    at = path:find("/", at + 1, true)
    if not at then
      return path
    end
  end
  return path:sub(1, at - 1)
end

-- The longest one wins.
local function look_up(paths, path)
  if paths.depth > 0 then
    path = head(path, paths.depth)
    while path ~= "" do
      local found = paths[path]
      if found then
        return found
      end
      path = path:match "^(.*)/[^/]*$"
    end
  end
  return paths[""]
end

---@class brood.Router
---@field exact table<string, table> by host
---@field suffixes table<string, table> by what the host ends with
---@field any table of all hosts
local Router = {}
Router.__index = Router

-- What the routes of a host's ends say: the longest end first.
local function by_suffix(self, host, path)
  local at = self.labels > 0 and host:find(".", 1, true) or nil
  -- No route has so many labels: those in front are passed over at once.
  local surplus = at and count_of(host, "%.") - self.labels or 0
  while at do
    if surplus <= 0 then
      local paths = self.suffixes[host:sub(at + 1)]
      local found = paths and look_up(paths, path)
      if found then
        return found
      end
    end
    at, surplus = host:find(".", at + 1, true), surplus - 1
  end
end

--- The route of a request; nil where none leads.
---@param host string? the Host header
---@param path string as sent, without the query
---@return brood.Route? route
---@return boolean? bad whether the path means nothing at all
function Router:find(host, path)
  local normal = M.path(path)
  if not normal then
    return nil, true
  end
  if self.by_host and host then
    local name = M.host(host)
    local paths = self.exact[name]
    local found = paths and look_up(paths, normal) or by_suffix(self, name, normal)
    if found then
      return found
    end
  end
  return look_up(self.any, normal)
end

-- How a host is looked for: by its name, by its end, or not at all.
local function rank(route)
  return not route.host and 3 or route.suffix and 2 or 1
end

--- The same routes in the order in which they are tried.
---@param list brood.Route[]
---@return brood.Route[]
function M.in_order(list)
  local sorted = { unpack(list) }
  table.sort(sorted, function(a, b)
    if rank(a) ~= rank(b) then
      return rank(a) < rank(b)
    elseif a.host ~= b.host then
      local first, second = count_of(a.host, "%."), count_of(b.host, "%.")
      if a.suffix and first ~= second then
        return first > second
      end
      return a.host < b.host
    end
    local first, second = count_of(a.path, "/"), count_of(b.path, "/")
    if first ~= second then
      return first > second
    end
    return a.path < b.path
  end)
  return sorted
end

--- What finds the way by these routes.
---@param list brood.Route[]
---@return brood.Router
function M.new(list)
  local self = setmetatable({ exact = {}, suffixes = {}, any = { depth = 0 }, labels = 0, by_host = false }, Router)
  for _, route in ipairs(list) do
    local paths = self.any
    if route.host then
      local hosts = route.suffix and self.suffixes or self.exact
      paths = hosts[route.host] or { depth = 0 }
      hosts[route.host], self.by_host = paths, true
      if route.suffix then
        self.labels = math.max(self.labels, count_of(route.host, "%.") + 1)
      end
    end
    add(paths, route)
  end
  return self
end

return M
