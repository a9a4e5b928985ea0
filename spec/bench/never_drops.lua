--- How many requests fail while a master under load is reloaded, upgraded, scaled, recycled and drained, as often as it
--- takes to believe that none does; and how long each takes. Raises unless all is zero.
local load_client = require "spec.support.load_client"
local report = require "spec.bench.lib.report"

local RUNS = {
  { "reload", 50 }, { "upgrade", 20 }, { "back_out", 10 }, { "scale", 100 }, { "recycle", 200 }, { "drain", 10 },
}

return function()
  local transitions = require "spec.support.transitions"
  local bad = {}
  for _, run in ipairs(RUNS) do
    local name, n = unpack(run)
    for _, lanes in ipairs { "QUICK", "LANES" } do
      local result = transitions[name](n, load_client[lanes])
      local figures = result.figures
      report.line(("%s x %d, %s, ms"):format(name, n, lanes == "QUICK" and "quick answers" or "long ones too"),
        { (report.median(result.times) or 0) * 1e3 }, "", nil,
        ("%d answered, %d failed, %d told to close"):format(figures.ok, figures.failed, figures.closed))
      if figures.failed > 0 then
        table.insert(bad, ("%s: %s"):format(name, require("brood").json.encode(figures)))
        io.stderr:write(result.log)
      end
      require("spec.support").cleanup()
    end
  end
  if #bad > 0 then
    error(table.concat(bad, "\n"), 0)
  end
end
