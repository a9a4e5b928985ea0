--- Plain connections: servers, connecting, back-pressure, ends.
local lu = require "luaunit"
local s = require "spec.support"
local h = require "spec.support.http"

local HEAD = 'local brood, net = require "brood", require "brood.net"\nio.stdout:setvbuf "line"\n'

local function prints(text, expected)
  local result = s.script(HEAD .. text):finish(20)
  lu.assertEquals(result.stderr, "")
  lu.assertEquals(result.stdout, expected)
  lu.assertEquals(result.code, 0)
end

return {
  ["an echo server gives back what each client sends, until it ends"] = function()
    local address = h.serve_net("for chunk in conn:chunks() do conn:write(chunk) end")
    local a, b = s.connect(address), s.connect(address)
    a:send("one")
    b:send("two")
    a:receive("one")
    b:receive("two")
    a:shutdown()
    lu.assertEquals(a:receive_all(), "")
    local big = ("0123456789"):rep(300000)
    b:send(big)
    s.wait(function() return #b.received == #big end, 10)
    lu.assertTrue(b.received == big)
  end,

  ["a handler that raises is logged, and only its connection ends"] = function()
    local address, program = h.serve_net("if conn:read() == 'bad' then error('boom') end conn:write('ok')")
    local bad, good = s.connect(address), s.connect(address)
    bad:send("bad")
    lu.assertEquals(bad:receive_all(), "")
    program:expect "connection handler: .*boom.*stack traceback"
    good:send("good")
    lu.assertEquals(good:receive_all(), "ok")
  end,

  ["connect, read, write and close work by waiting and by callback, over TCP and Unix sockets"] = function()
    prints([[
      local dir = os.getenv("PWD") or "."
      for _, where in ipairs { "127.0.0.1:0", "unix:" .. dir .. "/s.sock" } do
        local server = net.server(function(conn)
          for chunk in conn:chunks() do conn:write(chunk:upper()) end
        end)
        assert(server:listen(where))
        local conn = assert(net.connect(server:address()))
        print(conn:write("abc"), conn:read(), conn.remote_address)
        print(conn:close(), select(2, conn:read()).code, select(2, conn:write("x")).code, conn:close())
        local over
        net.connect(server:address(), function(err, c)
          c:write("def", function(err)
            c:read(function(err, data) print(err, data) c:close(function(err) print(err) over = true end) end)
          end)
        end)
        while not over do brood.sleep(0.005) end
        print(server:close())
      end
    ]], ("true\tABC\tADDRESS\ntrue\tclosed\tclosed\ttrue\nnil\tDEF\nnil\ntrue\n"):rep(2)
      :gsub("ADDRESS", "127.0.0.1", 1):gsub("ADDRESS", "unix:", 1))
  end,

  ["a connection that fails says what and why"] = function()
    prints([[
      for _, where in ipairs { "127.0.0.1:1", "unix:/nowhere/s.sock", "no host at all", "unix:" .. ("x"):rep(200) } do
        local conn, err = net.connect(where)
        print(conn, err.code, err.message:find(where, 1, true) ~= nil)
      end
    ]], "nil\tECONNREFUSED\ttrue\nnil\tENOENT\ttrue\nnil\tEINVAL\ttrue\nnil\tENAMETOOLONG\ttrue\n")
  end,

  ["names are resolved, and localhost reaches a server on 127.0.0.1"] = function()
    prints([[
      local server = assert(net.server(function(conn) conn:write("hi") end):listen("127.0.0.1:0"))
      local conn = assert(net.connect("localhost:" .. server:address():match("%d+$")))
      print(conn:read())
      print(conn:read())
      conn:close()
      server:close()
    ]], "hi\nnil\tnil\n")
  end,

  ["a slow reader holds up the writer, and close sends what still waits"] = function()
    prints([[
      local written = 0
      local server = assert(net.server(function(conn)
        for i = 1, 200 do conn:write(("x"):rep(65536)) written = i end
        conn:close()
      end):listen("127.0.0.1:0"))
      local conn = assert(net.connect(server:address()))
      conn:read()
      local last = -1
      while last ~= written do last = written brood.sleep(0.05) end
      print(written < 200)
      local n = 0
      for chunk in conn:chunks() do n = n + #chunk end
      print(written, n >= 199 * 65536)
      server:close()
    ]], "true\n200\ttrue\n")
  end,

  ["an async function in a place that cannot wait raises and says so"] = function()
    prints([[
      local uv = require "luv"
      local t = uv.new_timer()
      t:start(1, 0, function()
        print(select(2, pcall(net.connect, "127.0.0.1:1")):match("net.connect cannot wait here") ~= nil)
        t:close()
      end)
    ]], "true\n")
  end,
}
