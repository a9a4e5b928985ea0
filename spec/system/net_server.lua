--- Servers of plain connections: where they listen, whom they serve, and how they end.
local lu = require "luaunit"
local s = require "spec.support"
local scripts = require "spec.support.scripts"

local prints = scripts.printer(scripts.NET, 20)

return {
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
}
