--- Memory of master and worker after some requests, and how often they wake up while nothing happens.
local brood = require "brood"
local http = require "brood.http"
local report = require "spec.bench.lib.report"
local server = require "spec.bench.lib.server"

local REQUESTS, IDLE = 400, 15
local SETTLE = 1

local function ask(target)
  local url = ("http://127.0.0.1:%d/"):format(target.port)
  for _ = 1, REQUESTS do
    assert(http.get(url))
  end
end

local function measure(target)
  local workers, sum = target:workers(), 0
  for _, pid in ipairs(workers) do
    sum = sum + server.pss(pid)
  end
  local master = server.pss(target.process.pid)
  return { master = { master }, worker = { sum / #workers }, total = { master + sum } }
end

return function()
  local ours, theirs, why = server.pair(2)
  local found, awake = { {}, {} }, {}
  for i, target in ipairs { ours, theirs } do
    ask(target)
    brood.sleep(SETTLE)
    found[i] = measure(target)
  end
  for i, target in ipairs { ours, theirs } do
    awake[i] = target:sleeps()
  end
  brood.sleep(IDLE)
  for i, target in ipairs { ours, theirs } do
    found[i].awake = { target:sleeps() - awake[i] }
    target:stop()
  end
  report.line("memory of an idle worker (PSS), KiB", found[1].worker, "nginx", found[2].worker, why)
  report.line("memory of the master (PSS), KiB", found[1].master, "nginx", found[2].master, why)
  report.line("memory of master and 2 workers (PSS), KiB", found[1].total, "nginx", found[2].total, why)
  report.line(("wake-ups of all three in %d idle s"):format(IDLE), found[1].awake, "nginx", found[2].awake, why)
end
