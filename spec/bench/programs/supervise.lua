--- supervise.lua N PROGRAM: start PROGRAM N times with brood.process, and start it again whenever one ends.
local Process = require "brood.process"

local n, command = tonumber(arg[1]), { arg[2] }
local stopping = false

require("luv").new_signal():start("sigterm", function()
  stopping = true
  require("brood.supervised").stop_all(os.exit)
end)

local function report(err)
  if err then
    error(err)
  end
end

for _ = 1, n do
  local process = Process.new { command = command }
  process:on("exit", function()
    if not stopping then
      process:start(report)
    end
  end)
  process:start(report)
end
