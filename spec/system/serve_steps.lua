--- A new worker, step by step, and one that is told to go: what comes before what, and as whom. Who may not become
--- somebody else (brood.cluster.rights) learns it first.
local lu = require "luaunit"
local masters = require "spec.support.master"
local posix = require "brood.posix"
local s = require "spec.support"
local uv = require "luv"

-- say(...) writes a line to stdout, which is open whoever we are.
local SAY = [[
local posix = require "brood.posix"
local function say(...)
  io.stdout:write(table.concat({ ... }, " "), "\n")
  io.stdout:flush()
end
local function status(field)
  for line in io.lines "/proc/self/status" do
    local value = line:match("^" .. field .. ":%s*(.-)%s*$")
    if value then return (value:gsub("%s+", ",")) end
  end
end
local function limit()
  for line in io.lines "/proc/self/limits" do
    local soft = line:match "^Max open files%s+(%d+)"
    if soft then return soft end
  end
end
local function self()
  return ("uid=%s gid=%s groups=%s env=%s umask=%s nofile=%s cwd=%s"):format(status "Uid", status "Gid",
    status "Groups", tostring(os.getenv "STEP"), status "Umask", limit(), require("luv").cwd())
end
]]

local HOOKS = [[
  env = { STEP = "yes" }, umask = "027", limits = { nofile = 300 }, working_directory = "/",
  before_fork = function() say("before_fork", tostring(os.getenv "STEP")) end,
  after_fork = function(_, worker) say("after_fork", self()) %s end,
  worker_ready = function() say("worker_ready", tostring(os.getenv "STEP")) end,]]

local APP = SAY .. [[
say("app", self())
return { start = function() say("start", self()) end, server = function(req, res) res:finish(self()) end }]]

-- A master that has answered once, and its answer. Anybody may read the app: other temp dirs are their owner's alone.
local function answered(app, config, before)
  local path = s.write_file(s.open_temp_dir() .. "/app.lua", app, 420)
  local master = masters.start { workers = 1, before = before, config = ("app = %q, "):format(path) .. config }
  return master, master:get().body
end

-- The same with all hooks; inside after_fork stands `more`.
local function stepped(config, more)
  return answered(APP, HOOKS:format(more or "") .. (config or ""), SAY)
end

local function only_root()
  if posix.getuid() ~= 0 then
    lu.skip "only root can become somebody else"
  end
end

local function ids(uid, gid, groups)
  local function four(id)
    return table.concat({ id, id, id, id }, ",")
  end
  return ("uid=%s gid=%s groups=%s"):format(four(uid), four(gid), groups)
end

local PLACE = " env=yes umask=0027 nofile=300 cwd=/"

local function supplementary()
  local text = s.read_file "/proc/self/status"
  return (text:match("\nGroups:[ \t]*([^\n]-)%s*\n"):gsub("%s+", ","))
end

