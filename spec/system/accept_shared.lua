--- Workers that share listening sockets: who takes which connection.
-- time limit: 60 s
local lu = require "luaunit"
local masters = require "spec.support.master"
local s = require "spec.support"
local uv = require "luv"

local APP = [[
local pid = tostring(require("brood.posix").getpid())
return function(req, res) res:finish(pid) end
]]
local GET = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"

-- n connections at once, each with a request, all kept open: how many each worker has.
local function flood(address, n)
  local host, port = address:match "^(.*):(%d+)$"
  local found, answered, why, handles = {}, 0, nil, {}
  for i = 1, n do
    local tcp, text = uv.new_tcp(), ""
    handles[i] = tcp
    tcp:connect(host, tonumber(port), function(err)
      why = why or err
      if err then
        return
      end
      tcp:read_start(function(read_err, data)
        why = why or read_err or (not data and "closed" or nil)
        text = text .. (data or "")
        local pid = text:match "\r\n\r\n(%d+)$"
        if pid then
          found[pid] = (found[pid] or 0) + 1
          answered = answered + 1
        end
      end)
      tcp:write(GET)
    end)
  end
  s.wait(function() return answered == n or why end, 30, function()
    return ("%d answers; there are %d"):format(n, answered)
  end)
  for _, tcp in ipairs(handles) do
    tcp:close()
  end
  lu.assertNil(why)
  return found
end

local function assert_fair(found, workers)
  local list = {}
  for _, count in pairs(found) do
    list[#list + 1] = count
  end
  table.sort(list)
  lu.assertEquals(#list, workers, table.concat(list, " "))
  lu.assertTrue(list[#list] <= 2 * list[1], table.concat(list, " "))
end

local function ask(socket)
  socket:send(GET)
  return socket:response().body
end

-- n connections, each made when the one before has its answer, all kept open.
local function one_by_one(n, address, more)
  local found, sockets = {}, {}
  for i = 1, n do
    local socket = s.connect(i % 2 == 0 and more or address)
    local pid = ask(socket)
    found[pid] = (found[pid] or 0) + 1
    sockets[i] = socket
  end
  return found, sockets
end

local T = {}

for _, workers in ipairs { 2, 4 } do
  T[("a thousand connections at once are spread fairly among %d workers"):format(workers)] = function()
    local master = masters.start { app = APP, workers = workers }
    assert_fair(flood(master:address(), 1000), workers)
  end

  T[("connections that come one by one and stay are spread fairly among %d workers"):format(workers)] = function()
    local master = masters.start { app = APP, workers = workers }
    assert_fair(one_by_one(10 * workers, master:address()), workers)
  end
end

T["so are those of several listeners, Unix sockets among them"] = function()
  local dir = s.temp_dir()
  local master = masters.start { app = APP, config = ("listen = { '127.0.0.1:0', 'unix:%s/s' },"):format(dir) }
  assert_fair(one_by_one(24, master:address(), "unix:" .. dir .. "/s"), 2)
end

T["who comes after the connections takes the next ones"] = function()
  local master = masters.start { app = APP }
  local _, sockets = one_by_one(20, master:address())
  local victim = ask(sockets[1])
  uv.kill(tonumber(victim), "sigkill")
  local newest
  s.wait(function()
    local list = master:ready(2)
    newest = list[2].id == 3 and tostring(list[2].pid)
    return newest
  end)
  local found = one_by_one(10, master:address())
  lu.assertTrue((found[newest] or 0) >= 8, tostring(found[newest]))
end

T["a worker that is stuck does not keep its sibling from taking what comes"] = function()
  local dir = s.temp_dir()
  local master = masters.start { app = ([[
    return function(req, res)
      if req.path == "/stuck" then
        io.open(%q, "w"):close()
        repeat local free = io.open(%q) until free
      end
      res:finish(tostring(require("brood.posix").getpid()))
    end]]):format(dir .. "/stuck", dir .. "/free") }
  local stuck = s.connect(master:address())
  stuck:send "GET /stuck HTTP/1.1\r\nHost: x\r\n\r\n"
  s.wait(function() return s.exists(dir .. "/stuck") end)
  local found = flood(master:address(), 200)
  local first = next(found)
  lu.assertNil(next(found, first))
  s.write_file(dir .. "/free", "")
  lu.assertNotEquals(stuck:response().body, first)
end

T["a worker out of descriptors leaves the queue to the others, and comes back"] = function()
  local master = masters.start { config = "limits = { nofile = 100 },", app = [[
    local hoard = {}
    return {
      server = function(req, res)
        if req.path == "/free" then
          for _, file in ipairs(hoard) do file:close() end
        end
        res:finish(tostring(require("brood.posix").getpid()))
      end,
      start = function(worker)
        if worker.slot == 2 then return end
        repeat
          hoard[#hoard + 1] = io.open "/dev/null"
        until #hoard == 200 or not io.open("/dev/null")
        for _ = 1, 4 do
          table.remove(hoard):close()
        end
      end,
    }]] }
  local poor = tostring(master:ready(2)[1].pid)
  local found, sockets = one_by_one(40, master:address())
  lu.assertTrue(found[poor] >= 1 and found[poor] <= 6, "poor: " .. tostring(found[poor]))
  s.wait(function() return master:log():find "accept: Too many open files; new connections wait" end)
  for _, socket in ipairs(sockets) do
    if ask(socket) == poor then
      socket:send "GET /free HTTP/1.1\r\nHost: x\r\n\r\n"
      socket:response()
      break
    end
  end
  s.wait(function() return ask(s.connect(master:address())) == poor end)
end

T["a worker that is told to go takes the connection it was woken for"] = function()
  local master = masters.start { app = APP, config = 'graceful_timeout = "5s",' }
  local address = master:address()
  local slowest = 0
  for _ = 1, 15 do
    for _, worker in ipairs(master:ready(2)) do
      local socket = s.connect(address)
      uv.kill(worker.pid, "sigquit")
      local seconds = s.timed(ask, socket)
      slowest = math.max(slowest, seconds)
      socket:close()
    end
  end
  lu.assertTrue(slowest < 3 * s.slow, "slowest: " .. slowest)
end

return T
