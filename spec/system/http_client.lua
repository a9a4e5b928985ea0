--- http.request as a client among servers of any kind: kept connections, retries, bodies both ways, ends.
local lu = require "luaunit"
local s = require "spec.support"
local scripts = require "spec.support.scripts"

local HEAD = [[
local brood, http, net = require "brood", require "brood.http", require "brood.net"
io.stdout:setvbuf "line"
local OK = "HTTP/1.1 200 OK\r\n"
-- A server of raw bytes: fn(conn, request, n) for each request of a connection; n counts connections.
local function raw(fn, where)
  local n = 0
  local server = net.server(function(conn)
    n = n + 1
    local mine, pending = n, ""
    while true do
      local stop = select(2, pending:find("\r\n\r\n", 1, true))
      if stop then
        local head = pending:sub(1, stop)
        pending = pending:sub(stop + 1)
        if fn(conn, head, mine) == "close" then return end
      else
        local bytes = conn:read()
        if not bytes then return end
        pending = pending .. bytes
      end
    end
  end)
  assert(server:listen(where or "127.0.0.1:0"))
  return "http://" .. server:address():gsub("^unix:", ""), server
end
]]

local function prints(text, expected, options)
  scripts.prints(HEAD .. text, expected, options or { timeout = 20 })
end

