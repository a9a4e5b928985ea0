-- Sends its arguments, a line each, and prints what comes back: brood exec client.lua ADDRESS WORD...
local net = require "brood.net"

local address, words = arg[1], { select(2, ...) }
if not address then
  error("usage: brood exec client.lua ADDRESS WORD...", 0)
end

local conn = assert(net.connect(address, { timeout = "5s" }))
for _, word in ipairs(words) do
  assert(conn:write(word .. "\n"))
end
conn:shutdown() -- that was all; the answers still come

for chunk in conn:chunks() do
  io.write(chunk)
end
conn:close()
