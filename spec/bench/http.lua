--- Requests per second, the slowest hundredth and the server's cpu per request, with two workers: connections that are
--- kept, and one for each request. The client shares the machine's cpus, so the figures compare and no more.
local Process = require "brood.process"
local report = require "spec.bench.lib.report"
local server = require "spec.bench.lib.server"

local ROUNDS, SECONDS, CONNECTIONS = 5, 2, 64
local milliseconds = { us = 1e-3, ms = 1, s = 1e3 }
local kinds = { "kept connections", "a connection each" }
local measures = {
  { "rate", "requests/s" }, { "cpu", "us of server cpu per request" }, { "slow", "99% of answers within ms" },
}

local function wrk(target, close, seconds)
  local argv = {
    "wrk", "-t2", "-c" .. CONNECTIONS, ("-d%ds"):format(seconds), "--latency",
    ("http://127.0.0.1:%d/"):format(target.port),
  }
  if close then
    table.insert(argv, 2, "-HConnection: close")
  end
  local before = target:cpu()
  local text = assert(Process.run(argv, { check = true })).stdout
  local count = tonumber(text:match("(%d+) requests in"))
  local slow, unit = text:match("99%%%s+([%d.]+)(%a+)")
  if text:find("Non%-2xx") then
    error(target.name .. " gave answers other than 200:\n" .. text)
  end
  return {
    rate = tonumber(text:match("Requests/sec:%s+([%d.]+)")), slow = tonumber(slow) * milliseconds[unit],
    cpu = (target:cpu() - before) * 1e6 / count,
  }
end

return function()
  if not server.find "wrk" then
    return report.note "http: wrk is not installed"
  end
  local all, running = server.all(2)
  local found = {}
  for round = 0, ROUNDS do
    for _, kind in ipairs(kinds) do
      server.in_turn(running, round, function(target)
        local figures = wrk(target, kind == kinds[2], round == 0 and 1 or SECONDS)
        for _, measure in ipairs(round > 0 and measures or {}) do -- the first is to warm up
          server.note(found, kind .. measure[1], target.name, figures[measure[1]])
        end
      end)
    end
  end
  for _, target in ipairs(running) do
    target:stop()
  end
  for _, kind in ipairs(kinds) do
    for _, measure in ipairs(measures) do
      report.lines(("%s: %s"):format(kind, measure[2]), all, found[kind .. measure[1]])
    end
  end
end
