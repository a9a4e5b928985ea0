--- The end of a worker: what the log and the status tell of it, and that nobody who had connected
--- to it is left waiting. Whether another one comes is the group's business.
local clock = require "brood.clock"
local closing = require "brood.cluster.closing"
local log = require "brood.log"
local note = require "brood.cluster.note"
local oldest_first = require "brood.group.oldest_first"

local function describe(member)
  local process, why = member.process, member.reason
  if process.exit_signal then
    local how = "killed by " .. process.exit_signal
    return why == "signal" and how or ("%s (%s)"):format(how, why)
  end
  return ("status %s (%s)"):format(tostring(process.exit_code), why == "signal" and "signal " .. member.told or why)
end

local NO_RESTART = { stop = true, scale = true, reload = true }

-- What the status tells about the slot from now on.
local function note_end(self, member, code, signal)
  local slot = self.history[member.slot] or { restarts = 0 }
  self.history[member.slot] = slot
  if not NO_RESTART[member.reason] then
    slot.restarts = slot.restarts + 1
  end
  slot.last_exit = {
    id = member.id, pid = member.pid, code = code, signal = signal, reason = member.reason, at = clock.unix(),
  }
end

-- It may have gone with a connection that it alone was woken for; one that is told to go takes what it owes.
local function look_for_it(self)
  for _, other in ipairs(oldest_first(self.group)) do
    if other.process.post then
      other.process:post "look"
    end
  end
end

local function leave_place(member)
  member.last_requests = member.counters and member.counters("requests")
  member.told = member.counters and note.signal(member.counters("state"))
  if member.places then
    member.places:leave(member)
  end
end

local unasked = { crash = true, signal = true, timeout = true }

--- A worker has ended.
---@param self brood.Cluster
---@param member brood.Member
---@param code integer?
---@param signal string?
return function(self, member, code, signal)
  leave_place(member)
  closing.closed(member)
  if signal or member.ready_at and unasked[member.reason] then
    look_for_it(self)
  end
  if not member.pid then
    return -- it was never forked: nobody has heard of it
  end
  if member.reason == "crash" and code and member.told then
    member.reason = "signal" -- somebody has told the worker itself to go
  end
  if not member.tentative then
    note_end(self, member, code, signal) -- one on trial had no slot
  end
  -- A start that failed has told its own story already.
  if member.ready_at then
    local text = ("%s: worker %d (pid %d) ended: %s"):format(self.name, member.id, member.pid, describe(member))
    if unasked[member.reason] then
      log.warn(text)
    else
      self:note(text)
    end
  end
  self:emit("exit", member.worker, code, signal)
end
