--- What travels over a channel between a process and its parent: every type of
--- frame, its number, who may send it, and the room that handles it. Pure: it
--- neither sends nor receives.
local M = {}

---@alias brood.Role "parent"|"child"

---@class brood.FrameType
---@field name string
---@field number integer on the wire; from 128 on it can be held back by the other side (see `hold`)
---@field sender brood.Role|"both"
---@field room integer
---@field ordered? boolean handled only after the messages that came before it
---@field carries? "error" the value is an error table and arrives as one
---@field raw? boolean bytes of brood's own, which only their handler can read: sent and handed over as they are

--- The rooms, as numbers on the wire.
M.rooms = { channel = 0, process = 1, worker = 2, user = 3, master = 4, pool = 5, remote = 6 }

--- Larger numbers are bulk: they wait while the other side asks for it; the others never do.
M.BULK = 128

local list = {
  -- room channel: the two ends among themselves
  { name = "hold", number = 1, sender = "both", room = "channel" }, -- nobody listens to messages here: keep them
  { name = "go", number = 2, sender = "both", room = "channel" }, -- send them now
  { name = "ping", number = 3, sender = "parent", room = "channel" }, -- value: any; answered at once, by every child
  { name = "pong", number = 4, sender = "child", room = "channel" }, -- value: the ping's

  -- room process: starting and ending
  { name = "ready", number = 16, sender = "child", room = "process" }, -- value: nil, or what there is to tell
  { name = "failed", number = 17, sender = "child", room = "process", carries = "error" }, -- the start has failed
  { name = "stop", number = 18, sender = "parent", room = "process" }, -- value: nil or { timeout = seconds }
  { name = "stopped", number = 19, sender = "child", room = "process" }, -- what it had to do at its end is done
  { name = "stop_failed", number = 20, sender = "child", room = "process", carries = "error" },

  { name = "begun", number = 21, sender = "child", room = "process" }, -- a Child's script; value: { title =, once = }

  { name = "fork", number = 22, sender = "parent", room = "process" }, -- with the new one's channel: process.template
  { name = "not_forked", number = 23, sender = "child", room = "process" }, -- value: { which, encoded error }
  { name = "born", number = 24, sender = "child", room = "process" }, -- by a template; value: its pid

  -- room worker: a cluster's workers
  { name = "stats", number = 32, sender = "child", room = "worker" }, -- value: a table of counters
  { name = "reopen", number = 33, sender = "parent", room = "worker" }, -- with a file; value: {target = fd}
  { name = "listen", number = 34, sender = "parent", room = "worker" }, -- with a socket to accept from as well
  { name = "look", number = 35, sender = "parent", room = "worker" }, -- for connections: a sibling may have left some
  { name = "recycle", number = 36, sender = "child", room = "worker" }, -- it wants a replacement; value: why
  { name = "leaving", number = 38, sender = "child", room = "worker" }, -- it was sent QUIT, and accepts no more
  { name = "open", number = 39, sender = "child", room = "worker" }, -- { entry, nth }, with a line for the answer
  { name = "opened", number = 40, sender = "parent", room = "worker" }, -- { address } or { nil, error }, with a socket
  { name = "reopen_all", number = 37, sender = "child", room = "worker" }, -- it was sent USR1: open all logs anew
  { name = "serve", number = 41, sender = "parent", room = "worker" }, -- it was on trial, and is to stay

  -- room master: an old and a new one, of different versions perhaps; what is told has a name, and so needs no type
  { name = "master", number = 48, sender = "both", room = "master" }, -- value: { name =, value = }, see master.line

  -- room pool: jobs for a worker of a pool, and what has become of them; see core.jobs
  { name = "jobs", number = 56, sender = "parent", room = "pool", raw = true },
  { name = "results", number = 57, sender = "child", room = "pool", raw = true },

  -- room remote: what a process asks of its master, and is told by it; see brood.remote
  { name = "call", number = 64, sender = "child", room = "remote" }, -- value: { id, room, method, n, ... }
  { name = "answer", number = 65, sender = "parent", room = "remote" }, -- { id, true, n, ... } or { id, false, error }
  { name = "order", number = 66, sender = "child", room = "remote" }, -- value: { room, method, n, ... }
  { name = "event", number = 67, sender = "parent", room = "remote" }, -- value: { room, what, value }

  -- room user: what users send
  { name = "message", number = 128, sender = "both", room = "user" },
  { name = "exit", number = 129, sender = "parent", room = "user", ordered = true }, -- value: the status or nil
}

---@type table<string, brood.FrameType>
M.types = {}
local by_number = {}

for _, entry in ipairs(list) do
  entry.room = M.rooms[entry.room]
  assert(not M.types[entry.name] and not by_number[entry.number], entry.name)
  M.types[entry.name] = entry
  by_number[entry.number] = entry
end

--- The type by its name. An unknown one is a mistake in our own code, and raises.
---@param name string
---@return brood.FrameType
function M.by_name(name)
  return M.types[name] or error(("no frame has the type '%s'"):format(tostring(name)), 3)
end

--- Whether the process in that role may send the type.
---@param entry brood.FrameType
---@param role brood.Role
---@return boolean
function M.may_send(entry, role)
  return entry.sender == "both" or entry.sender == role
end

--- What arrived: its type, or nil and what is wrong with it.
---@param number integer
---@param room integer
---@param sender brood.Role whose frame it is
---@return brood.FrameType?, string?
function M.check(number, room, sender)
  local entry = by_number[number]
  if not entry then
    return nil, ("a frame of the unknown type %d"):format(number)
  elseif entry.room ~= room then
    return nil, ("a '%s' frame for room %d"):format(entry.name, room)
  elseif not M.may_send(entry, sender) then
    return nil, ("a '%s' frame from a %s"):format(entry.name, sender)
  end
  return entry
end

return M
