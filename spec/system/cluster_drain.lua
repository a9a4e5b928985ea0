--- Workers that a change replaces while they are at work: what they may finish, for how long, and how many of them,
--- the oldest first (brood.cluster.linger, brood.group.oldest_first).
local lu = require "luaunit"
local changes = require "spec.support.changes"
local s = require "spec.support"

local notes, run = changes.notes, changes.run

return {
  ["an old one that may take for ever is not waited for"] = function()
    local master = run([[
      eventually(function() return io.open "begun" end, "the request")
      local c = change(to "b")
      assert(c:probe())
      note(c:commit(), workers())
      alone(3)]], { config = "graceful_timeout = false,", goes_on = true })
    local client = s.connect(master:address())
    client:send "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"
    master:noted "over"
    lu.assertEquals(notes(master), "2 b.1 b.2\n")
    s.wait(function() return #(s.read_file(master.dir .. "/left") or "") == 2 end)
    lu.assertEquals(master:get().body, "b")
    s.write_file(master.dir .. "/go", "")
    lu.assertEquals(client:response().body, "a")
    master:ready(2)
  end,

  ["at most two finish beside the one that serves: a third cuts the oldest one's time short"] = function()
    local master = run([[
      for i, name in ipairs { "b", "c", "d" } do
        eventually(function() return #(io.open("begun", "a+"):read "*a") == i end, "request " .. i)
        local c = change(to(name))
        assert(c:probe())
        assert(c:commit())
        eventually(function() return #(io.open("left", "a+"):read "*a") == i end, "the old one's leaving")
        note(name)
      end]], { goes_on = true, workers = 1, config = "graceful_timeout = 60," })
    local clients = {}
    for i, name in ipairs { "b", "c", "d" } do
      clients[i] = s.connect(master:address())
      clients[i]:send "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"
      master:noted("%f[%w]" .. name .. "\n")
    end
    local first = master.program:expect(
      "worker %d+ %(pid (%d+)%) still finishes, as 2 younger ones of its slot do: it has 5.0 s left")
    lu.assertTrue(s.alive(tonumber(first)))
    lu.assertEquals(#master:pids(), 4)
    local seconds = s.timed(s.wait, function() return #master:pids() == 3 end, 10)
    lu.assertTrue(seconds < 6 * s.slow)
    lu.assertStrContains(master:log(), "still there")
    s.write_file(master.dir .. "/go", "")
    lu.assertEquals({ clients[2]:response().body, clients[3]:response().body }, { "b", "c" })
    master:ready(1)
  end,

  ["a kept connection is answered once more by the worker that goes, and closed at once when all stop"] = function()
    local master = run([[
      eventually(function() return io.open "go" end, "the client")
      local c = change(to "b")
      assert(c:probe())
      assert(c:commit())
      note "changed"]], { goes_on = true, workers = 1, config = "graceful_timeout = 60," })
    local one, two = s.connect(master:address()), s.connect(master:address())
    for _, client in ipairs { one, two } do
      client:send "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
      lu.assertEquals(client:response().body, "a")
    end
    s.write_file(master.dir .. "/go", "")
    master:noted "changed"
    s.wait(function() return s.read_file(master.dir .. "/left") end) -- the signal may take a moment
    one:send "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    local last = one:response()
    lu.assertEquals({ last.body, last.headers.connection }, { "a", "close" })
    local code, _, seconds = master:stop "QUIT"
    lu.assertEquals(code, 0)
    lu.assertTrue(seconds < 5 * s.slow)
    lu.assertEquals(two:receive_all(), "")
  end,

  ["those that finish already wait for nobody any more when all stop; a quick stop ends them"] = function()
    for _, how in ipairs { "QUIT", "TERM" } do
      local master = run([[
        for i, name in ipairs { "b", "c" } do
          eventually(function() return io.open("go" .. i) end, "the client")
          local c = change(to(name))
          assert(c:probe())
          assert(c:commit())
          eventually(function() return #(io.open("left", "a+"):read "*a") == i end, "the old one's leaving")
          note(name)
        end]], { goes_on = true, workers = 1, config = "graceful_timeout = 60," })
      local kept = {}
      for i, name in ipairs { "b", "c" } do
        kept[i] = s.connect(master:address())
        kept[i]:send "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        lu.assertEquals(kept[i]:response().status, 200)
        s.write_file(master.dir .. "/go" .. i, "")
        master:noted("%f[%w]" .. name .. "\n")
      end
      lu.assertEquals(#master:pids(), 3)
      local code, _, seconds = master:stop(how)
      lu.assertEquals(code, 0)
      lu.assertTrue(seconds < 5 * s.slow)
      lu.assertEquals({ kept[1]:receive_all(), kept[2]:receive_all() }, { "", "" })
      lu.assertNotStrContains(master:log(), "KILL")
    end
  end,

  ["a cluster that ends while another serves in its place lets them linger, until it is told otherwise"] = function()
    local master = run([[
      eventually(function() return io.open "go" end, "the client")
      local over
      web:stop(true, function() over = true note "stopped" end)
      eventually(function() return io.open "now" end, "the wish")
      note("lingered", not over)
      web:stop()]], { goes_on = true, workers = 1, config = "graceful_timeout = 60," })
    local one, two = s.connect(master:address()), s.connect(master:address())
    for _, client in ipairs { one, two } do
      client:send "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
      lu.assertEquals(client:response().status, 200)
    end
    s.write_file(master.dir .. "/go", "")
    s.wait(function() return s.read_file(master.dir .. "/left") end)
    one:send "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    lu.assertEquals(one:response().headers.connection, "close")
    s.write_file(master.dir .. "/now", "")
    master:noted "lingered true\n"
    lu.assertEquals(two:receive_all(), "")
    master:noted "stopped\n"
  end,
}
