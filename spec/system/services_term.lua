--- How long services have when their master gets TERM: never longer than they say themselves.
local lu = require "luaunit"
local s = require "spec.support"
local services = require "spec.support.services"

return {
  ["TERM gives a service its own stop_timeout where that is shorter, and the log names which it was"] = function()
    local master = services.start([[services = {
      short = { command = deaf "short", stop_timeout = 0.2 },
    }]]):started()
    master:begun "short"
    local code, seconds = master:over "TERM"
    lu.assertEquals(code, 0)
    lu.assertTrue(seconds < 1.5 * s.slow, tostring(seconds))
    lu.assertStrContains(master:log(), "s after TERM (stop_timeout is 0.2 s)")
  end,

  ["what a quick stop has cut short is not called its stop_timeout"] = function()
    local master = services.start([[services = {
      long = { command = deaf "long", stop_timeout = 60 },
    }]]):started()
    master:begun "long"
    lu.assertEquals((master:over "TERM"), 0)
    lu.assertStrContains(master:log(), "s after TERM (a quick stop)")
  end,
}
