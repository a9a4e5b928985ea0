--- What a handler answers, and how it reaches the client.
local lu = require "luaunit"
local s = require "spec.support"
local h = require "spec.support.http"

local GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

local function answer(handler, request)
  local address, program = h.serve(handler)
  return h.exchange(address, request or GET), program
end

return {
  ["a whole answer has its length and a date, and the connection goes on"] = function()
    local address = h.serve('res:finish("Hello World\\n")')
    local socket = s.connect(address)
    for _ = 1, 3 do
      socket:send(GET)
      local got = socket:response()
      lu.assertEquals(got.status, 200)
      lu.assertEquals(got.body, "Hello World\n")
      lu.assertEquals(got.headers["content-length"], "12")
      lu.assertStrMatches(got.headers.date, "%a%a%a, %d%d %a%a%a %d%d%d%d %d%d:%d%d:%d%d GMT")
      lu.assertNil(got.headers.connection)
    end
  end,

  ["a streamed answer is chunked for HTTP/1.1 and ends with the connection for 1.0"] = function()
    local address = h.serve('for i = 1, 3 do res:write("part" .. i) brood.sleep(0.005) end res:finish("end")')
    local socket = s.connect(address)
    socket:send(GET .. GET)
    lu.assertEquals(socket:response().body, "part1part2part3end")
    lu.assertEquals(socket:response().body, "part1part2part3end")
    local old = h.exchange(address, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    lu.assertStrContains(old, "Connection: close\r\n")
    lu.assertNotStrContains(old, "chunked")
    lu.assertStrMatches(old, ".*\r\n\r\npart1part2part3end")
  end,

  ["HTTP/1.0 keeps the connection where it asks to"] = function()
    local got = answer('res:finish("x")', "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\n\r\n")
    local _, n = got:gsub("HTTP/1.1 200 OK", "")
    lu.assertEquals(n, 2)
    lu.assertStrContains(got, "Connection: keep-alive\r\n")
    lu.assertStrContains(got, "Connection: close\r\n")
  end,

  ["HEAD, 204 and 304 have no body, whatever the handler gives"] = function()
    local address = h.serve([[
      if req.path == "/s" then res:write("abc") return res:finish() end
      res:status(tonumber(req.path:sub(2)) or 200):finish("abc")
    ]])
    local socket = s.connect(address)
    socket:send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\nHEAD /s HTTP/1.1\r\nHost: a\r\n\r\n")
    local head = socket:response(true)
    lu.assertEquals(head.headers["content-length"], "3")
    lu.assertEquals(socket:response(true).status, 200)
    for _, status in ipairs { 204, 304 } do
      socket:send(("GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"):format(status))
      local got = socket:response()
      lu.assertEquals(got.status, status)
      lu.assertNil(got.headers["content-length"])
      lu.assertNil(got.headers["transfer-encoding"])
    end
    socket:send(GET)
    lu.assertEquals(socket:response().body, "abc")
  end,

  ["headers are replaced, repeated by a list, and removed by nil"] = function()
    local got = answer([[
      res:header("X-One", "a"):header("x-one", "b"):header("Set-Cookie", { "a=1", "b=2" }):header("Gone", "x"):header("gone", nil)
      res:header("Date", "never"):header("N", 5):finish("")
    ]])
    lu.assertStrContains(got, "x-one: b\r\n")
    lu.assertNotStrContains(got, "X-One")
    lu.assertStrContains(got, "Set-Cookie: a=1\r\nSet-Cookie: b=2\r\n")
    lu.assertNotStrContains(got:lower(), "gone")
    lu.assertStrContains(got, "Date: never\r\n")
    lu.assertStrContains(got, "N: 5\r\n")
    lu.assertStrContains(got, "Content-Length: 0\r\n")
  end,

  ["a header that would end its line early raises, and splits no response"] = function()
    local got, program = answer([[
      for _, bad in ipairs { { "X", "a\r\nY: b" }, { "X", "a\nb" }, { "X", "a\0b" }, { "X Y", "a" }, { "X:", "a" }, { "", "a" },
        { "Transfer-Encoding", "chunked" }, { "Content-Length", "1x" }, { "X", { "ok", "a\rb" } }, { "X", true } } do
        if pcall(res.header, res, bad[1], bad[2]) then print("accepted", bad[1]) end
      end
      print(pcall(res.status, res, 99), pcall(res.status, res, 1000))
      print "checked"
      res:header("X", nil):finish("ok")
    ]])
    program:expect "checked"
    lu.assertNotStrContains(program:stdout(), "accepted")
    lu.assertStrMatches(program:stdout(), ".*false%s.*false.*")
    lu.assertNotStrContains(got, "Y: b")
    lu.assertStrMatches(got, "HTTP/1.1 200 OK.*\r\n\r\nok")
  end,

  ["a second finish and a header after the head raise; the answer that went out stands"] = function()
    local got, program = answer([[
      res:write("a")
      print(pcall(res.header, res, "A", "b"), pcall(res.status, res, 404))
      res:finish("b")
      print(pcall(res.finish, res, "c"))
      print(pcall(res.write, res, "c"))
      print "checked"
    ]])
    program:expect "checked"
    local _, n = program:stdout():gsub("false", "")
    lu.assertEquals(n, 4)
    lu.assertStrContains(got, "1\r\na\r\n1\r\nb\r\n0\r\n\r\n")
  end,

  ["a handler that raises before the head gets a 500, and the connection and the server live on"] = function()
    local address, program = h.serve('if req.path == "/raise" then error("boom") end res:finish("fine")')
    local socket = s.connect(address)
    socket:send("GET /raise HTTP/1.1\r\nHost: a\r\n\r\n" .. GET)
    lu.assertEquals(socket:response().status, 500)
    lu.assertEquals(socket:response().body, "fine")
    program:expect "handler of GET /raise: .*boom.*stack traceback"
  end,

  ["a handler that raises after the head cuts the connection, so that half an answer is none"] = function()
    local address, program = h.serve('res:write("half") brood.sleep(0.01) error("late")')
    local got = h.exchange(address, GET)
    lu.assertNotStrContains(got, "\r\n0\r\n\r\n")
    program:expect "late.*stack traceback"
    local old = s.connect(address)
    old:send("GET / HTTP/1.0\r\n\r\n")
    s.wait(function() return old.eof end, 5)
    lu.assertNotNil(old.err, "an answer that ends with the connection must end in a reset")
  end,

  ["a handler may return and answer later, even after a collection"] = function()
    local got = answer('timer.after(0.3, function() collectgarbage() res:finish("later") end)')
    lu.assertStrMatches(got, ".*\r\n\r\nlater")
  end,

  ["a response dropped unfinished becomes a logged 500 in an idle server"] = function()
    local got, program = answer("return")
    lu.assertStrMatches(got, "HTTP/1.1 500.*")
    program:expect "response dropped unfinished: GET /"
  end,

  ["a Content-Length set by the handler is kept to, or the connection is cut"] = function()
    local address = h.serve([[
      if req.path == "/ok" then res:header("Content-Length", 4):write("ab") res:finish("cd") end
      if req.path == "/more" then res:header("Content-Length", 1) print("more", pcall(res.finish, res, "abc")) res:finish("a") end
      if req.path == "/less" then res:header("Content-Length", 9) res:finish("abc") end
    ]])
    lu.assertStrMatches(h.exchange(address, "GET /ok HTTP/1.1\r\nHost: a\r\n\r\n"), ".*Content%-Length: 4\r\n\r\nabcd")
    lu.assertStrMatches(h.exchange(address, "GET /more HTTP/1.1\r\nHost: a\r\n\r\n"), ".*Content%-Length: 1\r\n\r\na")
    local socket = s.connect(address)
    socket:send("GET /less HTTP/1.1\r\nHost: a\r\n\r\n")
    s.wait(function() return socket.eof end, 5)
  end,

  ["ten megabytes arrive whole in one finish, and a slow reader holds up the writer"] = function()
    local address, program = h.serve([[
      if req.path == "/big" then return res:finish(("0123456789"):rep(2 ^ 20)) end
      local chunk = ("x"):rep(65536)
      for i = 1, 400 do res:write(chunk) print("wrote", i) end
      res:finish()
    ]])
    local socket = s.connect(address)
    socket:send("GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
    lu.assertEquals(#socket:response().body, 10 * 2 ^ 20)
    socket:close()
    local slow = s.connect(address)
    slow.handle:read_stop()
    slow:send(GET)
    program:expect "wrote%s+1\n"
    local function written()
      return select(2, program:stdout():gsub("wrote", ""))
    end
    local last
    s.wait(function()
      local before = last
      last = written()
      return before == last and s.timed(function() s.remains(function() return written() == last end, 0.1) end)
    end, 10, "the writer to stand still")
    lu.assertTrue(last < 400, "the writer was not held up: " .. last)
    slow.handle:read_start(function(_, data)
      slow.eof = data == nil
    end)
    program:expect("wrote%s+400\n", 20)
  end,

  ["requests see method, path, query, args, headers, version and address, also after the answer"] = function()
    local _, program = answer([[
      req.mine = "kept"
      res:finish("x")
      local a = req:args()
      print(req.method, req.path, req.query, a.a[1], a.a[2], a.b, a["c d"], req.version, req.remote_address, req.mine)
      print(req.headers["x-a"], req.headers["set-cookie"][2], req.headers.host, req.headers.nothing)
      print(req.nothing, req:body(), "end")
    ]], "PUT /a%20b?a=1&b&a=%32&c+d=%C3%A4 HTTP/1.1\r\nHost: h:1\r\n"
      .. "X-A: 1\r\nx-a:2 \r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n")
    program:expect "end"
    local out = program:stdout()
    lu.assertStrContains(out, "PUT\t/a%20b\ta=1&b&a=%32&c+d=%C3%A4\t1\t2\ttrue\tä\t1.1\t127.0.0.1\tkept\n")
    lu.assertStrContains(out, "1, 2\tb\th:1\tnil\n")
    lu.assertStrContains(out, "nil\tnil\t")
  end,
}
