--- Workers that share a queue of connections, when one of them fails in the moment in which it takes one.
local lu = require "luaunit"
local faults = require "spec.support.faults"
local s = require "spec.support"

-- Only the first two workers start without delay.
local APP = [[
local brood = require "brood"
return {
  server = function(req, res) res:finish(tostring(brood.worker.id)) end,
  start = function(worker) if worker.id > 2 then brood.sleep(60) end end,
}
]]

local function start(rules)
  local dir = s.temp_dir()
  s.write_file(dir .. "/app.lua", APP)
  local config = s.write_file(dir .. "/brood.lua",
    'return { app = "app.lua", listen = "127.0.0.1:0", workers = 2, control = false }')
  local run = faults.start(rules, { args = { "run", config } })
  return run, run.program:expect "workers serve (%S+)\n"
end

local T = {}

T["a connection whose worker dies before it takes it is its sibling's at once, before any replacement"] = function()
  local run, address = start "accept4:KILL:1"
  local seconds, response = s.timed(s.get, address, "/")
  lu.assertTrue(response.body == "1" or response.body == "2")
  lu.assertTrue(seconds < 5)
  run.program:expect "ended: killed by KILL"
  lu.assertEquals(s.get(address, "/").body, response.body)
  run.program:kill "TERM"
  lu.assertEquals(run:finish().failed.accept4, 1)
end

T["a connection that a shortage keeps a worker from taking is its sibling's or waits for the end of it"] = function()
  for _, errno in ipairs { "ENOBUFS", "EMFILE" } do
    -- Both ways to take it fail, for whoever is woken first.
    local run, address = start(("accept4:%s:1-2"):format(errno))
    local seconds, response = s.timed(s.get, address, "/")
    lu.assertEquals(response.status, 200)
    lu.assertTrue(seconds < 5)
    run.program:kill "TERM"
    lu.assertEquals(run:finish().failed.accept4, 2)
  end
end

T["a listener that nobody can accept from makes no worker spin"] = function()
  local run, address = start "accept4:EINVAL:1+"
  local socket = s.connect(address)
  run.program:expect "accept: Invalid argument; new connections wait"
  s.remains(function() return not socket.eof end, 0.5)
  run.program:kill "TERM"
  -- Two workers that look ten times a second.
  lu.assertTrue(run:finish().calls.accept4 < 40 * s.slow)
end

return T
