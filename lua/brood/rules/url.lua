--- URLs of requests: what an http:// URL names, taken apart and checked. It encodes nothing
--- on behalf of the caller, and knows no other scheme.
local M = {}

---@class brood.Url
---@field address string to connect to: "host:port", "[v6]:port"
---@field host string for the Host header, as written, without a port of 80
---@field path string with the query, never empty
---@field user? string decoded "name:password"
---@field text string the URL without user and fragment: what messages show

local SHAPE = "http://host[:port]/path"

-- What would end a request line early, or is not ASCII.
local function odd_byte(text)
  local odd = text:match("[%c\127-\255 ]")
  if odd == " " then
    return "it has a space; write it as %20"
  elseif odd then
    return ("it has the byte 0x%02x; percent-encode it"):format(odd:byte())
  end
end

--- Text with its %xx as the bytes that they stand for.
---@param text string
---@return string
function M.decode(text)
  return (text:gsub("%%(%x%x)", function(hex)
    return string.char(tonumber(hex, 16))
  end))
end

-- "host:port", "[v6]:port", without the port 80.
local function parse_host(text)
  local host, rest = text:match("^(%[[%x:.]+%])(.*)$")
  if not host then
    host, rest = text:match("^([%w._-]+)(.*)$")
  end
  if not host or host:find("^%[[^:]*%]$") then
    return nil, text == "" and "the host is missing" or ("'%s' is not a host"):format(text)
  end
  local digits = rest:match("^:(%d*)$")
  if rest ~= "" and not digits then
    return nil, ("'%s' is not a host and a port"):format(text)
  end
  local port = tonumber(digits ~= "" and digits or nil) or 80
  if port < 1 or port > 65535 then
    return nil, ("'%s' is not a port (1 to 65535)"):format(digits)
  end
  return host, port
end

--- What may stand as the target of a request.
---@param path string
---@return string? path, string? why
function M.path(path)
  path = path:gsub("#.*$", "")
  local odd = odd_byte(path)
  if odd then
    return nil, odd
  elseif path == "" then
    return "/"
  elseif path:sub(1, 1) == "?" then
    return "/" .. path
  elseif path:sub(1, 1) ~= "/" and path ~= "*" then
    return nil, "it does not begin with '/'"
  end
  return path
end

--- Take a URL apart.
---@param url string
---@return brood.Url? parts, string? why, string? code
function M.parse(url)
  local scheme, authority, rest = url:match("^(%a[%w+.-]*)://([^/?#]*)(.*)$")
  -- Passwords do not belong into messages.
  local seen = url:gsub("^(%a[%w+.-]*://)[^/?#]*@", "%1")
  if not scheme then
    return nil, ("'%s' is not a URL (%s)"):format(seen, SHAPE), "EINVAL"
  elseif scheme:lower() ~= "http" then
    return nil, ("%s: only http:// is spoken here, not %s://"):format(seen, scheme:lower()), "EPROTONOSUPPORT"
  end
  local user, place = authority:match("^(.*)@([^@]*)$")
  local path, odd = M.path(rest)
  local host, port = parse_host(place or authority)
  odd = odd or odd_byte(authority) or not host and port or nil
  if odd then
    return nil, ("'%s' is not a URL (%s): %s"):format(seen, SHAPE, odd), "EINVAL"
  end
  local shown = port == 80 and host or ("%s:%d"):format(host, port)
  return {
    address = ("%s:%d"):format(host, port), host = shown, path = path, user = user and M.decode(user),
    text = "http://" .. shown .. path,
  }
end

local LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

--- Base64, as Basic authentication has it.
---@param text string
---@return string
function M.base64(text)
  local out = {}
  for i = 1, #text, 3 do
    local a, b, c = text:byte(i, i + 2)
    local n = a * 65536 + (b or 0) * 256 + (c or 0)
    for k, place in ipairs { 262144, 4096, 64, 1 } do
      local digit = math.floor(n / place) % 64
      out[#out + 1] = (k == 3 and not b or k == 4 and not c) and "=" or LETTERS:sub(digit + 1, digit + 1)
    end
  end
  return table.concat(out)
end

return M
