--- One worker of a cluster, as hooks and the master's events see it: a view of the
--- group's member and its process. It starts and stops nothing.
local become = require "brood.process.become"
local program = require("brood.lazy").room "brood.cluster.program"
local signals = require "brood.signals"

---@class brood.ClusterWorker
---@field pid integer? nil in before_fork
---@field id integer counted over all clusters of the master, never reused
---@field slot integer 1 to workers; a replacement takes over its slot
---@field cluster string its cluster's name
---@field state string
---@field started_at number? seconds since 1970
---@field requests integer? answered so far; nil of a program
---@field reason string? once it is told to go, or has ended
local Worker = {}

local M = {}

local fields = {
  pid = function(m)
    return m.process.pid or m.pid
  end,
  state = function(m)
    return m.inner and m.inner.state or m.process.state
  end,
  started_at = function(m)
    return m.process.started_at
  end,
  requests = function(m)
    if m.is_program then
      return nil
    end
    return m.inner and m.inner.requests or m.counters and m.counters("requests") or m.last_requests or 0
  end,
  id = function(m)
    return m.id
  end,
  slot = function(m)
    return m.slot
  end,
  reason = function(m)
    return m.reason
  end,
}

local methods = {}

function Worker.__index(self, name)
  local field = fields[name]
  if field then
    return field(rawget(self, "member"))
  end
  return methods[name]
end

--- Send a message to the worker.
---@param value any
---@param fd? integer
---@return boolean? sent, brood.Error? err code "program" where that is one without a channel
function methods:send(value, fd)
  local member = self.member
  if member.is_program and not (member.process.run and member.process.run.peer) then
    return nil, program.deaf(member)
  end
  return member.process:send(value, fd)
end

--- Send it a signal, TERM unless told otherwise.
---@param signal? string|integer
---@return true? ok, brood.Error? err
function methods:kill(signal)
  return self.member.process:signal(signals.check(signal or "TERM", 2))
end

--- In after_fork: become this user and group now, for good. Raises where there is no such user.
---@param name string|integer
---@param group_name? string|integer default: the user's own
function methods:user(name, group_name)
  return become(self, self.member.inner, name, group_name) -- a tail call: it is the caller's line that is blamed
end

--- What is the same in a table of plain values.
---@param self brood.ClusterWorker
---@param now number seconds since 1970
---@param history? table of its slot: restarts, last_exit
---@return table
function M.status(self, now, history)
  return {
    name = ("%s worker %d"):format(self.cluster, self.id), kind = "worker", id = self.id, slot = self.slot,
    pid = self.pid, state = self.state, uptime = now - self.started_at, requests = self.requests,
    restarts = history and history.restarts or 0, last_exit = history and history.last_exit,
    status_text = self.member.process.status_text, -- of a program: what it last said of itself (sd_notify's STATUS)
  }
end

--- The view of a group's member.
---@param member brood.Member
---@param cluster string
---@return brood.ClusterWorker
function M.new(member, cluster)
  return setmetatable({ member = member, cluster = cluster }, Worker)
end

--- In the forked child: this is about the process itself from now on.
---@param self brood.ClusterWorker
---@param inner brood.Worker
function M.in_child(self, inner)
  self.member.inner = inner
  rawset(self, "pid", inner.pid)
end

--- after_fork is over. Returns whether it has given up privileges.
---@param self brood.ClusterWorker
---@return boolean? dropped
function M.settle(self)
  rawset(self, "settled", true)
  return rawget(self, "dropped")
end

return M
