--- messages.lua: a forked child sends 100,000 small tables, then 64 MB of text; prints the milliseconds of both.
local Worker = require "brood.worker"
local task = require "brood.task"
local uv = require "luv"

local COUNT, LARGE = 100000, 64 * 1024 * 1024

local worker = assert(Worker.fork())

-- Wait for so many messages.
local function take(count)
  return task.run(nil, "take", function(done)
    local left = count
    local function on_message()
      left = left - 1
      if left == 0 then
        worker:off("message", on_message)
        done()
      end
    end
    worker:on("message", on_message)
  end)
end

if worker:is_child() then
  local large = ("x"):rep(LARGE)
  take(1)
  for i = 1, COUNT do
    if not worker:send { n = i, text = "hello" } then
      worker:flush() -- as much as may wait already does
    end
  end
  take(1)
  worker:send(large)
  take(1)
  return worker:exit()
end

local function measure(count)
  local began = uv.hrtime()
  worker:send "go"
  take(count)
  return (uv.hrtime() - began) / 1e6
end

local small = measure(COUNT)
print(small, measure(1))
worker:send "enough"
