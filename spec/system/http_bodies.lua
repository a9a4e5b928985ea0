--- Request bodies: whole, in pieces, too large, unread, and announced by Expect.
local lu = require "luaunit"
local s = require "spec.support"
local h = require "spec.support.http"

local ECHO = [[
  if req.path == "/echo" then res:finish(assert(req:body())) end
  if req.path == "/pieces" then for piece in function() return (req:read()) end do res:write(piece) end res:finish() end
  if req.path == "/ignore" then res:finish("ignored") end
  if req.path == "/ask" then local body, err = req:body() res:finish(body or "code " .. err.code) end
  if req.path == "/later" then brood.sleep(0.05) res:finish(req:body()) end
  if req.path == "/twice" then res:finish(req:body() .. req:body()) end
  if req.path == "/callback" then req:body(function(err, body) res:finish(body) end) end
]]

local function post(path, headers, body)
  return ("POST %s HTTP/1.1\r\nHost: a\r\n%s\r\n%s"):format(path, headers, body)
end

local function sized(path, body)
  return post(path, ("Content-Length: %d\r\n"):format(#body), body)
end

local function chunked(path, ...)
  local out = {}
  for _, piece in ipairs { ... } do
    table.insert(out, ("%x\r\n%s\r\n"):format(#piece, piece))
  end
  return post(path, "Transfer-Encoding: chunked\r\n", table.concat(out) .. "0\r\n\r\n")
end

return {
  ["bodies arrive whole and in pieces, by length and chunked, one byte at a time, and pipelined"] = function()
    local address = h.serve(ECHO)
    local socket = s.connect(address)
    local all = ""
    for _, path in ipairs { "/echo", "/pieces", "/later", "/callback" } do
      all = all .. sized(path, "hello") .. chunked(path, "hel", "lo")
    end
    socket:send(all)
    for _ = 1, 8 do
      lu.assertEquals(socket:response().body, "hello")
    end
    for byte in (sized("/echo", "slow") .. chunked("/pieces", "s", "low")):gmatch(".") do
      socket:send(byte)
    end
    lu.assertEquals(socket:response().body, "slow")
    lu.assertEquals(socket:response().body, "slow")
    socket:send(sized("/twice", "ab"))
    lu.assertEquals(socket:response().body, "abab")
  end,

  ["ten megabytes are echoed whole and streamed"] = function()
    local address = h.serve(ECHO, '{ max_body = "20m" }')
    local body = ("0123456789abcdef"):rep(10 * 2 ^ 16)
    for _, path in ipairs { "/echo", "/pieces" } do
      local socket = s.connect(address)
      socket:send(sized(path, body))
      lu.assertTrue(socket:response().body == body, path)
      socket:close()
    end
  end,

  ["a sender is slowed down to the pace of its reader"] = function()
    local address, program = h.serve('print "waiting" brood.sleep(30)', "{ max_body = false }")
    local socket = s.connect(address)
    socket:send(post("/", "Content-Length: 100000000\r\n", ""))
    program:expect "waiting"
    local sent = 0
    local piece = ("x"):rep(1000000)
    for _ = 1, 100 do
      socket.handle:write(piece, function(err)
        sent = sent + (err and 0 or 1)
      end)
    end
    local last
    s.wait(function()
      local before = last
      last = sent
      return before == last and pcall(s.remains, function() return sent == last end, 0.1)
    end, 10)
    lu.assertTrue(sent < 30, "sent " .. sent .. " MB to a handler that reads nothing")
  end,

  ["Expect: 100-continue is answered when the handler reads, and not before"] = function()
    local address = h.serve(ECHO)
    local socket = s.connect(address)
    socket:send(post("/later", "Expect: 100-continue\r\nContent-Length: 3\r\n", ""))
    lu.assertEquals(socket:response().status, 100)
    socket:send("abc")
    lu.assertEquals(socket:response().body, "abc")
    socket:send(post("/ignore", "Expect: 100-continue\r\nContent-Length: 3\r\n", ""))
    local got = socket:response()
    lu.assertEquals(got.status, 200)
    lu.assertEquals(got.headers.connection, "close")
  end,

  ["a body that nobody read does not disturb the next request"] = function()
    local address = h.serve(ECHO)
    local socket = s.connect(address)
    socket:send(sized("/ignore", ("x"):rep(100000)) .. chunked("/ignore", "abc", ("y"):rep(70000)))
    socket:send(sized("/echo", "next"))
    lu.assertEquals(socket:response().body, "ignored")
    lu.assertEquals(socket:response().body, "ignored")
    lu.assertEquals(socket:response().body, "next")
  end,

  ["a large body that nobody read ends the connection after the answer"] = function()
    local address = h.serve(ECHO)
    local got = h.exchange(address, sized("/ignore", ("x"):rep(3000000)))
    lu.assertStrContains(got, "Connection: close\r\n")
    lu.assertStrMatches(got, ".*\r\n\r\nignored")
  end,

  ["beyond max_body there is an error for the handler, and 413 unless it answers"] = function()
    local address, program = h.serve(ECHO .. ' if req.path == "/return" then req:body() end', '{ max_body = "1k" }')
    local large = ("x"):rep(2000)
    for _, path in ipairs { "/echo", "/return" } do
      lu.assertStrContains(h.exchange(address, sized(path, large)), "HTTP/1.1 413 ")
      lu.assertStrContains(h.exchange(address, chunked(path, large)), "HTTP/1.1 413 ")
    end
    lu.assertStrMatches(h.exchange(address, sized("/ask", large)), "HTTP/1.1 200 .*code too_large")
    lu.assertStrMatches(h.exchange(address, chunked("/ask", "abc", large)), "HTTP/1.1 200 .*code too_large")
    lu.assertStrMatches(h.exchange(address, sized("/ask", "small")), "HTTP/1.1 200 .*small")
    lu.assertEquals(program:stderr(), "")
  end,

  ["a client that ends in the middle of its body is an error for who reads it"] = function()
    local address = h.serve(ECHO)
    local got = h.exchange(address, post("/ask", "Content-Length: 10\r\n", "abc"))
    lu.assertStrMatches(got, "HTTP/1.1 200 .*code closed")
  end,
}
