--- Jobs under workers that are killed, stopped, and leave at any moment, and aborts by chance: every job ends exactly
--- once, no attempt begins twice, the counts add up, and nothing is left.
---   BROOD_CHAOS=20000x20   so many jobs, with so many seeds (default 2000x2)
---   BROOD_SEED=N           the first seed (default 1); it is part of every failure's text
-- time limit: 120 s
local log_to = require "spec.support.log_to"
local lu = require "luaunit"
local chaos = require "spec.support.chaos"
local s = require "spec.support"

local jobs, seeds = (os.getenv "BROOD_CHAOS" or "2000x2"):match "^(%d+)x(%d+)$"
jobs, seeds = tonumber(jobs) or 2000, tonumber(seeds) or 2
local first = tonumber(os.getenv "BROOD_SEED") or 1

-- The log tells of every end; a spec has no use for hundreds of them.
local function quietly(fn)
  log_to(function(level, text, write)
    if level == "error" and not text:find "failed" and not text:find "worker %d" then
      write(level, text)
    end
  end, fn)
end

local function survive(seed, count, options, ...)
  local fds, children = s.fds(), s.children()
  local seconds, run = s.timed(chaos.run, seed, count, options, ...)
  local faults = chaos.faults(run)
  if os.getenv "BROOD_CHAOS" then
    local o = run.options
    print(("seed %d: %d jobs in %.1f s: %d succeeded, %d failed, %d aborted, %d retried; %d kills, %d stops; "
      .. "%d processes, prefetch %d, %d jobs each"):format(seed, count, seconds, run.succeeded, run.failed,
      run.ended_by_abort, run.retried, run.kills, run.stops, o.max_processes, o.prefetch, o.max_jobs_per_process))
  end
  if #faults > 0 then
    local shown = table.concat(faults, "\n  ", 1, math.min(#faults, 20))
    error(("seed %d: %d faults:\n  %s"):format(seed, #faults, shown), 0)
  end
  lu.assertEquals(s.children(), children, "seed " .. seed)
  run.pool = nil
  collectgarbage()
  collectgarbage()
  lu.assertEquals(s.fds(), fds, "seed " .. seed)
end

return {
  ["whatever dies when, every job ends exactly once"] = function()
    quietly(function()
      survive(first, 50) -- what stays for good is opened
      for seed = first, first + seeds - 1 do
        survive(seed, jobs)
      end
    end)
  end,

  ["the same with workers that are programs"] = function()
    quietly(function()
      for seed = first, first + (os.getenv "BROOD_CHAOS" and seeds or 1) - 1 do
        survive(seed, math.min(jobs, 300), { timeout_working = 2 * s.slow }, chaos.program, 10)
      end
    end)
  end,
}
