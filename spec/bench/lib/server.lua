--- The two servers that are compared, brood and nginx: how they are started to say hello, and what the kernel counts of
--- them. Both answer "/" with the same text and "/pid" with the pid of the worker.
local Process = require "brood.process"
local proc = require "spec.support.proc"
local core = require "brood.core"
local temp = require "spec.support.temp"
local uv = require "luv"

local APP = [[
local pid = require("brood.posix").getpid() .. "\n"
return function(req, res)
  res:header("content-type", "text/plain")
  res:finish(req.path == "/pid" and pid or "hello, world\n")
end
]]

local NGINX = [[
daemon off; worker_processes %d; pid %s/nginx.pid; error_log %s/error.log crit;
events { worker_connections 2048; }
http {
  access_log off; keepalive_requests 1000000000; default_type text/plain;
  client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
  server {
    listen 127.0.0.1:%d;
    location / { return 200 "hello, world\n"; }
    location = /pid { return 200 "$pid\n"; }
  }
}
]]

---@class spec.bench.Server
---@field name string
---@field port integer
---@field argv string[]
---@field process brood.Process?
local Server = {}
Server.__index = Server

local M = {}

local function free_port()
  local listener = assert(core.listener.open { address = "127.0.0.1:0" })
  local port = tonumber(listener:address():match(":(%d+)$"))
  listener:close()
  return port
end

local function brood(port, workers, dir)
  temp.write_file(dir .. "/app.lua", APP)
  local config = ('return { app = "app.lua", listen = "127.0.0.1:%d", workers = %d, control = false }\n')
    :format(port, workers)
  return { uv.exepath(), "run", temp.write_file(dir .. "/brood.lua", config) }
end

local function find(name)
  for dir in ((os.getenv "PATH" or "") .. ":/usr/sbin"):gmatch("[^:]+") do
    if uv.fs_access(dir .. "/" .. name, "X") then
      return dir .. "/" .. name
    end
  end
end
M.find = find

local function nginx(port, workers, dir)
  local binary = find "nginx"
  return binary and {
    binary, "-p", dir, "-c", temp.write_file(dir .. "/nginx.conf", NGINX:format(workers, dir, dir, port)),
  }
end

--- A server that is not started yet; nil and a text where it is not installed.
---@param name "brood"|"nginx"
---@param workers integer
---@return spec.bench.Server? server, string? why
function M.new(name, workers)
  local port, dir = free_port(), temp.temp_dir()
  local argv = (name == "brood" and brood or nginx)(port, workers, dir)
  if not argv then
    return nil, name .. " is not installed"
  end
  return setmetatable({ name = name, port = port, argv = argv, dir = dir, count = workers }, Server)
end

--- Both, started; nginx is nil where it is not installed, and `why` says so.
---@param workers integer
---@return spec.bench.Server brood, spec.bench.Server? nginx, string? why
function M.pair(workers)
  local ours = M.new("brood", workers)
  local theirs, why = M.new("nginx", workers)
  ours:start()
  if theirs then
    theirs:start()
  end
  return ours, theirs, why
end

---@return spec.bench.Server
function Server:start()
  self.process = Process.new {
    name = self.name, command = self.argv, cwd = self.dir, stdout = self.dir .. "/log", stderr = self.dir .. "/log",
    stop_signal = "QUIT", stop_timeout = 5, ready = { port = self.port, http = "/" },
  }
  local ok, err = self.process:start()
  if not ok then
    error(("%s\n%s"):format(err, temp.read_file(self.dir .. "/log") or ""), 0)
  end
  require("spec.support.wait").wait(function()
    return #self:workers() == self.count
  end, 10, "the workers of " .. self.name)
  return self
end

function Server:stop()
  self.process:stop()
end

---@return integer[]
function Server:workers()
  return proc.child_pids(self.process.pid)
end

---@return integer[] the master first
function Server:pids()
  return { self.process.pid, unpack(self:workers()) }
end

--- Seconds of cpu that it has used, all its processes together.
---@return number
function Server:cpu()
  local sum = 0
  for _, pid in ipairs(self:pids()) do
    sum = sum + tonumber(temp.read_file(("/proc/%d/schedstat"):format(pid)):match("^%d+")) / 1e9
  end
  return sum
end

--- How often its processes have gone to sleep, which is how often they woke up.
---@return integer
function Server:sleeps()
  local sum = 0
  for _, pid in ipairs(self:pids()) do
    sum = sum + tonumber(proc.status_field(pid, "voluntary_ctxt_switches"))
  end
  return sum
end

--- KiB of memory of a process, what is shared counted by its share.
---@param pid integer
---@return number
function M.pss(pid)
  return tonumber(temp.read_file(("/proc/%d/smaps_rollup"):format(pid)):match("\nPss:%s*(%d+)"))
end

return M
