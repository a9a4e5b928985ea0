--- reuseport: a socket for each worker slot, none of which is ever without a worker for long, or closed.
local lu = require "luaunit"
local masters = require "spec.support.master"
local s = require "spec.support"
local uv = require "luv"

local APP = [[
local brood = require "brood"
local answer = brood.worker.id .. " " .. brood.worker.slot
return function(req, res)
  res:header("connection", "close"):finish(answer)
end]]

local function start(options)
  options.app = options.app or APP
  options.config = ([[listen = { { address = "127.0.0.1:0", reuseport = true } }, %s]]):format(options.config or "")
  return masters.start(options)
end

-- Answers to n connections, which are open all at once: body -> how often.
local function ask(master, n)
  local sockets, seen = {}, {}
  for i = 1, n do
    sockets[i] = s.connect(master:address())
    sockets[i]:send "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
  end
  for i = 1, n do
    local body = sockets[i]:response().body
    seen[body] = (seen[body] or 0) + 1
    sockets[i]:close()
  end
  return seen
end

-- The listening sockets of a port: inode -> true.
local function listening(port)
  local found, n = {}, 0
  for line in io.lines "/proc/net/tcp" do
    local at, state, rest = line:match "^%s*%d+: %x+:(%x+) %x+:%x+ (%x+) (.*)$"
    if at and tonumber(at, 16) == port and state == "0A" then
      found[rest:match "^%S+ %S+ %S+%s+%d+%s+%d+%s+(%d+)"] = true
      n = n + 1
    end
  end
  return found, n
end

local function port_of(master)
  return tonumber(master:address():match ":(%d+)$")
end

-- How many of the port's sockets no worker holds.
local function unserved(master)
  local n, left = 0, (listening(port_of(master)))
  for _, pid in ipairs(master:pids()) do
    for inode in pairs(s.socket_inodes(pid)) do
      left[inode] = nil
    end
  end
  for _ in pairs(left) do
    n = n + 1
  end
  return n
end

return {
  ["each worker accepts from a socket of its own, on one port"] = function()
    local master = start { workers = 3 }
    local seen = ask(master, 60)
    lu.assertTrue(seen["1 1"] and seen["2 2"] and seen["3 3"] ~= nil)
    local all, n = listening(port_of(master))
    lu.assertEquals(n, 3)
    for _, pid in ipairs(master:pids()) do
      local own = 0
      for inode in pairs(s.socket_inodes(pid)) do
        own = own + (all[inode] and 1 or 0)
      end
      lu.assertEquals(own, 1)
    end
    lu.assertEquals(master:stop "QUIT", 0)
    lu.assertEquals(select(2, listening(port_of(master))), 0)
  end,

  ["connections that wait for a worker that is killed are served by its replacement, none is lost"] = function()
    local master = start { workers = 2 }
    local pids = master:pids()
    for _, pid in ipairs(pids) do
      uv.kill(pid, "sigstop")
      s.wait(function() return s.stat(pid).state == "T" end)
    end
    local waiting = {}
    for i = 1, 40 do
      waiting[i] = s.connect(master:address())
      waiting[i]:send "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    end
    for _, pid in ipairs(pids) do
      uv.kill(pid, "sigkill")
    end
    local seen = {}
    for i = 1, 40 do
      seen[waiting[i]:response().body:match "%d$"] = true
    end
    lu.assertEquals(seen, { ["1"] = true, ["2"] = true })
  end,

  ["a slot whose worker cannot start is served by another one meanwhile"] = function()
    local master = start { workers = 2, app = [[
      local brood = require "brood"
      if brood.worker.slot == 2 and io.open("broken") then error "broken" end
      local answer = tostring(brood.worker.slot)
      return function(req, res) res:header("connection", "close"):finish(answer) end]] }
    master:ready(2)
    s.write_file(master.dir .. "/broken", "")
    for _, worker in ipairs(master:workers()) do
      if worker.slot == 2 then uv.kill(worker.pid, "sigkill") end
    end
    master.program:expect "next try"
    lu.assertEquals(ask(master, 40), { ["1"] = 40 })
    -- And by the next one, should that die.
    uv.kill(master:workers()[1].pid, "sigkill")
    lu.assertEquals(ask(master, 40), { ["1"] = 40 })
    os.remove(master.dir .. "/broken")
    master:ready(2)
    lu.assertEquals(unserved(master), 0)
    lu.assertEquals(master:get().status, 200)
  end,

  ["scaled up there are more sockets, scaled down the others are served by those that stay"] = function()
    local master = start { workers = 2, config = [[
      on_start = function(m) m:on("message", function() end) end,
      worker_ready = function(m, w)
        if w.id == 2 then m:scale(4) note "up" m:scale(1) note "down" m:scale(3) note "up again" end
      end]] }
    master:noted "up again"
    master:ready(3)
    local _, n = listening(port_of(master))
    lu.assertEquals(n, 4)
    lu.assertEquals(unserved(master), 0)
    local total = 0
    for _, count in pairs(ask(master, 80)) do
      total = total + count
    end
    lu.assertEquals(total, 80)
  end,

  ["a Unix socket cannot have it, and says so"] = function()
    local master = masters.start { config = 'listen = { { address = "unix:web.sock", reuseport = true } }' }
    lu.assertEquals(master.program:wait(), 1)
    lu.assertStrContains(master:log(), "can have reuseport only with a TCP address")
  end,
}
