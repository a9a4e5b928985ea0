-- An app file returns a handler. Each worker loads it once, after the fork.
local posix = require "brood.posix"

local pid = posix.getpid()

return function(req, res)
  if req.path == "/" then
    res:header("content-type", "text/plain"):finish(("Hello from worker %d\n"):format(pid))
  elseif req.path == "/echo" then
    local body = req:body()
    if not body then
      return -- too large, which brood answers itself, or the client has gone
    end
    res:header("content-type", req.headers["content-type"] or "application/octet-stream"):finish(body)
  else
    res:status(404):finish("nothing here\n")
  end
end
