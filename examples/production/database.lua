-- brood exec database.lua SOCKET: stands in for a real database. A line is "INCR NAME", its answer is the sum.
local net = require "brood.net"
local uv = require "luv"

local counters = {}

local server = net.server(function(conn)
  local rest = ""
  for bytes in conn:chunks() do
    rest = (rest .. bytes):gsub("INCR (%w+)\n", function(name)
      counters[name] = (counters[name] or 0) + 1
      conn:write(counters[name] .. "\n", function() end)
      return ""
    end)
  end
  conn:close()
end)

assert(server:listen { address = "unix:" .. arg[1], mode = "0600" })
print "the database listens"

-- Closing takes the socket file away, which a plain end by TERM would leave.
uv.new_signal():start("sigterm", function()
  server:destroy()
  os.exit(0)
end)
