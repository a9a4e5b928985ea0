--- How the pools of a master end: they do what they were given, while there is time, and what is left then fails. When
--- they are told to is the master's business, and what becomes of a job the pool's.
local clock = require "brood.clock"
local count = require "brood.rules.count"
local join = require "brood.join"
local log = require "brood.log"
local timer = require "brood.timer"

local M = {}

local LOOK = 0.1 -- seconds between two looks whether it still makes sense to wait
local PATIENCE = 5 -- seconds that workers without a job have for their end

-- What has not ended when nobody waits any more.
local function end_rest(pool, done)
  local rest = pool.live
  if rest > 0 then
    local waiting, delayed = pool.store:counts()
    waiting = waiting + delayed
    log.warn(('%s: %s that had not ended %s with "exit": %d still waited, %d ran'):format(pool.name,
      count(rest, "job"), rest == 1 and "ends" or "end", waiting, math.max(0, rest - waiting)))
    pool.end_told = true
  end
  pool:exit(done)
end

-- Its workers have nothing left to do, and end in their own time.
local function stop_empty(pool, seconds, done)
  local finish = timer.limit(math.max(0.001, math.min(seconds, PATIENCE)), function()
    pool:exit(done)
  end, function()
    done()
  end)
  pool.crew:stop(function()
    finish()
  end)
end

-- Whether all that is left is to begin when nobody waits any more.
local function is_too_late(pool, deadline)
  local waiting, delayed = pool.store:counts()
  return waiting == 0 and delayed > 0 and delayed == pool.live and pool.next_due and pool.next_due > deadline
end

-- Wait until no pool has anything to do: one may still give another one jobs.
local function drain_all(self, list, deadline, done)
  local function settled()
    for _, pool in ipairs(list) do
      if pool.live > 0 and not is_too_late(pool, deadline) then
        return false
      end
    end
    return true
  end
  local ticker
  local function look()
    if self.quick or clock.now() >= deadline or settled() then
      ticker:cancel()
      self.cut = nil
      done()
    end
  end
  ticker = timer.every(LOOK, look)
  self.cut = look
  local waiting = join.new(function()
    if self.cut == look then
      look()
    end
  end)
  for _, pool in ipairs(list) do
    pool:drain(waiting:branch())
  end
  waiting.all_begun()
end

local function end_all(self, list, deadline, done)
  local all = join.new(done)
  for _, pool in ipairs(list) do
    local over = all:branch()
    local function gone()
      self:gone(pool)
      over()
    end
    if pool.live == 0 and not self.quick then
      stop_empty(pool, deadline - clock.now(), gone)
    else
      end_rest(pool, gone)
    end
  end
  all.all_begun()
end

--- End pools: what is enqueued is still done until then, what is left fails with "exit".
---@param self brood.MasterPools
---@param list brood.Pool[]
---@param deadline number monotonic seconds
---@param done fun() nothing is left
function M.stop(self, list, deadline, done)
  if self.quick then
    return end_all(self, list, deadline, done)
  end
  drain_all(self, list, deadline, function()
    end_all(self, list, deadline, done)
  end)
end

--- End them now, whatever they are doing: whoever waits for their end waits no longer.
---@param self brood.MasterPools
---@param list brood.Pool[]
function M.hurry(self, list)
  self.quick = true
  if self.cut then
    return self.cut()
  end
  for _, pool in ipairs(list) do
    end_rest(pool, function() end)
  end
end

return M
