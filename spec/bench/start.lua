--- From the exec of a server with two workers to its first answer.
local c = require "spec.bench.lib.c"
local report = require "spec.bench.lib.report"
local server = require "spec.bench.lib.server"

local ROUNDS = 21

return function()
  local program = c.compile "first_answer"
  local found, servers = {}, {}
  for _ = 1, ROUNDS do
    for i, name in ipairs(server.names) do
      local target, why = server.new(name, 2)
      servers[i] = { name = name, why = why }
      if target then
        local argv = { program, "start", tostring(target.port), target.dir .. "/log", unpack(target.argv) }
        server.note(found, "start", name, (c.figures(argv, target.env)))
      end
    end
  end
  report.lines("cold start until the first answer, ms", servers, found.start)
end
