--- What a process does once its traffic has ceased: it collects what that has left over, and gives the memory back.
--- While there is traffic it does nothing at all; and who stays idle is woken up no more.
local clock = require "brood.clock"
local core = require "brood.core"
local fork = require "brood.fork"
local timer = require "brood.timer"

local M = {}

local QUIET = 0.3 -- seconds without a request
local MANY = 100 -- requests after which the heap may have been larger than it is
-- What a round costs grows with the heap, and somebody may come meanwhile: a larger heap is collected by steps. KiB.
local HEAP_MAX = 16 * 1024
local STEP, PAUSE = 0.002, 0.005 -- seconds that such a step takes at most, about, and between two
local ROUNDS = 3 -- of such steps
local SPARE = 128 -- so much, and a tenth of the heap, it may grow before it is worth another round

local count, seen = 0, 0 -- of what has been noted, and when it was quiet last
local watching = false
local watch
local settled = 0 -- KiB that were left by the last round

fork.on_child(function()
  watching = false
end)

-- To the end of a round, or until the time is over; whether it is the end.
local function step()
  local until_then = clock.now() + STEP
  repeat
    if collectgarbage("step", 0) then
      return true
    end
  until clock.now() >= until_then
  return false
end

-- The rest of the round that is under way, a whole one, and one for what was waiting for its finalizer; only while
-- nobody comes.
local function by_steps(rounds, before)
  timer.after(PAUSE, function()
    if count ~= before then
      watching = false
      return watch()
    elseif not collectgarbage "isrunning" then
      rounds = 0
    elseif step() then
      rounds = rounds - 1
    end
    if rounds > 0 then
      return by_steps(rounds, before)
    end
    watching = false
    settled = collectgarbage "count"
    core.release_memory()
  end):unref()
end

local function settle()
  local size = collectgarbage "count"
  local grown = size > settled * 1.1 + SPARE
  local many = count - seen >= MANY
  seen = count
  if grown and collectgarbage "isrunning" then
    if size >= HEAP_MAX then
      watching = true
      return by_steps(ROUNDS, count)
    end
    collectgarbage()
    collectgarbage() -- what was waiting for its finalizer
    settled = collectgarbage "count"
  end
  if grown or many then
    core.release_memory()
  end
end

function watch()
  local before = count
  watching = true
  timer.after(QUIET, function()
    watching = false
    if count ~= before then
      return watch()
    end
    settle()
  end):unref()
end

--- Somebody was served.
function M.note()
  count = count + 1
  if not watching then
    watch()
  end
end

return M
