--- Hostile and odd requests: each shape gets the answers it should, and nothing hidden behind one is ever run.
--- time limit: 120 s
local lu = require "luaunit"
local s = require "spec.support"
local h = require "spec.support.http"
local shapes = require "spec.support.http_shapes"

-- Every path that the handler sees is printed, so that what should not run is seen if it does.
local HANDLER = 'print("saw " .. req.path)\n' .. shapes.HANDLER
local PROBE = "GET /probe HTTP/1.1\r\nHost: probe\r\n\r\n"

---What should come back for a shape with the probe behind it: statuses and bodies in order, and whether it then closes.
local function expected(shape)
  local answers, closes = { unpack(shape, 3) }, false
  local last = answers[#answers]
  if last == "close" then
    table.remove(answers)
    closes = true
  elseif type(last) == "string" then
    table.insert(answers, "GET /probe 0")
  else
    closes = true
  end
  return answers, closes
end

-- The answers in `bytes`: a status for a refusal, the body for one of the handler. 100 Continue is left out.
local function parse(bytes)
  local found, at = {}, 1
  while at <= #bytes do
    local head, stop = bytes:match("^(HTTP/1%.1 .-\r\n\r\n)()", at)
    if not head then
      table.insert(found, "broken: " .. bytes:sub(at, at + 80))
      break
    end
    local status, length = tonumber(head:sub(10, 12)), tonumber(head:match("\nContent%-Length: (%d+)") or 0)
    if status ~= 100 then
      table.insert(found, status == 200 and bytes:sub(stop, stop + length - 1) or status)
    end
    if status >= 400 and not head:find("\nConnection: close\r\n", 1, true) then
      table.insert(found, "a refusal that does not say that it closes")
    end
    at = stop + length
  end
  return found
end

local function same(answers, found)
  for i = 1, math.max(#answers, #found) do
    if answers[i] ~= found[i] then
      return false
    end
  end
  return true
end

-- Wait until as many answers have come as should, or the connection is over.
local function collect(socket, answers, closes)
  local complete = pcall(s.wait, function()
    return socket.eof or (not closes and #parse(socket.received) >= #answers and not socket.received:find("broken"))
  end, 5)
  return parse(socket.received), complete
end

local function check(address, shape, send)
  local answers, closes = expected(shape)
  local socket = s.connect(address)
  send(socket, shape[2])
  socket:send(PROBE)
  local found, complete = collect(socket, answers, closes)
  local eof = socket.eof
  socket:close()
  if complete and eof == closes and same(answers, found) then
    return
  end
  local texts = {}
  for i, answer in ipairs(found) do
    texts[i] = tostring(answer):sub(1, 100)
  end
  return ("%s: expected %s%s, got %s%s"):format(shape[1], lu.prettystr(answers), closes and " and the end" or "",
    table.concat(texts, ", "), not complete and " and then nothing" or eof and " and the end" or "")
end

-- How many of the requests that a shape hides are right to be served.
local function honest(shape)
  local n = 0
  for _, answer in ipairs((expected(shape))) do
    n = n + (answer == "GET /smuggled 0" and 1 or 0)
  end
  return n
end

local function check_all(send, limit)
  local address, program = h.serve(HANDLER, shapes.OPTIONS)
  local wrong, served = {}, 0
  for _, shape in ipairs(shapes.list) do
    if #shape[2] <= limit then
      wrong[#wrong + 1] = check(address, shape, send)
      served = served + honest(shape)
    end
  end
  lu.assertEquals(table.concat(wrong, "\n"), "")
  local _, ran = program:stdout():gsub("saw /smuggled", "")
  lu.assertEquals(ran, served, "hidden requests that were run")
  lu.assertEquals(program:stderr(), "")
end

return {
  ["each shape gets the answers it should; a refusal ends the connection, and nothing behind it is run"] = function()
    check_all(function(socket, bytes)
      socket:send(bytes)
    end, math.huge)
  end,

  ["the answers are the same where every byte comes alone"] = function()
    check_all(function(socket, bytes)
      socket.handle:nodelay(true)
      for byte in bytes:gmatch "." do
        socket.handle:write(byte)
      end
    end, 300)
  end,

  ["a target that names a host has the last word about it"] = function()
    local address = h.serve "res:finish(req.path .. ' of ' .. tostring(req.headers.host))"
    for request, answer in pairs {
      ["GET http://b:81/a?q HTTP/1.1\r\nHost: c\r\n\r\n"] = "/a of b:81",
      ["GET https://[::1] HTTP/1.1\r\nX: y\r\nHost: \r\n\r\n"] = "/ of [::1]",
      ["GET /http://b/ HTTP/1.1\r\nHost: c\r\n\r\n"] = "/http://b/ of c",
      ["GET http://b/a HTTP/1.0\r\n\r\n"] = "/a of nil",
    } do
      local socket = s.connect(address)
      socket:send(request)
      lu.assertEquals(socket:response().body, answer)
    end
  end,

  ["the answers are the same wherever requests are cut in two"] = function()
    local bytes = "GET /a HTTP/1.1\r\nHost: a\r\n\r\nPOST /b?c HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
      .. "POST /d HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=\"y\"\r\nabc\r\n0\r\nT: t\r\n\r\n"
    local shape = { "cut", bytes, "GET /a 0", "POST /b?c 3", "POST /d 3" }
    local address = h.serve(HANDLER)
    local other = s.connect(address)
    for at = 1, #bytes - 1 do
      local wrong = check(address, shape, function(socket)
        socket:send(bytes:sub(1, at))
        -- What came first is read first: once this is answered, the first part has been seen alone.
        other:send(PROBE)
        other:response()
        socket:send(bytes:sub(at + 1))
      end)
      lu.assertNil(wrong, "cut behind byte " .. at)
    end
  end,
}
