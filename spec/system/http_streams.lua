--- Streaming both ways: back-pressure, clients that leave meanwhile, and long answers that end with their server.
local lu = require "luaunit"
local s = require "spec.support"
local h = require "spec.support.http"

local function get(path)
  return ("GET %s HTTP/1.1\r\nHost: a\r\n\r\n"):format(path or "/")
end

-- The resident memory of a process, in bytes.
local function memory(pid)
  return tonumber(s.read_file(("/proc/%d/statm"):format(pid)):match "^%d+ (%d+)") * 4096
end

return {
  ["ten megabytes go through an echo that reads and writes at once, in little memory"] = function()
    local address, program = h.serve [[
      for chunk in function() return req:read() end do
        res:write(chunk)
      end
      res:finish()
    ]]
    lu.assertEquals(s.get(address).body, "")
    local before = memory(program.pid)
    local client = s.run({ "curl", "-s", "-T", "-", "-H", "Expect:", "http://" .. address .. "/" },
      { stdin = ("0123456789abcdef"):rep(10 * 2 ^ 16) })
    lu.assertEquals(client.code, 0)
    lu.assertEquals(#client.stdout, 10 * 2 ^ 20)
    lu.assertTrue(client.stdout == ("0123456789abcdef"):rep(10 * 2 ^ 16), "the echo differs")
    local grown = memory(program.pid) - before
    lu.assertTrue(s.slow > 1 or grown < 6 * 2 ^ 20, ("the server grew by %d bytes"):format(grown))
  end,

  ["a sender is slowed down to the pace of its reader"] = function()
    local address, program = h.serve([[
      print "begun"
      while not next(server.seen or {}) do brood.sleep(0.01) end
      print("got", #req:body())
      res:finish()
    ]], '{ max_body = "64m", body_timeout = false }', 'timer.after(1, function() server.seen = { true } end)')
    local socket = s.connect(address)
    socket:send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " .. 32 * 2 ^ 20 .. "\r\n\r\n")
    program:expect "begun"
    socket.handle:write(("x"):rep(32 * 2 ^ 20))
    local function waits()
      return socket.handle:get_write_queue_size()
    end
    local before
    s.wait(function()
      local last = before
      before = waits()
      return last == before
    end, 5, "the sender to stand still")
    lu.assertTrue(waits() > 2 ^ 20, "nothing held up the sender: " .. waits())
    program:expect("got%s+" .. 32 * 2 ^ 20)
  end,

  ["close is told at once, asleep or streaming, whether the client closes or resets"] = function()
    local address, program = h.serve [[
      local began = brood.now()
      req:on("close", function() print(req.path, "closed", req.closed, brood.now() - began < 5) end)
      if req.path:find "stream" then res:write("begun") end
      print(req.path, "begun")
      brood.sleep(10)
    ]]
    for _, path in ipairs { "/sleep/close", "/sleep/reset", "/stream/close", "/stream/reset" } do
      local socket = s.connect(address)
      socket:send(get(path))
      program:expect(path .. "%s+begun")
      if path:find "reset" then
        socket.handle:close_reset()
      else
        socket:close()
      end
      program:expect(path .. "%s+closed%s+true%s+true")
    end
  end,

  ["who keeps a response keeps no descriptor of a client that has gone"] = function()
    local address, program = h.serve([[
      if req.path == "/" then
        kept[#kept + 1] = res
        return print("kept", #kept)
      end
      local open = 0
      for _, one in ipairs(kept) do
        local ok, err = one:header("a", "b")
        open = open + (ok and 1 or 0)
        if not ok then
          print("late", err.code, select(2, one:status(500)).code, select(2, one:write("x")).code,
            select(2, one:finish({})).code, select(2, one:finish()).code)
        end
      end
      res:finish(tostring(open))
    ]], "{ write_timeout = 0.2 }", "local kept = {}")
    lu.assertEquals(s.get(address, "/check").body, "0")
    local before = #s.fds(program.pid)
    for i = 1, 6 do
      local socket = s.connect(address)
      socket:send(get())
      program:expect("kept%s+" .. i)
      if i % 2 == 0 then
        socket.handle:close_reset()
      else
        socket:close()
      end
    end
    s.wait(function() return s.get(address, "/check").body == "0" end, 5, "the responses to be closed")
    s.wait(function() return #s.fds(program.pid) <= before end, 5, "the descriptors to be closed")
    lu.assertStrMatches(program:stdout(), ".*late%s+closed%s+closed%s+closed%s+closed%s+closed\n")
  end,

  ["on a Unix socket a client that closed is gone, and one that ended its side gets its answer"] = function()
    local path = s.temp_dir() .. "/s"
    local program = s.script(([[
      local brood, http = require "brood", require "brood.http"
      io.stdout:setvbuf "line"
      local server = http.server(function(req, res)
        print(req.path)
        while not req.closed do brood.sleep(0.005) end
        if req.path == "/gone" then
          print(select(2, res:finish("x")).code)
          server:close()
        end
        res:finish("half")
      end)
      assert(server:listen("unix:%s"))
      print "ready"
    ]]):gsub("local server = http", "server = http"):format(path))
    program:expect "ready"
    lu.assertStrMatches(h.exchange("unix:" .. path, get "/half"), "HTTP/1.1 200 .*half")
    local socket = s.connect("unix:" .. path)
    socket:send(get "/gone")
    program:expect "/gone"
    socket:close()
    program:expect "closed"
    lu.assertEquals(program:finish().code, 0)
  end,

  ["on TCP whoever writes to a client that has gone hears it, and one that ended its side gets its answer"] = function()
    local address, program = h.serve [[
      while not req.closed do brood.sleep(0.005) end
      local path = req.path
      if path == "/half" then return res:finish("taken") end
      local ok, err = res[path:sub(2)](res, "x")
      print(path, ok, err and err.code)
    ]]
    lu.assertStrMatches(h.exchange(address, get "/half"), "HTTP/1.1 200 .*taken")
    for _, path in ipairs { "/write", "/finish" } do
      local socket = s.connect(address)
      socket:send(get(path))
      socket:close()
      program:expect(path .. "%s+nil%s+closed")
    end
  end,

  ["server-sent events end when the worker is told to stop, well within graceful_timeout"] = function()
    local app = s.write_file("app.lua", [[
      local brood = require "brood"
      local stopping
      brood.worker:on("stopping", function() stopping = true end)
      return function(req, res)
        res:header("Content-Type", "text/event-stream"):write("data: begun\n\n")
        while not stopping and not req.closed do
          brood.sleep(0.01)
          res:write("data: x\n\n")
        end
        res:finish("data: end\n\n")
      end
    ]])
    local p = s.brood { "-s", app, "-l", "127.0.0.1:0", "-w", "1", "--control", "false" }
    local socket = s.connect("127.0.0.1:" .. p:expect "serve 127%.0%.0%.1:(%d+)")
    socket:send(get())
    socket:receive "data: x"
    local taken = s.timed(function()
      p:kill "QUIT"
      lu.assertEquals(p:wait(), 0)
    end)
    lu.assertTrue(taken < 5 * s.slow, "the stop took " .. taken .. " s")
    lu.assertStrMatches(socket:receive_all(), ".*data: end\n\n\r\n0\r\n\r\n")
  end,

  ["a script's own server:close() waits for the streams it is told to end"] = function()
    local address, program = h.serve([[
      res:write("begun\n")
      while not over do brood.sleep(0.01) end
      res:finish("end\n")
    ]], nil, [[
      local over
      timer.after(0.3, function()
        server:close(function() print "closed" end)
        timer.after(0.1, function() over = true end)
      end)
    ]])
    local socket = s.connect(address)
    socket:send(get())
    lu.assertStrMatches(socket:receive_all(), ".*end\n\r\n0\r\n\r\n")
    lu.assertEquals(program:finish().code, 0)
    lu.assertStrContains(program:stdout(), "closed")
  end,

  ["a server that is closed in a handler answers what that client has already sent, and what others have"] = function()
    local address, program = h.serve [[
      if req.path == "/close" then
        res:write "begun:" -- and so it has been promised that the connection goes on
        print "closing"
        os.execute "while ! test -e go; do sleep 0.01; done" -- nothing else happens here meanwhile
        server:close(function() print "closed" end)
      end
      res:finish(req.path .. (req.headers.x or ""))
    ]]
    local other, socket = s.connect(address), s.connect(address)
    other:send(get "/first")
    lu.assertEquals(other:response().body, "/first")
    socket:send(get "/close" .. get "/second" .. get "/third")
    program:expect "closing"
    other:send("GET /other HTTP/1.1\r\nHost: a\r\nX: " .. ("x"):rep(300) .. "\r\n\r\n")
    s.write_file(program.cwd .. "/go", "")
    lu.assertEquals(socket:response().body, "begun:/close")
    lu.assertEquals(socket:response().body, "/second")
    lu.assertEquals(other:response().body, "/other" .. ("x"):rep(300))
    lu.assertEquals(program:finish().code, 0)
  end,
}
