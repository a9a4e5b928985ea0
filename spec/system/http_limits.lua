--- What a client may cost: slow heads, slow bodies, slow readers, silence, and requests without end.
--- time limit: 120 s
local lu = require "luaunit"
local uv = require "luv"
local s = require "spec.support"
local h = require "spec.support.http"

local GET = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
local ECHO = "local body, err = req:body() if body then res:finish('got ' .. body) end"

local function post(lines, behind)
  return "POST /a HTTP/1.1\r\nHost: a\r\n" .. lines .. "\r\n" .. (behind or "")
end

-- Send one byte after the other, each `pause` after the one before, until nothing is left or all connections ended.
local function drip(sockets, bytes, pause)
  local function over()
    for _, socket in ipairs(sockets) do
      if not socket.eof then
        return false
      end
    end
    return true
  end
  for byte in bytes:gmatch "." do
    for _, socket in ipairs(sockets) do
      if not socket.eof then
        socket.handle:write(byte)
      end
    end
    if pcall(s.wait, over, pause / s.slow) then
      return
    end
  end
end

local function status_of(bytes)
  return tonumber(bytes:match("^HTTP/1%.1 (%d+)"))
end

-- Read from now on, but only count the letters x (megabytes as a string of strings are slow); the rest is kept.
local function count_x(socket)
  local count = 0
  socket.handle:read_start(function(_, data)
    if not data then
      socket.eof = true
      return
    end
    local rest = data:gsub("x+", "")
    count, socket.received = count + #data - #rest, socket.received .. rest
  end)
  s.wait(function() return socket.eof end, 20, "the end of a large answer")
  return count
end

-- Resident memory of a process in kB.
local function rss(pid)
  return tonumber(s.read_file(("/proc/%d/status"):format(pid)):match("VmRSS:%s+(%d+)"))
end

-- Wait until fn() has stopped growing.
local function settled(fn)
  local last
  s.wait(function()
    local before = last
    last = fn()
    return before == last and pcall(s.remains, function() return fn() == last end, 0.2)
  end, 20, "something to stand still")
  return last
end

