--- The control server: where it listens, who may reach it, what it answers.
local lu = require "luaunit"
local masters = require "spec.support.master"
local s = require "spec.support"
local uv = require "luv"
local bit = require "bit"

local function mode(path)
  return bit.band(uv.fs_stat(path).mode, 511)
end

local function sockets_below(dir)
  local found = {}
  for name in function(scan) return uv.fs_scandir_next(scan) end, uv.fs_scandir(dir) do
    if uv.fs_stat(dir .. "/" .. name).type == "socket" then
      found[#found + 1] = dir .. "/" .. name
    end
  end
  return found
end

return {
  ["without a word it is a private socket in XDG_RUNTIME_DIR, named after the config, removed at the end"] = function()
    local dir = s.temp_dir()
    local master = masters.start { config = "control = nil", env = { XDG_RUNTIME_DIR = dir } }
    master:address()
    local found = sockets_below(dir)
    lu.assertEquals(#found, 1)
    lu.assertStrContains(found[1], "brood-")
    lu.assertStrContains(found[1], master.dir:match("[^/]+$"))
    lu.assertEquals(mode(found[1]), 384)
    lu.assertEquals(s.get(found[1], "/health").status, 200)
    master:stop "QUIT"
    lu.assertEquals(sockets_below(dir), {})
  end,

  ["a folder that others may write to is not used for it"] = function()
    local dir = s.temp_dir()
    uv.fs_chmod(dir, 511)
    local master = masters.start { config = "control = nil", env = { XDG_RUNTIME_DIR = dir }, args = { "-v" } }
    master:address()
    lu.assertEquals(sockets_below(dir), {})
    lu.assertEquals(mode(master.program:expect "control: unix:(%S+)"), 384)
    master:stop "QUIT"
  end,

  ["health, status, and 404 for everything else, all in JSON"] = function()
    local master = masters.start()
    master:address()
    local response = s.get(master.control, "/health")
    lu.assertEquals({ response.status, response.body }, { 200, '{"status":"ok"}\n' })
    lu.assertEquals(response.headers["content-type"], "application/json")
    local status, body = master:ask "/status"
    lu.assertEquals(status, 200)
    lu.assertEquals(body.pid, master.program.pid)
    lu.assertEquals(body.state, "ready")
    lu.assertEquals(body.version, require("brood").version)
    lu.assertEquals(body.clusters.web.workers, 2)
    lu.assertEquals(body.clusters.web.ready, 2)
    lu.assertEquals(body.clusters.web.listen, { master:address() })
    lu.assertEquals(#body.clusters.web.processes, 2)
    status, body = master:ask "/nothing"
    lu.assertEquals(status, 404)
    lu.assertStrContains(body.error, "GET /nothing")
    local socket = s.connect(master.control)
    socket:send "POST /status HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
    lu.assertEquals(socket:response().status, 404)
    socket:close()
  end,

  ["status lists no processes as an empty list"] = function()
    local master = masters.start { workers = 1, config = "before_fork = function() brood.sleep(600) end" }
    master:up()
    lu.assertStrContains(s.get(master.control, "/status").body, '"processes":[]')
    master.program:kill "TERM"
    lu.assertEquals(master.program:wait(), 0)
  end,

  ["control and --control say where, the command line wins; false is nowhere"] = function()
    local master = masters.start { args = { "--control", "unix:other.sock" } }
    master:address()
    lu.assertFalse(s.exists(master.control))
    lu.assertEquals(s.get(master.program.cwd .. "/other.sock", "/health").status, 200)
    lu.assertEquals(mode(master.program.cwd .. "/other.sock"), 384)
    master:stop "TERM"
    lu.assertFalse(s.exists(master.program.cwd .. "/other.sock"))
    local dir = s.temp_dir()
    for _, how in ipairs { { config = "control = false" }, { args = { "--control", "false" } } } do
      how.env = { XDG_RUNTIME_DIR = dir }
      master = masters.start(how)
      lu.assertEquals(master:get().status, 200)
      lu.assertEquals(sockets_below(dir), {})
      lu.assertFalse(s.exists(master.control))
      master:stop "TERM"
    end
  end,

  ["an explicit one that cannot be had fails the start; the default one is only missed"] = function()
    local master = masters.start { config = "control = 'unix:missing/c.sock'" }
    lu.assertEquals(master.program:wait(), 1)
    lu.assertStrContains(master:log(), "cannot start: control: ")
    local dir = s.temp_dir()
    local first = masters.start { config = "control = nil", env = { XDG_RUNTIME_DIR = dir } }
    first:address()
    local second = s.brood({ first.dir .. "/brood.lua" }, { env = { XDG_RUNTIME_DIR = dir } })
    second:expect "workers serve"
    lu.assertStrContains(second:stderr(), "going on without a control server")
    lu.assertEquals(second:stop(), 0)
    lu.assertEquals(s.get(sockets_below(dir)[1], "/health").status, 200)
  end,

  ["clients that hang on it do not hold up the end"] = function()
    local master = masters.start()
    master:address()
    local idle, half = s.connect(master.control), s.connect(master.control)
    half:send "GET /heal"
    idle:send "GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    idle:response()
    local code, _, seconds = master:stop "QUIT"
    lu.assertEquals(code, 0)
    lu.assertTrue(seconds < 1 * s.slow, seconds)
  end,

  ["an app cannot reach the control socket through what it inherits"] = function()
    local master = masters.start { app = [[
      local found = {}
      for line in io.open("/proc/net/unix"):lines() do
        local inode = line:match("(%d+) %S*control.sock$")
        for name in require("lfs").dir("/proc/self/fd") do
          local target = require("luv").fs_readlink("/proc/self/fd/" .. name)
          if inode and target and target:find("[" .. inode .. "]", 1, true) then found[#found + 1] = name end
        end
      end
      return function(req, res) res:finish("held: " .. #found) end]] }
    lu.assertEquals(master:get().body, "held: 0")
  end,
}
