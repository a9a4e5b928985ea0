-- What each worker of the cluster serves: any app of `brood run` does.
local worker = require("brood").worker

local greeting = arg[1] or "Hi"
local visitors = 0

worker:on("message", function(value)
  visitors = value.visitors
end)

return function(req, res)
  if req.path == "/" then
    visitors = visitors + 1
    worker:send { visitors = 1 }
  end
  res:finish(("%s from worker %d, visitor %d\n"):format(greeting, worker.id, visitors))
end
