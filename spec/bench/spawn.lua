--- 1,000 short programs, one after the other: started, waited for, reaped. Beside a C loop of posix_spawn and waitpid,
--- in a small process and in one of 60 MB, whose size must not matter.
local c = require "spec.bench.lib.c"
local report = require "spec.bench.lib.report"
local uv = require "luv"

local ROUNDS, PROGRAMS = 3, 1000

local ways = {
  { "process", "by brood.process" }, { "core", "by its core alone" }, { "run", "by Process.run, output read" },
}

local function rounds(megabytes, loop, nothing)
  local script = c.root .. "/spec/bench/programs/spawn.lua"
  local n, size = tostring(PROGRAMS), tostring(megabytes)
  local found, floor = {}, {}
  for _ = 1, ROUNDS do
    table.insert(floor, (c.figures { loop, n, size, nothing }))
    for _, way in ipairs(ways) do
      local list = found[way[1]] or {}
      found[way[1]] = list
      table.insert(list, (c.figures { uv.exepath(), "exec", script, way[1], n, size, nothing }))
    end
  end
  for _, way in ipairs(ways) do
    local what = megabytes > 0 and (", %d MB"):format(megabytes) or ""
    report.line(("%d programs %s%s, ms"):format(PROGRAMS, way[2], what), found[way[1]], "posix_spawn loop", floor)
  end
end

return function()
  local loop, nothing = c.compile "spawn_loop", c.compile("nothing", "-static")
  rounds(0, loop, nothing)
  rounds(60, loop, nothing)
end
