-- The connection was opened by after_fork: it is this worker's alone.
local brood = require "brood"
local posix = require "brood.posix"
local db = require "db"

local questions = { ["/"] = "INCR visits", ["/clients"] = "CLIENTS" }

local function answer(req, res)
  local question = questions[req.path]
  if not question then
    return res:status(404):finish "nothing here\n"
  end
  local value, err = db.ask(question)
  if not value then
    return res:status(503):finish(err .. "\n")
  end
  local text = req.path == "/" and "visit %s, answered by worker %d as user %d\n" or "%s connections\n"
  res:finish(text:format(value, brood.worker.id, posix.getuid()))
end

-- `stop` runs after the last request.
return { server = answer, stop = db.close }
