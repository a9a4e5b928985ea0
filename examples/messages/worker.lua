-- Worker.fork returns in both processes, and gives them a line on which Lua values go both ways.
local Worker = require "brood.worker"

local w = assert(Worker.fork())

if w:is_child() then
  w:on("message", function(job)
    local words = {}
    for word in job.text:gmatch("%S+") do
      words[#words + 1] = word
    end
    w:send { id = job.id, words = words, count = #words }
  end)
  return
end

local lines = { "to be or not to be", "that is the question" }
local waiting = #lines

w:on("message", function(answer)
  print(("line %d has %d words, the last is %q"):format(answer.id, answer.count, answer.words[answer.count]))
  waiting = waiting - 1
  if waiting == 0 then
    w:exit(0) -- asks the child to end once it has handled what was sent before
  end
end)

w:on("exit", function(code, signal)
  print(("the child ended: code %s, signal %s"):format(tostring(code), tostring(signal)))
end)

for id, text in ipairs(lines) do
  w:send { id = id, text = text }
end
