--- The listening sockets over a reload: those that stay are the same sockets, new ones serve, and one that is left out
--- is closed once its workers were told (brood.listeners.change, brood.listen_entry).
local lu = require "luaunit"
local masters = require "spec.support.master"
local s = require "spec.support"
local uv = require "luv"

local WHO = 'return function(req, res) res:finish(require("brood").worker.cluster) end'

local function listens(master)
  return select(2, master:ask "/status").clusters.web.listen
end

local function hups(master, options)
  local ok, text = master:hup(options)
  lu.assertTrue(ok, text)
end

local function refused(address)
  s.wait(function()
    return not pcall(s.get, address)
  end, 5 * s.slow, "nobody at " .. address)
end

-- The inode of the socket that listens on a port: another socket has another one.
local function inode(address)
  local port = tonumber(address:match ":(%d+)$")
  local list = {}
  for line in io.lines "/proc/net/tcp" do
    local at, state, number = line:match "^%s*%d+: %x+:(%x+) %S+ (%x+) %S+ %S+ %S+%s+%d+%s+%d+%s+(%d+)"
    if at and tonumber(at, 16) == port and state == "0A" then
      list[#list + 1] = number
    end
  end
  table.sort(list)
  return list
end

local function with(listen, more)
  return { app = WHO, workers = 2, config = ("listen = %s, %s"):format(listen, more or "") }
end

-- Whether many requests in a row are all answered.
local function all_answered(address)
  for _ = 1, 40 do
    lu.assertEquals(s.get(address).status, 200)
  end
end

return {
  ["port 0 is the same port over reloads, and so is each of two of them"] = function()
    local master = masters.start(with '{ "127.0.0.1:0", "127.0.0.1:0" }')
    master:ready(2)
    local before = listens(master)
    local first, second = inode(before[1]), inode(before[2])
    hups(master)
    hups(master, with '{ "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0" }')
    local now = listens(master)
    lu.assertEquals({ now[1], now[2] }, before)
    lu.assertEquals({ inode(now[1]), inode(now[2]) }, { first, second })
    lu.assertEquals(s.get(now[3]).body, "web")
    hups(master, with '"127.0.0.1:0"')
    lu.assertEquals(listens(master), { before[1] })
    refused(before[2])
    refused(now[3])
  end,

  ["an address that is written as what it has turned out to be is kept"] = function()
    local master = masters.start(with '"127.0.0.1:0"')
    master:ready(2)
    local address = listens(master)[1]
    local before = inode(address)
    hups(master, with(("%q"):format(address)))
    lu.assertEquals(inode(address), before)
    hups(master, with(("%q"):format(address)))
    lu.assertEquals(inode(address), before)
    all_answered(address)
  end,

  ["addresses are added and dropped; a connection to one that is dropped is answered"] = function()
    local master = masters.start(with '"127.0.0.1:0"')
    master:ready(2)
    hups(master, with '{ "127.0.0.1:0", "unix:u.sock" }')
    local path = "unix:" .. master.dir .. "/u.sock"
    lu.assertEquals(s.get(path).body, "web")
    local socket = s.connect(path)
    socket:send "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    lu.assertEquals(socket:response().status, 200)
    hups(master, with '"127.0.0.1:0"')
    lu.assertFalse(s.exists(master.dir .. "/u.sock"))
    s.wait(function() -- its worker answers until it is told to go, and once more then
      socket:send "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
      local response = socket:response()
      lu.assertEquals(response.status, 200)
      return response.headers.connection == "close"
    end, 5 * s.slow, "Connection: close")
    socket:close()
  end,

  ["an address moves from one cluster to another, as the same socket"] = function()
    local function config(web, admin)
      return { app = WHO, workers = 1, files = { ["admin.lua"] = WHO }, config = ([[listen = "unix:%s.sock",
        clusters = { admin = { app = "admin.lua", listen = "unix:%s.sock" } }]]):format(web, admin) }
    end
    local master = masters.start(config("a", "b"))
    master:ready(1)
    local a, b = "unix:" .. master.dir .. "/a.sock", "unix:" .. master.dir .. "/b.sock"
    lu.assertEquals({ s.get(a).body, s.get(b).body }, { "web", "admin" })
    local before = uv.fs_stat(master.dir .. "/a.sock").ino
    hups(master, config("b", "a"))
    s.wait(function() -- an old worker may still accept until it has heard that it goes
      return s.get(a).body == "admin" and s.get(b).body == "web"
    end)
    lu.assertEquals(uv.fs_stat(master.dir .. "/a.sock").ino, before)
  end,

  ["mode and backlog of a socket that stays are changed on it"] = function()
    local master = masters.start(with '{ "127.0.0.1:0", { address = "unix:u.sock", mode = "0600", backlog = 5 } }')
    master:ready(2)
    local path = master.dir .. "/u.sock"
    local before = uv.fs_stat(path).ino
    hups(master, with '{ "127.0.0.1:0", { address = "unix:u.sock", mode = "0660", backlog = 50 } }')
    local stat = uv.fs_stat(path)
    lu.assertEquals({ stat.ino, bit.band(stat.mode, 511) }, { before, 432 })
    lu.assertEquals(s.get("unix:" .. path).body, "web")
  end,

  ["a socket file that somebody has removed is made again"] = function()
    local master = masters.start(with '{ "127.0.0.1:0", "unix:u.sock" }')
    master:ready(2)
    os.remove(master.dir .. "/u.sock")
    hups(master)
    lu.assertEquals(s.get("unix:" .. master.dir .. "/u.sock").body, "web")
    lu.assertEquals(master:stop "QUIT", 0)
    lu.assertFalse(s.exists(master.dir .. "/u.sock"))
  end,

  ["reuseport comes and goes on a port that stays, and none of its sockets is left alone"] = function()
    local plain, shared = '{ { address = "127.0.0.1:0" } }', '{ { address = "127.0.0.1:0", reuseport = true } }'
    local master = masters.start(with(plain))
    master:ready(2)
    local address = listens(master)[1]
    local first = inode(address)
    hups(master, with(shared))
    lu.assertEquals(#inode(address), 2)
    all_answered(address)
    hups(master, with(plain))
    lu.assertEquals(#inode(address), 2) -- to close one would reset the connections that wait in it
    all_answered(address)
    hups(master, { app = WHO, workers = 4, config = "listen = " .. shared })
    lu.assertEquals(#inode(address), 4)
    all_answered(address)
    hups(master, { app = WHO, workers = 1, config = "listen = " .. shared })
    all_answered(address)
    lu.assertStrContains(table.concat(inode(address), " "), first[1])
  end,

  ["a failed reload closes what it had opened, and keeps what it would have closed"] = function()
    local master = masters.start(with '{ "127.0.0.1:0", "unix:u.sock" }')
    master:ready(2)
    local before = listens(master)
    local ok = master:hup(with('{ "127.0.0.1:0", "unix:v.sock" }', 'on_start = function() error "no" end'))
    lu.assertFalse(ok)
    lu.assertFalse(s.exists(master.dir .. "/v.sock"))
    lu.assertEquals(listens(master), before)
    lu.assertEquals(s.get("unix:" .. master.dir .. "/u.sock").body, "web")
  end,

  ["an address that comes back while the workers of the config before still go is the same socket"] = function()
    local master = masters.start(with '{ "127.0.0.1:0", "unix:u.sock" }')
    master:ready(2)
    local path = master.dir .. "/u.sock"
    local before = uv.fs_stat(path).ino
    local slow = with('"127.0.0.1:0"', 'rollout = { surge = 1, pause = "30s" }')
    master:write(slow)
    master.program:kill "HUP"
    s.wait(function() -- the first is replaced, and the second has to wait
      return master:log():find "worker 3 %(pid %d+%) is ready"
    end, 10)
    hups(master, with '{ "127.0.0.1:0", "unix:u.sock" }')
    lu.assertEquals(uv.fs_stat(path).ino, before)
    lu.assertEquals(s.get("unix:" .. path).body, "web")
  end,

  ["an address changes from all interfaces of a port to one of them, and back"] = function()
    local port = s.free_port()
    local function at(host)
      return with(('"%s:%d"'):format(host, port), "control = 'unix:control.sock'")
    end
    local master = masters.start(at "0.0.0.0")
    master:ready(2)
    local address = "127.0.0.1:" .. port
    for _, host in ipairs { "127.0.0.1", "0.0.0.0", "" } do
      hups(master, at(host))
      all_answered(address)
      s.wait(function() -- an old worker that still goes keeps its copy
        return #inode(address) == (host == "" and 0 or 1)
      end, 10)
    end
    hups(master, at "127.0.0.1")
    all_answered(address)
  end,

  ["ipv6only of a socket that stays is refused, with the reason"] = function()
    local master = masters.start(with '"[::1]:0"')
    master:ready(2)
    local ok, text = master:hup(with '{ { address = "[::1]:0", ipv6only = true } }')
    lu.assertFalse(ok)
    lu.assertStrContains(text, "listen: ipv6only of [::1]:0 can only be changed by a restart")
  end,
}
