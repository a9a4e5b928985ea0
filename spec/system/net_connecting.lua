--- Plain connections: how one is got, and what is said where none is.
local scripts = require "spec.support.scripts"

local prints = scripts.printer(scripts.NET, 20)

return {
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
}
