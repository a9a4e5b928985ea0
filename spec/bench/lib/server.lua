--- The servers that are compared, brood, nginx, nginx with its Lua module, and unicorn: how they are started to say
--- hello, and what the kernel counts of them. All answer "/" with the same text and "/pid" with the pid of the worker.
local Process = require "brood.process"
local proc = require "spec.support.proc"
local socket = require "spec.support.socket"
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
%s
daemon off; worker_processes %d; pid %s/nginx.pid; error_log %s/error.log crit;
events { worker_connections 2048; }
http {
  %s
  access_log off; keepalive_requests 1000000000; default_type text/plain;
  client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
  server {
    listen 127.0.0.1:%d;
    location / { %s }
    location = /pid { %s }
  }
}
]]

local PLAIN = { hello = [[return 200 "hello, world\n";]], pid = [[return 200 "$pid\n";]] }
local LUA = {
  hello = [[content_by_lua_block { ngx.header.content_length = 13 ngx.print("hello, world\n") }]],
  pid = [[content_by_lua_block {
      local b = ngx.worker.pid() .. "\n" ngx.header.content_length = #b ngx.print(b)
    }]],
}

---@class spec.bench.Server
---@field name string
---@field port integer
---@field argv string[]
---@field env? table<string, string>
---@field dir string
---@field count integer of workers
---@field process brood.Process?
local Server = {}
Server.__index = Server

local M = {}

local function brood(port, workers, dir, keys)
  temp.write_file(dir .. "/app.lua", APP)
  local config = ('return { app = "app.lua", listen = "127.0.0.1:%d", workers = %d, control = false, %s }\n')
    :format(port, workers, keys or "")
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

-- nginx's Lua module comes with a LuaJIT that would take the place of ours: NGINX_LUA may name a folder into which its
-- packages were unpacked.
local function lua_module()
  for _, root in ipairs { os.getenv "NGINX_LUA" or "", "" } do
    if uv.fs_access(root .. "/usr/lib/nginx/modules/ngx_http_lua_module.so", "R") then
      return root
    end
  end
end

local function nginx_config(kind, load, http, port, workers, dir)
  local text = NGINX:format(load, workers, dir, dir, http, port, kind.hello, kind.pid)
  return temp.write_file(dir .. "/nginx.conf", text)
end

local makers = { brood = brood }

function makers.nginx(port, workers, dir)
  local binary = find "nginx"
  return binary and { binary, "-p", dir, "-c", nginx_config(PLAIN, "", "", port, workers, dir) }
end

makers["nginx-lua"] = function(port, workers, dir)
  local binary, root = find "nginx", lua_module()
  if not binary or not root then
    return nil
  end
  local load = {}
  for _, name in ipairs { "ndk_http", "ngx_http_lua" } do
    table.insert(load, ("load_module %s/usr/lib/nginx/modules/%s_module.so;"):format(root, name))
  end
  local http = ('lua_package_path "%s/usr/share/lua/5.1/?.lua;;";'):format(root)
  return { binary, "-p", dir, "-c", nginx_config(LUA, table.concat(load, " "), http, port, workers, dir) },
    root ~= "" and { LD_LIBRARY_PATH = root .. "/usr/lib/x86_64-linux-gnu" } or nil
end

local RACK = [==[
run ->(env) {
  body = env["PATH_INFO"] == "/pid" ? "#{Process.pid}\n" : "hello, world\n"
  [200, { "content-type" => "text/plain", "content-length" => body.bytesize.to_s }, [body]]
}
]==]

function makers.unicorn(port, workers, dir)
  local binary = find "unicorn"
  return binary and { binary, "-E", "none", "-c", temp.write_file(dir .. "/unicorn.rb",
    ('worker_processes %d\nlisten "127.0.0.1:%d"\nworking_directory "%s"\n'):format(workers, port, dir)),
    temp.write_file(dir .. "/hello.ru", RACK) }
end

M.names = { "brood", "nginx", "nginx-lua" }

--- A server that is not started yet; nil and a text where it is not installed.
---@param name "brood"|"nginx"|"nginx-lua"|"unicorn"
---@param workers integer
---@param keys? string more keys of brood's config
---@return spec.bench.Server? server, string? why
function M.new(name, workers, keys)
  local port, dir = socket.free_port(), temp.temp_dir()
  local argv, env = makers[name](port, workers, dir, keys)
  if not argv then
    return nil, name .. " is not installed" .. (name == "nginx-lua" and " (NGINX_LUA may name its folder)" or "")
  end
  return setmetatable({ name = name, port = port, argv = argv, env = env, dir = dir, count = workers }, Server)
end

--- Those, not started yet; one that is not installed is { name =, why = }.
---@param names string[]
---@param workers integer
---@param keys? string more keys of brood's config
---@return (spec.bench.Server|{ name: string, why: string })[] all
function M.some(names, workers, keys)
  local all = {}
  for i, name in ipairs(names) do
    local made, why = M.new(name, workers, keys)
    all[i] = made or { name = name, why = why }
  end
  return all
end

---@param all (spec.bench.Server|{ name: string, why: string })[]
---@return spec.bench.Server[]
function M.installed(all)
  local list = {}
  for _, one in ipairs(all) do
    list[#list + 1] = not one.why and one or nil
  end
  return list
end

--- All that are installed, started, ours first; the others are { name =, why = }.
---@param workers integer
---@param keys? string more keys of brood's config
---@return (spec.bench.Server|{ name: string, why: string })[] all, spec.bench.Server[] running
function M.all(workers, keys)
  local all = M.some(M.names, workers, keys)
  local running = M.installed(all)
  for _, one in ipairs(running) do
    one:start()
  end
  return all, running
end

--- Add a round's figure to what the rounds before gave.
---@param figures table<string, table<string, number[]>> by kind, then by server
---@param kind string
---@param name string of the server
---@param value number
function M.note(figures, kind, name, value)
  figures[kind] = figures[kind] or {}
  figures[kind][name] = figures[kind][name] or {}
  table.insert(figures[kind][name], value)
end

--- Call fn(server) for each, whoever was first in the round before second in this one.
---@param running spec.bench.Server[]
---@param round integer
---@param fn fun(server: spec.bench.Server)
function M.in_turn(running, round, fn)
  for i = 1, #running do
    fn(running[(i + round) % #running + 1])
  end
end

---@return spec.bench.Server
function Server:start()
  self.process = Process.new {
    name = self.name, command = self.argv, cwd = self.dir, env = self.env,
    stdout = self.dir .. "/log", stderr = self.dir .. "/log",
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

--- How often each of its processes has gone to sleep, which is how often it woke up. The master first.
---@return integer[]
function Server:sleeps()
  local list = {}
  for i, pid in ipairs(self:pids()) do
    list[i] = tonumber(proc.status_field(pid, "voluntary_ctxt_switches"))
  end
  return list
end

--- KiB of memory of a process, what is shared counted by its share.
---@param pid integer
---@return number
function M.pss(pid)
  return tonumber(temp.read_file(("/proc/%d/smaps_rollup"):format(pid)):match("\nPss:%s*(%d+)"))
end

return M
