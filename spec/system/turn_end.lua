--- core.at_turn_end: once, before the loop waits again.
local lu = require "luaunit"
local s = require "spec.support"

local T = {}

local HEAD = [[
  local core, uv, posix = require "brood.core", require "luv", require "brood.posix"
]]

T["what is asked for runs after the turn's callbacks, in order and once, though the loop has nothing else"] = function()
  local program = s.script(HEAD .. [[
    local t = uv.new_timer()
    t:start(1, 0, function()
      t:close()
      core.at_turn_end(function() print "first" end)
      core.at_turn_end(function() print "second" end)
      print "callback"
    end)
    print "script"
  ]])
  lu.assertEquals(program:finish().stdout, "script\ncallback\nfirst\nsecond\n")
end

T["asked for again inside, it is the next turn's, which does not wait"] = function()
  local program = s.script(HEAD .. [[
    local long = uv.new_timer()
    long:start(60000, 0, function() print "too late" end)
    local n = 0
    local function again()
      n = n + 1
      print(n)
      if n < 3 then core.at_turn_end(again) else long:close() end
    end
    core.at_turn_end(again)
  ]])
  lu.assertEquals(program:finish().stdout, "1\n2\n3\n")
end

T["an error is logged and does not keep the next one from running"] = function()
  local program = s.script(HEAD .. [[
    core.at_turn_end(function() error "broken" end)
    core.at_turn_end(function() print "next" end)
  ]])
  local result = program:finish()
  lu.assertEquals(result.stdout, "next\n")
  lu.assertStrContains(result.stderr, "broken")
  lu.assertEquals(result.code, 1)
end

T["what the parent of a fork asked for is not done by its child"] = function()
  local program = s.script(HEAD .. [[
    core.at_turn_end(function() print "parent" end)
    local pid = core.fork_main({}, function()
      core.at_turn_end(function() print "child" end)
    end)
    posix.waitpid(pid)
  ]])
  lu.assertEquals(program:finish().stdout, "child\nparent\n")
end

T["what is no function raises"] = function()
  lu.assertErrorMsgContains("function expected", require("brood.core").at_turn_end, 1)
end

return T
