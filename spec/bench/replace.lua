--- The only worker is killed: how long until another one answers.
local brood = require "brood"
local c = require "spec.bench.lib.c"
local report = require "spec.bench.lib.report"
local server = require "spec.bench.lib.server"

local ROUNDS, KILLS = 4, 5
local SETTLE = 0.4 -- seconds between kills: a crash loop is another story

return function()
  local program = c.compile "first_answer"
  local found, why = { {}, {} }, nil
  for _ = 1, ROUNDS do
    for i, name in ipairs { "brood", "nginx" } do
      local target
      target, why = server.new(name, 1)
      if target then
        target:start()
        for _ = 1, KILLS do
          brood.sleep(SETTLE)
          table.insert(found[i], (c.figures { program, "replace", tostring(target.port) }))
        end
        target:stop()
      end
    end
  end
  report.line("worker killed until served again, ms", found[1], "nginx", found[2], why)
end
