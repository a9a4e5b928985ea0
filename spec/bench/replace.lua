--- The only worker is killed: how long until another one answers.
local brood = require "brood"
local c = require "spec.bench.lib.c"
local report = require "spec.bench.lib.report"
local server = require "spec.bench.lib.server"

local ROUNDS, KILLS = 4, 5
local SETTLE = 0.4 -- seconds between kills: a crash loop is another story

return function()
  local program = c.compile "first_answer"
  local found, all = {}, nil
  for _ = 1, ROUNDS do
    local running
    all, running = server.all(1)
    for kill = 1, KILLS do
      brood.sleep(SETTLE)
      server.in_turn(running, kill, function(target)
        server.note(found, "replace", target.name, (c.figures { program, "replace", tostring(target.port) }))
      end)
    end
    for _, target in ipairs(running) do
      target:stop()
    end
  end
  report.lines("worker killed until served again, ms", all, found.replace)
end
