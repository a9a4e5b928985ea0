--- Where a mistake was made that a tail call hides (brood.blame): the lines that could have made the call, and a
--- message that begins with them.
local blame = require "brood.blame"
local lu = require "luaunit"

local T = {}

-- The lines of the tail calls of `finish` in a function of this text.
local function lines(text)
  return blame.lines(assert(loadstring(text, "@user.lua"))(), "finish")
end

-- As the runtime calls a handler: in protection, with a response of ours whose method refuses what it gets.
local OURS = [[
local function other() end
local fn, on_raise = ...
local res = {}
function res:finish() error("res:finish: the body is wrong") end
function res:plain() error("res:plain: no place at all", 0) end
local _, message = xpcall(fn, on_raise, res)
return message, other]]

local function said(text)
  local fn = assert(loadstring(text, "@user.lua"))()
  return (assert(loadstring(OURS, "@lua/brood/ours.lua"))(fn, function(value)
    return blame.place(value, 2)
  end))
end

T["the lines are those of tail calls of the method, and of nothing else"] = function()
  lu.assertEquals(lines [[
return function(res, other)
  if res.a then
    return res:finish(1)
  elseif res.b then
    return other.finish(res)
  elseif res.c then
    return res:write(3)
  end
  local x = res:finish(4)
  return (res:finish(x))
end]], { 3, 5 })
end

T["with any number of arguments, and where the function has closures"] = function()
  lu.assertEquals(lines [[
return function(res, ...)
  local function later() return res end
  if later() then
    return res:finish(...)
  end
  return res:write(later)
end]], { 4 })
end

T["and where a closure follows, for which the call stands at the end of the function"] = function()
  lu.assertEquals(lines [[
return function(res)
  if res.x then
    return res:finish(1)
  end
  local y = res.z
  return function() return y, res end
end]], { 3 })
end

T["a function without such a call has no lines"] = function()
  lu.assertEquals(lines "return function(res) res:finish() return 1 end", {})
  lu.assertEquals(lines "return function(res) return finish(res) end", {})
end

T["a message has no place when it begins with what was called, with a line of ours before it or not"] = function()
  for message, without in pairs {
    ["res:finish: the body is wrong"] = true, ["http.server: the handler is wrong"] = true,
    ["lua/brood/http.lua:12: res:finish: wrong"] = true, ["/x/lua/brood/http.lua:12: res:finish: wrong"] = true,
    ["app.lua:3: res:finish: wrong"] = false, ["no database"] = false, ["lua/brood/http.lua:12: no database"] = false,
  } do
    lu.assertEquals(blame.is_without_place(message), without, message)
  end
end

T["the place is the only tail call of that method, or all that there are"] = function()
  lu.assertEquals(said "return function(res)\n return res:finish({})\nend", "user.lua:2: res:finish: the body is wrong")
  lu.assertEquals(said [[
return function(res)
  if not res.x then return res:finish({}) end
  if res.x then return res:finish({}) end
  return res:finish({})
end]], "user.lua:2, 3 or 4: res:finish: the body is wrong")
  lu.assertEquals(said "return function(res)\n return res:plain()\nend", "user.lua:2: res:plain: no place at all")
end

T["where no such call is found, the place is the function"] = function()
  lu.assertEquals(said "\nreturn function(res)\n local f = res.finish\n return f(res)\nend",
    "user.lua:2: res:finish: the body is wrong")
end

T["what the user raises himself keeps its text"] = function()
  lu.assertEquals(said "return function() error('mine: yes', 0) end", "mine: yes")
  lu.assertEquals(said "return function() error('res:finish: mine', 0) end", "res:finish: mine")
  lu.assertEquals(said "return function() return error('res:finish: mine', 0) end", "res:finish: mine")
end

return T
