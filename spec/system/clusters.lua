--- Several clusters below one master: what each of them serves, hears and inherits, how they start and end.
local lu = require "luaunit"
local masters = require "spec.support.master"
local s = require "spec.support"
local uv = require "luv"

local ADMIN = 'return function(req, res) res:finish("admin " .. (os.getenv("WHO") or "nobody")) end'

-- A web cluster of two and an admin cluster of one; `admin` and `top` are more keys for them.
local function start(options)
  options = options or {}
  return masters.start {
    app = options.app, args = options.args,
    files = { ["admin.lua"] = options.admin_app or ADMIN },
    config = ([[%s
      clusters = { admin = { app = "admin.lua", listen = "127.0.0.1:0", workers = 1, %s } },]])
      :format(options.top or "", options.admin or ""),
  }
end

local function status(master)
  master:up()
  return select(2, master:ask "/status").clusters
end

local function admin_address(master)
  return master.program:expect("admin: %d of %d workers serve ([^\n]+)\n", 20)
end

return {
  ["each cluster serves its own app on its own sockets, with what it inherits and what it overrides"] = function()
    local master = start { top = "env = { WHO = 'top' },", app = [[
      return function(req, res) res:finish("web " .. tostring(os.getenv("WHO"))) end]] }
    lu.assertEquals(master:get().body, "web top")
    lu.assertEquals(s.get(admin_address(master)).body, "admin top")
    master = start { top = "env = { WHO = 'top' },", admin = "env = { WHO = 'own' }," }
    lu.assertEquals(s.get(admin_address(master)).body, "admin own")
    local clusters = status(master)
    lu.assertEquals({ clusters.web.workers, clusters.web.ready, #clusters.web.processes }, { 2, 2, 2 })
    lu.assertEquals({ clusters.admin.workers, clusters.admin.ready, #clusters.admin.processes }, { 1, 1, 1 })
    lu.assertEquals(clusters.admin.listen, { admin_address(master) })
  end,

  ["a worker holds no other cluster's sockets"] = function()
    local count = [[
      return function(req, res)
        local n, seen = 0, {}
        for name in require("lfs").dir("/proc/self/fd") do
          local inode = (require("luv").fs_readlink("/proc/self/fd/" .. name) or ""):match("^socket:%[(%d+)%]")
          if inode and not seen[inode] then
            seen[inode] = true
            for line in io.open("/proc/net/tcp"):lines() do
              if line:match("^ *%d+: %S+ %S+ 0A .* " .. inode .. " ") then n = n + 1 end
            end
          end
        end
        res:finish(tostring(n))
      end]]
    local master = start { app = count, admin_app = count }
    lu.assertEquals(master:get().body, "1")
    lu.assertEquals(s.get(admin_address(master)).body, "1")
  end,

  ["ids are never reused, whatever the cluster; slots are each cluster's own"] = function()
    local master = start { top = "worker_ready = function(m, w) note(w.cluster, 'id', w.id, 'slot', w.slot) end," }
    admin_address(master)
    local killed = status(master).admin.processes[1]
    uv.kill(killed.pid, "sigkill")
    master:noted "admin id 4 slot 1"
    local ids = {}
    for id in master:notes():gmatch("id (%d+)") do
      ids[#ids + 1] = tonumber(id)
    end
    table.sort(ids)
    lu.assertEquals(ids, { 1, 2, 3, 4 })
    local now = status(master).admin.processes[1]
    lu.assertEquals({ now.restarts, now.last_exit.signal, now.last_exit.reason, now.last_exit.pid },
      { 1, "KILL", "signal", killed.pid })
    lu.assertEquals(status(master).web.processes[1].restarts, 0)
  end,

  ["hooks of the top level run for every cluster, a cluster's own ones in their place"] = function()
    local master = start {
      top = [[
        before_fork = function(m, w) note("top before_fork", w.cluster) end,
        after_fork = function(m, w) note("top after_fork", w.cluster) end,
        worker_exit = function(m, w) note("top exit", w.cluster) end,]],
      admin = [[
        after_fork = function(m, w) note("own after_fork", w.cluster) end,
        worker_exit = function(m, w) note("own exit", w.cluster, #m.workers, m.clusters.admin.name) end,]],
    }
    admin_address(master)
    lu.assertEquals(master:stop "QUIT", 0)
    local lines = {}
    for line in master:notes():gmatch("[^\n]+") do
      lines[line] = (lines[line] or 0) + 1
    end
    lu.assertEquals(lines["top before_fork web"], 2)
    lu.assertEquals(lines["top before_fork admin"], 1)
    lu.assertEquals(lines["top after_fork web"], 2)
    lu.assertEquals(lines["own after_fork admin"], 1)
    lu.assertEquals(lines["top exit web"], 2)
    lu.assertStrContains(master:notes(), "own exit admin")
    lu.assertNil(lines["top after_fork admin"])
    lu.assertNil(lines["top exit admin"])
  end,

  ["messages reach one cluster or all, and tell where they come from"] = function()
    local app = [[
      local worker = require("brood").worker
      worker:on("message", function(value) worker:send(worker.cluster .. " got " .. value) end)
      return function() end]]
    local master = start { app = app, admin_app = app, top = [[
      on_start = function(m)
        m:on("message", function(w, value) note(value, w.cluster) end)
        m:on("ready", function() m:broadcast("to admin", "admin") m:broadcast("to all")
          note(select(2, pcall(m.broadcast, m, 1, "nix"))) end)
      end,]] }
    master:noted "admin got to admin admin"
    master:noted "admin got to all admin"
    master:noted "web got to all web\n.*web got to all web"
    master:noted "there is no cluster 'nix'; the clusters are: web, admin"
    lu.assertNil(master:notes():match("web got to admin"))
  end,

  ["a cluster that cannot start ends the whole start, with its name and the reason once, and nothing left"] = function()
    local master = start { admin_app = "error 'no admin today'", top = "listen = 'unix:web.sock', pidfile = 'm.pid'," }
    lu.assertEquals(master.program:wait(20), 1)
    local _, times = master:log():gsub("cannot start: ", "")
    lu.assertEquals(times, 1, master:log())
    lu.assertStrMatches(master:log(), ".*cannot start: admin: [^\n]*no admin today.*")
    for _, name in ipairs { "web.sock", "m.pid", "control.sock" } do
      lu.assertFalse(s.exists(master.dir .. "/" .. name), name)
    end
    lu.assertNotStrContains(master:log(), "workers serve")
  end,

  ["the others do not hold up the end of a start that has failed"] = function()
    local master = start { admin_app = "error 'no'", app = "require('brood').sleep(60)" }
    local seconds = s.timed(master.program.wait, master.program, 20)
    lu.assertEquals(master.program.code, 1)
    lu.assertTrue(seconds < 4 * s.slow, seconds)
    lu.assertStrContains(master:log(), "cannot start: admin: ")
  end,

  ["one address in two clusters is refused before anything is forked"] = function()
    local master = start { admin = "listen = 'unix:same.sock',", top = "listen = 'unix:same.sock', " }
    lu.assertEquals(master.program:wait(20), 1)
    lu.assertStrContains(master:log(), "clusters.admin.listen")
    lu.assertNotStrContains(master:log(), "worker 1")
  end,

  ["QUIT lets all clusters finish at the same time, each within its own graceful_timeout"] = function()
    local slow = [[
      local brood = require "brood"
      return function(req, res)
        io.open("begun" .. req.path:sub(2), "w"):close()
        brood.sleep(req.path == "/long" and 60 or 0.7)
        res:finish("slow")
      end]]
    local master = start { app = slow, admin_app = slow, admin = "graceful_timeout = 1,",
      top = "graceful_timeout = 20," }
    local sockets = {}
    for name, address in pairs { web = master:address(), admin = admin_address(master) } do
      sockets[name] = s.connect(address)
      sockets[name]:send(("GET /%s HTTP/1.1\r\nHost: x\r\n\r\n"):format(name == "web" and "web" or "long"))
    end
    s.wait(function()
      return s.exists(master.dir .. "/begunweb") and s.exists(master.dir .. "/begunlong")
    end)
    local code, _, seconds = master:stop "QUIT"
    lu.assertEquals(code, 0)
    lu.assertTrue(seconds < 4 * s.slow, seconds)
    lu.assertEquals(sockets.web:response().body, "slow")
    lu.assertEquals(sockets.admin:receive_all(), "")
  end,

  ["TERM ends all clusters at once, also with a stuck worker in each after two seconds"] = function()
    local stuck = [[
      local ffi = require "ffi"
      ffi.cdef "unsigned sleep(unsigned)"
      return function(req)
        io.open("stuck" .. req.path:sub(2), "w"):close()
        while true do ffi.C.sleep(100) end
      end]]
    local master = start { app = stuck, admin_app = stuck, top = "workers = 1," }
    for name, address in pairs { web = master:address(), admin = admin_address(master) } do
      s.connect(address):send(("GET /%s HTTP/1.1\r\nHost: x\r\n\r\n"):format(name))
    end
    s.wait(function()
      return s.exists(master.dir .. "/stuckweb") and s.exists(master.dir .. "/stuckadmin")
    end)
    local pids = s.child_pids(master.program.pid)
    local code, _, seconds = master:stop "TERM"
    lu.assertEquals(code, 0)
    lu.assertTrue(seconds < 4 * s.slow, seconds)
    for _, pid in ipairs(pids) do
      lu.assertFalse(s.alive(pid))
    end
  end,

  ["clusters without a top-level app are enough"] = function()
    local dir = s.temp_dir()
    s.write_file(dir .. "/a.lua", 'return function(req, res) res:finish("a") end')
    s.write_file(dir .. "/brood.lua", [[return { control = false, workers = 1,
      on_start = function(m) print(select(2, pcall(m.scale, m, 2))) io.stdout:flush() end,
      clusters = { one = { app = "a.lua", listen = "127.0.0.1:0" } } }]])
    local program = s.brood { dir .. "/brood.lua" }
    lu.assertEquals(s.get(program:expect("one: 1 of 1 workers serve ([^\n]+)\n")).body, "a")
    lu.assertStrContains(program:stdout(), "there is no cluster 'web'; the clusters are: one")
    lu.assertEquals(program:stop(), 0)
  end,

  ["log lines bear the cluster's name once"] = function()
    local master = start { admin_app = "while true do end", admin = "start_timeout = 0.2," }
    lu.assertEquals(master.program:wait(20), 1)
    lu.assertStrContains(master:log(), "admin worker ")
    for line in master:log():gmatch("[^\n]+") do
      local _, times = line:gsub("/admin%.lua", ""):gsub("%f[%w]admin%f[%W]", "")
      lu.assertTrue(times <= 1, line)
    end
  end,
}
