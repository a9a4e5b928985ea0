--- The life of a supervised process as a table: state x event -> next state and
--- action. Every pair has a row, so that nothing is left to chance: what cannot
--- happen says `illegal`, what may come late or twice says `ignored`.
---
---     stopped --start--> starting --ready--> ready <--work, rest--> busy
---     starting, ready, busy --stop, kill, exited (and starting --start_failed)--> stopping
---     stopping --ended--> stopped --fault--> faulted --start--> starting
---
--- `brood.process` drives itself from it; whoever decides to start again (a group, a
--- spinner) only ever sends `start`, `stop`, `kill` and `fault`.
local M = {}

---@alias brood.ProcessState "stopped"|"starting"|"ready"|"busy"|"stopping"|"faulted"
---@alias brood.ProcessAction
---| "launch"    # spawn it, arm start_timeout, begin to wait for its readiness
---| "supervise" # it exists now: watch for its end
---| "announce"  # answer those who wait for the start
---| "answer"    # answer the caller at once: it already is so
---| "join"      # the caller waits with those who wait already
---| "later"     # start again once the stop is done
---| "terminate" # stop_signal to the group, arm stop_timeout; waiting starts fail
---| "kill"      # KILL to the group
---| "reap"      # take the leader's status, KILL what is left of its group, wait until it is empty
---| "settle"    # nothing is left: close pipes and channel, report the exit, answer all who wait
---| "report"    # emit the error with which it was given up
---| "note"      # only the state changes
---| "ignored"   # late or repeated: nothing happens

--- Every state, in the order of a life.
---@type brood.ProcessState[]
M.states = { "stopped", "starting", "ready", "busy", "stopping", "faulted" }

--- Every event, and what it says.
---@type table<string, string>
M.events = {
  start = "somebody wants it to run",
  spawned = "the operating system has made the process",
  ready = "it is ready, by the check it was given or by its own word",
  work = "it has been given something to do",
  rest = "it has done what it had to do",
  start_failed = "it cannot become ready, or was not within start_timeout",
  stop = "somebody wants it to end",
  stop_timeout = "it has not ended within stop_timeout",
  kill = "it must end at once",
  exited = "its leader has exited and is not reaped yet",
  ended = "nothing of it is left; or it was never made",
  fault = "whoever looks after it has given up starting it",
}

local ignored, illegal = "ignored", "illegal"

---@type table<brood.ProcessState, table<string, "ignored"|"illegal"|string[]>>
M.table = {
  stopped = {
    start = { "starting", "launch" },
    spawned = illegal,
    ready = ignored, -- a last datagram or frame of the one that has ended
    work = illegal,
    rest = ignored,
    start_failed = ignored, -- a check that was under way when it ended
    stop = { "stopped", "answer" },
    stop_timeout = ignored,
    kill = { "stopped", "answer" },
    exited = illegal,
    ended = illegal,
    fault = { "faulted", "report" },
  },
  starting = {
    start = { "starting", "join" },
    spawned = { "starting", "supervise" },
    ready = { "ready", "announce" },
    work = illegal,
    rest = illegal,
    start_failed = { "stopping", "terminate" },
    stop = { "stopping", "terminate" },
    stop_timeout = ignored,
    kill = { "stopping", "kill" },
    exited = { "stopping", "reap" },
    ended = { "stopped", "settle" }, -- it was never made: no such program, no memory
    fault = illegal,
  },
  ready = {
    start = { "ready", "answer" },
    spawned = illegal,
    ready = ignored, -- sd_notify allows READY=1 again
    work = { "busy", "note" },
    rest = ignored,
    start_failed = ignored, -- the timer and the good news came in one turn
    stop = { "stopping", "terminate" },
    stop_timeout = ignored,
    kill = { "stopping", "kill" },
    exited = { "stopping", "reap" },
    ended = illegal,
    fault = illegal,
  },
  busy = {
    start = { "busy", "answer" },
    spawned = illegal,
    ready = ignored,
    work = ignored,
    rest = { "ready", "note" },
    start_failed = ignored,
    stop = { "stopping", "terminate" },
    stop_timeout = ignored,
    kill = { "stopping", "kill" },
    exited = { "stopping", "reap" },
    ended = illegal,
    fault = illegal,
  },
  stopping = {
    start = { "stopping", "later" },
    spawned = { "stopping", "terminate" }, -- stopped while it was being made
    ready = ignored, -- too late
    work = ignored,
    rest = ignored,
    start_failed = ignored,
    stop = { "stopping", "join" },
    stop_timeout = { "stopping", "kill" },
    kill = { "stopping", "kill" },
    exited = { "stopping", "reap" },
    ended = { "stopped", "settle" },
    fault = illegal, -- given up is what has ended
  },
  faulted = {
    start = { "starting", "launch" },
    spawned = illegal,
    ready = ignored,
    work = illegal,
    rest = ignored,
    start_failed = ignored,
    stop = { "stopped", "answer" },
    stop_timeout = ignored,
    kill = { "faulted", "answer" },
    exited = illegal,
    ended = illegal,
    fault = ignored,
  },
}

--- What the event means in the state. An illegal pair raises: that is a mistake in brood, not in a program.
---@param state brood.ProcessState
---@param event string
---@return brood.ProcessState next_state, brood.ProcessAction action
function M.next(state, event)
  local row = M.table[state] and M.table[state][event]
  if row == ignored then
    return state, "ignored"
  elseif row == nil or row == illegal then
    error(("a process that is %s cannot have the event '%s'"):format(tostring(state), tostring(event)), 2)
  end
  return row[1], row[2]
end

--- Whether the event may happen in the state at all.
---@param state brood.ProcessState
---@param event string
---@return boolean
function M.legal(state, event)
  local row = M.table[state] and M.table[state][event]
  return row ~= nil and row ~= illegal
end

return M
