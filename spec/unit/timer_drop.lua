--- timer.drop: a timer that stands in a field, or does not.
local lu = require "luaunit"
local s = require "spec.support"
local timer = require "brood.timer"

return {
  ["the timer of a field is cancelled and forgotten, and where none stands nothing happens"] = function()
    local cancelled, owner = 0, {}
    owner.wait = {
      cancel = function()
        cancelled = cancelled + 1
        lu.assertNotNil(owner.wait) -- it is there until it is over
      end,
    }
    timer.drop(owner, "wait")
    lu.assertEquals({ cancelled, owner.wait }, { 1 })
    timer.drop(owner, "wait")
    lu.assertEquals(cancelled, 1)
  end,

  ["a real timer does not fire any more"] = function()
    local owner, fired, later = {}, false, false
    owner.wait = timer.after(0, function()
      fired = true
    end)
    timer.drop(owner, "wait")
    timer.after(0, function()
      later = true
    end)
    s.wait(function()
      return later
    end)
    lu.assertFalse(fired)
  end,
}
