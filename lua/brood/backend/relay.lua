--- Requests that are answered by a backend's programs: a program is waited for, the request is forwarded to it, and
--- where that program was no more there, to another one. How a request is forwarded is brood.proxy.forward.
local crew = require "brood.backend.crew"
local E = require "brood.error"
local forward = require("brood.lazy").room "brood.proxy.forward"
local gather = require("brood.lazy").room "brood.proxy.gather"
local task = require "brood.task"

local TRIES = 3 -- programs that a request may meet of which none was there any more
local IDEMPOTENT = { GET = true, HEAD = true, OPTIONS = true, TRACE = true, PUT = true, DELETE = true }

-- Nothing of it has reached a program; or nothing came back of what can be asked twice, and is still there to be sent.
local function may_retry(req, err, tries)
  if err.began or err.came or not err.whole then
    return false
  elseif not err.sent then
    return tries < TRIES
  end
  return tries < 2 and err.code == "closed" and IDEMPOTENT[req.method] == true
end

--- done(err) once the answer is complete; err.began: something of it has been sent.
---@param backend brood.Backend
---@param req brood.Request
---@param res brood.Response
---@param done fun(err: brood.Error?)
return function(backend, req, res, done)
  local tries, ticket, over = 0, nil, false
  local function gone()
    local err = E.new("closed", "the client has gone")
    err.client = true
    return err
  end
  local function left()
    if ticket and ticket:cancel() then
      over = true
      done(gone())
    end
  end
  local function finish(err)
    if not over then
      over = true
      req:off("close", left)
      done(err)
    end
  end
  local try
  local function use(lease)
    local called, ok, err = task.call(forward, req, res, { address = lease.address, keep = false })
    if not called then -- while it waited, its handler has begun to answer by itself
      lease:release()
      return finish(ok)
    elseif ok then
      lease:release()
      return finish()
    elseif err.client then -- it is the client who has gone
      lease:release()
      return finish(err)
    end
    lease:fail(function(ended)
      if may_retry(req, err, tries) then
        return try()
      end
      if ended then
        ended.began, ended.sent = err.began, err.sent
      end
      finish(ended or err)
    end)
  end
  function try()
    tries = tries + 1
    ticket = crew.acquire(backend, function(err, lease)
      ticket = nil
      if err then
        return finish(err)
      end
      task.spawn(use, lease)
    end, tries > 1)
  end
  gather(req, res, function(there)
    if not there then
      return finish(gone())
    end
    req:on("close", left)
    try()
  end)
end
