--- From the exec of a server with two workers to its first answer.
local c = require "spec.bench.lib.c"
local report = require "spec.bench.lib.report"
local server = require "spec.bench.lib.server"

local ROUNDS = 21

return function()
  local program = c.compile "first_answer"
  local found, why = { {}, {} }, nil
  for _ = 1, ROUNDS do
    for i, name in ipairs { "brood", "nginx" } do
      local target
      target, why = server.new(name, 2)
      if target then
        local argv = { program, "start", tostring(target.port), target.dir .. "/log", unpack(target.argv) }
        table.insert(found[i], (c.figures(argv)))
      end
    end
  end
  report.line("cold start until the first answer, ms", found[1], "nginx", found[2], why)
end
