--- Bodies through a proxy: piece by piece both ways, at the pace of whoever takes them, however the bytes were split.
--- time limit: 120 s
local lu = require "luaunit"
local brood = require "brood"
local s = require "spec.support"
local h = require "spec.support.http"
local r = require "spec.support.relay"

-- Each byte in a packet of its own, or nearly.
local function drip(socket, bytes)
  if socket.handle.nodelay then
    socket.handle:nodelay(true)
  end
  for byte in bytes:gmatch "." do
    socket.handle:write(byte)
    brood.sleep(0)
  end
end

-- Splits a request and an answer at every place, and then into single bytes.
local function at_every_split(request, answer, expected_request, expected)
  local address, behind = r.pair()
  local function exchange(ask, reply)
    local client = s.connect(address)
    ask(client)
    local up = behind.waiting[1] or behind:accept()
    table.remove(behind.waiting, 1)
    local got = up:receive(expected_request)
    reply(up)
    lu.assertEquals(client:response().body, expected)
    client:close()
    up:close()
    return got
  end
  local whole = exchange(function(c) c:send(request) end, function(u) u:send(answer) end)
  for i = 1, math.max(#request, #answer) - 1 do
    local got = exchange(function(c)
      c:send(request:sub(1, i))
      c:send(request:sub(i + 1))
    end, function(u)
      u:send(answer:sub(1, i))
      u:send(answer:sub(i + 1))
    end)
    -- Chunks may be others, their data is the same.
    lu.assertEquals(got:match "^.-\r\n\r\n", whole:match "^.-\r\n\r\n")
  end
  exchange(function(c) drip(c, request) end, function(u) drip(u, answer) end)
end

-- A server of ours behind a proxy of ours.
local BEHIND = [[
  if req.path == "/count" then
    local total = 0
    for chunk in function() return (req:read()) end do total = total + #chunk end
    res:finish(total)
  elseif req.path == "/echo" then
    for chunk in function() return (req:read()) end do res:write(chunk) end
    res:finish()
  else
    local piece = ("x"):rep(1024 * 1024)
    for _ = 1, tonumber(req.path:match("%d+")) do
      if not res:write(piece) then return end
    end
    res:finish()
  end
]]

local function two(options)
  local behind = h.serve(BEHIND, "{ max_body = false }")
  return r.front(behind, options, "{ max_body = false }")
end

local function peak(program)
  return tonumber(s.read_file("/proc/" .. program.pid .. "/status"):match "VmHWM:%s*(%d+)") / 1024
end

return {
  ["a request and an answer with lengths, split anywhere"] = function()
    at_every_split(r.head("POST", "/", "Content-Length: 5\r\n") .. "hello", r.answer("world", "X-A: b\r\n"),
      "\r\n\r\nhello", "world")
  end,

  ["a request and an answer in chunks with trailers, split anywhere"] = function()
    at_every_split(
      r.head("POST", "/", "Transfer-Encoding: chunked\r\n") .. "3\r\nhel\r\n2;a=b\r\nlo\r\n0\r\nX-T: 1\r\n\r\n",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nwor\r\n2;x\r\nld\r\n0\r\nX-S: 2\r\n\r\n",
      "\r\n0\r\nX%-T: 1\r\n\r\n", "world")
  end,

  ["pieces are passed on when they come, not when all of them have"] = function()
    local address, behind = r.pair()
    local client = s.connect(address)
    client:send(r.head("POST", "/", "Transfer-Encoding: chunked\r\n"))
    local up = behind:accept()
    up:receive "\r\n\r\n"
    up:send "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    client:receive "\r\n\r\n"
    for i = 1, 5 do
      client:send("1\r\n" .. i .. "\r\n")
      up:receive("^1\r\n" .. i .. "\r\n")
      up:send("1\r\n" .. i .. "\r\n")
      client:receive("^1\r\n" .. i .. "\r\n")
    end
    client:send "0\r\n\r\n"
    up:receive "^0\r\n\r\n"
    up:send "0\r\n\r\n"
    client:receive "^0\r\n\r\n"
  end,

  ["100-continue: the body is asked for when the other server does"] = function()
    local address, behind = r.pair()
    local client = s.connect(address)
    client:send(r.head("POST", "/", "Content-Length: 4\r\nExpect: 100-continue\r\n"))
    local up = behind:accept()
    lu.assertStrContains(up:receive "\r\n\r\n", "\r\nExpect: 100-continue\r\n")
    brood.sleep(0.1)
    lu.assertEquals(client.received, "")
    up:send "HTTP/1.1 100 Continue\r\n\r\n"
    client:receive "^HTTP/1.1 100 Continue\r\n\r\n"
    client:send "body"
    up:receive "body"
    up:send("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" .. r.answer "fine")
    lu.assertEquals(client:response().body, "fine")
  end,

  ["100-continue: a refusal is passed on instead, and no body is waited for"] = function()
    local address, behind, program = r.pair()
    local client = s.connect(address)
    client:send(r.head("POST", "/", "Content-Length: 4\r\nExpect: 100-continue\r\n"))
    local up = behind:accept()
    up:receive "\r\n\r\n"
    up:send "HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno"
    local response = client:response()
    lu.assertEquals({ response.status, response.headers.connection }, { 403, "close" })
    program:expect "done"
    up:receive_all() -- what it was told of never came: nothing else may be sent on it
  end,

  ["100-continue: a server that has never heard of it gets the body after a second"] = function()
    local address, behind = r.pair()
    local client = s.connect(address)
    client:send(r.head("POST", "/", "Content-Length: 4\r\nExpect: 100-continue\r\n"))
    local up = behind:accept()
    client:receive("^HTTP/1.1 100 Continue\r\n\r\n", 3)
    client:send "body"
    up:receive "body"
    up:send(r.answer "fine")
    lu.assertEquals(client:response().body, "fine")
  end,

  ["a client that does not wait for 100 is not held up"] = function()
    local address, behind = r.pair()
    local client = s.connect(address)
    client:send(r.head("POST", "/", "Content-Length: 4\r\nExpect: 100-continue\r\n") .. "body")
    local up = behind:accept()
    lu.assertNotStrContains(up:receive "body", "Expect")
    up:send(r.answer "fine")
    lu.assertEquals(client:response().status, 200)
  end,

  ["an echo of 64 MB comes back whole while it is being sent"] = function()
    local address = two()
    local client, total, mark = s.connect(address), 0, 0
    client.handle:read_stop()
    local tail = ""
    client.handle:read_start(function(_, data)
      total = total + #(data or "")
      tail = (tail .. (data or "")):sub(-5)
    end)
    client.handle:write(r.head("POST", "/echo", "Content-Length: 67108864\r\n"))
    local piece = ("0123456789abcdef"):rep(65536)
    for _ = 1, 64 do
      client.handle:write(piece, function() mark = mark + 1 end)
    end
    s.wait(function() return tail == "0\r\n\r\n" end, 30)
    lu.assertTrue(total > 67108864)
  end,

  ["1 GB up and 1 GB down pass through less than 20 MB"] = function()
    local address, program = two()
    local curl = s.path_of "curl"
    lu.skipIf(not curl, "curl is not installed")
    local out = s.run({ "sh", "-c", ("head -c 1073741824 /dev/zero | %s -s -T - -X POST http://%s/count"):format(curl,
      address) }, { timeout = 60 }).stdout
    lu.assertEquals(out, "1073741824")
    out = s.run({ "sh", "-c", ("%s -s http://%s/1024 | wc -c"):format(curl, address) }, { timeout = 60 }).stdout
    lu.assertEquals(tonumber(out), 1073741824)
    if s.slow == 1 then
      lu.assertTrue(peak(program) < 20, peak(program) .. " MB")
    end
  end,

  ["a slow reader, and a slow taker, hold the other side up and not memory"] = function()
    local address, program = two()
    local client = s.connect(address)
    client:send(r.head("GET", "/200"))
    client:receive "\r\n\r\n"
    client:pause()
    local behind = s.listen(s.temp_dir() .. "/slow")
    local front, second = r.front(behind.address, nil, "{ max_body = false }")
    local sender = s.connect(front)
    sender:send(r.head("POST", "/", "Content-Length: 100000000\r\n"))
    behind:accept():pause()
    local sent = 0
    for _ = 1, 100 do
      sender.handle:write(("x"):rep(1000000), function() sent = sent + 1 end)
    end
    brood.sleep(0.5)
    lu.assertTrue(sent < 50)
    if s.slow == 1 then
      lu.assertTrue(peak(program) < 20, peak(program) .. " MB")
      lu.assertTrue(peak(second) < 20, peak(second) .. " MB")
    end
  end,
}
