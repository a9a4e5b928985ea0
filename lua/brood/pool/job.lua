--- A job as its user sees it: a handle. What it tells is looked up when it is asked for, in the pool's store while the
--- job has not ended; so it costs little to make one for every job. It decides nothing: ending a job is `settle`'s.
local core = require "brood.core"
local emitter = require "brood.emitter"
local handles = require "brood.pool.handle"

local jobs = core.jobs
local rawget, rawset, setmetatable = rawget, rawset, setmetatable

---@type brood.Job
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

local tells = { data = handles.tells.data, result = handles.tells.result, err = handles.tells.err }

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

function tells.attempt(self)
  if self.ending then
    return 1
  end
  be_at_home(self, "job.attempt", 3)
  return self.pool:_attempt(self.seq) or 1
end

function tells.last_progress(self)
  return handles.value_of(rawget(self, "reported") or self.pool.progress[self.seq])
end

local meta = handles.meta(Job, tells)

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

---@private
Job.answer = handles.answer

--- See pool.handle.
---@async
---@param timeout? number|string|false
---@param cb? fun(err: brood.Error?, result: any)
---@return any result, brood.Error? err
function Job:wait(timeout, cb)
  handles.check(self, "job:wait")
  if not self.ending then
    be_at_home(self, "job:wait", 2)
  end
  return handles.wait(self, timeout, cb) -- a tail call: it is the caller's line that is blamed
end

--- End the job now, whatever it is doing: one that runs loses its worker. It is not tried again.
---@return boolean? aborted
---@return brood.Error? err code "ended": it has ended before
function Job:abort()
  handles.check(self, "job:abort")
  be_at_home(self, "job:abort", 2)
  return self.pool:abort(self.seq)
end

return M
