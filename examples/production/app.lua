-- Loaded by the master (preload): what is read here is shared by all workers. The connection is none of it: after_fork
-- has opened one for each worker.
local brood = require "brood"
local db = require "db"
local release = require("deploy").release()

local routes = {
  ["/"] = function(res)
    local visits, err = db.ask "INCR visits"
    if not visits then
      return res:status(503):finish(err .. "\n")
    end
    res:finish(("release %s, visit %s, worker %d\n"):format(release, visits, brood.worker.id))
  end,

  -- For the load balancer: whoever is about to go says so.
  ["/health"] = function(res)
    res:status(brood.worker.state == "stopping" and 503 or 200):finish(brood.worker.state .. "\n")
  end,
}

local function answer(req, res)
  local route = routes[req.path]
  if not route then
    return res:status(404):finish "nothing here\n"
  end
  route(res)
end

-- `stop` runs after the last request.
return { server = answer, stop = db.close }
