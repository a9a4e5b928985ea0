--- Requests that two readers could understand differently, or that are none: each gets its status, and the
--- connection ends.
local lu = require "luaunit"
local s = require "spec.support"
local h = require "spec.support.http"

local GET = "GET /a HTTP/1.1\r\nHost: a\r\n"
local POST = "POST /a HTTP/1.1\r\nHost: a\r\n"
local TE = POST .. "Transfer-Encoding: chunked\r\n"
local HANDLER = "req:body() res:finish(req.method .. ' ' .. req.path)"

local refused = {
  { 400, "CL, then TE", POST .. "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" },
  { 400, "TE, then CL", TE .. "Content-Length: 3\r\n\r\n0\r\n\r\n" },
  { 400, "two equal CLs", POST .. "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc" },
  { 400, "CL as a list", POST .. "Content-Length: 3, 3\r\n\r\nabc" },
  { 400, "CL with plus", POST .. "Content-Length: +3\r\n\r\nabc" },
  { 400, "CL with minus", POST .. "Content-Length: -3\r\n\r\nabc" },
  { 400, "CL in hex", POST .. "Content-Length: 0x3\r\n\r\nabc" },
  { 400, "CL empty", POST .. "Content-Length:\r\n\r\nabc" },
  { 400, "CL beyond 64 bits", POST .. "Content-Length: 99999999999999999999999\r\n\r\nabc" },
  { 501, "gzip, chunked", POST .. "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" },
  { 501, "identity", POST .. "Transfer-Encoding: identity\r\n\r\n" },
  { 501, "xchunked", POST .. "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" },
  { 400, "chunked, gzip", POST .. "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n" },
  { 400, "chunked twice", TE .. "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" },
  { 400, "TE in HTTP/1.0", "POST /a HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" },
  { 400, "TE with a vertical tab", POST .. "Transfer-Encoding: \11chunked\r\n\r\n0\r\n\r\n" },
  { 400, "folding", GET .. "X: a\r\n b\r\n\r\n" },
  { 400, "folding on TE", POST .. "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" },
  { 400, "folding on the first header", "GET /a HTTP/1.1\r\n Host: a\r\n\r\n" },
  { 400, "space before the colon", GET .. "X : a\r\n\r\n" },
  { 400, "no colon", GET .. "Xa\r\n\r\n" },
  { 400, "no name", GET .. ": a\r\n\r\n" },
  { 400, "chunk size no hex", TE .. "\r\nzz\r\nabc\r\n0\r\n\r\n" },
  { 400, "chunk size with minus", TE .. "\r\n-3\r\nabc\r\n0\r\n\r\n" },
  { 400, "chunk size with 0x", TE .. "\r\n0x3\r\nabc\r\n0\r\n\r\n" },
  { 400, "chunk size beyond 64 bits", TE .. "\r\nfffffffffffffffff\r\nabc\r\n0\r\n\r\n" },
  { 400, "chunk size ended by LF", TE .. "\r\n3\nabc\r\n0\r\n\r\n" },
  { 400, "chunk without its end", TE .. "\r\n3\r\nabcX\r\n0\r\n\r\n" },
  { 400, "bare CR", GET .. "X: a\rb\r\n\r\n" },
  { 400, "NUL in a header", GET .. "X: a\0b\r\n\r\n" },
  { 400, "NUL in the target", "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n" },
  { 400, "bare LF", "GET /a HTTP/1.1\nHost: a\n\n" },
  { 400, "no Host", "GET /a HTTP/1.1\r\n\r\n" },
  { 400, "two Hosts", GET .. "Host: b\r\n\r\n" },
  { 400, "Host with a space", "GET /a HTTP/1.1\r\nHost: a b\r\n\r\n" },
  { 400, "no version", "GET /a\r\n\r\n" },
  { 400, "lower-case http", "GET /a http/1.1\r\nHost: a\r\n\r\n" },
  { 400, "another protocol", "GET /a RTSP/1.0\r\nHost: a\r\n\r\n" },
  { 505, "HTTP/2.0", "GET /a HTTP/2.0\r\nHost: a\r\n\r\n" },
  { 505, "HTTP/1.2", "GET /a HTTP/1.2\r\nHost: a\r\n\r\n" },
  { 505, "HTTP/3.0", "GET /a HTTP/3.0\r\nHost: a\r\n\r\n" },
  { 505, "HTTP/0.9", "GET /a HTTP/0.9\r\nHost: a\r\n\r\n" },
  { 505, "the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" },
  { 501, "an unknown method", "FOO /a HTTP/1.1\r\nHost: a\r\n\r\n" },
  { 501, "CONNECT", "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n" },
  { 400, "the start of TLS", "\22\3\1\0\165" },
  { 400, "two spaces before the target", "GET  /a HTTP/1.1\r\nHost: a\r\n\r\n" },
  { 400, "two spaces after the target", "GET /a  HTTP/1.1\r\nHost: a\r\n\r\n" },
  { 400, "a space in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n" },
  { 400, "a fragment", "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n" },
  { 400, "a relative target", "GET a HTTP/1.1\r\nHost: a\r\n\r\n" },
  { 417, "an unknown expectation", POST .. "Expect: wonders\r\nContent-Length: 3\r\n\r\nabc" },
  { 414, "a target beyond max_header", "GET /" .. ("a"):rep(20000) .. " HTTP/1.1\r\nHost: a\r\n\r\n" },
  { 431, "a header beyond max_header", GET .. "X: " .. ("a"):rep(20000) .. "\r\n\r\n" },
  { 431, "headers beyond max_header", GET .. ("a: b\r\n"):rep(4000) .. "\r\n" },
}

