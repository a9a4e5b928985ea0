--- What each call of a backend does to each of its programs, by the state that the program is in; and when a program
--- that does not start is tried again. Every pair of state and call has a row. Nothing here starts or stops anything.
local restart = require "brood.rules.restart"

local M = {}

---@alias brood.BackendCall "spawn"|"connect"|"kill"|"terminate"|"quit"|"restart"
---@alias brood.BackendAction
---| "launch"    # start one; the caller waits until it is ready, or has failed
---| "join"      # the caller waits with those who wait already
---| "answer"    # it is so already: the caller is answered at once
---| "give"      # the caller has it for itself
---| "wait"      # the caller waits for its turn, in order
---| "later"     # one is started when this one is gone
---| "retry"     # not before its time has come: until then the caller is told why the last start has failed
---| "kill"      # KILL
---| "terminate" # TERM, and KILL after terminate_timeout
---| "quit"      # QUIT, then TERM after quit_timeout
---| "replace"   # quit it, and start another one when it is gone
---| "forget"    # it may be started again

--- A program's states, in the order of a life; "stopped" and "faulted" are those of a place where none runs.
---@type brood.ProcessState[]
M.states = { "stopped", "starting", "ready", "busy", "stopping", "faulted" }

---@type brood.BackendCall[]
M.calls = { "spawn", "connect", "kill", "terminate", "quit", "restart" }

---@type table<brood.ProcessState, table<brood.BackendCall, brood.BackendAction>>
M.table = {
  stopped = {
    spawn = "launch",
    connect = "launch",
    kill = "answer",
    terminate = "answer",
    quit = "answer",
    restart = "launch",
  },
  starting = {
    spawn = "join",
    connect = "wait",
    kill = "kill", -- that start is at its end, for who waits for it; who waits for a connection gets the next one's
    terminate = "terminate",
    quit = "quit",
    restart = "replace",
  },
  ready = {
    spawn = "answer",
    connect = "give",
    kill = "kill",
    terminate = "terminate",
    quit = "quit",
    restart = "replace",
  },
  busy = {
    spawn = "answer",
    connect = "wait",
    kill = "kill",
    terminate = "terminate",
    quit = "quit", -- a program that ends gracefully finishes its request
    restart = "replace",
  },
  stopping = {
    spawn = "later",
    connect = "wait",
    kill = "kill",
    terminate = "terminate", -- sooner than a quit would have come to it
    quit = "join",
    restart = "later",
  },
  faulted = {
    spawn = "launch", -- somebody wants to know
    connect = "retry",
    kill = "forget",
    terminate = "forget",
    quit = "forget",
    restart = "launch",
  },
}

--- What the call does to a program in that state.
---@param state brood.ProcessState
---@param call brood.BackendCall
---@return brood.BackendAction
function M.action(state, call)
  return M.table[state][call]
end

-- The first one of these that a program is in is the state of the backend: what the next request would meet.
local SEEN = { "ready", "busy", "starting", "stopping" }

--- The state of a backend, from those of its programs.
---@param states table<brood.ProcessState, boolean> which there are
---@param faulted boolean whether it has given up starting one
---@return brood.ProcessState
function M.of(states, faulted)
  for _, state in ipairs(SEEN) do
    if states[state] then
      return state
    end
  end
  return faulted and "faulted" or "stopped"
end

-- ---- failed starts --------------------------------------------------------------------------------------------------

--- Programs in a row that somebody kills, or that end by themselves, before they have served anybody: after so many
--- those who wait are told.
M.ATTEMPTS = 3

local FORGOTTEN = 60 -- seconds after which a failure is none in a row any more

--- How the pauses grow.
---@return brood.RestartState
function M.new()
  return restart.new { delay = 0.5, max_delay = 10, jitter = 0, immediate = 1 }
end

--- A program has ended that has served nobody. What has killed one may spare the next, and a program that was ready may
--- have died of anything; but one that has ended by itself before would do so again.
---@param failures brood.RestartState changed
---@param now number
---@param how { was_ready: boolean, killed: boolean } killed: by a signal, or by whoever had its port
---@return "again"|"fail" what becomes of those who wait
---@return number pause seconds in which none is started, where they are told
function M.failed(failures, now, how)
  if failures.last and now - failures.last > FORGOTTEN then
    restart.reset(failures)
  end
  local delay = restart.exited(failures, now, 0).delay
  if (how.was_ready or how.killed) and failures.row < M.ATTEMPTS then
    return "again", 0
  end
  return "fail", delay
end

--- One has served somebody, or is wanted by hand: what has been is forgotten.
M.forget = restart.reset

return M
