--- The life of a service as a table: state x event -> next state and action. An event is a call of whoever uses it, a
--- wish that comes of itself (a file has changed, it takes too much memory), or news of a run, which is one process
--- from its start to its end. Every pair has a row.
---
---     stopped --start--> starting --up--> ready --stop, idle, dying--> stopping
---     stopping --ended--> stopped | starting | faulted
---     starting --failed--> starting (another attempt) | faulted
---
--- A run that dies unasked is `stopping` until nothing of it is left; what comes then, `judge` says by rules/restart.
local M = {}

---@alias brood.ServiceState "stopped"|"starting"|"ready"|"stopping"|"faulted"

--- Every state, in the order of a life.
---@type brood.ServiceState[]
M.states = { "stopped", "starting", "ready", "stopping", "faulted" }

--- Every event, and what it says.
---@type table<string, string>
M.events = {
  start = "somebody wants it to run",
  stop = "somebody wants it to end",
  restart = "somebody wants another run in place of this one",
  touch = "somebody uses it",
  change = "a monitored file has changed",
  due = "it takes too much memory, or does not answer",
  idle = "nobody has used it for long",
  retry = "it was faulted for long enough, and should run",
  up = "its run is ready",
  done = "its run has ended well before it was ready, and no other is to follow",
  failed = "its run has ended, or could not begin, before it was ready",
  dying = "its run ends unasked",
  ended = "nothing is left of its run",
}

---@alias brood.ServiceAction
---| "launch"   # the first attempt; whoever asked waits
---| "join"     # the caller waits with those who wait already
---| "anew"     # the attempt under way ends, and is followed by a first one; who waits goes on waiting
---| "answer"   # at once: it already is so
---| "later"    # launch when nothing is left of the run
---| "end"      # ask the run to end; the caller waits
---| "renew"    # another run in place of this one: both side by side with tandem, else one after the other
---| "try"      # launch where fault_timeout is over, else refuse
---| "refuse"   # nil and an error: it does not run
---| "note"     # it was used now
---| "rest"     # it has done what it was there for
---| "announce" # answer those who wait for the start
---| "again"    # another attempt, or faulted after so many
---| "judge"    # what comes: a start that waits, or, of a run that died, what the rule says
---| "ignored"  # late or needless: nothing happens

local ignored, illegal = "ignored", "illegal"

---@type table<brood.ServiceState, table<string, "ignored"|"illegal"|string[]>>
M.table = {
  stopped = {
    start = { "starting", "launch" },
    stop = { "stopped", "answer" },
    restart = { "starting", "launch" },
    touch = { "stopped", "refuse" },
    change = { "starting", "launch" }, -- it had ended by itself: whoever was stopped is not watched
    due = ignored,
    idle = ignored,
    retry = ignored,
    up = illegal,
    done = illegal,
    failed = illegal,
    dying = illegal,
    ended = illegal,
  },
  starting = {
    start = { "starting", "join" },
    stop = { "stopping", "end" },
    restart = { "starting", "anew" },
    touch = { "starting", "note" },
    change = { "starting", "anew" },
    due = ignored,
    idle = ignored,
    retry = ignored,
    up = { "ready", "announce" },
    done = { "stopped", "rest" },
    failed = { "starting", "again" },
    dying = ignored, -- `failed` follows when nothing is left of it
    ended = illegal,
  },
  ready = {
    start = { "ready", "answer" },
    stop = { "stopping", "end" },
    restart = { "ready", "renew" },
    touch = { "ready", "note" },
    change = { "ready", "renew" },
    due = { "ready", "renew" },
    idle = { "stopping", "end" },
    retry = ignored,
    up = illegal,
    done = illegal,
    failed = illegal,
    dying = { "stopping", "note" },
    ended = { "stopping", "judge" }, -- it was over at once
  },
  stopping = {
    start = { "stopping", "later" },
    stop = { "stopping", "join" }, -- starts that wait end with "stopped"
    restart = { "stopping", "later" },
    touch = { "stopping", "refuse" },
    change = { "stopping", "later" }, -- it dies unasked: whoever is stopped is not watched
    due = ignored,
    idle = ignored,
    retry = ignored,
    up = ignored, -- too late
    done = illegal,
    failed = illegal,
    dying = ignored,
    ended = { "stopping", "judge" },
  },
  faulted = {
    start = { "faulted", "try" },
    stop = { "stopped", "answer" },
    restart = { "starting", "launch" },
    touch = { "faulted", "refuse" },
    change = { "starting", "launch" },
    due = ignored,
    idle = ignored,
    retry = { "starting", "launch" },
    up = illegal,
    done = illegal,
    failed = illegal,
    dying = illegal,
    ended = illegal,
  },
}

--- What the event means in the state. An illegal pair raises: that is a mistake in brood, not in a program.
---@param state brood.ServiceState
---@param event string
---@return brood.ServiceState next_state, brood.ServiceAction action
function M.next(state, event)
  local row = M.table[state] and M.table[state][event]
  if row == ignored then
    return state, "ignored"
  elseif row == nil or row == illegal then
    error(("a service that is %s cannot have the event '%s'"):format(tostring(state), tostring(event)), 2)
  end
  return row[1], row[2]
end

return M
