--- How much garbage a worker may have before its collector begins a new round.
---
--- An idle worker keeps the most that it ever used, so it is little. But each round looks at all that lives, and under
--- load one follows upon the other: a small heap is then given more. Of apps that were preloaded see cluster.preload.
local clock = require "brood.clock"

local M = {}

local PAUSE = 150 -- percent of the live heap at which a round begins
local BUSY = 400 -- the same under load,
local MOST = 4096 -- but no more garbage than so many KiB
local SOON = 0.25 -- seconds after the one before, and more where there is more garbage: such a round is one of many
local MANY = 15 -- where so many have followed like that

local function pause_for(rounds, rest)
  if rounds < MANY then
    return rest
  end
  local most = math.floor(100 + 100 * MOST / collectgarbage "count")
  return math.max(rest, math.min(BUSY, most))
end

--- Call fn at the end of each round, until it returns true: by a piece of garbage that tells of it.
---@param fn fun(): boolean?
function M.at_each_round(fn)
  local sentinel = newproxy(true)
  getmetatable(sentinel).__gc = function()
    if not fn() then
      M.at_each_round(fn)
    end
  end
end

local tuned = false -- and so in the children of a fork, for which all of it goes on

--- An app that sets a pause itself has its way from then on.
---@param rest? integer the pause while there is little to do: PAUSE
function M.tune(rest)
  tuned, rest = true, rest or PAUSE
  local pause, rounds, last = rest, 0, clock.now()
  collectgarbage("setpause", pause)
  M.at_each_round(function()
    local now = clock.now()
    local soon = SOON * (pause - 100) / (PAUSE - 100)
    rounds = now - last < soon and rounds + 1 or 0
    last = now
    local wanted = pause_for(rounds, rest)
    local found = collectgarbage("setpause", wanted)
    if found ~= pause then
      collectgarbage("setpause", found)
      return true
    end
    pause = wanted
  end)
end

--- The same for a process that has a pool: while there is little to do the pause stays what it is.
function M.ease()
  if not tuned then
    local pause = collectgarbage("setpause", PAUSE)
    M.tune(pause > 100 and pause or PAUSE)
  end
end

return M
