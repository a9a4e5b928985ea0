-- brood exec database.lua SOCKET: a database that counts. A line is a question, a line is its answer.
local net = require "brood.net"
local uv = require "luv"

local counters, clients = {}, 0

local function answer(line)
  local verb, name = line:match "^(%u+) ?(%w*)$"
  if verb == "CLIENTS" then
    return clients
  elseif verb == "INCR" then
    counters[name] = (counters[name] or 0) + 1
  end
  return counters[name] or 0
end

local server = net.server(function(conn)
  clients = clients + 1
  local rest = ""
  for bytes in function() return conn:read() end do
    rest = (rest .. bytes):gsub("([^\n]*)\n", function(line)
      conn:write(answer(line) .. "\n", function() end)
      return ""
    end)
  end
  clients = clients - 1
  conn:close()
end)

assert(server:listen { address = "unix:" .. arg[1], mode = "0600" })

-- Closing takes the socket file away, which a plain end by TERM would leave.
uv.new_signal():start("sigterm", function()
  server:destroy()
  os.exit(0)
end)
