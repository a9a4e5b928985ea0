--- Requests per second, the slowest hundredth and the server's cpu per request, with two workers: connections that are
--- kept, and one for each request. The client shares the machine's cpus, so the figures compare and no more.
local Process = require "brood.process"
local report = require "spec.bench.lib.report"
local server = require "spec.bench.lib.server"

local ROUNDS, SECONDS, CONNECTIONS = 5, 2, 64
local milliseconds = { us = 1e-3, ms = 1, s = 1e3 }

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

local function add(into, figures)
  for name, value in pairs(figures) do
    into[name] = into[name] or {}
    table.insert(into[name], value)
  end
end

local function lines(kind, ours, theirs, why)
  report.line(kind .. ": requests/s", ours.rate, "nginx", theirs.rate, why)
  report.line(kind .. ": 99% of answers within ms", ours.slow, "nginx", theirs.slow, why)
  report.line(kind .. ": us of server cpu per request", ours.cpu, "nginx", theirs.cpu, why)
end

return function()
  if not server.find "wrk" then
    return report.note "http: wrk is not installed"
  end
  local ours, theirs, why = server.pair(2)
  local targets = { ours, theirs }
  local kept, short = { {}, {} }, { {}, {} }
  for round = 0, ROUNDS do
    for _, results in ipairs { kept, short } do
      for turn = 1, #targets do
        local i = (turn + round) % #targets + 1 -- whoever was first is second now
        local figures = wrk(targets[i], results == short, round == 0 and 1 or SECONDS)
        if round > 0 then -- the first is to warm up
          add(results[i], figures)
        end
      end
    end
  end
  ours:stop()
  if theirs then
    theirs:stop()
  end
  lines("http, kept connections", kept[1], kept[2], why)
  lines("http, a connection each", short[1], short[2], why)
end