return {
  ["env, umask, limits and directory come before after_fork; then the app, its start, ready"] = function()
    local master, body = stepped()
    local me = ids(posix.getuid(), posix.getgid(), supplementary()) .. PLACE
    lu.assertEquals(body, me)
    master.program:expect "worker_ready"
    lu.assertEquals(master.program:stdout(), table.concat({
      "before_fork nil", "after_fork " .. me, "app " .. me, "start " .. me, "worker_ready nil", "" }, "\n"))
  end,

  ["after_fork is still the master's user; then group, supplementary groups and user change for good"] = function()
    only_root()
    local nobody = posix.getpwnam "nobody"
    local master, body = stepped "user = 'nobody'"
    local them = ids(nobody.uid, nobody.gid, tostring(nobody.gid)) .. PLACE
    lu.assertEquals(body, them)
    master.program:expect "worker_ready"
    lu.assertEquals(master.program:stdout(), table.concat({
      "before_fork nil", "after_fork " .. ids(0, 0, supplementary()) .. PLACE, "app " .. them, "start " .. them,
      "worker_ready nil", "" }, "\n"))
    lu.assertEquals(s.status_field(master.program.pid, "Uid"), "0\t0\t0\t0")
    local pid = master:pids()[1]
    lu.assertEquals(s.status_field(pid, "CapEff"), "0000000000000000")
  end,

  ["a group alone changes the group; user and group together take the group that is named"] = function()
    only_root()
    local nobody = posix.getpwnam "nobody"
    local daemon = posix.getgrnam "daemon"
    for config, wanted in pairs {
      ["group = 'daemon'"] = ids(0, daemon.gid, tostring(daemon.gid)),
      ["user = 'nobody', group = 'daemon'"] = ids(nobody.uid, daemon.gid, tostring(daemon.gid)),
    } do
      local app = SAY .. "return function(req, res) res:finish(self()) end"
      local _, body = answered(app, config .. ", working_directory = '/'")
      lu.assertStrContains(body, wanted)
    end
  end,

  ["worker:user drops earlier, in the middle of after_fork"] = function()
    only_root()
    local nobody = posix.getpwnam "nobody"
    local master, body = stepped("user = 'root'", "worker:user('nobody') say('dropped', self())")
    local them = ids(nobody.uid, nobody.gid, tostring(nobody.gid)) .. PLACE
    lu.assertEquals(body, them)
    lu.assertStrContains(master.program:stdout(), "dropped " .. them)
  end,

  ["with preload after_fork finds the app loaded, as the master's user"] = function()
    only_root()
    local nobody = posix.getpwnam "nobody"
    local master = stepped "preload = true, user = 'nobody'"
    local order = {}
    for step, who in master.program:stdout():gmatch "(%S+) uid=(%d+)" do
      table.insert(order, step .. " " .. who)
    end
    lu.assertEquals(order, { "app 0", "after_fork 0", "start " .. nobody.uid })
  end,

  ["a user or group that there is none of, or that needs root, is the reason before anything is forked"] = function()
    local function fails(config, start)
      local dir = s.temp_dir()
      s.write_file(dir .. "/app.lua", "return function() end")
      s.write_file(dir .. "/brood.lua", ([[return { app = "app.lua", listen = "127.0.0.1:0", control = false, %s,
        before_fork = function() io.stdout:write "forked" end }]]):format(config))
      for _, path in ipairs { dir, dir .. "/app.lua", dir .. "/brood.lua" } do
        uv.fs_chmod(path, 493)
      end
      local program = start and s.start(start(dir .. "/brood.lua")) or s.brood { "run", dir .. "/brood.lua" }
      lu.assertEquals(program:wait(20), 1, program:stderr())
      lu.assertEquals(program:stdout(), "")
      return program:stderr()
    end
    lu.assertStrContains(fails "user = 'no_such_user'", "no_such_user")
    lu.assertStrContains(fails "group = 'no_such_group'", "no_such_group")
    only_root()
    local setpriv = { "/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups" }
    if not s.exists(setpriv[1]) then
      return
    end
    local dir = s.open_temp_dir()
    local text = fails("user = 'daemon'", function(config)
      local copy = dir .. "/brood.lua"
      s.write_file(copy, (s.read_file(config):gsub('"app.lua"', ("%q"):format(dir .. "/app.lua"))), 420)
      s.write_file(dir .. "/app.lua", "return function() end", 420)
      uv.fs_copyfile(s.binary, dir .. "/brood")
      uv.fs_chmod(dir .. "/brood", 493)
      return { setpriv[1], setpriv[2], setpriv[3], setpriv[4], dir .. "/brood", "run", copy }
    end)
    lu.assertStrContains(text, "user = daemon: only root can make workers become somebody else")
  end,

  ["told to go: no new connections, then stopping, then requests finish, then stop, then its end"] = function()
    local master = masters.start { workers = 1, app = [[
      local brood = require "brood"
      local function note(...)
        local file = io.open("notes", "a")
        file:write(table.concat({ ... }, " "), "\n")
        file:close()
      end
      brood.worker:on("stopping", function() note "stopping" end)
      return {
        server = function(req, res)
          note "begun"
          brood.worker:once("stopping", function()
            note("refused", tostring(not require("brood.net").connect(req.headers.host)))
            brood.sleep(0.1)
            note "finished"
            res:finish "whole"
          end)
        end,
        stop = function() note "stop" brood.sleep(0.05) note "stopped" end,
      }]], config = "worker_exit = function(_, w, code) note('exit', code, w.reason) end" }
    local socket = s.connect(master:address())
    socket:send(("GET / HTTP/1.1\r\nHost: %s\r\n\r\n"):format(master:address()))
    master:noted "begun"
    lu.assertEquals(master:stop "QUIT", 0)
    lu.assertEquals(socket:response().body, "whole")
    lu.assertEquals(master:notes(), "begun\nstopping\nrefused true\nfinished\nstop\nstopped\nexit 0 stop\n")
  end,

  ["all of that has graceful_timeout, its stop as well"] = function()
    for _, app in ipairs {
      "return { server = function() end, stop = function() require('brood').sleep(60) end }",
      "return { server = function() end, stop = function(_, done) end }",
      "return { server = function() end, stop = function() while true do end end }",
    } do
      local master = masters.start { workers = 1, app = app, config = "graceful_timeout = 0.3" }
      local code, _, seconds = master:stop "QUIT"
      lu.assertEquals(code, 0)
      lu.assertTrue(seconds >= 0.25 and seconds < 3 * s.slow, seconds)
      lu.assertStrContains(master:log(), "s after QUIT (")
    end
  end,
}
