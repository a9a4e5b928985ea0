--- What becomes of the jobs of a pool: whether one is admitted, how those that wait are shared out
--- among the workers, and what follows an attempt that has failed. Pure: it holds no job, and
--- time is an argument. The order in which jobs wait is kept by the store.
local duration = require "brood.rules.duration"

local M = {}

-- The end of a job that was not to be run, or not to be run again: another attempt would be against somebody's will.
local FINAL = { abort = true, backlog = true }

--- Whether an attempt that has failed may be followed by another.
---@param err table what it failed with; `retry = false` in it forbids another
---@param attempt integer its number, from 1
---@param retries integer how many more there may be after the first
---@return boolean
function M.may_retry(err, attempt, retries)
  return attempt <= retries and not FINAL[err.code] and rawget(err, "retry") ~= false
end

--- The wait before the next attempt, from what `retry_delay` is or has returned: nil is none, false is "no more".
---@param value any
---@return number|false|nil seconds nil: it is no delay
---@return string? why not
function M.delay(value)
  if value == nil then
    return 0
  elseif value == false then
    return false
  end
  return duration.parse_duration(value)
end

--- When a job that is to wait so long is due; 0 is at once.
---@param now number
---@param seconds number
---@return number
function M.due(now, seconds)
  return seconds > 0 and now + seconds or 0
end

--- Whether one more job may come. Those that workers could take now do not count as a backlog.
---@param max_backlog integer|false|nil without it there is no limit
---@param waiting integer jobs that wait for a worker
---@param delayed integer jobs that wait for their time
---@param idle integer workers that are free, or could be started
---@return boolean
function M.admits(max_backlog, waiting, delayed, idle)
  if not max_backlog then
    return true
  end
  return math.max(0, waiting + 1 - idle) + delayed <= max_backlog
end

--- How many jobs one worker should have, so that all have the same: no job waits in one while another is
--- idle. Workers that could still be started are counted, because their part will be wanted.
---@param waiting integer jobs that wait for a worker
---@param outstanding integer jobs that workers have
---@param workers integer how many there are or could be
---@return integer at least 1
function M.level(waiting, outstanding, workers)
  return math.max(1, math.ceil((waiting + outstanding) / math.max(1, workers)))
end

--- How many a worker is given now.
---@param level integer
---@param outstanding integer what it has
---@param room integer how many more it may have
---@return integer
function M.share(level, outstanding, room)
  return math.max(0, math.min(room, level - outstanding))
end

--- Whether jobs that were given to a worker should be taken back from it, because another is idle.
---@param outstanding integer what it has
---@param running_for number seconds that it has worked on one of them
---@param patience number seconds after which the others would do better elsewhere
---@return boolean
function M.stalls(outstanding, running_for, patience)
  return outstanding >= 2 and running_for >= patience
end

--- Whether an ended job is still to be remembered.
---@param ended_at number
---@param ttl number|false
---@param now number
---@return boolean
function M.is_fresh(ended_at, ttl, now)
  return not ttl or now < ended_at + ttl
end

return M
