--- A handler that reaches back into its server, or ends it, while its client's next request waits in the same buffer.
local lu = require "luaunit"
local s = require "spec.support"
local h = require "spec.support.http"

local function get(path, agent)
  return ("GET %s HTTP/1.1\r\nHost: a\r\nUser-Agent: %s\r\n\r\n"):format(path, agent or "a")
end

-- Handlers that block until the spec has made a file.
local function gate()
  local path = s.temp_dir() .. "/open"
  return path, ([[
    local function blocked()
      print "blocked"
      while not io.open(%q) do end
    end
  ]]):format(path)
end

-- When the answer has begun to come; the rest waits meanwhile.
local function send_while_reading(socket, bytes)
  s.wait(function() return #socket.received > 0 end, 5, "the beginning of the answer")
  socket:pause()
  socket:send(bytes)
  socket:resume()
end

return {
  ["a client's pipelined request is its own, though a handler closes the server while others wait in the queue"] =
    function()
      local path, before = gate()
      local address, program = h.serve([[
        print(req.path, req.headers["user-agent"])
        if req.path == "/close" then
          res:finish "closing"
          blocked()
          server:close(function() print "closed" end)
        else
          res:finish(req.path)
        end
      ]], nil, before)
      local first = get("/close", "first")
      local a = s.connect(address)
      a:send(first .. get("/mine", "first"))
      program:expect "blocked"
      local b = s.connect(address)
      -- At the place of the first client's second request stands what could be taken for one.
      local start = "GET /theirs HTTP/1.1\r\nUser-Agent: second\r\nX: "
      b:send(start .. ("y"):rep(#first - #start) .. "GET /stolen HTTP/1.1\r\nHost: a\r\n\r\n")
      s.write_file(path, "")
      lu.assertEquals(a:response().body, "closing")
      lu.assertEquals(a:response().body, "/mine")
      lu.assertEquals(b:response().body, "/theirs")
      program:expect "closed"
      local log = program:stdout()
      lu.assertStrMatches(log, ".*/mine%s+first\n.*")
      lu.assertStrMatches(log, ".*/theirs%s+second.*")
      lu.assertNotStrContains(log, "stolen")
    end,

  ["a handler may open a server with larger heads while its client's next request waits"] = function()
    local address = h.serve([[
      res:finish(req.path)
      if req.path == "/open" then
        for _, size in ipairs { "2m", "4m", "8m" } do
          local other = http.server(function() end, { max_header = size })
          assert(other:listen("127.0.0.1:0"))
          other:close()
        end
      end
    ]])
    local socket = s.connect(address)
    socket:send(get "/open" .. get "/mine" .. get "/open" .. get "/last")
    for _, path in ipairs { "/open", "/mine", "/open", "/last" } do
      lu.assertEquals(socket:response().body, path)
    end
  end,

  ["destroy() in a handler that close() has brought to run cuts the others off"] = function()
    local path, before = gate()
    local address, program = h.serve([[
      if req.path == "/slow" then
        timer.after(0, function()
          blocked()
          server:close(function() print "over" end)
        end)
        brood.sleep(1000)
      end
      server:destroy()
    ]], nil, before)
    local slow, quick = s.connect(address), s.connect(address)
    slow:send(get "/slow")
    program:expect "blocked"
    quick:send(get "/quick")
    s.write_file(path, "")
    program:expect "over"
  end,

  ["whoever takes the metatable of a request gets an error, not a crash"] = function()
    local address = h.serve([[
      local class = getmetatable(req)
      local read, wrote = pcall(class.__index, "text", "method"), pcall(class.__newindex, io.stdout, "method", 1)
      res:finish(tostring(read or wrote))
    ]])
    lu.assertStrContains(h.exchange(address, get "/"), "\r\n\r\nfalse")
  end,

  ["a finalizer that ends the request while its body is being taken takes nothing else with it"] = function()
    local address = h.serve([[
      collectgarbage "stop"
      getmetatable(newproxy(true)).__gc = function() res:finish "finalized" end
      brood.sleep(0.01)
      collectgarbage("setpause", 1)
      collectgarbage("setstepmul", 1000000)
      collectgarbage "restart"
      req:body()
      if res._open and res:_open() then res:finish "not finalized" end
    ]])
    for _ = 1, 5 do
      local socket = s.connect(address)
      socket:send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 30000\r\n\r\n" .. ("b"):rep(30000))
      lu.assertStrMatches(socket:response().body, ".*finalized")
    end
  end,

  ["request_timeout begins with the request, not with the turn of another that blocks"] = function()
    local path, before = gate()
    local address, program = h.serve([[
      if req.path == "/block" then
        blocked()
        local stop = brood.now() + 0.7
        while brood.now() < stop do end
      else
        brood.sleep(0.01)
      end
      res:finish(req.path)
    ]], "{ request_timeout = 0.6 }", before)
    local socket = s.connect(address)
    socket:send(get "/block" .. get "/short")
    program:expect "blocked"
    s.write_file(path, "")
    lu.assertEquals(socket:response().body, "/block")
    lu.assertEquals(socket:response().body, "/short")
  end,

  ["an answer that a client is still reading is not cut, though it has sent more than was read"] = function()
    local size = 8000000
    local address = h.serve(('res:header("Connection", "close"):finish(("x"):rep(%d))'):format(size))
    for _ = 1, 3 do
      local socket = s.connect(address)
      socket:send(get "/")
      send_while_reading(socket, get "/2")
      local all = socket:receive_all(10)
      lu.assertNil(socket.err)
      lu.assertTrue(#all > size)
    end
  end,

  ["what a plain connection has written arrives whole after close, though its peer has sent more than was read"] =
    function()
      local size = 8000000
      local address = h.serve_net(([[
        conn:write(("x"):rep(%d), function() end)
        conn:close()
        print "closed"
      ]]):format(size))
      for _ = 1, 3 do
        local socket = s.connect(address)
        socket:send "hello"
        send_while_reading(socket, "more")
        local all = socket:receive_all(10)
        lu.assertNil(socket.err)
        lu.assertEquals(#all, size)
      end
    end,

  ["a status beyond 599 that a server sends is one that the client takes"] = function()
    local address = h.serve('res:status(tonumber(req.path:sub(2))):finish "odd"')
    local result = s.script(([[
      local http = require "brood.http"
      for _, status in ipairs { 600, 999 } do
        local answer = assert(http.get("http://%s/" .. status))
        print(answer.status, answer.body)
      end
    ]]):format(address)):finish(10)
    lu.assertEquals(result.stdout, "600\todd\n999\todd\n")
  end,

  ["after QUIT, requests that wait in the queue of a busy worker are all answered"] = function()
    local path, before = gate()
    local app = s.write_file("app.lua", before .. [[
      return function(req, res)
        if req.path == "/block" then blocked() end
        res:finish(req.path)
      end
    ]])
    local p = s.brood { "-s", app, "-l", "127.0.0.1:0", "-w", "1", "--control", "false" }
    local address = "127.0.0.1:" .. p:expect("serve 127%.0%.0%.1:(%d+)")
    local sockets = {}
    for i = 0, 100 do
      sockets[i] = s.connect(address)
      sockets[i]:send(get(i == 0 and "/block" or "/waits"))
      if i == 0 then
        p:expect "blocked"
      end
    end
    local before_quit = s.fd_count(p.pid)
    p:kill "QUIT"
    s.wait(function() return s.fd_count(p.pid) < before_quit end, 5, "the master to close its listener")
    s.write_file(path, "")
    for i = 0, 100 do
      lu.assertEquals(sockets[i]:response().body, i == 0 and "/block" or "/waits")
    end
    lu.assertEquals(p:wait(), 0)
  end,
}
