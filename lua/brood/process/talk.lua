--- What is said to a child that runs: messages over its channel, and what it reads from its stdin. It starts and ends
--- nothing; what comes from the child is heard elsewhere.
local E = require "brood.error"
local task = require "brood.task"

---@class brood.Process
local Talk = {}

--- Send a message to a child that has a channel.
---@param value any
---@param fd? integer
---@return boolean? sent, brood.Error? err
function Talk:send(value, fd)
  local peer = self.run and self.run.peer
  if not peer then
    return nil, E.new("stopped", "%s has no channel or does not run", self.name)
  end
  return peer:send(value, fd)
end

--- Send a frame of brood's own to a Lua child.
---@param name string
---@param value any
---@param fd? integer
---@return boolean? sent nil where none runs
function Talk:post(name, value, fd)
  local peer = self.run and self.run.peer
  return peer and peer:post(name, value, fd)
end

--- Ask a Lua child whether its loop still turns: fn() once it says so.
---@param fn fun()
function Talk:ping(fn)
  if self.run and self.run.peer then
    self.run.peer:handle("pong", fn):post "ping"
  end
end

--- Write to its stdin (`stdin = "pipe"`); returns when the pipe has taken it.
---@async
---@param data string
---@param cb? fun(err: brood.Error?)
function Talk:write(data, cb)
  if type(data) ~= "string" then
    error("process:write: the data must be a string, got " .. type(data), 2)
  end
  return task.run(cb, "process:write", function(done)
    local stdin = self.run and self.run.stdin
    if not stdin then
      return done(E.new("closed", "%s has no stdin to write to", self.name))
    end
    stdin:write(data, done)
  end)
end

--- Close its stdin, once all that was written is out: it reads the end of file.
---@async
---@param cb? fun(err: brood.Error?)
function Talk:close_stdin(cb)
  return task.run(cb, "process:close_stdin", function(done)
    local stdin = self.run and self.run.stdin
    if not stdin then
      return done()
    end
    stdin:finish(done)
  end)
end

-- A listener of `message` may be what its channel has been keeping messages for.
function Talk:on_listen()
  if self.run and self.run.peer then
    self.run.peer:listening()
  end
end

return Talk
