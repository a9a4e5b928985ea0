--- Hostile and odd requests through a whole proxy: what arrives behind it is always a sound request, and exactly those
--- that the client was answered. What the front understood and what the back understood is compared, for each shape.
--- time limit: 240 s
local h = require "spec.support.http"
local lu = require "luaunit"
local proxy = require "spec.support.proxy"
local s = require "spec.support"
local shapes = require "spec.support.http_shapes"

local T = {}

-- A server that takes nothing but what RFC 9112 says a client should send, and says what it saw. It answers each
-- request with its method, its target and the length of its body.
local STRICT = [[
local data = ""
local function more()
  local piece = conn:read()
  if not piece then return false end
  data = data .. piece
  return true
end
local function malformed(what)
  print("MALFORMED " .. what .. (" %q"):format(data:sub(1, 300)))
  conn:close()
end
local function take(n)
  while #data < n do
    if not more() then return nil end
  end
  local bytes = data:sub(1, n)
  data = data:sub(n + 1)
  return bytes
end
local function line()
  local at
  repeat
    at = data:find("\r\n", 1, true)
    if not at and not more() then return nil end
  until at
  local text = data:sub(1, at - 1)
  data = data:sub(at + 2)
  return text
end
while true do
  while data == "" do
    if not more() then return conn:close() end
  end
  local first = line()
  if not first then return malformed "an unfinished line" end
  local method, target, version = first:match "^([%w!#$%%&'*+.^_`|~-]+) (%S+) HTTP/1%.(%d)$"
  if not method or first:find "[%c\127-\255]" or version ~= "1" then return malformed("the line " .. first) end
  if not target:find "^/" and target ~= "*" then return malformed("the target " .. target) end
  local headers = {}
  while true do
    local text = line()
    if not text then return malformed "an unfinished head" end
    if text == "" then break end
    local name, value = text:match "^([%w!#$%%&'*+.^_`|~-]+):[ \t]*(.-)[ \t]*$"
    if not name then return malformed("the header " .. text) end
    if value:find "[%z\1-\8\10-\31\127]" then return malformed("the value of " .. name) end
    name = name:lower()
    if headers[name] and (name == "host" or name == "content-length" or name == "transfer-encoding") then
      return malformed("two of " .. name)
    end
    headers[name] = value
  end
  if not headers.host then return malformed "no host" end
  local length, coding = headers["content-length"], headers["transfer-encoding"]
  if length and coding then return malformed "two lengths" end
  if coding and coding:lower() ~= "chunked" then return malformed("the coding " .. coding) end
  if length and not length:find "^%d+$" then return malformed("the length " .. length) end
  local size = 0
  if length then
    local body = take(tonumber(length))
    if not body then return conn:close() end -- its client has gone
    size = #body
  elseif coding then
    while true do
      local text = line()
      if not text then return conn:close() end
      local digits = text:match "^(%x+)$"
      if not digits then return malformed("the chunk " .. text) end
      local n = tonumber(digits, 16)
      if n == 0 then
        local trailer
        repeat trailer = line() until trailer == "" or trailer == nil
        break
      end
      local chunk = take(n + 2)
      if not chunk then return conn:close() end
      if chunk:sub(-2) ~= "\r\n" then return malformed "the end of a chunk" end
      size = size + n
    end
  end
  local answer = ("%s %s %d"):format(method, target, size)
  print("saw " .. answer)
  conn:write(("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"):format(method == "HEAD" and 0 or #answer)
    .. (method == "HEAD" and "" or answer))
end
]]

local PROBE = "GET /probe HTTP/1.1\r\nHost: probe\r\n\r\n"

-- The bodies of the answers that came from behind; those that are the proxy's own are left out.
local function answers_in(bytes)
  local found, at = {}, 1
  while at <= #bytes do
    local status, head, stop = bytes:match("^HTTP/1%.1 (%d%d%d)(.-\r\n\r\n)()", at)
    if not status then
      error(("no sound answer: %q"):format(bytes:sub(at, at + 200)))
    end
    local length = tonumber(head:match("\nContent%-Length: (%d+)") or 0)
    local body = bytes:sub(stop, stop + length - 1)
    if status == "200" then
      found[#found + 1] = body
    end
    at = stop + length
  end
  return found
end

local function seen(back, from)
  local list, text = {}, back:stdout():sub(from)
  for line in text:gmatch "saw ([^\n]+)" do
    list[#list + 1] = line
  end
  return list, text
end

local function expects(shape, text)
  for i = 3, #shape do
    if type(shape[i]) == "string" and shape[i]:find(text, 1, true) then
      return true
    end
  end
  return false
end

local function check(master, back, shape)
  local from = #back:stdout() + 1
  local socket = s.connect(master:front())
  socket:send(shape[2])
  socket:send(PROBE)
  pcall(s.wait, function()
    return socket.eof or socket.received:find("GET /probe 0", 1, true)
  end, 5 * s.slow)
  local found = answers_in(socket.received)
  socket:close()
  -- What an interrupted client began may be noticed a little later behind.
  pcall(s.wait, function() return #seen(back, from) >= #found end, 2 * s.slow)
  local list, text = seen(back, from)
  lu.assertNil(text:match "MALFORMED[^\n]*", shape[1])
  lu.assertEquals(list, found, shape[1])
  for _, line in ipairs(list) do
    lu.assertTrue(not line:find("/smuggled", 1, true) or expects(shape, "/smuggled"), shape[1])
  end
end

T["front and back understand the same of every shape, and nothing malformed is passed on"] = function()
  local address, back = h.serve_net(STRICT)
  local master = proxy.start {
    routes = ('["/"] = %q'):format(address), proxy = "max_body = '1k', timeout = '1s'", workers = 1,
  }
  for _, shape in ipairs(shapes.list) do
    check(master, back, shape)
  end
  lu.assertEquals(master:ask("/fine").body, "GET /fine 0")
  master:finish()
end

T["no way of writing a path or a host comes to a target that the routes keep it from"] = function()
  local address = h.serve 'res:finish("inner " .. req.path)'
  local master = proxy.start {
    app = 'return function(req, res) res:finish "outer" end',
    routes = ('["/"] = "web", ["/inner"] = %q, ["inner.local"] = %q'):format(address, address),
  }
  local function ask(line, host)
    local socket = s.connect(master:front())
    socket:send(("GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n"):format(line, host))
    local answer = socket:response()
    socket:close()
    return answer.status == 200 and answer.body:match "^%a+" or answer.status
  end
  for _, path in ipairs {
    "/inner", "//inner", "/%69nner", "/x/../inner", "/x/%2e%2e/inner/y", "/./inner", "/%2finner",
  } do
    lu.assertEquals(ask(path, "h"), "inner", path)
  end
  for _, path in ipairs { "/", "/inner/..", "/inner/%2e%2e/x", "/%2569nner", "/INNER", "/innerx" } do
    lu.assertEquals(ask(path, "h"), "outer", path)
  end
  for _, path in ipairs { "/inner/../..", "/%", "/%0", "/..", "/%00" } do
    lu.assertEquals(ask(path, "h"), 400, path)
  end
  lu.assertEquals(ask("http://inner.local/x", "h"), "inner") -- the target's host is the one that counts
  lu.assertEquals(ask("http://h/x", "inner.local"), "outer")
  lu.assertEquals(ask("/", "INNER.local.:99"), "inner")
  for _, host in ipairs { "inner.local@h", "inner.local/h", "inner.local,h", "inner.local h", "h\tinner.local" } do
    lu.assertEquals(ask("/", host), 400, host)
  end
  master:finish()
end

return T
