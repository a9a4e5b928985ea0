-- Gives back what each connection sends. When the worker is told to go, it says goodbye to those that are open.
local brood = require "brood"
local net = require "brood.net"

local open = {}
local stopping = false

local function echo(conn)
  open[conn] = true
  for chunk in conn:chunks() do
    -- What still comes after the goodbye is read, and no longer answered.
    if not stopping and not conn:write(chunk) then
      break
    end
  end
  open[conn] = nil
end

local function goodbye()
  stopping = true
  for conn in pairs(open) do
    conn:write("goodbye\n", function()
      conn:shutdown()
    end)
  end
end

return {
  server = net.server(echo, { idle_timeout = "10m" }),
  start = function()
    brood.worker:once("stopping", goodbye)
  end,
}
