--- The first request to a stopped program, through the proxy, beside that program's own start: from the exec to its
--- first answer. The program is the smallest there is, in C, so that what brood adds shows.
local brood = require "brood"
local c = require "spec.bench.lib.c"
local Process = require "brood.process"
local report = require "spec.bench.lib.report"
local socket = require "spec.support.socket"
local temp = require "spec.support.temp"
local uv = require "luv"

local ROUNDS = 31
local REST = 0.5 -- seconds without a request: five times what the program is kept for

local CONFIG = [[
return {
  backends = { app = { command = { %q }, idle = 0.1 } },
  proxy = { listen = "127.0.0.1:%d", routes = { ["/"] = "app" } },
  workers = 1, control = false,
}
]]

return function()
  local program, dir, port = c.compile "on_demand", temp.temp_dir(), socket.free_port()
  temp.write_file(dir .. "/brood.lua", CONFIG:format(program, port))
  local proxy = Process.new {
    name = "brood", command = { uv.exepath(), "run", dir .. "/brood.lua" }, stdout = dir .. "/log",
    stderr = dir .. "/log", ready = { port = port },
  }
  assert(proxy:start())
  local first, own, last = {}, {}, nil
  c.figures { program, "first", tostring(port) } -- what a first request loads is loaded
  for i = 1, ROUNDS do
    brood.sleep(REST)
    own[i] = c.figures { program, "own", dir .. "/own" }
    brood.sleep(REST)
    local took, pid = c.figures { program, "first", tostring(port) }
    assert(pid ~= last, "the program had not been stopped")
    first[i], last = took, pid
  end
  proxy:stop()
  report.line("first request to a stopped program, ms", first, "its own start", own)
  local added = {}
  for i = 1, ROUNDS do
    added[i] = first[i] - own[i]
  end
  report.line("what is added to its own start, ms", added, "a limit of 3", { 3 })
end
