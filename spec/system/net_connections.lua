--- Plain connections: servers, connecting, back-pressure, ends.
local lu = require "luaunit"
local s = require "spec.support"
local scripts = require "spec.support.scripts"
local h = require "spec.support.http"

local HEAD = 'local brood, net = require "brood", require "brood.net"\nio.stdout:setvbuf "line"\n'

local function prints(text, expected)
  scripts.prints(HEAD .. text, expected, { timeout = 20 })
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

  ["each address of a name is tried in turn: localhost reaches a server on ::1, too"] = function()
    prints([[
      local server = assert(net.server(function(conn) conn:write("hi") end):listen("[::1]:0"))
      local port = server:address():match("%d+$")
      for _, where in ipairs { "localhost:" .. port, "LocalHost:" .. port, tonumber(port) } do
        local conn = assert(net.connect(where))
        print(conn:read(), conn.remote_address)
        conn:close()
      end
      server:close()
    ]], ("hi\t::1\n"):rep(3))
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

  ["without descriptors connecting fails and says so, and goes on when there are some again"] = function()
    prints([[
      local uv = require "luv"
      local server = assert(net.server(function(conn) conn:read() end):listen("127.0.0.1:0"))
      assert(require("brood.core").privileges.set_limit("nofile", 64, 64))
      local held = {}
      repeat
        local fd = uv.fs_open("/dev/null", "r", 0)
        held[#held + 1] = fd
      until not fd
      local conn, err = net.connect(server:address())
      print(conn, err.code, err.message:match(": (.*)"))
      for _, fd in ipairs(held) do uv.fs_close(fd) end
      conn = assert(net.connect(server:address()))
      conn:close()
      server:close()
    ]], "nil\tEMFILE\ttoo many open files\n")
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

  ["idle_timeout closes a connection on which nothing moves, and no other"] = function()
    prints([[
      local server = assert(net.server(function(conn)
        for chunk in conn:chunks() do conn:write(chunk) end
      end, { idle_timeout = "800ms" }):listen("127.0.0.1:0"))
      local quiet, busy = assert(net.connect(server:address())), assert(net.connect(server:address()))
      local stop
      local keeper = brood.async(function()
        while not stop do busy:write("x") busy:read() brood.sleep(0.02) end
      end)
      local start = brood.now()
      print(quiet:read(), brood.now() - start > 0.7)
      print(server:connections())
      stop = true
      keeper:wait()
      print(busy:read())
      server:close()
      local patient = assert(net.server(function(conn) conn:read() end, { idle_timeout = false }):listen("127.0.0.1:0"))
      patient:destroy()
    ]], "nil\ttrue\n1\nnil\n")
  end,

  ["a server listens at several addresses, v4, v6 and Unix, and says where"] = function()
    prints([[
      local uv = require "luv"
      local path = uv.cwd() .. "/s.sock"
      local server = net.server(function(conn) conn:write(conn.remote_address) end)
      assert(server:listen { "127.0.0.1:0", "[::1]:0", { address = path, mode = "0600", backlog = 5 } })
      local a, b, c = server:address()
      for _, where in ipairs { a, b, c, path } do
        local conn = assert(net.connect(where))
        print((where:gsub("%d+$", "PORT"):gsub("unix:.*", "unix"):gsub("^/.*", "path")), (conn:read()))
        conn:close()
      end
      print(("%o"):format(uv.fs_stat(path).mode % 512))
      local port = a:match("%d+$")
      local other = net.server(function() end)
      print(select(2, other:listen(a)).code, select(2, other:listen("unix:" .. path)).code)
      -- One of several that cannot be had: none of them is kept.
      print(select(2, other:listen { "127.0.0.1:0", a }).message:find(a, 1, true) ~= nil)
      print(other:address())
      for _, where in ipairs { "nonsense", "localhost", "host:99999", "unix:" .. ("x"):rep(108) } do
        local _, err = other:listen(where)
        print(err.code, err.message:find(where, 1, true) ~= nil)
      end
      server:close()
      print((uv.fs_stat(path)))
      -- A number in the list is a port.
      assert(server:listen { tonumber(port) })
      print(net.connect(tonumber(port)):read())
      server:close()
    ]], "127.0.0.1:PORT\t127.0.0.1\n[::1]:PORT\t::1\nunix\tunix:\npath\tunix:\n600\nEADDRINUSE\tEADDRINUSE\ntrue\n\n"
      .. ("EINVAL\ttrue\n"):rep(3) .. "ENAMETOOLONG\ttrue\nnil\n127.0.0.1\n")
  end,

  ["a Unix socket that refuses, or that we may not use, is named"] = function()
    prints([[
      local uv, posix = require "luv", require "brood.posix"
      local dir = uv.cwd()
      local function fails(path)
        local _, err = net.connect("unix:" .. path)
        print(err.code, err.message:find(path, 1, true) ~= nil)
      end
      local dead = uv.new_pipe(false)
      dead:bind(dir .. "/dead.sock")
      fails(dir .. "/dead.sock")
      io.open(dir .. "/file", "w"):close()
      fails(dir .. "/file")
      fails(dir .. "/none")
      if posix.getuid() == 0 then
        local server = assert(net.server(function() end):listen { address = "unix:" .. dir .. "/ours.sock", mode = "0600" })
        uv.fs_chmod(dir, 493)
        local pid = posix.fork()
        if pid == 0 then
          posix.setuid(65534)
          fails(dir .. "/ours.sock")
          os.exit(0)
        end
        while posix.waitpid(pid, "nohang") ~= pid do brood.sleep(0.005) end
        server:close()
      else
        print("EACCES\ttrue")
      end
      dead:close()
    ]], "ECONNREFUSED\ttrue\nECONNREFUSED\ttrue\nENOENT\ttrue\nEACCES\ttrue\n")
  end,

  ["connect gives up after its timeout, and a full Unix socket is waited for"] = function()
    prints([[
      local uv = require "luv"
      -- A queue of one that nobody empties: a connection more must wait.
      local path = uv.cwd() .. "/full.sock"
      local pipe = uv.new_pipe(false)
      pipe:bind(path)
      local accepting
      pipe:listen(1, function()
        local peer = uv.new_pipe(false)
        pipe:accept(peer)
        peer:close()
      end)
      local done, first = 0, nil
      for i = 1, 20 do
        net.connect("unix:" .. path, function(err, conn) first = first or err done = done + 1 end)
      end
      while done < 20 do brood.sleep(0.005) end
      print(first, done)
      pipe:close()
      local held = assert(require("brood.core").listener.open { address = "127.0.0.1:0", backlog = 1 })
      local waiting = {}
      local err
      for i = 1, 8 do
        local conn, why = net.connect(held:address(), { timeout = "50ms" })
        waiting[i], err = conn or false, err or why
      end
      print(err.code, err.message:find(held:address() .. ": no connection within 0.05 s", 1, true) ~= nil)
      held:close()
    ]], "nil\t20\ntimeout\ttrue\n")
  end,

  ["close waits for the handlers, and accepts nobody meanwhile"] = function()
    prints([[
      local server = net.server(function(conn)
        conn:write("begin ")
        brood.sleep(0.1)
        conn:write("end")
      end)
      assert(server:listen("127.0.0.1:0"))
      local at = server:address()
      local conn = assert(net.connect(at))
      print(conn:read())
      local closed
      server:close(function() closed = true end)
      print(select(2, net.connect(at)).code, closed)
      print((conn:read()), (conn:read()))
      while not closed do brood.sleep(0.005) end
      print(server:close(), server:connections())
      -- Twice, and again at another place.
      assert(server:listen("127.0.0.1:0"))
      print(net.connect(server:address()):read())
      server:close()
    ]], "begin \nECONNREFUSED\tnil\nend\tnil\ntrue\t0\nbegin \n")
  end,

  ["a thousand connections at once are served, and no descriptor stays open"] = function()
    prints([[
      local uv = require "luv"
      local function fds() local n = 0 for _ in uv.fs_scandir_next, uv.fs_scandir("/proc/self/fd") do n = n + 1 end return n end
      local server = net.server(function(conn)
        for chunk in conn:chunks() do conn:write(chunk) end
      end)
      for _, where in ipairs { "127.0.0.1:0", "unix:" .. uv.cwd() .. "/s.sock" } do
        assert(server:listen(where))
        local before, conns, right = fds(), {}, 0
        for i = 1, 1000 do
          net.connect(server:address(), function(err, conn) conns[i] = assert(conn, err) end)
        end
        while #conns < 1000 or server:connections() < 1000 do brood.sleep(0.01) end
        local tasks = {}
        for i = 1, 1000 do
          tasks[i] = brood.async(function()
            conns[i]:write("number " .. i)
            if conns[i]:read() == "number " .. i then right = right + 1 end
            conns[i]:close()
          end)
        end
        for i = 1, 1000 do tasks[i]:wait() end
        print(right)
        server:close()
        while fds() >= before do brood.sleep(0.005) end
      end
    ]], "1000\n1000\n")
  end,

  ["a cluster serves plain connections, and its handlers learn that the worker is stopping"] = function()
    local master = require("spec.support.master").start { workers = 2, app = [[
      local brood, net = require "brood", require "brood.net"
      return net.server(function(conn)
        conn:write("hello\n")
        local stopping = false
        brood.worker:on("stopping", function() stopping = true conn:write("bye\n") conn:shutdown() end)
        for chunk in conn:chunks() do if not stopping then conn:write(chunk) end end
      end)
    ]] }
    local sockets = {}
    for i = 1, 20 do
      sockets[i] = s.connect(master:address())
    end
    for i, socket in ipairs(sockets) do
      socket:receive "hello\n"
      socket:send("echo " .. i)
      socket:receive("echo " .. i)
    end
    local code
    local stopped = require("brood").async(function() code = master:stop "QUIT" end)
    for _, socket in ipairs(sockets) do
      lu.assertEquals(socket:receive_all(), "bye\n")
      socket:close()
    end
    stopped:wait()
    lu.assertEquals(code, 0)
    lu.assertNotStrContains(master:log(), "error")
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
