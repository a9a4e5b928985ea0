--- From one kind of workers of a pool to the next, in two steps: first one worker of the new kind is tried beside the
--- old ones, and given no job; then the pool is of the new kind, its workers are replaced after their running job, and
--- what waits stays. Between the two the pool goes on as it was.
local clock = require "brood.clock"
local E = require "brood.error"
local task = require "brood.task"

---@class brood.PoolTrial
---@field pool brood.Pool
---@field generation table of its crew
---@field state "new"|"probing"|"probed"|"failed"|"committed"|"cancelled"
---@field candidate? brood.Member the worker on trial
local Trial = {}
Trial.__index = Trial

local M = {}

local FIRST = 1 -- the slot whose worker is replaced first

--- A trial, which has not begun.
---@param pool brood.Pool
---@param options table normalised
---@param inner table as for Pool.make
---@return brood.PoolTrial
function M.new(pool, options, inner)
  return setmetatable({ pool = pool, generation = pool.crew:kind(options, inner), state = "new" }, Trial)
end

local function called_off(self)
  return E.new("stopped", "%s: the change was called off", self.pool.name)
end

--- Start one worker of the new kind.
---@async
---@param cb? fun(err: brood.Error?)
---@return true? ok, brood.Error? err code "stopped" when it was called off
function Trial:probe(cb)
  return task.run(cb, "trial:probe", function(done)
    self.state = "probing"
    self.candidate = self.pool.crew:try(self.generation, FIRST, function(err, member)
      if self.state == "cancelled" then
        self.pool.crew.group:dismiss(member, "reload")
        return done(called_off(self))
      end
      self.state = err and "failed" or "probed"
      done(err)
    end)
  end)
end

--- The pool is of the new kind. Returns when the new workers are ready, though old ones may still have a job.
---@async
---@param cb? fun(err: brood.Error?, replaced: integer)
---@return integer? replaced, brood.Error? err
function Trial:commit(cb)
  return task.run(cb, "trial:commit", function(done)
    if self.state ~= "probed" then
      return done(called_off(self), 0)
    end
    self.state = "committed"
    local pool, options = self.pool, self.generation.options
    pool.options = options
    pool.ledger:limit(options.result_ttl, options.max_results)
    pool.ledger:expire(clock.now())
    pool.crew:become(self.generation, self.candidate, done)
  end)
end

--- Call it off, as long as it has not been committed: all is as before.
function Trial:cancel()
  if self.state == "committed" or self.state == "cancelled" then
    return
  end
  self.state = "cancelled"
  if self.candidate then
    self.pool.crew.group:dismiss(self.candidate, "reload")
  end
end

return M
