--- The log, as Lua writes it: log(...) and log.debug|info|warn|error(...). Values are joined as `print` joins them.
local core = require "brood.core"

local M = {}

local levels = { debug = 0, info = 1, warn = 2, error = 3 }

local function text(...)
  local parts = {}
  for i = 1, select("#", ...) do
    parts[i] = tostring((select(i, ...)))
  end
  return table.concat(parts, "\t")
end

for name, rank in pairs(levels) do
  M[name] = function(...)
    if rank >= (levels[core.log.level()] or 0) then
      core.log.write(name, text(...))
    end
  end
end

return setmetatable(M, {
  __call = function(_, ...)
    M.info(...)
  end,
})