return {
  ["header_timeout is for the whole head: a client that drips cannot extend it"] = function()
    local address = h.serve(ECHO, "{ header_timeout = 0.3 }")
    local socket = s.connect(address)
    local start = uv.hrtime()
    drip({ socket }, GET:sub(1, 20) .. ("X: y\r\n"):rep(200), 0.05)
    lu.assertEquals(status_of(socket:receive_all(5)), 408)
    lu.assertTrue((uv.hrtime() - start) / 1e9 < 2 * s.slow)
  end,

  ["header_timeout begins with each request's first byte, and a stray empty line is no request"] = function()
    local address = h.serve(ECHO, "{ header_timeout = 0.2, idle_timeout = 30 }")
    local half, stray = s.connect(address), s.connect(address)
    for _, socket in ipairs { half, stray } do
      socket:send(GET)
      lu.assertEquals(socket:response().status, 200)
    end
    s.remains(function() return not half.eof and not stray.eof end, 0.4, "an idle connection")
    half:send("GET /a HT")
    stray:send("\r\n")
    lu.assertEquals(status_of(half:receive_all(5)), 408)
    lu.assertEquals(stray:receive_all(5), "")
  end,

  ["a head that comes in time is answered, however slowly it came"] = function()
    local address = h.serve(ECHO, "{ header_timeout = 10, idle_timeout = 0.05, body_timeout = 0.05 }")
    local socket = s.connect(address)
    drip({ socket }, GET, 0.01)
    lu.assertEquals(socket:response().body, "got ")
  end,

  ["idle_timeout counts between requests: neither while one is answered, nor while its answer is taken"] = function()
    local address = h.serve([[
      if req.path == "/slow" then brood.sleep(0.4) return res:finish("slow") end
      res:finish(("x"):rep(10000000))
    ]], "{ idle_timeout = 0.1 }")
    local slow, large = s.connect(address), s.connect(address)
    large.handle:read_stop()
    slow:send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
    large:send(GET)
    lu.assertEquals(slow:response().body, "slow")
    lu.assertEquals(slow:receive_all(5), "") -- and then it does count
    lu.assertEquals(count_x(large), 10000000)
  end,

  ["body_timeout is between pieces: a slow body is taken, one that stands still gets 408"] = function()
    local address = h.serve(ECHO, "{ body_timeout = 0.3 }")
    local moving, still, chunked = s.connect(address), s.connect(address), s.connect(address)
    still:send(post("Content-Length: 10\r\n", "abc"))
    chunked:send(post("Transfer-Encoding: chunked\r\n", "3\r\nab"))
    moving:send(post("Content-Length: 10\r\n"))
    drip({ moving }, "0123456789", 0.05)
    lu.assertEquals(moving:response().body, "got 0123456789")
    lu.assertEquals(status_of(still:receive_all(5)), 408)
    lu.assertEquals(status_of(chunked:receive_all(5)), 408)
  end,

  ["a body that drips without end gets 408 after ten times body_timeout"] = function()
    local whole = s.connect((h.serve(ECHO, "{ body_timeout = 0.2 }")))
    local unread = s.connect((h.serve("res:finish('x')", "{ body_timeout = 0.2 }")))
    local start = uv.hrtime()
    whole:send(post("Content-Length: 1000\r\n"))
    unread:send(post("Content-Length: 1000\r\n"))
    lu.assertEquals(unread:response().body, "x")
    drip({ whole, unread }, ("x"):rep(1000), 0.03)
    local took = (uv.hrtime() - start) / 1e9
    lu.assertTrue(took >= 1.9 and took < 6 * s.slow, took)
    lu.assertEquals(status_of(whole:receive_all(5)), 408)
    lu.assertEquals(unread:receive_all(5), "") -- it has had its answer
  end,

  ["a handler that reads a body piece by piece may be fed as slowly as body_timeout allows"] = function()
    local address = h.serve([[
      local n = 0
      for piece in function() return (req:read()) end do n = n + #piece end
      res:finish(n)
    ]], "{ body_timeout = 0.25 }")
    local socket = s.connect(address)
    socket:send(post("Content-Length: 60\r\n"))
    drip({ socket }, ("x"):rep(60), 0.05) -- longer than ten times body_timeout
    lu.assertEquals(socket:response().body, "60")
  end,

  ["request_timeout covers a body that drips, and handlers that wait"] = function()
    local address = h.serve("req:body() brood.sleep(5) res:finish()", "{ request_timeout = 0.3 }")
    local body, handler = s.connect(address), s.connect(address)
    handler:send(GET .. GET)
    body:send(post("Content-Length: 1000\r\n"))
    drip({ body }, ("x"):rep(1000), 0.03)
    for _, socket in ipairs { body, handler } do
      local got = socket:receive_all(5)
      lu.assertEquals(status_of(got), 503)
      lu.assertStrContains(got, "Connection: close\r\n")
      lu.assertEquals(select(2, got:gsub("HTTP/1.1 %d", "")), 1)
    end
  end,

  ["with Expect: 100-continue, 413 comes without the body being asked for; else it is asked for once"] = function()
    local address = h.serve("if req:body() then res:finish('taken') end", '{ max_body = "1k" }')
    local large, small = s.connect(address), s.connect(address)
    large:send(post("Content-Length: 2000\r\nExpect: 100-continue\r\n"))
    local got = large:receive_all(5)
    lu.assertEquals(status_of(got), 413)
    lu.assertNotStrContains(got, "100 Continue")
    small:send(post("Content-Length: 3\r\nExpect: 100-continue\r\n"))
    lu.assertEquals(small:response().status, 100)
    small:send("abc")
    lu.assertEquals(small:response().body, "taken")
    lu.assertEquals(small.received, "")
  end,

  ["413 comes as soon as a chunked body has grown too large, while its sender goes on"] = function()
    local address = h.serve("if req:body() then res:finish('taken') end", '{ max_body = "100k" }')
    local socket = s.connect(address)
    socket:send(post("Transfer-Encoding: chunked\r\n"))
    local chunk = ("1000\r\n%s\r\n"):format(("x"):rep(4096))
    local sent = 0
    while not socket.received:find("413", 1, true) and sent < 1000 do
      socket:send(chunk)
      sent = sent + 1
    end
    lu.assertTrue(sent >= 24 and sent < 900, "sent " .. sent .. " chunks of 4k")
    lu.assertEquals(status_of(socket:receive_all(10)), 413)
  end,

  ["a client that sends requests without end and reads no answer is held up, and memory does not grow"] = function()
    for _, handler in ipairs { "res:finish(('x'):rep(1000))", "brood.sleep(60) res:finish('x')" } do
      local address, program = h.serve(handler)
      local socket = s.connect(address)
      socket.handle:read_stop()
      socket:send(GET)
      local before, written = rss(program.pid), 0
      local piece = GET:rep(3000)
      for _ = 1, 400 do -- 30 MB
        socket.handle:write(piece, function(err) written = written + (err and 0 or #piece) end)
      end
      local taken = settled(function() return written end)
      lu.assertTrue(taken < 15e6, "the server took " .. taken .. " bytes of requests")
      local grown = rss(program.pid) - before
      lu.assertTrue(grown < 6000 * s.slow, ("grew by %d kB"):format(grown))
      socket.handle:close()
    end
  end,

  ["a handler that streams a gigabyte to a reader that does not read costs no memory"] = function()
    local address, program = h.serve([[
      local piece = ("x"):rep(65536)
      for i = 1, 16384 do
        if not res:write(piece) then return print("cut at", i) end
      end
    ]], "{ write_timeout = 2 }")
    local sockets = {}
    local before = rss(program.pid)
    for i = 1, 8 do
      sockets[i] = s.connect(address)
      sockets[i].handle:read_stop()
      sockets[i]:send(GET)
    end
    s.remains(function() return rss(program.pid) - before < 8000 * s.slow end, 1, "memory within 1 MB a reader")
    -- Who takes nothing for write_timeout is cut.
    program:expect(("cut at%s+%d+.*"):rep(8), 10)
    lu.assertTrue(rss(program.pid) - before < 8000 * s.slow)
  end,

  ["a reader that is slow but reads is not cut, and gets all of it"] = function()
    local address = h.serve([[
      for _ = 1, 200 do res:write(("x"):rep(20000)) end
      res:finish()
    ]], "{ write_timeout = 0.3, idle_timeout = 0.3 }")
    local socket = s.connect(address)
    local taken = 0
    socket.handle:read_stop()
    socket.handle:recv_buffer_size(32768)
    socket:send("GET /a HTTP/1.0\r\n\r\n")
    while not socket.eof do
      local got = 0
      socket.handle:read_start(function(_, data)
        if data then got = got + #data else socket.eof = true end
        socket.handle:read_stop()
      end)
      s.wait(function() return got > 0 or socket.eof end, 5, "more of the answer")
      taken = taken + got
    end
    lu.assertTrue(taken > 4000000, taken)
  end,

  ["a client that ends its side gets all of a large answer, and one that ends in mid-head gets 400"] = function()
    local address = h.serve("req:body() res:finish(('x'):rep(10000000))")
    for _, request in ipairs { GET, GET .. "GET /", post("Content-Length: 3\r\n", "abc") } do
      local socket = s.connect(address)
      socket.handle:read_stop()
      socket:send(request)
      socket:shutdown()
      lu.assertEquals(count_x(socket), 10000000 + (request:find("GET /$") and 1 or 0)) -- "text/plain"
      lu.assertEquals(socket.received:find("HTTP/1.1 400", 1, true) ~= nil, request:find("GET /$") ~= nil)
    end
    lu.assertEquals(status_of(h.exchange(address, "GET / HTTP/1.1\r\nHo")), 400)
    lu.assertEquals(h.exchange(address, ""), "")
    lu.assertEquals(h.exchange(address, "\r\n"), "")
  end,

  ["a client that ends its side while its pipelined body is incomplete is no reason to wait"] = function()
    local address, program = h.serve("print(req:body()) res:finish('x')", "{ body_timeout = 30 }")
    local got = h.exchange(address, post("Content-Length: 3\r\n", "abc") .. post("Content-Length: 30\r\n", "abc"))
    lu.assertEquals(select(2, got:gsub("HTTP/1.1 200 ", "")), 2)
    program:expect("abc\nnil%s+.*gone")
  end,

  ["a client that resets in mid-request leaves nothing behind"] = function()
    local address, program = h.serve(ECHO .. " print(err and err.code, server:counts())")
    for _, part in ipairs { "GET /a HT", GET:sub(1, -3), post("Content-Length: 10\r\n", "abc"),
      post("Transfer-Encoding: chunked\r\n", "5\r\nab"), "\r" } do
      local socket = s.connect(address)
      socket:send(part)
      local other = s.connect(address)
      other:send(GET)
      other:response()
      other:close()
      socket.handle:close_reset()
    end
    s.wait(function()
      h.exchange(address, GET)
      return program:stdout():match("nil%s+1%s+%d+%s+%d+\n$")
    end, 5, "only one connection")
    lu.assertEquals(program:stderr(), "")
  end,
}
