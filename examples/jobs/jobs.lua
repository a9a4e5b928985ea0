#!/usr/bin/env -S brood exec
-- Twelve jobs on three workers, with a bar for each; every third fails at its first attempt, one for good.
--   brood exec jobs.lua [lua|python|node] [SIZE]         Ctrl-C aborts what has not ended
local brood = require "brood"
local Pool = require "brood.pool"
local uv = require "luv"

local here = arg[0]:match("^(.*)/[^/]*$") or "."
local workers = {
  lua = here .. "/worker.lua",
  python = { command = { "python3", here .. "/worker.py" } },
  node = { command = { "node", here .. "/worker.js" } },
}
local worker = workers[arg[1] or "lua"]
if not worker then
  io.stderr:write "usage: brood exec jobs.lua [lua|python|node] [SIZE]\n"
  os.exit(2)
end
local size = tonumber(arg[2]) or 2000000

local pool = Pool.new {
  worker = worker,
  max_processes = 3,
  retries = 2,
  retry_delay = function(attempt) return 0.2 * attempt end,
  timeout_working = "1m",
}

-- ---- what is seen: bars that are drawn over on a terminal, a line for each end elsewhere ----

local WIDTH, REDRAW = 30, 0.05
local terminal = uv.guess_handle(1) == "tty"
local rows, drawn = {}, 0

local function bar(row)
  local full = math.floor(row.share * WIDTH + 0.5)
  return ("%-7s [%s%s] %s"):format(row.name, ("#"):rep(full), ("."):rep(WIDTH - full), row.text)
end

local function draw()
  if terminal and #rows > 0 then
    local lines = { drawn > 0 and ("\27[%dA"):format(drawn) or "" }
    for i, row in ipairs(rows) do
      lines[i + 1] = "\27[2K" .. bar(row) .. "\n"
    end
    drawn = #rows
    io.write(table.concat(lines))
    io.flush()
  end
end

local function show(row, text, share)
  row.text, row.share = text, share or row.share
end

local function ended(row, text, share)
  show(row, text, share)
  if not terminal then
    print(("%-7s %s"):format(row.name, text))
  end
end

-- ---- the jobs ----

local function watch(row, job)
  job:on("start", function() show(row, "attempt " .. job.attempt, 0) end)
  job:on("progress", function(share) show(row, ("%3d %%"):format(share * 100), share) end)
  job:on("retry", function(err) ended(row, "again: " .. err.message) end)
  job:on("abort", function() ended(row, "aborted") end)
  job:on("failure", function(err) ended(row, "failed: " .. err.message) end)
  job:on("success", function(primes)
    ended(row, ("%d primes below %d, attempt %d"):format(primes, row.below, job.attempt), 1)
  end)
end

local jobs = {}
for i = 1, 12 do
  local below = math.ceil(size * (13 - i) / 12)
  local row = { name = "job " .. i, share = 0, text = "waits", below = below }
  rows[i] = row
  jobs[i] = pool:enqueue { below = below, fail = i == 12 and 9 or i % 3 == 0 and 1 or 0 }
  watch(row, jobs[i])
end

-- The first Ctrl-C aborts, a second one ends it at once.
local aborted = false
local interrupt = uv.new_signal()
interrupt:start("sigint", function()
  if aborted then
    os.exit(130)
  end
  aborted = true
  for _, job in ipairs(jobs) do
    job:abort()
  end
end)
interrupt:unref()

local redraw = uv.new_timer()
redraw:start(0, REDRAW * 1000, draw)

pool:drain() -- returns when every job has ended, however it did
redraw:close()
draw()
local stats = pool:stats()
print(("%d jobs ended, %d failed, %d retried"):format(stats.jobs, stats.failed, stats.retried))
pool:exit()
brood.log.debug("the pool has ended")
os.exit(aborted and 130 or 0)
