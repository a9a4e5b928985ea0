--- A master under load loses no request, whatever it goes through. These are the short versions; `make bench
--- T=never_drops` does each as often as it takes to believe it.
-- time limit: 120 s
local load_client = require "spec.support.load_client"
local transitions = require "spec.support.transitions"

local LANES, QUICK = load_client.LANES, load_client.QUICK

local function whole(result)
  load_client.whole(result.figures, result.log)
end

local T = {}

T["reloads lose no request: quick, slow, large and long ones"] = function()
  whole(transitions.reload(3, LANES))
end

T["reloads with sockets of each worker's own lose no request"] = function()
  whole(transitions.reload(5, QUICK, 'listen = { { address = "127.0.0.1:0", reuseport = true }, "unix:web.sock" },'))
end

T["upgrades lose no request"] = function()
  whole(transitions.upgrade(2, LANES))
end

T["an upgrade that is backed out loses no request"] = function()
  whole(transitions.back_out(2, QUICK))
end

T["workers that come and go by TTIN and TTOU lose no request"] = function()
  whole(transitions.scale(6, LANES))
end

T["no workers for a while lose no request"] = function()
  whole(transitions.drain(1, LANES))
end

T["recycled workers lose no request"] = function()
  whole(transitions.recycle(20, QUICK))
end

return T
