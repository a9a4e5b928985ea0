--- What an app of about 50 MB costs each worker with preload: its own memory after 100,000 requests, and
--- once the collector has gone round. Beside it the same without preload, where every worker has it all.
local proc = require "spec.support.proc"
local program = require "spec.support.program"
local report = require "spec.bench.lib.report"
local socket = require "spec.support.socket"
local temp = require "spec.support.temp"
local uv = require "luv"
local wait = require "spec.support.wait"

local REQUESTS, AT_ONCE = 100000, 20
local APP = [[
%s
return function(req, res)
  if req.path == "/gc" then collectgarbage() collectgarbage() end
  res:finish(type(data))
end]]
local CONFIG = 'return { app = "app.lua", listen = "127.0.0.1:0", workers = 1, control = false, preload = %s }'

local kinds = {
  { "array of numbers", "local data = {} for i = 1, 6.5e6 do data[i] = i + 0.5 end" },
  { "string", "local data = ('x'):rep(50 * 1024 * 1024)" },
  { "cdata", "local data = require('ffi').new('double[?]', 6.5e6) for i = 0, 6.5e6 - 1 do data[i] = i end" },
  { "small tables", "local data = {} for i = 1, 5e5 do data[i] = { id = i } end" },
}

-- MiB that are a process's own.
local function own(pid)
  return tonumber(temp.read_file(("/proc/%d/smaps_rollup"):format(pid)):match("Private_Dirty:%s*(%d+)")) / 1024
end

local function start(text, preload)
  local dir = temp.temp_dir()
  temp.write_file(dir .. "/app.lua", APP:format(text))
  temp.write_file(dir .. "/brood.lua", CONFIG:format(tostring(preload)))
  local master = program.start { uv.exepath(), "run", dir .. "/brood.lua" }
  return master, master:expect("workers serve (%S+)\n", 30)
end

local function load(address)
  local tcp, left, got, over = uv.new_tcp(), REQUESTS, 0, false
  local request = ("GET / HTTP/1.1\r\nHost: x\r\n\r\n"):rep(AT_ONCE)
  local function on_data(_, data)
    got = got + select(2, (data or ""):gsub("HTTP/1.1 200", ""))
    if not data or left <= 0 and got >= AT_ONCE then
      over = true
    elseif got >= AT_ONCE then
      got, left = got - AT_ONCE, left - AT_ONCE
      tcp:write(request)
    end
  end
  tcp:connect("127.0.0.1", tonumber(address:match ":(%d+)$"), function(err)
    assert(not err, err)
    tcp:read_start(on_data)
    left = left - AT_ONCE
    tcp:write(request)
  end)
  wait.wait(function() return over end, 120, "100,000 answers")
  tcp:close()
end

local function measure(text, preload)
  local master, address = start(text, preload)
  local pid = proc.child_pids(master.pid)[1]
  load(address)
  local loaded = own(pid)
  socket.get(address, "/gc")
  local collected = own(pid)
  master:stop()
  return loaded, collected
end

return function()
  for _, kind in ipairs(kinds) do
    local name, text = unpack(kind)
    local shared, shared_after = measure(text, true)
    local alone, alone_after = measure(text, false)
    report.line(("preload, %s: a worker's own MiB"):format(name), { shared }, "without preload", { alone })
    report.line("  after two full rounds of the collector", { shared_after }, "without preload", { alone_after })
  end
end
