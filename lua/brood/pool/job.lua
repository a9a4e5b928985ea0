--- A job as its user sees it: a handle. What it tells is looked up when it is asked for, in the pool's store while the
--- job has not ended; so it costs little to make one for every job. It decides nothing: ending a job is `settle`'s.
local core = require "brood.core"
local E = require "brood.error"
local emitter = require "brood.emitter"
local message = require "brood.message"
local options = require "brood.options"
local task = require "brood.task"
local timer = require "brood.timer"

local decode = message.decode
local jobs = core.jobs
local rawget, rawset, setmetatable = rawget, rawset, setmetatable

---@class brood.Job: brood.Emitter
---@field id string unique, over restarts too
---@field data any what it was enqueued with: a copy
---@field state "waiting"|"delayed"|"running"|"ended"
---@field attempt integer the number of the attempt that is next, or under way, or was the last
---@field last_progress any what its worker reported last
---@field result any what the worker returned, once it has ended well
---@field err brood.Error? once it has failed or was aborted
local Job = emitter.mixin {}

-- The fields of a handle by number: with names it would take two blocks of memory in place of one, and one is made for
-- every job. They can be read by their names as well.
local POOL, SEQ, INPUT, CB, DONE, ENDING, OUTPUT, ENDED_AT, SIZE = 1, 2, 3, 4, 5, 6, 7, 8, 9

local M = {
  class = Job, SEQ = SEQ, INPUT = INPUT, CB = CB, DONE = DONE, ENDING = ENDING, OUTPUT = OUTPUT, ENDED_AT = ENDED_AT,
  SIZE = SIZE,
}

-- What is not in the handle is the parent's alone, in the child of a fork. A user's line is blamed, `level` above.
local function be_at_home(self, what, level)
  if self.pool.foreign then
    error(("%s: the pool belongs to the process that this one was forked from"):format(what), level + 1)
  end
end

-- ---- what a handle tells: each is asked for rarely ----

local tells = {}

for name, at in pairs { pool = POOL, seq = SEQ, ending = ENDING } do
  tells[name] = function(self)
    return self[at]
  end
end

-- Encoded. Of most jobs both are in a record of the store's, where the output is `true`.
function tells.input(self)
  local input = self[INPUT]
  return type(input) == "string" and input or jobs.input(input)
end

function tells.output(self)
  local output = self[OUTPUT]
  return output == true and jobs.output(self[INPUT]) or output
end

function tells.id(self)
  local id = self.pool.ledger:id_of(self.seq)
  rawset(self, "id", id)
  return id
end

function tells.state(self)
  if self.ending then
    return "ended"
  end
  be_at_home(self, "job.state", 3)
  return self.pool:_state(self.seq) or "waiting"
end

-- The caller's table may have changed since; and a result is whatever came back.
local function remembered(self, name, payload)
  local ok, value = decode(payload)
  if ok and value ~= nil then
    rawset(self, name, value)
    return value
  end
end

function tells.data(self)
  return remembered(self, "data", self.input)
end

function tells.attempt(self)
  if self.ending then
    return 1
  end
  be_at_home(self, "job.attempt", 3)
  return self.pool:_attempt(self.seq) or 1
end

function tells.last_progress(self)
  local payload = rawget(self, "reported") or self.pool.progress[self.seq]
  if payload then
    local _, value = decode(payload)
    return value
  end
end

function tells.result(self)
  if self.ending == "success" then
    return remembered(self, "result", self.output)
  end
end

function tells.err(self)
  if self.ending and self.ending ~= "success" and self.output then
    local ok, value = decode(self.output)
    local err = E.from(ok and value or "its error cannot be decoded")
    rawset(self, "err", err)
    return err
  end
end

local meta = {
  __index = function(self, key)
    local method = Job[key]
    if method ~= nil then
      return method
    end
    local tell = tells[key]
    return tell and tell(self)
  end,
}

--- A handle.
---@param pool brood.Pool
---@param seq integer
---@param input string|userdata its data, encoded: a string, or a record of the store's
---@param cb? function|false the user's: called in a task
---@param done? function|false brood's own: called as it is
---@param size? integer bytes of data; default: the string's
---@return brood.Job
function M.new(pool, seq, input, cb, done, size)
  return setmetatable({ pool, seq, input, cb or false, done or false, false, false, 0, size or #input }, meta)
end

-- ---- what is done with it ----

--- Somebody listens: the handle must live until the job ends.
---@private
function Job:on_listen(event)
  if not self.ending then
    self.pool:_hold(self)
    if event == "start" or event == "*" then
      self.pool.tells_starts = true
    end
  end
end

--- Call done(err, result) at its end.
---@private
function Job:add_waiter(done)
  local more = rawget(self, "more")
  if not more then
    more = {}
    rawset(self, "more", more)
  end
  more[#more + 1] = done
  self.pool:_hold(self)
end

--- done(err, result) of a job that has ended.
---@private
function Job:answer(done)
  if self.ending == "success" then
    local ok, value = decode(self.output)
    if not ok then
      return done(E.new("protocol", "the job's result cannot be decoded: %s", tostring(value)))
    end
    return done(nil, value)
  end
  done(self.err)
end

--- Wait for the job's end: its result, or nil and its error. After `timeout` (a duration) nil and an error with code
--- "timeout" and `waiting = true`; the job goes on.
---@async
---@param timeout? number|string|false
---@param cb? fun(err: brood.Error?, result: any)
---@return any result, brood.Error? err
function Job:wait(timeout, cb)
  if type(timeout) == "function" then
    timeout, cb = nil, timeout
  end
  local seconds = timeout and options.duration("job:wait", timeout, 3) or nil
  if not self.ending then
    be_at_home(self, "job:wait", 2)
  end
  return task.run(cb, "job:wait", function(done)
    if self.ending then
      return self:answer(done)
    end
    self:add_waiter(seconds and timer.limit(seconds, function()
      local err = E.new("timeout", "the job has not ended within %s s", seconds)
      err.waiting = true -- its own timeout has the same code, and ends it
      done(err)
    end, done) or done)
  end)
end

--- End the job now, whatever it is doing: one that runs loses its worker. It is not tried again.
---@return boolean? aborted
---@return brood.Error? err code "ended": it has ended before
function Job:abort()
  be_at_home(self, "job:abort", 2)
  return self.pool:abort(self.seq)
end

return M
