--- Connections: pipelining, clients that leave, timeouts, and the end of a server.
local lu = require "luaunit"
local uv = require "luv"
local s = require "spec.support"
local h = require "spec.support.http"

local function get(path)
  return ("GET %s HTTP/1.1\r\nHost: a\r\n\r\n"):format(path)
end

return {
  ["pipelined requests are answered in order, fast ones behind slow ones"] = function()
    local address = h.serve('if req.path:match("slow") then brood.sleep(0.03) end res:finish(req.path)')
    local socket = s.connect(address)
    local paths = { "/slow1", "/2", "/3", "/slow4", "/5" }
    local all = {}
    for i, path in ipairs(paths) do
      all[i] = get(path)
    end
    socket:send(table.concat(all))
    for _, path in ipairs(paths) do
      lu.assertEquals(socket:response().body, path)
    end
  end,

  ["ten thousand pipelined requests are all answered, though the answers are read late"] = function()
    local address = h.serve('if req.path == "/7" then brood.sleep(0.05) end res:finish(req.path .. ("x"):rep(100))')
    local socket = s.connect(address)
    local all = {}
    for i = 1, 10000 do
      all[i] = get("/" .. i)
    end
    socket.handle:read_stop()
    socket.handle:write(table.concat(all))
    socket.handle:read_start(function(_, data)
      if data then socket.received = socket.received .. data else socket.eof = true end
    end)
    socket:receive("/10000x+", 30)
  end,

  ["a client that ends its side still gets its answers, and the request sees it close"] = function()
    local address, program = h.serve([[
      req:on("close", function() print("closed", req.closed) end)
      print("before", req.closed)
      brood.sleep(0.1)
      res:finish(req.path)
    ]])
    local got = h.exchange(address, get("/1") .. get("/2"))
    lu.assertStrMatches(got, ".*/1HTTP/1.1 200 OK.*/2")
    program:expect "before%s+false\nclosed%s+true\n"
  end,

  ["after the client has gone, writing returns nil and an error with code closed, and never raises"] = function()
    local address, program = h.serve([[
      res:write("first")
      print "started"
      while not req.closed do brood.sleep(0.005) end
      local ok, err
      repeat ok, err = res:write("more") brood.sleep(0.005) until not ok
      print(ok, err.code, select(2, res:finish("x")).code)
      print(pcall(res.finish, res, "again"))
    ]])
    local socket = s.connect(address)
    socket:send(get("/"))
    program:expect "started"
    socket.handle:close_reset()
    program:expect "nil%s+closed%s+closed\n"
  end,

  ["a writer that waits for a client that leaves is told"] = function()
    local address, program = h.serve([[
      res:write("first")
      print "writing"
      local ok, err
      repeat ok, err = res:write(("x"):rep(100000)) until not ok
      print("told", err.code)
    ]])
    local socket = s.connect(address)
    socket.handle:read_stop()
    socket:send(get("/"))
    program:expect "writing"
    socket.handle:close_reset()
    program:expect "told%s+closed"
  end,

  ["slow heads get 408, silent connections are closed, and so are idle and lingering ones"] = function()
    local address = h.serve("res:finish(req:body() or 'none')",
      "{ header_timeout = 0.1, body_timeout = 0.1, idle_timeout = 0.2 }")
    local silent, slow, body, idle = s.connect(address), s.connect(address), s.connect(address), s.connect(address)
    slow:send("GET / HT")
    body:send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
    idle:send(get("/"))
    lu.assertEquals(idle:response().status, 200)
    lu.assertEquals(silent:receive_all(5), "")
    lu.assertStrMatches(slow:receive_all(5), "HTTP/1.1 408 .*")
    lu.assertStrMatches(body:receive_all(5), "HTTP/1.1 408 .*")
    lu.assertEquals(idle:receive_all(5), "")
  end,

  ["request_timeout answers 503 for a handler that does not"] = function()
    local address, program = h.serve("brood.sleep(0.3) print('late', select(2, res:finish('x')).code)",
      '{ request_timeout = "50ms" }')
    lu.assertStrMatches(h.exchange(address, get("/")), "HTTP/1.1 503 .*Connection: close.*")
    program:expect "late%s+closed"
  end,

  ["a client that takes nothing of its answer is cut after write_timeout"] = function()
    local address, program = h.serve("print('got', res:write(('x'):rep(30000000)))", '{ write_timeout = 0.1 }')
    local socket = s.connect(address)
    socket.handle:read_stop()
    socket:send(get("/"))
    program:expect("got%s+nil", 10)
  end,

  ["close finishes what is in progress, closes what is idle, and then the script ends"] = function()
    local address, program = h.serve([[
      if req.path == "/close" then
        server:close(function() print "closed" end)
        brood.sleep(0.1)
      end
      res:finish("done")
    ]])
    local idle, busy = s.connect(address), s.connect(address)
    idle:send(get("/"))
    lu.assertEquals(idle:response().body, "done")
    busy:send(get("/close"))
    lu.assertEquals(idle:receive_all(5), "")
    local got = busy:response()
    lu.assertEquals(got.body, "done")
    lu.assertEquals(got.headers.connection, "close")
    lu.assertEquals(program:finish().code, 0)
    lu.assertStrContains(program:stdout(), "closed")
  end,

  ["a server survives having no descriptors left, and leaves the queue alone"] = function()
    local address, program = h.serve("res:finish('x')", nil,
      "assert(require('brood.core').privileges.set_limit('nofile', 32, 32))")
    local list = {}
    for i = 1, 40 do
      list[i] = s.connect(address)
      list[i]:send(get("/"))
    end
    program:expect "accept: .*new connections wait"
    for i = 1, 20 do
      list[i]:close()
    end
    for i = 21, 40 do
      lu.assertEquals(list[i]:response().status, 200)
      list[i]:close()
    end
    lu.assertEquals(select(2, program:stderr():gsub("new connections wait", "")), 1)
  end,

  ["a handler that forks goes on in both processes, and only the parent's response is alive"] = function()
    local address, program = h.serve([[
      local posix = require "brood.posix"
      local pid = posix.fork()
      if pid == 0 then
        local ok, err = res:finish("from the child")
        print("child", ok, err and err.code, req.path, req.closed)
        os.exit(0)
      end
      brood.sleep(0.05)
      res:finish("from the parent")
    ]])
    local socket = s.connect(address)
    socket:send(get("/1") .. get("/2"))
    lu.assertEquals(socket:response().body, "from the parent")
    lu.assertEquals(socket:response().body, "from the parent")
    program:expect "child%s+nil%s+closed%s+/1%s+true"
    program:expect "child%s+nil%s+closed%s+/2%s+true"
  end,

  ["a server made before a fork serves in each child that listens on the same socket"] = function()
    local text = [[
      local brood, http, core, fork = require "brood", require "brood.http", require "brood.core", require "brood.fork"
      io.stdout:setvbuf "line"
      local listener = assert(core.listener.open { address = "127.0.0.1:0" })
      local server = http.server(function(req, res) res:finish(tostring(require("brood.posix").getpid())) end)
      for _ = 1, 2 do
        fork.main({ listener:fd() }, function()
          assert(server:listen { fds = { listener:fd() } })
          print "ready"
        end)
      end
      print("at " .. listener:address())
      brood.sleep(60)
    ]]
    local program = s.script(text)
    local address = program:expect "at (%S+)"
    program:expect "ready.*ready"
    local seen, pids = {}, 0
    s.wait(function()
      local pid = s.get(address).body
      pids = pids + (seen[pid] and 0 or 1)
      seen[pid] = true
      return pids == 2
    end, 10, "an answer from both children")
    for pid in pairs(seen) do
      uv.kill(tonumber(pid), "sigkill")
    end
  end,
}
