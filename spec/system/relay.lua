--- Requests forwarded to a server that is played by hand: what it is asked, and what its answers become.
local lu = require "luaunit"
local s = require "spec.support"
local r = require "spec.support.relay"

-- What goes out for a request, with the body that is expected behind its head.
local function passed(request, body)
  local address, behind, program = r.pair()
  local client = s.connect(address)
  client:send(request)
  local up = behind:accept()
  local head = up:receive "\r\n\r\n"
  if body then
    up:receive((body:gsub("%p", "%%%0")) .. "$")
  end
  up:send(r.answer "fine")
  lu.assertEquals(client:response().body, "fine")
  program:expect "done "
  return head
end

local function answered(bytes, request, no_body)
  local address, behind, program = r.pair()
  local client = s.connect(address)
  client:send(request or r.head("GET", "/"))
  local up = behind:accept()
  up:receive "\r\n\r\n"
  up:send(bytes)
  if not bytes:lower():find "content%-length" and not bytes:find "chunked" and not no_body then
    up:close()
  end
  local response = client:response(no_body)
  program:expect "done "
  return response, client
end

return {
  ["a request is passed on with its lines, Host kept, and where it came from behind them"] = function()
    local head = passed("GET /a/b%20c?x=1&y= HTTP/1.1\r\nHost: name:80\r\nX-One:  1 \r\naccept: a,\tb\r\n\r\n")
    lu.assertEquals(head, "GET /a/b%20c?x=1&y= HTTP/1.1\r\nHost: name:80\r\nX-One: 1\r\naccept: a,\tb\r\n"
      .. "X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: name:80\r\n\r\n")
  end,

  ["an absolute target and an empty query are passed on as what they mean"] = function()
    lu.assertStrContains(passed("GET http://other:1/p? HTTP/1.1\r\nHost: front\r\n\r\n"),
      "GET /p? HTTP/1.1\r\nHost: other:1\r\n")
    lu.assertStrContains(passed("GET http://other?q HTTP/1.1\r\nHost: front\r\n\r\n"), "GET /?q HTTP/1.1\r\n")
    lu.assertStrContains(passed("OPTIONS * HTTP/1.1\r\nHost: front\r\n\r\n"), "OPTIONS * HTTP/1.1\r\n")
  end,

  ["lines between neighbours are left out, those that Connection names too, but none of ours"] = function()
    local head = passed(r.head("GET", "/", "Connection: keep-alive, X-Mine ,x-forwarded-for, host\r\nX-Mine: 1\r\n"
      .. "Connection: x-other\r\nX-Other: 2\r\nKeep-Alive: timeout=5\r\nProxy-Connection: close\r\nTE: gzip\r\n"
      .. "Trailer: X-T\r\nUpgrade: websocket\r\nProxy-Authorization: secret\r\nX-Left: 3\r\n"))
    lu.assertEquals(head, "GET / HTTP/1.1\r\nHost: front\r\nX-Left: 3\r\n"
      .. "X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: front\r\n\r\n")
  end,

  ["X-Forwarded-For is one list, what says the others is replaced, and what only looks like them goes"] = function()
    local head = passed(r.head("GET", "/", "X-Forwarded-For: 1.1.1.1\r\nx-forwarded-for: 2.2.2.2, 3.3.3.3\r\n"
      .. "X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX_Forwarded_For: 6.6.6.6\r\nX-Forwarded_Host: e\r\n"))
    lu.assertEquals(head, "GET / HTTP/1.1\r\nHost: front\r\nX-Forwarded-For: 1.1.1.1, 2.2.2.2, 3.3.3.3, 127.0.0.1\r\n"
      .. "X-Forwarded-Proto: http\r\nX-Forwarded-Host: front\r\n\r\n")
  end,

  ["a body goes with the framing it came with"] = function()
    local head = passed(r.head("POST", "/", "Content-Length: 005\r\n") .. "hello", "hello")
    lu.assertStrContains(head, "\r\nContent-Length: 5\r\n\r\n")
    head = passed(r.head("POST", "/", "Transfer-Encoding: chunked\r\n") .. "2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
      "5\r\nhello\r\n0\r\n\r\n")
    lu.assertStrContains(head, "\r\nTransfer-Encoding: chunked\r\n\r\n")
    head = passed(r.head("POST", "/", "Content-Length: 0\r\n"))
    lu.assertStrContains(head, "\r\nContent-Length: 0\r\n\r\n")
  end,

  ["trailers go with a body in chunks, but none that would be believed as headers are"] = function()
    passed(r.head("POST", "/", "Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n")
      .. "2\r\nhe\r\n0\r\nX-Sum: 1\r\nContent-Length: 9\r\nX-Forwarded-For: 6.6.6.6\r\nX-B:\r\n\r\n",
      "2\r\nhe\r\n0\r\nX-Sum: 1\r\nX-B:\r\n\r\n")
  end,

  ["HTTP/1.0 is passed on as HTTP/1.1, and answered with the end of the connection"] = function()
    local address, behind = r.pair()
    local client = s.connect(address)
    client:send "GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n"
    local up = behind:accept()
    lu.assertEquals(up:receive "\r\n\r\n", "GET / HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 127.0.0.1\r\n"
      .. "X-Forwarded-Proto: http\r\n\r\n")
    up:send "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n"
    local all = client:receive_all()
    lu.assertStrContains(all, "Connection: close\r\n")
    lu.assertEquals(all:match "\r\n\r\n(.*)", "abc")
  end,

  ["`host` takes the place of the client's, `keep = false` says so"] = function()
    local address, behind = r.pair "host = 'inner:8', keep = false"
    local client = s.connect(address)
    client:send(r.head("GET", "/"))
    local up = behind:accept()
    lu.assertEquals(up:receive "\r\n\r\n", "GET / HTTP/1.1\r\nHost: inner:8\r\nX-Forwarded-For: 127.0.0.1\r\n"
      .. "X-Forwarded-Proto: http\r\nX-Forwarded-Host: front\r\nConnection: close\r\n\r\n")
    up:send(r.answer "one")
    lu.assertEquals(client:response().body, "one")
    up:receive_all()
  end,

  ["an answer keeps its status, reason, Date, Server and cookies, and loses what was for us"] = function()
    local response = answered("HTTP/1.1 299 Very Fine\r\nDate: then\r\nServer: theirs\r\nSet-Cookie: a=1, b\r\n"
      .. "Set-Cookie: c=2\r\nConnection: keep-alive, x-inner\r\nX-Inner: 1\r\nKeep-Alive: timeout=9\r\n"
      .. "Proxy-Authenticate: x\r\nUpgrade: h2c\r\nX-Left:  \r\nX-Last: 1\r\nContent-Length: 2\r\n\r\nhi")
    lu.assertEquals(response.head, "HTTP/1.1 299 Very Fine\r\nDate: then\r\nServer: theirs\r\nSet-Cookie: a=1, b\r\n"
      .. "Set-Cookie: c=2\r\nX-Left: \r\nX-Last: 1\r\nContent-Length: 2\r\n\r\n")
    lu.assertEquals(response.body, "hi")
  end,

  ["an answer without a date gets one"] = function()
    lu.assertNotNil(answered(r.answer "x").headers.date)
  end,

  ["a body up to the end of the connection becomes chunks, and the client's connection goes on"] = function()
    local response = answered "HTTP/1.0 200 OK\r\n\r\nall of it"
    lu.assertEquals(response.headers["transfer-encoding"], "chunked")
    lu.assertEquals(response.body, "all of it")
    lu.assertNil(response.headers.connection)
  end,

  ["chunks come as their data, and trailers behind them"] = function()
    local _, client = answered("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n"
      .. "1\r\na\r\n02;ext\r\nbc\r\n0\r\nX-T: 1\r\nSet-Cookie: no\r\n\r\n", r.head("GET", "/", "Connection: close\r\n"),
      true)
    lu.assertEquals(client:receive_all(), "3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n")
  end,

  ["HEAD, 204 and 304 have no body, whatever their lines say"] = function()
    local response = answered("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", r.head("HEAD", "/"), true)
    lu.assertEquals(response.headers["content-length"], "99")
    response = answered("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", r.head("HEAD", "/"), true)
    lu.assertEquals({ response.headers["transfer-encoding"], response.headers["content-length"] }, { "chunked" })
    response = answered("HTTP/1.1 204 No Content\r\n\r\n", nil, true)
    lu.assertNil(response.headers["content-length"])
    lu.assertNil(response.headers["transfer-encoding"])
    response = answered("HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\nETag: x\r\n\r\n", nil, true)
    lu.assertEquals({ response.headers.etag, response.headers["content-length"] }, { "x", "7" })
  end,

  ["headers set before stay beside the answer's own"] = function()
    local behind = s.listen(s.temp_dir() .. "/up")
    local address = require("spec.support.http").serve(([[
      res:header("x-mine", "1"):header("content-length", 77)
      assert(require("brood.proxy.forward")(req, res, { address = %q }))
    ]]):format(behind.address))
    local client = s.connect(address)
    client:send(r.head("GET", "/"))
    behind:accept():send(r.answer("body", "X-Theirs: 2\r\n"))
    local response = client:response()
    lu.assertEquals({ response.headers["x-mine"], response.headers["x-theirs"], response.headers["content-length"],
      response.body }, { "1", "2", "4", "body" })
  end,

  ["pipelined requests are answered in order, one after another"] = function()
    local address, behind = r.pair()
    local client = s.connect(address)
    client:send(r.head("GET", "/1") .. r.head("GET", "/2") .. r.head("POST", "/3", "Content-Length: 1\r\n") .. "x")
    local up = behind:accept()
    for i = 1, 3 do
      lu.assertStrContains(up:receive "\r\n\r\n", " /" .. i .. " ")
      up:send(r.answer(tostring(i)))
      lu.assertEquals(client:response().body, tostring(i))
    end
  end,

  ["a request whose body has been read cannot be forwarded any more"] = function()
    local behind = s.listen(s.temp_dir() .. "/up")
    local address = require("spec.support.http").serve(([[
      req:body()
      local ok, err = pcall(require "brood.proxy.forward", req, res, { address = %q })
      res:finish(tostring(ok) .. tostring(err))
    ]]):format(behind.address))
    local client = s.connect(address)
    client:send(r.head("POST", "/", "Content-Length: 1\r\n") .. "x")
    lu.assertStrContains(client:response().body, "forward: the request's body has been read")
    client:send(r.head("GET", "/")) -- nothing was lost of none
    behind:accept():send(r.answer "fine")
    lu.assertEquals(client:response().body, "fine")
  end,

  ["what it is given wrongly raises at the caller's line"] = function()
    local program = s.script [[
      local http, forward = require "brood.http", require "brood.proxy.forward"
      local wrong = {
        {}, { address = 7 }, { address = "x:1", timeot = 1 }, { address = "x:1", timeout = "soon" },
        { address = "x:1", host = "a b" }, { address = "x:1", keep = 1 },
      }
      local server = http.server(function(req, res)
        for _, given in ipairs(wrong) do
          local ok, err = pcall(function()
            local result = forward(req, res, given)
            return result
          end)
          print(ok, (tostring(err):gsub("\nstack.*", "")))
        end
        print(select(2, forward(req, res, { address = "nonsense" })))
        res:finish "x"
      end)
      server:listen "127.0.0.1:0"
      http.get("http://" .. server:address() .. "/")
      server:close()
    ]]
    local out = program:finish().stdout
    lu.assertNotStrContains(out, "true\t")
    lu.assertEquals(select(2, out:gsub("false\t[^\n]*:%d+: forward: ", "")), #{ 1, 2, 3, 4, 5, 6 })
    lu.assertStrContains(out, "did you mean 'timeout'")
    lu.assertStrContains(out, "nonsense: ")
  end,
}
