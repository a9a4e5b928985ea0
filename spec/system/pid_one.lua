--- A master as PID 1 of a container: what becomes of orphans, what TERM means, and the container's status at the end.
local lu = require "luaunit"
local namespace = require "spec.support.namespace"
local s = require "spec.support"
local uv = require "luv"

local APP = [[
local brood = require "brood"
return function(req, res)
  if req.path == "/slow" then
    io.open("begun", "w"):close()
    brood.sleep(0.7)
  elseif req.path == "/orphans" then
    -- In sessions of their own, so that nothing but their parent's end tells of them.
    for _ = 1, 20 do
      os.execute "(setsid sleep 0.05 & setsid sh -c 'exit 3' & exit 0)"
    end
  elseif req.path == "/survivor" then
    os.execute "(setsid sleep 300 & exit 0)"
  end
  res:finish(tostring(require("brood.posix").getppid()) .. "\n")
end]]

---@class spec.Container
---@field program spec.Program
---@field dir string
---@field pid integer of its PID 1, seen from here
local Container = {}
Container.__index = Container

local function start(config, option)
  namespace.need()
  local dir = s.temp_dir()
  s.write_file(dir .. "/app.lua", APP)
  s.write_file(dir .. "/brood.lua", ([[
    local brood = require "brood"
    return { app = "app.lua", listen = "unix:web.sock", workers = 2, control = false, %s }]]):format(config or ""))
  local program = namespace.start(s.binary, option or "run", dir .. "/brood.lua")
  return setmetatable({ program = program, dir = dir }, Container)
end

-- Wait until it serves.
local function serving(config, option)
  local self = start(config, option)
  self.program:expect "workers serve "
  self.pid = s.child_pids(self.program.pid)[1]
  return self
end

function Container:get(path)
  return s.get("unix:" .. self.dir .. "/web.sock", path).body
end

function Container:begin(path)
  local socket = s.connect("unix:" .. self.dir .. "/web.sock")
  socket:send(("GET %s HTTP/1.1\r\nHost: x\r\n\r\n"):format(path))
  s.wait(function() return s.exists(self.dir .. "/begun") end)
  return socket
end

function Container:kill(signal)
  uv.kill(self.pid, "sig" .. signal:lower())
end

function Container:children()
  local names = {}
  for _, name in pairs(s.children(self.pid)) do
    names[#names + 1] = name
  end
  return names
end

return {
  ["orphans of all kinds come to it and are reaped"] = function()
    local box = serving()
    lu.assertEquals(box:get(), "1\n")
    for _ = 1, 5 do
      box:get "/orphans"
    end
    s.wait(function() return #box:children() == 2 end, 10, function()
      return "only workers, there are: " .. table.concat(box:children(), ", ")
    end)
    box:kill "QUIT"
    lu.assertEquals({ box.program:wait() }, { 0 })
  end,

  ["so are those in its own group, of a hook's shell, but no program of io.popen before that is closed"] = function()
    local box = serving [[on_start = function() program = io.popen "exit 3" os.execute "(exit 0 &)" end,
      signals = { USR1 = function() io.stderr:write("closed: ", tostring(program:close()), "\\n")
        os.execute "(sleep 0.01 &)" end }]]
    local function dead()
      return #box:children() - 2
    end
    s.wait(function() return dead() == 2 end)
    s.remains(function() return dead() == 2 end, 1.3)
    box:kill "USR1"
    box.program:expect "closed: true"
    s.wait(function() return dead() == 0 end)
    box:kill "QUIT"
    lu.assertEquals({ box.program:wait() }, { 0 })
  end,

  ["TERM is graceful: requests finish, and the status is 0"] = function()
    local box = serving()
    local socket = box:begin "/slow"
    box:kill "TERM"
    lu.assertEquals(socket:response().body, "1\n")
    lu.assertEquals({ box.program:wait() }, { 0 })
    lu.assertStrContains(box.program:stderr(), "stopping gracefully")
  end,

  ["a second TERM is quick, and the status is 0 as well"] = function()
    local box = serving()
    s.write_file(box.dir .. "/app.lua", (APP:gsub("0%.7", "60")))
    box:kill "HUP"
    box.program:expect "reloaded in"
    local socket = box:begin "/slow"
    box:kill "TERM"
    box.program:expect "stopping gracefully"
    s.remains(function() return not box.program.over and not socket.eof end, 0.2)
    box:kill "TERM"
    local seconds = s.timed(box.program.wait, box.program)
    lu.assertTrue(seconds < 5, seconds)
    lu.assertEquals({ box.program.code, box.program.signal }, { 0, nil })
    lu.assertStrContains(box.program:stderr(), "stopping quickly")
  end,

  ["INT is quick, and QUIT graceful"] = function()
    for signal, text in pairs { INT = "stopping quickly", QUIT = "stopping gracefully" } do
      local box = serving()
      box:kill(signal)
      lu.assertEquals({ box.program:wait() }, { 0 })
      lu.assertStrContains(box.program:stderr(), text)
    end
  end,

  ["TERM while it still starts ends it with 0"] = function()
    local box = start "on_start = function() io.stderr:write 'waits\\n' brood.sleep(60) end"
    box.program:expect "waits"
    uv.kill(s.child_pids(box.program.pid)[1], "sigterm")
    lu.assertEquals({ box.program:wait() }, { 0 })
  end,

  ["a start that fails is 1, and a status that a hook exits with is the container's"] = function()
    lu.assertEquals({ start("on_start = function() error 'no' end").program:wait() }, { 1 })
    lu.assertEquals({ start("on_start = function() os.exit(7) end").program:wait() }, { 7 })
  end,

  ["a survivor does not keep the container"] = function()
    local box = serving()
    box:get "/survivor"
    s.wait(function()
      return table.concat(box:children(), ","):find "sleep"
    end, 10, "the orphan")
    box:kill "TERM"
    lu.assertEquals({ box.program:wait() }, { 0 })
  end,

  ["a worker that dies is replaced, and reload and USR1 are as ever"] = function()
    local box = serving 'access_log = "access.log"'
    local worker = s.child_pids(box.pid)[1]
    uv.kill(worker, "sigkill")
    box.program:expect "worker 3 [^\n]*is ready"
    box:kill "HUP"
    box.program:expect "reloaded in"
    box:kill "USR1"
    box.program:expect "opened anew"
    lu.assertEquals(box:get(), "1\n")
    box:kill "TERM"
    lu.assertEquals({ box.program:wait() }, { 0 })
  end,

  ["told to go into the background it stays, and says why"] = function()
    local box = serving("", "-D")
    lu.assertStrContains(box.program:stderr(), "not in the background: as PID 1")
    box:kill "TERM"
    lu.assertEquals({ box.program:wait() }, { 0 })
  end,

  ["a shell inside that kills 1 with TERM is heard"] = function()
    local box = start "workers = 1, on_start = function() brood.async(function() os.execute 'kill -TERM 1' end) end"
    lu.assertEquals({ box.program:wait() }, { 0 })
    lu.assertStrContains(box.program:stderr(), "stopping gracefully")
  end,
}