return {
  ["a kept connection is used again, and does not keep the script alive"] = function()
    local seconds = s.timed(prints, [[
      local seen = {}
      local server = http.server(function(req, res)
        seen[req.remote_port] = true
        res:finish(req:body())
      end)
      assert(server:listen("127.0.0.1:0"))
      local base = "http://" .. server:address()
      for i = 1, 5 do assert(http.get(base).status == 200) end
      for i = 1, 5 do assert(http.request { url = base, body = ("x"):rep(i * 100000) }.body == ("x"):rep(i * 100000)) end
      assert(http.request { url = base, method = "HEAD" })
      local n = 0
      for _ in pairs(seen) do n = n + 1 end
      print(n, server:counts())
      -- Another target has its own, and keep_alive = false one for itself.
      print(http.request { url = base, keep_alive = false }.headers.connection)
      print(http.request { url = base, headers = { Connection = "close" } }.headers.connection)
      server:close()
    ]], "1\t1\t0\t11\nclose\nclose\n")
    lu.assertTrue(seconds < 3 * s.slow)
  end,

  ["a server that closes its kept connections is no error: they are let go, or the request is sent again"] = function()
    prints([[
      local close_after = {}
      local base, server = raw(function(conn, head, n)
        conn:write(OK .. "Content-Length: " .. #tostring(n) .. "\r\n\r\n" .. n)
        return "close"
      end)
      for i = 1, 20 do
        assert(tonumber(http.get(base).body) == i)
        if i > 10 then brood.sleep(0.005) end
      end
      server:close()
      -- Closed just when the next request comes: nothing of an answer, so it is asked again elsewhere.
      local methods = {}
      base, server = raw(function(conn, head, n)
        methods[#methods + 1] = head:match("^%u+") .. n
        if #methods % 2 == 0 then return "close" end
        conn:write(OK .. "Content-Length: 1\r\n\r\n" .. n)
      end)
      print(http.get(base).body, http.get(base).body)
      local got, err = http.request { url = base, method = "POST", body = "" }
      print(got, err.code, (err.message:gsub("%d+%.%S+", "SERVER")))
      print(table.concat(methods, " "))
      server:close()
    ]], "1\t2\nnil\tclosed\tPOST http://SERVER the server closed the connection without an answer\n"
      .. "GET1 GET1 GET2 POST2\n")
  end,

  ["mistakes raise at the caller's line, failures name the request and never the password"] = function()
    prints([[
      for i, given in ipairs {
        { url = "http://a", metod = "GET" }, { url = "http://a", headers = { ["a b"] = 1 } },
        { url = "http://a", headers = { a = "x\r\nb: c" } }, { url = "http://a", headers = { a = { "b", "c\0" } } },
        { url = "http://a", headers = { a = true } }, { url = "http://a", headers = { Host = "a/b" } },
        { url = "http://a", headers = { ["Content-Length"] = 4 }, body = "abc" },
        { url = "http://a", headers = { ["Content-Length"] = 3, ["content-length"] = 3 }, body = "abc" },
        { url = "http://a", headers = { ["Content-Length"] = "+3" }, body = "abc" },
        { url = "http://a", headers = { ["Transfer-Encoding"] = "gzip, chunked" }, body = "abc" },
        { url = "http://a", headers = { ["Transfer-Encoding"] = "chunked", ["Content-Length"] = 3 }, body = "abc" },
        { url = "http://a", method = "get" }, { url = "http://a", method = "GET /x" }, {},
        { url = "http://a/c", path = "/b" }, { url = "http://a", body = 7 },
      } do
        local ok, why = pcall(function()
          local got = http.request(given)
          return got
        end)
        local line = why:match("script.lua:(%d+): http.request: ")
        if ok or line ~= "39" then print(i, why) end
      end
      print(select(2, pcall(http.request, { url = "http://a", metod = "GET" })))
      local function fails(got, err) print(got, err.code, err.message) end
      fails(http.get "http://me:secret@127.0.0.1:1/x#y")
      fails(http.request { url = "http://127.0.0.1:1", path = "/p?q" })
      fails(http.request { socket = "/nowhere/x.sock", path = "/p" })
      fails(http.request { socket = "unix:/nowhere/x.sock", path = "/p" })
      fails(http.request { socket = "/x", path = "p" })
      fails(http.get "http://a/b c")
      fails(http.get "https://a/")
      local got, err = http.request { socket = ("x"):rep(108) }
      print(err.code, err.message:find("Unix socket path has at most 107 bytes", 1, true) ~= nil)
    ]], "http.request: unknown option 'metod' (did you mean 'method'?)\n"
      .. "nil\tECONNREFUSED\tGET http://127.0.0.1:1/x: connect to 127.0.0.1:1: connection refused\n"
      .. "nil\tECONNREFUSED\tGET http://127.0.0.1:1/p?q: connect to 127.0.0.1:1: connection refused\n"
      .. ("nil\tENOENT\tGET /p (unix:/nowhere/x.sock): connect to unix:/nowhere/x.sock: no such file or directory\n")
        :rep(2)
      .. "nil\tEINVAL\tthe path 'p': it does not begin with '/'\n"
      .. "nil\tEINVAL\t'http://a/b c' is not a URL (http://host[:port]/path): it has a space; write it as %20\n"
      .. "nil\tEPROTONOSUPPORT\thttps://a/: only http:// is spoken here, not https://\nENAMETOOLONG\ttrue\n")
  end,

  ["a request that was never answered is asked again once only, and a broken answer never"] = function()
    prints([[
      local count, good = 0, true
      local base, server = raw(function(conn, head, n)
        if good then good = false return conn:write(OK .. "Content-Length: 0\r\n\r\n") end
        count = count + 1
        if head:find("half") then conn:write(OK .. "Content-Length: 9\r\n\r\nabc") end
        return "close"
      end)
      for _, path in ipairs { "/none", "/half" } do
        good, count = true, 0
        http.get(base)
        local got, err = http.get(base .. path)
        print(got, err.code, count, (err.message:gsub("^.-: ", "")))
      end
      server:close()
    ]], "nil\tclosed\t2\tthe server closed the connection without an answer\n"
      .. "nil\tclosed\t1\tthe server closed the connection after 3 of 9 bytes of the answer's body\n")
  end,

  ["kept connections are bounded, and closed when their time or the server's hint is over"] = function()
    prints([[
      local pool = require "brood.http_client.pool"
      local client = require "brood.http_client"
      local waiting = {}
      local base, server = raw(function(conn, head)
        if head:find "/hint" then
          return conn:write(OK .. "Keep-Alive: timeout=2, max=5\r\nContent-Length: 0\r\n\r\n")
        elseif head:find "/short" then
          return conn:write(OK .. "Keep-Alive: timeout=1\r\nContent-Length: 0\r\n\r\n")
        end
        waiting[#waiting + 1] = conn
        if #waiting == 60 then
          for _, one in ipairs(waiting) do one:write(OK .. "Content-Length: 0\r\n\r\n") end
        end
      end)
      local tasks = {}
      for i = 1, 60 do tasks[i] = brood.async(http.get, base) end
      for i = 1, 60 do assert(tasks[i]:wait()) end
      print(pool.count())
      client.close_idle()
      print(pool.count())
      http.get(base .. "/short")
      print(pool.count())
      http.get(base .. "/hint")
      print(pool.count())
      local start = brood.now()
      while pool.count() > 0 do brood.sleep(0.01) end
      print(brood.now() - start > 0.9)
      while server:connections() > 0 do brood.sleep(0.005) end
      server:close()
    ]], "32\n0\n0\n1\ntrue\n")
  end,

  ["a body may come from a function, piece by piece, chunked or with its length"] = function()
    prints([[
      local server = http.server(function(req, res)
        res:header("X-TE", req.headers["transfer-encoding"]):header("X-CL", req.headers["content-length"])
        res:finish(req:body())
      end)
      assert(server:listen("127.0.0.1:0"))
      local base = "http://" .. server:address()
      local function pieces(...)
        local list, i = { ... }, 0
        return function() i = i + 1 brood.sleep(0.001) return list[i] end
      end
      local got = http.request { url = base, body = pieces("ab", "", "cd") }
      print(got.body, got.headers["x-te"], got.headers["x-cl"])
      got = http.request { url = base, method = "PUT", body = pieces("ab", "cd"), headers = { ["Content-Length"] = 4 } }
      print(got.body, got.headers["x-te"], got.headers["x-cl"])
      got = http.request { url = base, body = "text", headers = { ["transfer-encoding"] = "chunked" } }
      print(got.body, got.headers["x-te"], got.headers["x-cl"])
      got = http.request { url = base, body = pieces() }
      print(got.body == "", got.headers["x-te"])
      local big, sent = ("0123456789abcdef"):rep(4096), 0
      got = http.request { url = base, body = function() sent = sent + 1 return sent <= 100 and big or nil end }
      print(#got.body == 100 * #big)
      -- What goes wrong in it ends the request, and its connection.
      for _, fn in ipairs {
        function() error("boom") end, function() return nil, { message = "no more", code = "EX" } end,
        function() return 7 end, pieces("abc"), pieces("abc", "def"),
      } do
        local headers = fn and { ["Content-Length"] = 5 }
        local none, err = http.request { url = base, body = fn, headers = headers }
        print(none, err.code, (err.message:gsub("^.-: ", ""):gsub("^/.*:%d+: ", "SCRIPT")))
      end
      server:close()
    ]], "abcd\tchunked\tnil\nabcd\tnil\t4\ntext\tchunked\tnil\ntrue\tchunked\ntrue\n"
      .. "nil\terror\tSCRIPTboom\nnil\tEX\tno more\n"
      .. "nil\tEINVAL\tthe body's function must return a string or nil, got number\n"
      .. "nil\tEINVAL\tthe body has 3 bytes, its Content-Length is 5\n"
      .. "nil\tEINVAL\tthe body is longer than its Content-Length of 5\n")
  end,

  ["with stream the body is read in pieces, and the server is held up by a slow reader"] = function()
    prints([[
      local written, closed = 0, false
      local server = http.server(function(req, res)
        if req.path == "/short" then res:write("one ") brood.sleep(0.01) return res:finish("two") end
        for i = 1, 400 do
          local ok = res:write(("x"):rep(65536))
          if not ok then closed = true return end
          written = i
        end
        res:finish()
      end)
      assert(server:listen("127.0.0.1:0"))
      local base = "http://" .. server:address()
      local answer = http.request { url = base, stream = true }
      print(answer.status, answer.body, answer.headers["transfer-encoding"])
      local last = -1
      while last ~= written do last = written brood.sleep(0.05) end
      print(written < 300)
      local n = 0
      for piece in answer:chunks() do n = n + #piece end
      print(n == 400 * 65536, answer:read())
      -- Read to its end the connection is kept, left early it is closed.
      local short = http.get(base .. "/short", { stream = true })
      print(short:read(), short:read(), short:read(), short:read())
      print(server:counts())
      answer = http.get(base, { stream = true })
      answer:read()
      answer:close()
      while not closed do brood.sleep(0.005) end
      print(answer:read())
      local over
      http.get(base .. "/short", { stream = true }, function(err, got)
        got:read(function(err, piece) print(err, piece) got:close() over = true end)
      end)
      while not over do brood.sleep(0.005) end
      server:close()
    ]], "200\tnil\tchunked\ntrue\ntrue\tnil\none \ttwo\tnil\tnil\n1\t0\t2\nnil\nnil\tone \n")
  end,

  ["a handler can pass a request on, both bodies as they come"] = function()
    prints([[
      local origin = http.server(function(req, res)
        local n = 0
        for chunk in function() return req:read() end do n = n + #chunk res:write(chunk) end
        res:finish(" " .. n)
      end)
      assert(origin:listen("127.0.0.1:0"))
      local proxy = http.server(function(req, res)
        local answer = assert(http.request { url = "http://" .. origin:address() .. req.path, method = req.method,
          body = function() return req:read() end, stream = true })
        res:status(answer.status)
        for piece in answer:chunks() do res:write(piece) end
        res:finish()
      end)
      assert(proxy:listen("127.0.0.1:0"))
      local body = ("0123456789"):rep(1000000)
      for _ = 1, 3 do
        local got = http.request { url = "http://" .. proxy:address(), body = body }
        print(got.status, got.body == body .. " 10000000")
      end
      proxy:close()
      origin:close()
    ]], ("200\ttrue\n"):rep(3))
  end,

  ["an answer that comes before the request is sent counts, and ends the connection"] = function()
    prints([[
      local base, server = raw(function(conn)
        conn:write("HTTP/1.1 413 Too much\r\nContent-Length: 2\r\n\r\nno")
        return "close"
      end)
      local got = http.request { url = base, body = ("x"):rep(20000000) }
      print(got.status, got.body)
      local pieces = 0
      got = http.request { url = base, body = function() pieces = pieces + 1 return ("x"):rep(65536) end }
      print(got.status, got.body, pieces < 1000)
      server:close()
    ]], "413\tno\n413\tno\ttrue\n")
  end,

  ["timeouts cover connecting, the head, the body, a read of a stream, and free what they interrupt"] = function()
    prints([[
      local uv = require "luv"
      local function fds() local n = 0 for _ in uv.fs_scandir_next, uv.fs_scandir("/proc/self/fd") do n = n + 1 end return n end
      local base, server = raw(function(conn, head)
        if head:find("/body") then conn:write(OK .. "Content-Length: 10\r\n\r\nabc") end
        conn:read()
      end)
      http.get(base, { timeout = 0.01 })
      local before = fds()
      for _, path in ipairs { "/head", "/body" } do
        local start = brood.now()
        local got, err = http.get(base .. path, { timeout = "50ms" })
        print(got, err.code, (err.message:gsub("^.-: ", "")), brood.now() - start < 5)
      end
      local answer = assert(http.get(base .. "/body", { timeout = 0.05, stream = true }))
      print(answer:read())
      local got, err = answer:read()
      print(got, err.code, (err.message:gsub("^.-: ", "")))
      print(http.request { url = base, body = function() brood.sleep(30) end, timeout = 0.05 } == nil)
      while server:connections() > 0 do brood.sleep(0.005) end
      print(fds() <= before)
      os.exit(0)
    ]], "nil\ttimeout\tno complete answer within 0.05 s\ttrue\nnil\ttimeout\tno complete answer within 0.05 s\ttrue\n"
      .. "abc\nnil\ttimeout\tnothing more of the answer within 0.05 s\ntrue\ntrue\n")
  end,

  ["a whole body is at most max_body, 100m by default"] = function()
    prints([[
      local base, server = raw(function(conn, head)
        local size = tonumber(head:match("/(%d+)"))
        conn:write(OK .. "Content-Length: " .. ("%d"):format(size) .. "\r\n\r\n" .. (size < 1e6 and ("x"):rep(size) or ""))
      end)
      print(select(2, http.get(base .. "/104857601")).code)
      print(select(2, http.get(base .. "/1001", { max_body = 1000 })).code)
      print(#http.get(base .. "/1000", { max_body = "1k" }).body, #http.get(base .. "/1001", { max_body = false }).body)
      print(http.get(base .. "/104857601", { stream = true }).status)
      server:close(function() end)
      os.exit(0)
    ]], "too_large\ntoo_large\n1000\t1001\n200\n")
  end,

  ["what the caller says in headers is sent, and what would be sent by itself can be replaced or left out"] = function()
    prints([[
      local base, server = raw(function(conn, head)
        conn:write(OK .. "Content-Length: " .. #head .. "\r\n\r\n" .. head)
      end)
      local port = base:match("%d+$")
      local function show(given)
        given.url = given.url or base
        print((assert(http.request(given)).body:gsub(port, "PORT"):gsub("brood/[%d.]+", "brood/V"):gsub("\r\n", "|")))
      end
      show {}
      show { headers = { ["X-B"] = { "1", 2 }, ["x-a"] = "c", ["user-agent"] = false, Host = "other" } }
      show { method = "POST" }
      show { url = base:gsub("//", "//me:p%%40@") .. "/x?y#z" }
      show { headers = { Connection = "close", ["Content-Length"] = "0" } }
      require("brood.http_client").close_idle()
      server:close()
    ]], table.concat({
      "GET / HTTP/1.1|Host: 127.0.0.1:PORT|User-Agent: brood/V||",
      "GET / HTTP/1.1|Host: other|x-a: c|X-B: 1|X-B: 2||",
      "POST / HTTP/1.1|Host: 127.0.0.1:PORT|User-Agent: brood/V|Content-Length: 0||",
      "GET /x?y HTTP/1.1|Host: 127.0.0.1:PORT|User-Agent: brood/V|Authorization: Basic bWU6cEA=||",
      "GET / HTTP/1.1|Host: 127.0.0.1:PORT|User-Agent: brood/V|Connection: close|Content-Length: 0||\n",
    }, "\n"))
  end,

  ["a forked child begins without its parent's connections"] = function()
    prints([[
      local Worker = require "brood.worker"
      local pool = require "brood.http_client.pool"
      local server = http.server(function(req, res) res:finish(tostring(req.remote_port)) end)
      assert(server:listen("127.0.0.1:0"))
      local base = "http://" .. server:address()
      local mine = http.get(base).body
      local worker = Worker.fork()
      if worker:is_child() then
        local before = pool.count()
        local theirs = http.get(base).body
        worker:send { before, theirs ~= mine, pool.count() }
        worker:exit(0)
      end
      local got, over
      worker:on("message", function(value) got = value end)
      worker:on("exit", function() over = true end)
      while not over do brood.sleep(0.005) end
      print(got[1], got[2], got[3], http.get(base).body == mine)
      server:close()
    ]], "0\ttrue\t1\ttrue\n")
  end,

  ["a thousand requests at once, and no descriptor stays open"] = function()
    prints([[
      local uv = require "luv"
      local client = require "brood.http_client"
      local function fds() local n = 0 for _ in uv.fs_scandir_next, uv.fs_scandir("/proc/self/fd") do n = n + 1 end return n end
      for _, where in ipairs { "127.0.0.1:0", "unix:" .. uv.cwd() .. "/s.sock" } do
        local at_once, most = 0, 0
        local server = http.server(function(req, res)
          at_once = at_once + 1
          most = math.max(most, at_once)
          brood.sleep(0.2)
          at_once = at_once - 1
          res:finish(req.query)
        end)
        assert(server:listen(where))
        local before = fds()
        local right, tasks = 0, {}
        local path = where:match("^unix:(.*)")
        for i = 1, 1000 do
          tasks[i] = brood.async(function()
            local answer, err = http.request(path and { socket = path, path = "/?" .. i }
              or { url = "http://" .. server:address() .. "/?" .. i })
            if not answer then error(err) end
            if answer.body == tostring(i) then right = right + 1 end
          end)
        end
        for i = 1, 1000 do tasks[i]:wait() end
        print(right, most > 500)
        client.close_idle()
        server:close()
        while fds() >= before do brood.sleep(0.005) end
      end
    ]], "1000\ttrue\n1000\ttrue\n", { timeout = 60 })
  end,
}
