--- From one generation of a cluster to the next, in two steps: first one worker of the new one is
--- tried beside the old ones, which touches nothing; then the cluster is the new one, and its workers are
--- replaced. Between the two the old generation goes on, and respawns its own.
local E = require "brood.error"
local generation = require "brood.cluster.generation"
local log = require "brood.log"
local places = require "brood.cluster.places"
local task = require "brood.task"

---@class brood.Change
---@field cluster brood.Cluster
---@field generation brood.Generation
---@field state "new"|"probing"|"probed"|"failed"|"committed"|"cancelled"
---@field candidate? brood.Member the worker on trial
local Change = {}
Change.__index = Change

local M = {}

local FIRST = 1 -- the slot whose worker is replaced first

--- A change of a cluster, which has not begun.
---@param cluster brood.Cluster
---@param options table as for cluster.new
---@return brood.Change
function M.new(cluster, options)
  return setmetatable({
    cluster = cluster, generation = generation.new(cluster, options), state = "new",
  }, Change)
end

local function stopped(self)
  return E.new("stopped", "%s does not run", self.cluster.name)
end

-- What can be found out without a fork.
local function check(self)
  local cluster, gen = self.cluster, self.generation
  if cluster.group.state ~= "running" then
    return stopped(self)
  end
  local problem = gen:problem()
  if problem then
    return problem
  end
  if gen.options.command and not cluster.options.command and gen.sockets:shared()[1] then
    -- Who set it cannot be seen, and most servers want it so: it stays.
    log.info(("%s: an app has had its sockets: until a restart a program that waits in accept gets EAGAIN there")
      :format(cluster.name))
  end
  local workers, err = gen.options.workers, nil
  if not cluster.places:suffice(workers) then
    gen.places, err = places.new(workers)
  end
  return err
end

local function over(self, err)
  self.cluster.changes[self] = nil
  if self.state == "cancelled" then
    err = E.new("stopped", "%s: the change was called off", self.cluster.name)
  else
    self.state = err and "failed" or "probed"
  end
  return err
end

-- One worker of it: proof enough, where there are to be any.
local function try(self, done)
  local cluster = self.cluster
  if self.state == "cancelled" or cluster.group.state ~= "running" then
    return done(stopped(self))
  elseif self.generation.options.workers == 0 then
    return done()
  end
  self.candidate = cluster.group:launch(FIRST, function(err, member)
    if not err and self.state == "cancelled" then
      cluster.group:dismiss(member, "reload") -- called off by a hook of its own
    end
    done(err)
  end, { generation = self.generation, tentative = true })
end

--- Try it: what the workers are to be, the app where it is preloaded, and one worker. The old ones serve meanwhile.
---@async
---@param cb? fun(err: brood.Error?)
---@return true? ok, brood.Error? err code "stopped" when it was called off
function Change:probe(cb)
  if self.state ~= "new" then
    error("change:probe: it has been tried already", 2)
  end
  return task.run(cb, "change:probe", function(done)
    local function answer(err)
      done(over(self, err))
    end
    self.state = "probing"
    self.cluster.changes[self] = true
    local err = check(self)
    if err then
      return answer(err)
    end
    self.generation:load(function(failure)
      if failure then
        return answer(failure)
      end
      try(self, answer)
    end)
  end)
end

--- The cluster is what the change says: at once for all that is started from now on; the workers that serve are
--- replaced. Returns when the new ones serve, though old ones may still finish.
---@async
---@param cb? fun(err: brood.Error?, replaced: integer)
---@return integer? replaced, brood.Error? err with `replaced`; code "superseded" when a newer change took its place
function Change:commit(cb)
  if self.state ~= "probed" and self.state ~= "cancelled" then
    error(("change:commit: it is %s"):format(self.state), 2)
  end
  return task.run(cb, "change:commit", function(done)
    local cluster, called_off = self.cluster, self.state == "cancelled"
    self.state = "committed"
    if called_off or cluster.group.state ~= "running" then
      return done(stopped(self), 0)
    elseif cluster.generation.number > self.generation.number then
      self:dismiss()
      return done(E.new("superseded", "%s: a newer change took the place of this one", cluster.name), 0)
    end
    cluster:become(self.generation, self.candidate, done)
  end)
end

---@private
function Change:dismiss()
  if self.candidate then
    self.cluster.group:dismiss(self.candidate, "reload")
  end
end

--- Call it off, as long as it has not been committed: all is as before.
function Change:cancel()
  if self.state == "committed" or self.state == "cancelled" then
    return
  end
  self.state = "cancelled"
  self.generation:cancel()
  self:dismiss()
end

return M
