--- What the handle of a job is in the master as elsewhere: its data and its end are bytes, decoded when they are asked
--- for, and whoever wants to may wait for it. Where the bytes come from, and what changes them, is the business of
--- `pool.job` and `pool.client_job`, whose classes have `ending`, `input`, `output` and `add_waiter(done)`.
local E = require "brood.error"
local message = require "brood.message"
local task = require "brood.task"

local decode = message.decode
local rawset = rawset

---@class brood.Job: brood.Emitter
---@field id string unique, over restarts too
---@field data any what it was enqueued with: a copy
---@field state "waiting"|"delayed"|"running"|"ended" in a process other than the master: as it was last heard
---@field attempt integer the number of the attempt that is next, or under way, or was the last
---@field last_progress any what its worker reported last
---@field result any what the worker returned, once it has ended well
---@field err brood.Error? once it has failed or was aborted

local M = {}

--- What these bytes are; nil where there are none, or where they are nothing.
---@param bytes string|false|nil
---@return any
function M.value_of(bytes)
  if bytes then
    local ok, value = decode(bytes)
    if ok then
      return value
    end
  end
end
local value_of = M.value_of

-- ---- what a handle tells --------------------------------------------------------------------------------------------

-- The caller's table may have changed since it was given; and a result is whatever came back.
local function remembered(self, name, value)
  rawset(self, name, value)
  return value
end

M.tells = {}

function M.tells.data(self)
  return remembered(self, "data", value_of(self.input))
end

function M.tells.result(self)
  if self.ending == "success" then
    return remembered(self, "result", value_of(self.output))
  end
end

function M.tells.err(self)
  if self.ending and self.ending ~= "success" then
    return remembered(self, "err", E.from(value_of(self.output) or "its error cannot be decoded"))
  end
end

local metas = {}

--- Called with a dot in place of the colon it blames the line that called what calls this.
---@param self any
---@param what string
function M.check(self, what)
  if not metas[getmetatable(self)] then
    error(require("brood.options").no_self(what), 3)
  end
end

--- The metatable of handles.
---@param class table methods
---@param tells table<string, fun(self: table): any> what is looked up when it is asked for
---@return table
function M.meta(class, tells)
  local meta = {
    __index = function(self, key)
      local method = class[key]
      if method ~= nil then
        return method
      end
      local tell = tells[key]
      return tell and tell(self)
    end,
  }
  metas[meta] = true
  return meta
end

-- ---- waiting --------------------------------------------------------------------------------------------------------

--- done(err, result) of a job that has ended.
---@param self brood.Job
---@param done fun(err: brood.Error?, result: any)
function M.answer(self, done)
  if self.ending == "success" then
    return done(nil, self.result)
  end
  done(self.err)
end

--- Wait for the job's end: its result, or nil and its error. After `timeout` (a duration) nil and an error with code
--- "timeout" and `waiting = true`; the job goes on.
---@async
---@param self brood.Job
---@param timeout? number|string|false
---@param cb? fun(err: brood.Error?, result: any)
---@return any result, brood.Error? err
function M.wait(self, timeout, cb)
  M.check(self, "job:wait")
  if type(timeout) == "function" then
    timeout, cb = nil, timeout
  end
  local seconds = timeout and require("brood.options").duration("job:wait", timeout, 3) or nil
  return task.run(cb, "job:wait", function(done)
    if self.ending then
      return M.answer(self, done)
    end
    self:add_waiter(seconds and require("brood.timer").limit(seconds, function()
      local err = E.new("timeout", "the job has not ended within %s s", seconds)
      err.waiting = true -- its own timeout has the same code, and ends it
      done(err)
    end, done) or done)
  end)
end

return M
