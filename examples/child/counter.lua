-- A child that adds up what it is sent. By itself (brood exec counter.lua) it waits for TERM or Ctrl-C.
local Child = require "brood.child"
local parent = require("brood").worker -- nil where there is none

local total = 0

Child.main("counter", function(done)
  if parent then
    parent:on("message", function(message)
      total = total + message.add
      parent:send { total = total }
    end)
  end
  done() -- ready; done(err) would be the error of the parent's start
end, function(done)
  if total == 42 then
    return done { message = "42 is too good to be forgotten", code = "EKEEP", count = total }
  end
  done()
end)
