--- A proxy beside nginx's proxy_pass and haproxy: requests per second and cpu per request for small answers, and bytes
--- per second for answers of 10 MB, with one worker each. Behind all of them is one nginx on a Unix socket, to which
--- connections are kept. The client shares the machine's cpus, so the figures compare and no more.
local Process = require "brood.process"
local proc = require "spec.support.proc"
local report = require "spec.bench.lib.report"
local server = require "spec.bench.lib.server"
local socket = require "spec.support.socket"
local temp = require "spec.support.temp"
local uv = require "luv"

local ROUNDS, SECONDS = 5, 2
local MEGABYTES = 10

local APP = [[
local forward = require "brood.proxy.forward"
local way = { address = "unix:%s/up" }
return function(req, res)
  local ok, err = forward(req, res, way)
  if not ok and not err.began then
    res:status(502):finish(err.code)
  end
end
]]

local NGINX = [[
daemon off; worker_processes 1; pid %s/%s.pid; error_log %s/%s.log crit;
events { worker_connections 2048; }
http {
  access_log off; keepalive_requests 1000000000; default_type text/plain; sendfile on;
  client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
  %s
}
]]

local BEHIND = [[server { listen unix:%s/up; root %s/files; location = / { return 200 "hello, world\n"; } }]]

local PASS = [[
  upstream up { server unix:%s/up; keepalive 128; keepalive_requests 1000000000; }
  server {
    listen 127.0.0.1:%d;
    location / {
      proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_max_temp_file_size 0;
      proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Host $http_host;
    }
  }
]]

local HAPROXY = [[
global
  nbthread 1
defaults
  mode http
  option forwardfor
  http-reuse always
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend front
  bind 127.0.0.1:%d
  default_backend back
backend back
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Host %%[req.hdr(host)]
  server up unix@%s/up
]]

local function nginx(dir, name, text)
  local binary = server.find "nginx"
  local config = temp.write_file(("%s/%s.conf"):format(dir, name), NGINX:format(dir, name, dir, name, text))
  return { binary, "-p", dir, "-c", config }
end

local makers = {
  brood = function(dir, port)
    temp.write_file(dir .. "/app.lua", APP:format(dir))
    return { uv.exepath(), "-s", dir .. "/app.lua", "-l", "127.0.0.1:" .. port, "-w", "1", "--control", "false" }
  end,
  nginx = function(dir, port)
    return nginx(dir, "front", PASS:format(dir, port))
  end,
  haproxy = function(dir, port)
    local binary = server.find "haproxy"
    return binary and { binary, "-f", temp.write_file(dir .. "/haproxy.cfg", HAPROXY:format(port, dir)) }
  end,
}

local function start(name, argv, dir, ready)
  local process = Process.new {
    name = name, command = argv, cwd = dir, stdout = dir .. "/log", stderr = dir .. "/log", stop_signal = "QUIT",
    stop_timeout = 5, ready = ready,
  }
  local ok, err = process:start()
  if not ok then
    error(("%s: %s\n%s"):format(name, err, temp.read_file(dir .. "/log") or ""), 0)
  end
  return process
end

local function cpu(process)
  local sum = 0
  for _, pid in ipairs { process.pid, unpack(proc.child_pids(process.pid)) } do
    sum = sum + tonumber(temp.read_file(("/proc/%d/schedstat"):format(pid)):match "^%d+") / 1e9
  end
  return sum
end

local function wrk(target, path, connections, seconds)
  local before = cpu(target.process)
  local text = assert(Process.run({
    "wrk", "-t1", "-c" .. connections, ("-d%ds"):format(seconds), ("http://127.0.0.1:%d/%s"):format(target.port, path),
  }, { check = true })).stdout
  if text:find "Non%-2xx" then
    error(target.name .. " gave answers other than 200:\n" .. text)
  end
  return tonumber(text:match "Requests/sec:%s+([%d.]+)"),
    (cpu(target.process) - before) * 1e6 / math.max(1, tonumber(text:match "(%d+) requests in"))
end

local function files(dir)
  assert(uv.fs_mkdir(dir .. "/files", 493))
  assert(uv.fs_chmod(dir, 493))
  temp.write_file(dir .. "/files/large", ("0123456789abcdef"):rep(MEGABYTES * 65536))
end

local measures = {
  { "rate", "requests/s, small answers" }, { "cpu", "us of proxy cpu per small answer" },
  { "bytes", "MB/s, answers of 10 MB" }, { "work", "us of proxy cpu per MB" },
}

local function round(found, target, seconds)
  local rate, used = wrk(target, "", 64, seconds)
  local large, work = wrk(target, "large", 8, seconds)
  for name, value in pairs { rate = rate, cpu = used, bytes = large * MEGABYTES, work = work / MEGABYTES } do
    server.note(found, name, target.name, value)
  end
end

return function()
  if not server.find "wrk" or not server.find "nginx" then
    return report.note "proxy: wrk or nginx is not installed"
  end
  local dir = temp.temp_dir()
  files(dir)
  local behind = start("behind", nginx(dir, "behind", BEHIND:format(dir, dir)), dir, { socket = dir .. "/up" })
  local all, running, found = {}, {}, {}
  for i, name in ipairs { "brood", "nginx", "haproxy" } do
    local port = socket.free_port()
    local argv = makers[name](dir, port)
    all[i] = { name = name, port = port, why = not argv and name .. " is not installed" or nil }
    if argv then
      all[i].process = start(name, argv, dir, { port = port })
      table.insert(running, all[i])
    end
  end
  for n = 0, ROUNDS do
    server.in_turn(running, n, function(target)
      round(n > 0 and found or {}, target, n == 0 and 1 or SECONDS) -- the first is to warm up
    end)
  end
  for _, target in ipairs(running) do
    target.process:stop()
  end
  behind:stop()
  for _, measure in ipairs(measures) do
    report.lines("proxy: " .. measure[2], all, found[measure[1]])
  end
end
