--- What a handler does wrong: it is told in words that help, at the line that did it, and no client is told a lie.
local lu = require "luaunit"
local s = require "spec.support"
local h = require "spec.support.http"

local function get(path, version)
  return ("GET %s HTTP/%s\r\nHost: a\r\n\r\n"):format(path or "/", version or "1.1")
end

-- A handler whose cases are chosen by the path; `at` is the line of each in the script.
local function serve_cases(cases)
  local names, parts, at = {}, {}, {}
  for name in pairs(cases) do
    names[#names + 1] = name
  end
  table.sort(names)
  for i, name in ipairs(names) do
    parts[i] = ('%s req.path == "/%s" then\n%s'):format(i == 1 and "if" or "elseif", name, cases[name])
    at[name] = 2 * i
  end
  local address, program = h.serve(table.concat(parts, "\n") .. "\nend")
  local first = select(2, (s.read_file(program.argv[3]):match '^(.-)if req.path == "/'):gsub("\n", "\n"))
  for name, line in pairs(at) do
    at[name] = first + line
  end
  return address, program, at
end

return {
  ["a mistake names the method, what it wanted and what it got, at the line of the call"] = function()
    local cases = {
      body = { "res:finish({})", "res:finish: the body must be a string, got table" },
      tail = { "do return res:finish(true) end", "res:finish: the body must be a string, got boolean" },
      chunk = { "res:write(nil)", "res:write: the chunk must be a string, got nil" },
      chunk_tail = { "do return res:write({}) end", "res:write: the chunk must be a string, got table" },
      fraction = { "res:status(200.5)", "res:status: the status must be a whole number from 200 to 999, got 200.5" },
      text = { 'do return res:status("404") end', "res:status: the status must be a whole number .* got string" },
      low = { "res:status(100)", "res:status: .* got 100" },
      name = { 'res:header("a b", "c")', "res:header: 'a b' is no name of a header" },
      split = { 'res:header("X-A", "a\\r\\nb: c")', "res:header: the value of 'X%-A' must hold no line break" },
      zero = { 'res:header("X-A", "a\\0")', "res:header: the value of 'X%-A' must hold no line break and no NUL" },
      control = { 'res:header("X-A", "\\9a\\1")', "res:header: the value of 'X%-A' .* or other control byte" },
      later = { 'res:header("X-A", { "a", "b", {} })', "res:header: the value of 'X%-A' must be .* got table" },
      map = { 'res:header("X-A", { a = 1 })', "res:header: the value of 'X%-A' must be a list" },
      length = { 'res:header("Content-Length", -1)',
        "res:header: 'Content%-Length' must be a number of bytes, got '%-1'" },
      lengths = { 'res:header("Content-Length", { 1, 1 })', "res:header: 'Content%-Length' must be one number" },
      own = { 'res:header("Transfer-Encoding", "gzip")', "res:header: 'Transfer%-Encoding' is the server's own" },
      missing = { 'res:header("X-A")', "res:header: a name and a value are needed" },
      listener = { 'req:on("close")', "the listener of 'close' must be a function, got nil" },
      event = { "req:once(print)", "the event must be a string, got function" },
      dot = { 'res.finish("x")', "res:finish: call it with a colon" },
      write_dot = { 'res.write("x")', "res:write: call it with a colon" },
      args_dot = { "req.args()", "req:args: call it with a colon" },
      body_dot = { "req.body()", "req:body: call it with a colon" },
      read_dot = { "req.read(print)", "req:read: call it with a colon" },
      on_dot = { 'req.on("close", print)', "req:on: call it with a colon" },
    }
    local lines = {}
    for name, case in pairs(cases) do
      lines[name] = case[1]
    end
    local address, program, at = serve_cases(lines)
    for name, case in pairs(cases) do
      local got = s.get(address, "/" .. name)
      lu.assertEquals({ got.status, got.body }, { 500, "500 Internal Server Error\n" }, name)
      program:expect(("handler of GET /%s: [^\n]*script.lua:%d: %s"):format(name, at[name], case[2]))
    end
  end,

  ["where several calls could have been the one, all their lines are named"] = function()
    local address, program, at = serve_cases {
      a = "do return res:finish({}) end", b = "do return res:finish(print) end",
      c = "local f = function() return res end do return f():finish({}) end",
    }
    lu.assertEquals(s.get(address, "/b").status, 500)
    program:expect(("handler of GET /b: [^\n]*script.lua:%d, %d or %d: res:finish: "):format(at.a, at.b, at.c))
  end,

  ["a list with a mistake in it leaves the header as it was"] = function()
    local address = h.serve [[
      res:header("X-A", "old"):header("Connection", "x, Close"):status(201)
      pcall(res.header, res, "X-A", { "new", "a\nb" })
      pcall(res.header, res, "x-a", { "new", true })
      pcall(res.header, res, "Content-Length", { 3, "x" })
      pcall(res.status, res, 99)
      res:finish("abc")
    ]]
    local socket = s.connect(address)
    socket:send(get())
    local got = socket:response()
    lu.assertEquals({ got.status, got.headers["x-a"], got.headers.connection, got.body },
      { 201, "old", "close", "abc" })
    lu.assertEquals(socket:receive_all(), "")
  end,

  ["a body of another length than was said is an error, and no client takes it for whole"] = function()
    local address, program = h.serve [[
      local n = tonumber(req.query)
      res:header("Content-Length", n)
      if req.path == "/finish" then return res:finish("12345") end
      res:write("123")
      if req.path == "/write" then res:write("45") end
      res:finish(req.path == "/both" and "45" or nil)
    ]]
    for _, path in ipairs { "/finish?6", "/finish?4" } do
      local got = h.exchange(address, get(path))
      lu.assertStrMatches(got, "HTTP/1.1 500 .*Connection: close.*")
    end
    for _, path in ipairs { "/write?6", "/write?4", "/both?6", "/both?4" } do
      local got = h.exchange(address, get(path) .. get(path))
      lu.assertStrMatches(got, "HTTP/1.1 200 OK.*Content%-Length: %d\r\n\r\n123%d?%d?")
      lu.assertEquals(select(2, got:gsub("HTTP/1.1", "")), 1)
      lu.assertTrue(#got:match "\r\n\r\n(.*)$" < 6)
    end
    program:expect "res:finish: the body has 5 bytes, and its Content%-Length, as it was set, is 6"
    program:expect "res:write: the body has 5 bytes, and its Content%-Length, as it was set, is 4"
    for _, path in ipairs { "/finish?5", "/write?5", "/both?5" } do
      lu.assertEquals(s.get(address, path).body, "12345")
    end
  end,

  ["204 and 205 carry no length but 0, 304 and HEAD may carry the one that was set"] = function()
    local address = h.serve [[
      if req.query ~= "" then res:header("Content-Length", req.query) end
      res:status(tonumber(req.path:sub(2))):finish("abc")
    ]]
    local socket = s.connect(address)
    for status, length in pairs { [204] = "none", [205] = "0", [304] = "7" } do
      socket:send(get(("/%d?7"):format(status)))
      local got = socket:response(true)
      lu.assertEquals({ got.status, got.headers["content-length"] or "none" }, { status, length })
      lu.assertNil(got.headers["transfer-encoding"])
    end
    socket:send "HEAD /200?7 HTTP/1.1\r\nHost: a\r\n\r\n"
    lu.assertEquals(socket:response(true).headers["content-length"], "7")
    socket:send(get "/200")
    lu.assertEquals(socket:response().body, "abc")
  end,

  ["HTTP/1.0 keeps the connection for a stream only where its length is known"] = function()
    local address = h.serve [[
      if req.path == "/known" then res:header("Content-Length", 4) end
      res:write("ab")
      res:finish("cd")
    ]]
    local ask = "GET %s HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    local got = h.exchange(address, ask:format "/known" .. ask:format "/unknown")
    lu.assertStrMatches(got, "HTTP/1.1 200 OK.*Connection: keep%-alive\r\n.*\r\n\r\nabcdHTTP/1.1 200 OK.*"
      .. "Connection: close\r\n\r\nabcd")
    lu.assertNotStrContains(got, "chunked")
  end,

  ["whatever a handler raises becomes a 500, and is told"] = function()
    local address, program = serve_cases {
      none = "error()", object = "error({})", message = 'error({ message = "of a table", code = "x" })',
      object_text = 'error(setmetatable({}, { __tostring = function() return "of an object" end }))',
      bare = 'error("a:b: without a place", 0)', error = 'error(require("brood.error").new("x", "of an error"))',
    }
    for _, name in ipairs { "none", "object", "message", "object_text", "bare", "error" } do
      lu.assertEquals(s.get(address, "/" .. name).status, 500, name)
    end
    for _, want in ipairs { "none: nil was raised", "object: an error object without a message", "message: of a table",
      "object_text: of an object", "bare: a:b: without a place", "error: of an error" } do
      program:expect("handler of GET /" .. want)
    end
  end,

  ["numbers are bodies as Lua writes them, and a second finish or a late header says so"] = function()
    local address, program = h.serve [[
      res:write(1) res:write(0.5)
      print(select(2, pcall(res.header, res, "A", "b")))
      res:finish(42)
      print(select(2, pcall(res.finish, res)))
      print(select(2, pcall(res.status, res, 200)))
      print "done"
    ]]
    lu.assertEquals(s.get(address).body, "10.542")
    program:expect "done"
    lu.assertStrContains(program:stdout(), "res:header: the head has already been sent, by res:write\n"
      .. "res:finish: the response is already finished\nres:status: the response is already finished\n")
  end,

  ["a response that nobody can finish any more says what was forgotten"] = function()
    local address, program = h.serve "return"
    lu.assertEquals(s.get(address, "/forgotten").status, 500)
    program:expect "response dropped unfinished: GET /forgotten: its handler returned without res:finish%(%)"
    lu.assertNotStrContains(program:stderr(), "what a handler returns is not sent")
    address, program = h.serve "return 'the body'"
    lu.assertEquals(s.get(address, "/returned").status, 500)
    program:expect "response dropped unfinished: GET /returned: [^\n]*; what a handler returns is not sent\n"
  end,

  ["a handler that goes on after its answer was over is no error, what else it raises is"] = function()
    local chain = 'brood.sleep(0.2) res:status(200):header("A", "b"):finish() error "not reached"'
    local address, program = h.serve(chain, "{ request_timeout = 0.05 }")
    lu.assertEquals(s.get(address, "/chain").status, 503)
    program:expect "info [^\n]*GET /chain: its handler went on after the answer was over %(request_timeout%)\n"
    lu.assertNotStrContains(program:stderr(), "traceback")
    address, program = h.serve("brood.sleep(0.2) assert(res:write 'x')", "{ request_timeout = 0.05 }")
    lu.assertEquals(s.get(address, "/assert").status, 503)
    program:expect "info [^\n]*GET /assert: its handler went on"
    address, program = h.serve("local missing brood.sleep(0.2) res:finish(missing.x)", "{ request_timeout = 0.05 }")
    lu.assertEquals(s.get(address, "/bug").status, 503)
    program:expect "handler of GET /bug: [^\n]*index local 'missing'"
    address, program = h.serve("req:body() " .. chain, "{ body_timeout = 0.05 }")
    local socket = s.connect(address)
    socket:send "POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc"
    lu.assertEquals(socket:response().status, 408)
    program:expect "POST /body: its handler went on after the answer was over %(body_timeout%)\n"
    address, program = h.serve("res:write 'x' " .. chain:gsub("header", "write"))
    socket = s.connect(address)
    socket:send(get "/gone")
    socket:receive "x"
    socket.handle:close_reset()
    program:expect "GET /gone: its handler went on after the answer was over %(the client has gone%)\n"
  end,

  ["to listen nowhere is a mistake that says what is missing"] = function()
    local ok, err = pcall(function() require("brood.http").server(print):listen(nil) end)
    lu.assertFalse(ok)
    lu.assertStrMatches(err, '.*http_mistakes.lua:%d+: server:listen: an address is missing %(e.g. "127.0.0.1:8080"%)')
  end,

  ["requests are decoded as forms are, and headers are joined"] = function()
    local address, program = h.serve [[
      local list = {}
      for name, value in pairs(req:args()) do
        if type(value) == "table" then
          for i, one in ipairs(value) do value[i] = tostring(one) end
          value = table.concat(value, "|")
        end
        list[#list + 1] = ("%q=%s"):format(name, tostring(value))
      end
      table.sort(list)
      print(table.concat(list, " "))
      print(req.path, req.headers.cookie, req.headers["x-a"], #req.headers["set-cookie"], req.headers["set-cookie"][2])
      res:finish()
    ]]
    h.exchange(address, "GET http://a:80/p%41/?a=b=c&&x%00y=%zz%4&=empty&k;l=m&r&r=2&r=&p=a+b%2B HTTP/1.1\r\n"
      .. "Host: a:80\r\n"
      .. "Cookie: a=1\r\nX-A: 1\r\nCookie: b=2\r\nx-a:\r\nX-A: 3\r\nSet-Cookie: c\r\nSet-Cookie: d, e\r\n\r\n")
    program:expect '""=empty "a"=b=c "k;l"=m "p"=a b%+ "r"=true|2| "x\\0y"=%%zz%%4\n'
    program:expect "/p%%41/%s+a=1, b=2%s+1, , 3%s+2%s+d, e\n"
  end,

  ["a client that comes over IPv6 with an IPv4 address is known by that"] = function()
    local address, program = h.serve("print(req.remote_address) res:finish()", nil, nil)
    s.get(address)
    program:expect "^at [^\n]+\n127%.0%.0%.1\n"
    local both = s.script [[
      local http = require "brood.http"
      io.stdout:setvbuf "line"
      local server = http.server(function(req, res) print(req.remote_address) res:finish() end)
      assert(server:listen { address = "[::]:0" })
      print("at " .. server:address())
    ]]
    local port = both:expect "at %S+:(%d+)\n"
    s.get("127.0.0.1:" .. port)
    both:expect "\n127%.0%.0%.1\n"
    s.get("[::1]:" .. port)
    both:expect "\n::1\n"
  end,
}
