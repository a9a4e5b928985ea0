--- A pool whose jobs are over at once waits awake for the next answer; once there is nothing to wait for, it sleeps.
local lu = require "luaunit"
local brood = require "brood"
local pools = require "spec.support.pool"
local uv = require "luv"

local IDLE = 0.5 -- seconds
local AT_MOST = 0.1 -- of one processor

-- Seconds of processor time that a process has had.
local function cpu(pid)
  local file = assert(io.open(("/proc/%d/stat"):format(pid)))
  local user, system = file:read("*a"):match "%) %S+ %S+ %S+ %S+ %S+ %S+ %S+ %S+ %S+ %S+ %S+ (%d+) (%d+)"
  file:close()
  return (user + system) / 100
end

return {
  teardown = pools.cleanup,

  ["a pool that has done many quick jobs, and its worker, use no processor once there are no more"] = function()
    local pool = pools.new(function() return require("luv").os_getpid() end, { max_jobs_per_process = false })
    local worker
    for _ = 1, 2000 do
      worker = pool:run(1)
    end
    local pids, before = { uv.os_getpid(), worker }, {}
    for i, pid in ipairs(pids) do
      before[i] = cpu(pid)
    end
    brood.sleep(IDLE) -- what is measured is what happens in it
    for i, pid in ipairs(pids) do
      lu.assertTrue(cpu(pid) - before[i] <= IDLE * AT_MOST, i == 1 and "the pool" or "the worker")
    end
  end,

  ["a job that lasts costs the pool no processor time while it waits for it"] = function()
    local pool = pools.new(function(_, seconds) require("brood").sleep(seconds) end, {
      max_jobs_per_process = false, options = IDLE,
    })
    for _ = 1, 3 do
      local before = cpu(uv.os_getpid())
      pool:run(1)
      lu.assertTrue(cpu(uv.os_getpid()) - before <= IDLE * AT_MOST)
    end
  end,
}
