--- Plain connections: reading and writing, back-pressure, ends.
local lu = require "luaunit"
local s = require "spec.support"
local scripts = require "spec.support.scripts"
local h = require "spec.support.http"

local prints = scripts.printer(scripts.NET, 20)

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

  ["a connection that nobody holds any more is closed, and spoils no other one's bytes"] = function()
    prints([[
      local other = assert(net.server(function(conn) conn:write(("b"):rep(50000)) conn:read() end):listen("127.0.0.1:0"))
      local server = assert(net.server(function(conn)
        while conn:write(("g"):rep(60000)) do end
      end):listen("127.0.0.1:0"))
      local good = assert(net.connect(server:address()))
      local spoilt = 0
      for _ = 1, 1500 do
        assert(net.connect(other:address()))
        if good:read():find("b", 1, true) then spoilt = spoilt + 1 end
      end
      good:close()
      while other:connections() > 0 do collectgarbage() brood.sleep(0.005) end
      print(spoilt)
      other:close()
      server:close()
    ]], "0\n")
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

  ["after the peer's end reading gives nil and writing goes on; shutdown ends our side only"] = function()
    prints([[
      local server = assert(net.server(function(conn)
        local all = ""
        for chunk in conn:chunks() do all = all .. chunk end
        print((conn:read()), (conn:read()))
        brood.sleep(0.02)
        conn:write("you said ")
        conn:write(all)
      end):listen("127.0.0.1:0"))
      local conn = assert(net.connect(server:address()))
      conn:write("ab")
      conn:write(("c"):rep(1000000))
      print(conn:shutdown(), select(2, conn:write("more")).code, conn:shutdown())
      local n = 0
      for chunk in conn:chunks() do n = n + #chunk end
      print(n)
      print(conn:close(), conn:shutdown() == nil)
      server:close()
    ]], "true\tclosed\ttrue\nnil\tnil\n1000011\ntrue\ttrue\n")
  end,

  ["after a close everything gives nil and closed, and nothing raises"] = function()
    prints([[
      local seen
      local server = assert(net.server(function(conn) seen = conn conn:read() end):listen("127.0.0.1:0"))
      local conn = assert(net.connect(server:address()))
      conn:write("x")
      while not seen do brood.sleep(0.005) end
      local function code(ok, err) return tostring(ok) .. " " .. (err and err.code or "") end
      -- A reader is told by the close of another task.
      local reader = brood.async(function() return code(conn:read()) end)
      print(conn:close(), reader:wait())
      print(code(conn:read()), code(conn:write("x")), code(conn:shutdown()), conn:close(), conn:close())
      conn:write("x", function(err) print(err.code) end)
      conn:read(function(err, bytes) print(err.code, bytes) end)
      print(conn:chunks()())
      -- The peer has gone: at first nobody knows, then writing fails for good.
      local ok, err
      repeat ok, err = seen:write(("x"):rep(1000)) brood.sleep(0.001) until not ok
      print(err.code, code(seen:write("y")), code(seen:read()):match("^nil") ~= nil)
      server:close()
    ]], "true\tnil closed\nnil closed\tnil closed\tnil closed\ttrue\ttrue\nclosed\nclosed\tnil\nnil\n"
      .. "closed\tnil closed\ttrue\n")
  end,

  ["what a peer sent before it went away can still be read, though it takes no more"] = function()
    prints([[
      local server = assert(net.server(function(conn)
        conn:write(("answer "):rep(1000))
      end):listen("127.0.0.1:0"))
      local conn = assert(net.connect(server:address()))
      local ok, err
      repeat ok, err = conn:write(("x"):rep(100000)) brood.sleep(0.001) until not ok
      local n = 0
      local bytes, why
      repeat bytes, why = conn:read() n = n + #(bytes or "") until not bytes
      print(err.code, n, why and why.code ~= nil)
      server:close()
    ]], "closed\t7000\ttrue\n")
  end,

  ["a second reader raises, several writers take turns and each of their pieces stays whole"] = function()
    prints([[
      local server = assert(net.server(function(conn)
        local counts = {}
        local pending = conn:read():sub(3)
        brood.sleep(0.05)
        for chunk in conn:chunks() do
          pending = pending .. chunk
          while #pending >= 100000 do
            local piece = pending:sub(1, 100000)
            pending = pending:sub(100001)
            assert(piece == piece:sub(1, 1):rep(100000))
            counts[piece:sub(1, 1)] = (counts[piece:sub(1, 1)] or 0) + 1
          end
        end
        conn:write(("%d %d %d %d"):format(counts.a, counts.b, counts.c, #pending))
      end):listen("127.0.0.1:0"))
      local conn = assert(net.connect(server:address()))
      local first = brood.async(function() return conn:read() end)
      local ok, why = pcall(function() local x = conn:read() return x end)
      print(ok, (why:gsub("^.*script.lua:%d+: ", "AT ")))
      print((select(2, pcall(function() conn:write() end)):gsub("^.*script.lua:%d+: ", "AT ")))
      conn:write("go")
      local tasks = {}
      for i, letter in ipairs { "a", "b", "c" } do
        tasks[i] = brood.async(function()
          for _ = 1, 50 do assert(conn:write(letter:rep(100000))) end
        end)
      end
      for i = 1, 3 do tasks[i]:wait() end
      conn:shutdown()
      print(first:wait())
      server:close()
    ]], "false\tAT conn:read: another task is already reading this connection\n"
      .. "AT conn:write: the data must be a string, got nil\n50 50 50 0\n")
  end,

  ["a reader that pauses holds up its peer, and memory stays bounded both ways"] = function()
    prints([[
      local function rss() return tonumber(io.open("/proc/self/statm"):read("*a"):match("^%d+ (%d+)")) * 4 end
      local sent, got = 0, 0
      local server = assert(net.server(function(conn)
        conn:read()
        while sent < 200000000 and conn:write(("x"):rep(65536)) do sent = sent + 65536 end
      end):listen("127.0.0.1:0"))
      local conn = assert(net.connect(server:address()))
      conn:write("go")
      conn:read()
      local last = -1
      while last ~= sent do last = sent brood.sleep(0.05) end
      local stalled = sent
      local before = rss()
      for chunk in conn:chunks() do got = got + #chunk end
      print(stalled < 20000000, got > 190000000, rss() - before < 50000)
      server:close()
    ]], "true\ttrue\ttrue\n")
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