local accepted = {
  { "TE in capitals", POST .. "transfer-encoding: CHUNKED\r\n\r\n3\r\nabc\r\n0\r\n\r\n" },
  { "chunk extensions and trailers", TE .. "\r\n3;a=b\r\nabc\r\n0\r\nT: x\r\n\r\n" },
  { "no Host in HTTP/1.0", "GET /a HTTP/1.0\r\n\r\n" },
  { "an empty line before", "\r\n" .. GET .. "\r\n" },
  { "an absolute target", "GET http://x/a?q HTTP/1.1\r\nHost: x\r\n\r\n" },
}

return {
  ["each gets its status in one answer, and the connection ends"] = function()
    local address = h.serve(HANDLER)
    for _, case in ipairs(refused) do
      local status, name, bytes = case[1], case[2], case[3]
      local socket = s.connect(address)
      socket:send(bytes .. GET .. "\r\n")
      local got = socket:receive_all()
      lu.assertEquals(got:match("^HTTP/1.1 (%d+)"), tostring(status), name)
      lu.assertStrContains(got, "Connection: close\r\n")
      lu.assertEquals(select(2, got:gsub("HTTP/1.1 %d", "")), 1, name)
      socket:close()
    end
    lu.assertStrContains(h.exchange(address, GET .. "\r\n"), "GET /a")
  end,

  ["odd but honest requests are served"] = function()
    local address = h.serve(HANDLER)
    for _, case in ipairs(accepted) do
      local got = h.exchange(address, case[2])
      lu.assertNotNil(got:match("^HTTP/1.1 200 OK.*%u+ /a$"), case[1])
    end
  end,

  ["an Upgrade that nobody takes is ignored, and the connection goes on"] = function()
    local address = h.serve(HANDLER)
    local upgrade = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    local socket = s.connect(address)
    socket:send(GET .. upgrade .. "\r\n" .. POST .. upgrade .. "Content-Length: 3\r\n\r\nabc" .. GET .. "\r\n")
    for _, expected in ipairs { "GET /a", "POST /a", "GET /a" } do
      lu.assertEquals(socket:response().body, expected)
    end
  end,
}
