--- What a process does once its traffic has ceased: it collects what that has left over, and gives the memory back.
--- While there is traffic it does nothing at all; and who stays idle is woken up no more.
local core = require "brood.core"
local fork = require "brood.fork"
local timer = require "brood.timer"

local M = {}

local QUIET = 0.3 -- seconds without a request
local MANY = 100 -- requests after which the heap may have been larger than it is
-- What a round costs grows with the heap, and somebody may come meanwhile. KiB.
local HEAP_MAX = 16 * 1024
local SPARE = 128 -- so much, and a tenth of the heap, it may grow before it is worth another round

local count, seen = 0, 0 -- of what has been noted, and when it was quiet last
local watching = false
local settled = 0 -- KiB that were left by the last round

fork.on_child(function()
  watching = false
end)

local function settle()
  local size = collectgarbage "count"
  local grown = size > settled * 1.1 + SPARE
  if grown and size < HEAP_MAX and collectgarbage "isrunning" then
    collectgarbage()
    collectgarbage() -- what was waiting for its finalizer
    settled = collectgarbage "count"
  end
  if grown or count - seen >= MANY then
    core.release_memory()
  end
  seen = count
end

local function watch()
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
