--- Waiting for a request's body before a program is taken that serves one request at a time: it is not to wait for a
--- slow client. A body that says how long it is, and is not too long to be kept, is waited for until it is all there;
--- one that may go on for ever until it has begun. It reads nothing of it.
local task = require "brood.task"

--- Returns whether the client is still there.
---@async
---@param req brood.Request
---@param res brood.Response
---@param cb? fun(there: boolean)
---@return boolean? there
return function(req, res, cb)
  local function is_there()
    return not req:_body_gone() and res:_open()
  end
  if req:_gather() then
    if cb then
      return cb(is_there())
    end
    return is_there()
  end
  local function wait(done)
    local function look()
      if req:_gather() or not req:_wait(look) then
        done()
      end
    end
    look()
  end
  if cb then
    return wait(function()
      cb(is_there())
    end)
  end
  task.run(nil, "proxy", wait)
  return is_there()
end
