--- Workers killed every 200 ms under load: only what was inside of them fails, and nothing hangs. BROOD_SOAK is the
--- number of requests; 100000 for the whole story.
-- time limit: 300 s
local load = require "spec.support.load"
local lu = require "luaunit"
local masters = require "spec.support.master"
local s = require "spec.support"

local REQUESTS = tonumber(os.getenv "BROOD_SOAK" or "") or 30000

local function soak(config)
  local master = masters.start { workers = 3, app = load.app, config = config }
  local address = master:address()
  local run = load.start(address, REQUESTS, {
    { clients = 6, share = math.huge }, { clients = 4, share = 50 }, { clients = 4, share = 1 },
  })
  local victims = run:kill_workers(function()
    return s.child_pids(master.program.pid)
  end, 0.2)
  run:wait(60)
  local inside = {}
  for _, victim in ipairs(victims) do
    for port in pairs(victim.clients) do
      inside[port] = true
    end
  end
  for _, failure in ipairs(run.failed) do
    lu.assertTrue(inside[failure.port], ("a request failed (%s) that no killed worker held"):format(failure.why))
  end
  lu.assertEquals(run.refused, 0)
  lu.assertTrue(run.answered + #run.failed >= REQUESTS, run.answered)
  lu.assertTrue(#victims >= 2, ("only %d workers were killed"):format(#victims))
  lu.assertTrue(run.slowest < 2 * s.slow, run.slowest)
  if os.getenv "BROOD_SOAK" then
    print(("%d requests, %d workers killed, %d failed inside of them, slowest answer %.0f ms"):format(run.answered,
      #victims, #run.failed, run.slowest * 1000))
  end
  lu.assertEquals(#master:ready(3), 3)
  lu.assertEquals(master:stop "QUIT", 0)
end

return {
  ["with shared sockets"] = function()
    soak ""
  end,

  ["with reuseport"] = function()
    soak 'listen = { { address = "127.0.0.1:0", reuseport = true } }'
  end,
}
