--- Workers whose event loop does not turn: found by looking at the scoreboard now and
--- then, warned about at half their cluster's `timeout`, and killed at its end. One timer
--- looks after all clusters. A worker does nothing for it, and an idle one is not woken: who
--- waits in its loop sleeps, and only one that does not is asked over its channel. How a
--- killed one is replaced is the group's business.
local clock = require "brood.clock"
local files = require "brood.files"
local fork = require "brood.fork"
local log = require "brood.log"
local running_request = require("brood.cluster.request").running
local timer = require "brood.timer"

local M = {}

local LOOKS = 4 -- in the time of one timeout
local SHORTEST = 0.01 -- seconds between two looks

---@class brood.Watch
---@field cluster brood.Cluster
---@field due number when to look next, monotonic seconds

---@type table<brood.Cluster, brood.Watch>
local watched = {}
local waiting -- the timer

fork.on_child(function()
  watched, waiting = {}, nil
end)

local now = clock.now

-- ---- one worker -----------------------------------------------------------------------------------------------------

-- What the kernel says it does: S sleeps, R runs, D waits for a device, T is stopped; nil once it is gone.
local function kernel_state(pid)
  local text = files.read(("/proc/%d/stat"):format(pid))
  return text and text:match("%) (%a)")
end

-- One that waits in its loop sleeps. Any other is asked whether it is still there.
local function silent_since(member)
  local state = kernel_state(member.process.pid)
  if state ~= "R" and state ~= "D" and state ~= "T" and state ~= "t" then
    member.asked = nil
    return nil
  end
  if not member.asked then
    member.asked = now()
    member.process:ping(function()
      member.asked = nil
    end)
  end
  return member.asked, (state == "T" or state == "t") and "it is stopped by a signal" or "it does not answer"
end

-- Its standstill, if there is one: since when, and what was known of it before. The same one is the same table.
local function standstill(member)
  local since, what = member.counters("turn_started") / 1e9, nil
  if since == 0 then
    since, what = silent_since(member)
  end
  local found = member.standstill
  if not since then
    found = nil
  elseif not found or found.since ~= since then
    found = { since = since, what = what, excused = 0 }
  end
  member.standstill = found
  return found
end

local function what_it_does(member, found)
  if found.what then
    return found.what
  end
  local request = running_request(member)
  return "its event loop does not turn" .. (request and ", in " .. request or "")
end

local function tell(cluster, member, level, text, found)
  log[level](("%s: worker %d (pid %d) has been stuck for %.1f s (%s): %s"):format(cluster.name, member.id,
    member.process.pid, now() - found.since - found.excused, what_it_does(member, found), text))
end

local function kill(cluster, member, found, timeout)
  tell(cluster, member, "error", ("timeout is %g s: KILL"):format(timeout), found)
  member.cause = "timeout"
  member.process:kill_now()
end

-- Judge one worker; the time until it must be looked at again, if it is stuck.
local function judge(cluster, member, timeout)
  local found = standstill(member)
  if not found or found.killed then
    return nil
  end
  local left = timeout - (now() - found.since - found.excused)
  if left <= 0 then
    found.killed = true
    kill(cluster, member, found, timeout)
    return nil
  end
  if left > timeout / 2 then
    return left - timeout / 2
  end
  if not found.warned then
    found.warned = true
    tell(cluster, member, "warn", ("it is killed at %g s"):format(timeout), found)
  end
  return left
end

-- ---- all of them ----------------------------------------------------------------------------------------------------

-- One that starts has start_timeout; one that stops is stuck as any other.
local function each(cluster, fn)
  for _, member in pairs(cluster.group.members) do
    if member.ready_at and member.counters and member.process.pid then
      fn(member)
    end
  end
end

-- We come late because we stood still, and the workers perhaps with us: that time does not count, and nobody is
-- judged in this round.
local function excuse(cluster, late)
  each(cluster, function(member)
    local found = standstill(member)
    if found then
      found.excused = found.excused + math.min(late, now() - found.since)
    end
  end)
end

local function look(watch)
  local timeout = watch.cluster.options.timeout
  local wait = timeout / LOOKS
  local late = now() - watch.due
  if late > wait / 2 then
    excuse(watch.cluster, late)
  else
    each(watch.cluster, function(member)
      wait = math.min(wait, judge(watch.cluster, member, timeout) or wait)
    end)
  end
  watch.due = now() + math.max(wait, SHORTEST)
end

local arm

local function look_at_all()
  waiting = nil
  for _, watch in pairs(watched) do
    if watch.due <= now() + SHORTEST then
      look(watch)
    end
  end
  arm()
end

function arm()
  if waiting then
    waiting:cancel()
    waiting = nil
  end
  local due
  for _, watch in pairs(watched) do
    due = math.min(due or watch.due, watch.due)
  end
  if due then
    waiting = timer.after(due - now(), look_at_all):unref()
  end
end

--- Watch a cluster's workers from now on, if it has a timeout.
---@param cluster brood.Cluster
function M.add(cluster)
  local timeout = cluster.options.timeout
  if timeout and not watched[cluster] then
    watched[cluster] = { cluster = cluster, due = now() + timeout / LOOKS }
    arm()
  end
end

--- No longer.
---@param cluster brood.Cluster
function M.remove(cluster)
  if watched[cluster] then
    watched[cluster] = nil
    arm()
  end
end

return M
