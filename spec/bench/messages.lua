--- Messages from a forked child to its parent by Worker.fork: many small tables, and one text as large as may be.
--- Beside a C program that does the same with bare frames, one write each: what the socket alone costs.
local c = require "spec.bench.lib.c"
local report = require "spec.bench.lib.report"
local uv = require "luv"

local ROUNDS = 5

return function()
  local stream = c.compile "stream"
  local script = c.root .. "/spec/bench/programs/messages.lua"
  local ours, theirs = { {}, {} }, { {}, {} }
  for _ = 1, ROUNDS do
    for list, argv in pairs { [ours] = { uv.exepath(), "exec", script }, [theirs] = { stream } } do
      local small, large = c.figures(argv)
      table.insert(list[1], small)
      table.insert(list[2], large)
    end
  end
  report.line("100,000 small messages, ms", ours[1], "frames in C", theirs[1])
  report.line("a message of 64 MB, ms", ours[2], "frames in C", theirs[2])
end
