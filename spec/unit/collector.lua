--- How much garbage a worker may have: little, and more while the rounds of its collector come one upon the other.
local lu = require "luaunit"
local clock = require "brood.clock"
local collector = require "brood.collector"

-- The pause that is set, left as it was.
local function pause()
  local found = collectgarbage("setpause", 200)
  collectgarbage("setpause", found)
  return found
end

local function rounds(n, seconds)
  for _ = 1, n do
    clock.seconds = clock.seconds + seconds
    collectgarbage()
  end
end

-- In a worker with a clock of ours; afterwards all is as it was.
local function in_worker(fn)
  local now, before = clock.now, pause()
  clock.seconds = 1000
  clock.now = function()
    return clock.seconds
  end
  collector.tune()
  local ok, err = pcall(fn)
  collectgarbage("setpause", 123)
  rounds(2, 0) -- sees that somebody else has set a pause, and ends
  collectgarbage("setpause", before)
  clock.now, clock.seconds = now, nil
  if not ok then
    error(err, 0)
  end
end

local T = {}

function T.test_little_garbage_is_kept_while_there_is_little_to_do()
  in_worker(function()
    lu.assertEquals(pause(), 150)
    rounds(30, 5)
    lu.assertEquals(pause(), 150)
    rounds(12, 0.05)
    lu.assertEquals(pause(), 150)
  end)
end

function T.test_a_small_heap_is_given_more_garbage_under_load_until_the_load_is_over()
  in_worker(function()
    rounds(20, 0.05)
    local most = 100 + 100 * 4096 / collectgarbage "count"
    lu.assertAlmostEquals(pause(), math.max(150, math.min(400, most)), 20)
    lu.assertTrue(pause() > 150)
    rounds(20, 0.05 * (pause() - 100) / 50) -- the same load, with the rounds further apart
    lu.assertTrue(pause() > 150)
    rounds(1, 10)
    lu.assertEquals(pause(), 150)
  end)
end

function T.test_a_heap_that_is_large_gets_no_more_under_load()
  in_worker(function()
    local large = {}
    for i = 1, 400000 do
      large[i] = {}
    end
    rounds(20, 0.05)
    lu.assertEquals(pause(), 150)
    lu.assertEquals(#large, 400000)
  end)
end

function T.test_a_pause_that_the_app_sets_stays()
  in_worker(function()
    collectgarbage("setpause", 300)
    rounds(30, 0.05)
    lu.assertEquals(pause(), 300)
  end)
end

return T
