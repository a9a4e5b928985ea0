-- Children of this script, in one language or several: started, talked to, lost, replaced and stopped.
local Child = require "brood.child"
local brood = require "brood"

local here = arg[0]:match "^(.*)/[^/]*$" or "."
local kinds = {
  lua = function() return Child.new(here .. "/counter.lua", { respawn_delay = 0.1 }) end,
  python = function()
    return Child.new { command = { "python3", here .. "/counter.py" }, ready = "line", respawn_delay = 0.1 }
  end,
  node = function()
    return Child.new { command = { "node", here .. "/counter.js" }, ready = "line", respawn_delay = 0.1 }
  end,
}

-- The next event of a child: its first value.
local function next_event(child, event)
  local value
  local heard = brood.async(function()
    while value == nil do
      brood.sleep(0.01)
    end
    return value
  end)
  child:once(event, function(first) value = first end)
  return heard
end

local function ask(child, number)
  local answer = next_event(child, "message")
  child:send { add = number }
  return answer:wait().total
end

local function try(language)
  local child = kinds[language]()
  assert(child:start())
  print(("%-7s is %s: 1 makes %d, and 5 more make %d"):format(language, child:status(), ask(child, 1), ask(child, 5)))

  -- Nobody has asked for this end: another one comes, and knows nothing of the former one's count.
  local replaced = next_event(child, "respawn")
  child:kill "KILL"
  replaced:wait()
  print(("%-7s was killed and replaced: 2 makes %d"):format(language, ask(child, 2)))

  -- What its stop fails with arrives here as it is.
  ask(child, 40)
  local ok, err = child:stop()
  print(("%-7s stops: %s, %s, code %s, count %d"):format(language, tostring(ok), err, err.code, err.count))
end

for _, language in ipairs(#arg > 0 and arg or { "lua" }) do
  try(language)
end

-- A script that is there for one thing. What that failed with is the result of `run`.
print("once:", Child.run(here .. "/once.lua", { args = { "12" } }))
print("once:", Child.run(here .. "/once.lua", { args = { "a dozen" }, timeout = 5 }))
