--- What becomes of a reload, as the log of a master tells it.
local s = require "spec.support"

local OUTCOMES = { "reloaded in ", "the reload failed", "the reload was halted" }

-- How many reloads are over.
local function outcomes(master)
  local n, text = 0, master:log()
  for _, outcome in ipairs(OUTCOMES) do
    n = n + select(2, text:gsub(outcome, ""))
  end
  return n
end

---HUP to a master, and wait for what comes of it.
---@param master { program: table, log: fun(self): string }
---@param seconds number
---@return string log what it has said since
return function(master, seconds)
  local before, at = outcomes(master), #master:log()
  master.program:kill "HUP"
  s.wait(function()
    return outcomes(master) > before
  end, seconds * s.slow, function()
    return "the outcome of a reload\n" .. master:log()
  end)
  return master:log():sub(at + 1)
end
