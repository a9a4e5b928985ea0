--- Memory of master and worker after some requests, and how often they wake up while nothing happens.
local brood = require "brood"
local http = require "brood.http"
local report = require "spec.bench.lib.report"
local server = require "spec.bench.lib.server"

local ROUNDS, REQUESTS = 3, 2000
local SETTLE = 1
-- Once the last timeout of a connection has passed; then as often as one process wakes up in UNIT.
local QUIET, IDLE, UNIT = 12, 45, 15

local function ask(target)
  local url = ("http://127.0.0.1:%d/"):format(target.port)
  for _ = 1, REQUESTS do
    assert(http.get(url))
  end
end

local function measure(found, target)
  local workers, sum = target:workers(), 0
  for _, pid in ipairs(workers) do
    sum = sum + server.pss(pid)
  end
  local master = server.pss(target.process.pid)
  server.note(found, "worker", target.name, sum / #workers)
  server.note(found, "master", target.name, master)
  server.note(found, "total", target.name, master + sum)
end

-- The most that one of its processes woke up.
local function sleep_through(found, running)
  local before = {}
  brood.sleep(QUIET)
  for _, target in ipairs(running) do
    before[target] = target:sleeps()
  end
  brood.sleep(IDLE)
  for _, target in ipairs(running) do
    local most, after = 0, target:sleeps()
    for i, count in ipairs(after) do
      most = math.max(most, count - before[target][i])
    end
    server.note(found, "awake", target.name, most * UNIT / IDLE)
  end
end

return function()
  local found, all = {}, nil
  for round = 1, ROUNDS do
    local running
    all, running = server.all(2, "timeout = 60")
    for _, target in ipairs(running) do
      ask(target)
    end
    brood.sleep(SETTLE)
    for _, target in ipairs(running) do
      measure(found, target)
    end
    if round == ROUNDS then
      sleep_through(found, running)
    end
    for _, target in ipairs(running) do
      target:stop()
    end
  end
  report.lines("memory of an idle worker (PSS), KiB", all, found.worker)
  report.lines("memory of the master (PSS), KiB", all, found.master)
  report.lines("memory of master and 2 workers (PSS), KiB", all, found.total)
  report.lines(("most wake-ups of one process in %d idle s"):format(UNIT), all, found.awake)
end
