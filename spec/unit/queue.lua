--- What becomes of a pool's jobs, as a pure policy: retries, delays, admission, shares.
local lu = require "luaunit"
local queue = require "brood.rules.queue"

local function err(fields)
  local e = { message = "no", code = "error" }
  for key, value in pairs(fields or {}) do
    e[key] = value
  end
  return e
end

return {
  ["there are as many attempts as retries, and one"] = function()
    local attempts = 1
    while queue.may_retry(err(), attempts, 3) do
      attempts = attempts + 1
    end
    lu.assertEquals(attempts, 4)
    lu.assertFalse(queue.may_retry(err(), 1, 0))
  end,

  ["an error with retry = false ends it, one with another retry does not"] = function()
    lu.assertFalse(queue.may_retry(err { retry = false }, 1, 9))
    lu.assertTrue(queue.may_retry(err { retry = true }, 1, 9))
    lu.assertTrue(queue.may_retry(err { retry = 0 }, 1, 9))
  end,

  ["an aborted job and one beyond the backlog are never tried again, whatever else may be"] = function()
    lu.assertFalse(queue.may_retry(err { code = "abort" }, 1, 9))
    lu.assertFalse(queue.may_retry(err { code = "backlog" }, 1, 9))
    for _, code in ipairs { "exit", "timeout", "error", "type", "EIO" } do
      lu.assertTrue(queue.may_retry(err { code = code }, 1, 9), code)
    end
  end,

  ["a delay is a duration; nil is none, false is the end, anything else no delay"] = function()
    lu.assertEquals(queue.delay(nil), 0)
    lu.assertEquals(queue.delay(1.5), 1.5)
    lu.assertEquals(queue.delay("250ms"), 0.25)
    lu.assertIs(queue.delay(false), false)
    for _, wrong in ipairs { "soon", -1, true, {}, 0 / 0, math.huge } do
      local seconds, why = queue.delay(wrong)
      lu.assertNil(seconds)
      lu.assertIsString(why)
    end
  end,

  ["a job without a delay is due at once, which is not a time"] = function()
    lu.assertEquals(queue.due(1000, 0), 0)
    lu.assertEquals(queue.due(1000, 0.5), 1000.5)
  end,

  ["without max_backlog every job is admitted"] = function()
    lu.assertTrue(queue.admits(nil, 1e9, 1e9, 0))
    lu.assertTrue(queue.admits(false, 1e9, 1e9, 0))
  end,

  ["a backlog is what workers that are idle could not take"] = function()
    lu.assertTrue(queue.admits(0, 0, 0, 2))
    lu.assertTrue(queue.admits(0, 1, 0, 2))
    lu.assertFalse(queue.admits(0, 2, 0, 2))
    lu.assertTrue(queue.admits(3, 2, 0, 0))
    lu.assertFalse(queue.admits(3, 3, 0, 0))
    lu.assertFalse(queue.admits(0, 0, 0, 0))
  end,

  ["delayed jobs are part of the backlog, and no idle worker takes them"] = function()
    lu.assertTrue(queue.admits(2, 0, 2, 5))
    lu.assertFalse(queue.admits(2, 0, 3, 5))
    lu.assertFalse(queue.admits(2, 5, 2, 5))
  end,

  ["all workers get the same: nobody has more than one job while another has none"] = function()
    math.randomseed(7)
    for _ = 1, 2000 do
      local n, prefetch = math.random(1, 8), math.random(1, 64)
      local waiting, has, total = math.random(0, 300), {}, 0
      for i = 1, n do
        has[i] = math.random(0, prefetch)
        total = total + has[i]
      end
      local level, left = queue.level(waiting, total, n), waiting
      table.sort(has)
      for i = 1, n do
        local share = math.min(left, queue.share(level, has[i], prefetch - has[i]))
        lu.assertTrue(share >= 0 and has[i] + share <= prefetch)
        has[i], left = has[i] + share, left - share
      end
      table.sort(has)
      -- What is left over has no place, or the places left are of those who have their part.
      for i = 1, n do
        lu.assertTrue(left == 0 or has[i] >= math.min(level, prefetch), "one is idle while jobs wait")
      end
    end
  end,

  ["a worker that could still be started is left its part"] = function()
    lu.assertEquals(queue.level(4, 0, 4), 1)
    lu.assertEquals(queue.level(40, 0, 4), 10)
    lu.assertEquals(queue.level(0, 0, 4), 1)
    lu.assertEquals(queue.level(1, 2, 0), 3)
  end,

  ["jobs are taken back from a worker that has more than it can begin, after a while"] = function()
    lu.assertFalse(queue.stalls(1, 100, 0.01))
    lu.assertFalse(queue.stalls(2, 0.005, 0.01))
    lu.assertTrue(queue.stalls(2, 0.01, 0.01))
  end,

  ["an ended job is remembered for its time, or for ever"] = function()
    lu.assertTrue(queue.is_fresh(100, 60, 159.9))
    lu.assertFalse(queue.is_fresh(100, 60, 160))
    lu.assertTrue(queue.is_fresh(100, false, 1e12))
    lu.assertFalse(queue.is_fresh(100, 0, 100))
  end,
}
