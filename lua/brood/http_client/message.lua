--- Requests as they are sent: whom to ask, the head, how the body is framed. What a caller
--- may not send is refused here, because a header that says something else than the body
--- is lets one request pass for two.
local core = require "brood.core"
local E = require "brood.error"
local url = require "brood.rules.url"

local M = {}

---@class brood.http.Target
---@field address string to connect to
---@field host string
---@field path string
---@field text string for messages
---@field user? string

--- Where a request goes.
---@param given brood.http.Given
---@return brood.http.Target? target, brood.Error? err
function M.target(given)
  local target = { host = "localhost", path = "/", text = "" }
  local why, code
  if given.url then
    target, why, code = url.parse(given.url)
    if not target then
      return nil, E.new(code, "%s", why)
    end
  end
  if given.path or not given.url then
    local before = target.text:gsub("/$", "")
    target.path, why = url.path(given.path or "/")
    if not target.path then
      return nil, E.new("EINVAL", "the path '%s': %s", given.path, why)
    end
    target.text = before .. target.path
  end
  if given.socket then
    target.address = "unix:" .. given.socket:gsub("^unix:", "")
    target.text = ("%s (%s)"):format(target.text, target.address)
  end
  return target
end

-- ---- headers --------------------------------------------------------------------------------------------------------

local SINGLE = { host = true, connection = true, ["content-length"] = true, ["transfer-encoding"] = true }

local function text_of(name, value)
  if type(value) ~= "string" and type(value) ~= "number" then
    return nil, ("header '%s' must be a string, a number, a list of these or false, got %s"):format(name, type(value))
  elseif tostring(value):find("[%z\1-\8\10-\31\127]") then
    return nil, ("header '%s': a value has no line break and no NUL or other control byte"):format(name)
  end
  return tostring(value)
end

-- The values by lower-case name, checked; each is { name as given, values... }, or false where it is switched off.
local function collect(headers)
  local found, order = {}, {}
  for name, value in pairs(headers) do
    if type(name) ~= "string" or not name:match("^[%w!#$%%&'*+.^_`|~-]+$") then
      return nil, ("'%s' is not a header's name"):format(tostring(name):gsub("%c", "?"))
    end
    local key = name:lower()
    local entry = found[key] or { name }
    if SINGLE[key] and (found[key] ~= nil or type(value) == "table") then
      return nil, ("header '%s' is given more than once"):format(name)
    end
    for _, one in ipairs(type(value) == "table" and value or { value or nil }) do
      local text, why = text_of(name, one)
      if not text then
        return nil, why
      end
      entry[#entry + 1] = text
    end
    if found[key] == nil then
      order[#order + 1] = key
    end
    found[key] = value ~= false and entry or false
  end
  table.sort(order)
  return found, order
end

-- How the body is framed: what the caller says about it must be so.
local function framing(found, body, method)
  local length = found["content-length"] and found["content-length"][2]
  local coding = found["transfer-encoding"] and found["transfer-encoding"][2]
  if coding and (coding:lower() ~= "chunked" or body == nil or length) then
    return nil, "the only Transfer-Encoding is 'chunked', with a body and without a Content-Length"
  elseif length and (not length:match("^%d+$") or #length > 15) then
    return nil, ("'%s' is not a Content-Length"):format(length)
  elseif type(body) == "function" then
    return { chunked = not length, length = tonumber(length) }
  elseif length and tonumber(length) ~= #(body or "") then
    return nil, ("the Content-Length is %s, and the body has %d bytes"):format(length, #(body or ""))
  elseif coding then
    return { chunked = true }
  end
  local expected = method == "POST" or method == "PUT" or method == "PATCH"
  return { length = (body or length or expected) and #(body or "") or nil }
end

--- The head of a request, and how its body is to be sent.
---@param given brood.http.Given
---@param target brood.http.Target
---@param method string
---@return { head: string, chunked: boolean?, length: integer?, close: boolean? }? plan, string? why
function M.plan(given, target, method)
  local found, order = collect(given.headers or {})
  if not found then
    return nil, order
  end
  local plan, why = framing(found, given.body, method)
  local host = found.host and found.host[2] or target.host
  if not plan then
    return nil, why
  elseif host:find("[%s/?#@]") then
    return nil, ("'%s' is not a host"):format(host)
  end
  local connection = found.connection and found.connection[2]:lower()
  plan.close = given.keep_alive == false or connection ~= nil and connection:find("close", 1, true) ~= nil
  local lines = { ("%s %s HTTP/1.1"):format(method, target.path), "Host: " .. host }
  if found["user-agent"] == nil then
    lines[#lines + 1] = "User-Agent: brood/" .. core.version
  end
  if target.user and found.authorization == nil then
    local user = target.user:find(":", 1, true) and target.user or target.user .. ":"
    lines[#lines + 1] = "Authorization: Basic " .. url.base64(user)
  end
  if plan.close and not connection then
    lines[#lines + 1] = "Connection: close"
  end
  for _, key in ipairs(order) do
    local entry = key ~= "host" and key ~= "content-length" and key ~= "transfer-encoding" and found[key] or {}
    for i = 2, #entry do
      lines[#lines + 1] = entry[1] .. ": " .. entry[i]
    end
  end
  if plan.chunked then
    lines[#lines + 1] = "Transfer-Encoding: chunked"
  elseif plan.length then
    lines[#lines + 1] = ("Content-Length: %d"):format(plan.length)
  end
  plan.head = table.concat(lines, "\r\n") .. "\r\n\r\n"
  return plan
end

return M
