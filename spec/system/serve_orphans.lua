--- Workers whose master was killed: they end by themselves, and a new master takes their place.
local lu = require "luaunit"
local masters = require "spec.support.master"
local s = require "spec.support"
local uv = require "luv"

local APP = [[
local brood = require "brood"
return function(req, res)
  io.open("begun", "w"):close()
  if req.path == "/stuck" then while true do end end
  if req.path == "/slow" then brood.sleep(1) end
  res:finish "done"
end]]

local function orphan(config)
  local master = masters.start { app = APP, config = config }
  local pids = master:pids()
  return master, pids, function()
    master.program:kill "KILL"
    master.program:wait()
    os.remove(master.control)
  end
end

local function serves_again(master)
  local second = masters.start { config = ("listen = %q"):format(master.at) }
  lu.assertEquals(second:get().body, "hello\n")
  lu.assertEquals(second:stop "TERM", 0)
end

return {
  ["idle workers end at once, idle connections with them, and a new master can bind"] = function()
    local master, pids, kill = orphan()
    local idle = s.connect(master:address())
    idle:send "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    lu.assertEquals(idle:response().body, "done")
    kill()
    s.gone(pids, 1)
    lu.assertEquals(idle:receive_all(), "")
    serves_again(master)
  end,

  ["a request in flight is finished, and meanwhile a new master can already bind"] = function()
    local master, pids, kill = orphan()
    local slow = master:begin("/slow")
    kill()
    serves_again(master)
    lu.assertTrue(s.alive(pids[1]) or s.alive(pids[2]))
    lu.assertEquals(slow:response().body, "done")
    s.gone(pids, 2)
  end,

  ["a stuck worker is gone within graceful_timeout"] = function()
    local master, pids, kill = orphan "graceful_timeout = 0.5"
    master:begin("/stuck")
    kill()
    local seconds = s.timed(s.gone, pids, 10)
    lu.assertTrue(seconds < 4 * s.slow, seconds)
    serves_again(master)
  end,

  ["a stuck worker keeps no address for itself meanwhile, neither a port nor a Unix socket"] = function()
    local master, pids, kill = orphan "graceful_timeout = 20, listen = { '127.0.0.1:0', 'unix:web.sock' }"
    master:begin("/stuck")
    local open = s.connect("unix:" .. master.dir .. "/web.sock")
    kill()
    local second = masters.start { config = ("listen = { %q, 'unix:%s/web.sock' }"):format(master.at, master.dir) }
    lu.assertEquals(second:get().body, "hello\n")
    lu.assertEquals(s.get("unix:" .. master.dir .. "/web.sock").body, "hello\n")
    lu.assertTrue(s.alive(pids[1]) or s.alive(pids[2]))
    lu.assertEquals(second:stop "TERM", 0)
    open:close()
    for _, pid in ipairs(pids) do
      if s.alive(pid) then uv.kill(pid, "sigkill") end
    end
    s.gone(pids, 2)
  end,

  ["one that was only busy goes on when it is not, and closes nothing that is not its listener"] = function()
    local master = masters.start { workers = 1, app = [[
      return function(req, res)
        io.open("begun", "w"):close()
        local till = require("luv").hrtime() + 6e8
        while require("luv").hrtime() < till do end
        local files = {}
        for i = 1, 30 do files[i] = assert(io.open("file" .. i, "w")) end
        require("brood").sleep(0.1)
        for i = 1, 30 do assert(files[i]:write "x") assert(files[i]:flush()) end
        res:finish "intact"
      end]] }
    local pids = master:pids()
    local socket = master:begin("/")
    uv.kill(master.program.pid, "sigkill")
    lu.assertEquals(socket:response().body, "intact")
    master.program:wait()
    s.gone(pids, 2)
    os.remove(master.control)
  end,

  ["one that still loads its app ends as well"] = function()
    local master = masters.start { app = "print 'loading' io.stdout:flush() require('brood').sleep(30)", workers = 1 }
    master.program:expect "loading"
    local pids = s.child_pids(master.program.pid)
    master.program:kill "KILL"
    master.program:wait()
    s.gone(pids, 1)
    os.remove(master.control)
  end,

  ["one whose after_fork waits ends as well"] = function()
    local master = masters.start { workers = 1,
      config = "after_fork = function() print 'waiting' io.stdout:flush() require('brood').sleep(30) end" }
    master.program:expect "waiting"
    local pids = s.child_pids(master.program.pid)
    lu.assertEquals(#pids, 1)
    master.program:kill "KILL"
    master.program:wait()
    s.gone(pids, 1)
    os.remove(master.control)
  end,

  ["a child that a worker forked ends without the worker's stop, and touches none of its descriptors"] = function()
    local master = masters.start { workers = 1, app = [[
      local brood = require "brood"
      return { start = function()
        local child = require("brood.worker").fork()
        if child:is_child() then
          child:on("message", function() end)
          local files = {}
          for i = 1, 30 do files[i] = assert(io.open("file" .. i, "w")) end
          child:on("disconnect", function()
            for i = 1, 30 do assert(files[i]:write "x") assert(files[i]:flush()) end
            io.open("intact", "w"):close()
          end)
          local file = io.open("child", "w")
          file:write(child.pid, "\n")
          file:close()
          brood.sleep(60)
        end
      end, server = function() end, stop = function() io.open("stopped" .. brood.worker.pid, "a"):close() end }]] }
    local pids = master:pids()
    pids[2] = s.wait(function() return tonumber(s.read_file(master.dir .. "/child") or "") end)
    uv.kill(pids[1], "sigkill")
    s.gone(pids, 2)
    lu.assertTrue(s.exists(master.dir .. "/intact"))
    lu.assertFalse(s.exists(master.dir .. "/stopped" .. pids[1]))
    lu.assertEquals(master:stop "TERM", 0)
  end,

  ["the app's stop runs, and sees that nobody is there to talk to"] = function()
    local master = masters.start { workers = 1, app = [[
      local brood = require "brood"
      return { server = function() end, stop = function(worker)
        local ok, err = worker:send "bye"
        local file = io.open("stopped", "w")
        file:write(tostring(ok), " ", err.code)
        file:close()
      end }]] }
    local pids = master:pids()
    uv.kill(master.program.pid, "sigkill")
    master.program:wait()
    s.gone(pids, 2)
    lu.assertEquals(s.read_file(master.dir .. "/stopped"), "nil stopped")
    os.remove(master.control)
  end,
}
