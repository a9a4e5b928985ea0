--- A backend as its users see it: its calls, each of which is answered once, in whatever state it is called.
local core = require "brood.core"
local crew = require "brood.backend.crew"
local E = require "brood.error"
local emitter = require "brood.emitter"
local fork = require "brood.fork"
local join = require "brood.join"
local options = require "brood.options"
local rules = require "brood.rules.backend_states"
local task = require "brood.task"

---@class brood.Backend: brood.Emitter
---@field name string
---@field state brood.ProcessState of the program that the next request would meet
---@field pid integer? of the first program that runs
---@field options table
---@field served integer how many connections there were
local Backend = emitter.mixin {}
Backend.__index = Backend

local M = { class = Backend }

local all = setmetatable({}, { __mode = "k" }) ---@type table<brood.Backend, true>

-- The parent's programs are the parent's: here none runs.
fork.on_child(function()
  for backend in pairs(all) do
    crew.reset(backend)
  end
end)

-- Who does not run as we do has to be able to bind the socket.
local function owner_of(o)
  if o.user == nil and o.group == nil then
    return nil
  end
  local user = o.user ~= nil and core.privileges.lookup_user(o.user) or {}
  local group = o.group ~= nil and core.privileges.lookup_group(o.group) or {}
  return { uid = user.uid, gid = group.gid or user.gid }
end

--- A backend; nothing is started yet.
---@param o table checked options
---@param inner { environ: table<string, string>?, name: string? }
---@return brood.Backend
function M.new(o, inner)
  inner.name = inner.name or o.name or o.command[1]:match "[^/]*$"
  inner.owner = owner_of(o)
  local self = setmetatable({ options = o, inner = inner, name = inner.name, served = 0 }, Backend)
  crew.reset(self)
  all[self] = true
  return self
end

local function check_self(self, what)
  if getmetatable(self) ~= Backend then
    error(options.no_self(what), 3)
  end
end

local function state_of(self, slot)
  local one = self.slots[slot]
  return one and one.process.state or self.faulted and "faulted" or "stopped", one
end

-- ---- starting ----

local START = {}

function START.launch(self, slot, _, branch)
  crew.launch(self, slot, { branch })
end

function START.join(_, _, one, branch)
  table.insert(one.starters, branch)
end

function START.answer(_, _, _, branch)
  branch()
end

function START.later(_, _, one, branch)
  table.insert(one.successors, branch)
end

function START.replace(_, _, one, branch)
  table.insert(one.successors, branch)
  one:quit()
end

local function start(self, call, slots, done)
  if self.closed then
    return done(crew.stopped(self))
  end
  local states = {}
  for _, slot in ipairs(slots) do
    states[slot] = state_of(self, slot)
  end
  crew.hope(self)
  local each = join.new(done)
  for _, slot in ipairs(slots) do
    local one = self.slots[slot]
    local action = one and one.process.state == "stopped" and "later" or rules.action(states[slot], call)
    START[action](self, slot, one, each:branch())
  end
  each.all_begun()
end

local function every_slot(self)
  local list = {}
  for slot = 1, self.options.size do
    list[slot] = slot
  end
  return list
end

--- Start what is not running yet, all `size` programs; returns true once they are ready. Nobody has to call it: a
--- request starts what it needs.
---@async
---@param cb? fun(err: brood.Error?)
---@return true? ok, brood.Error? err what the program printed, where it has ended; code "exit", "timeout", "stopped"
function Backend:spawn(cb)
  check_self(self, "backend:spawn")
  return task.run(cb, "backend:spawn", function(done)
    start(self, "spawn", every_slot(self), done)
  end)
end

--- Quit the programs that run, and start as many again; where none runs this is `spawn`. Returns true once they are
--- ready.
---@async
---@param cb? fun(err: brood.Error?)
---@return true? ok, brood.Error? err
function Backend:restart(cb)
  check_self(self, "backend:restart")
  return task.run(cb, "backend:restart", function(done)
    local running = {}
    for slot = 1, self.options.size do
      running[#running + 1] = self.slots[slot] and slot or nil
    end
    start(self, "restart", running[1] and running or every_slot(self), done)
  end)
end

-- ---- ending ----

-- Those who wait for a connection go on waiting: they have asked for none of this, and get the next one.
local function finish(self, how, done)
  local each = join.new(done)
  if self.closed then
    crew.fail_waiting(self, crew.stopped(self))
  end
  for slot = 1, self.options.size do
    local one = self.slots[slot]
    if one then
      local successors = one.successors
      one.successors = {}
      local ended = each:branch()
      table.insert(one.enders, function()
        ended()
      end)
      one:finish(how)
      for _, told in ipairs(successors) do
        told(E.new("stopped", "%s was stopped before it was started again", self.name))
      end
    end
  end
  if self.faulted then
    crew.forget(self)
    crew.update(self)
  end
  each.all_begun()
end

--- KILL what runs. Returns true once it is gone.
---@async
---@param cb? fun(err: brood.Error?)
---@return true ok
function Backend:kill(cb)
  check_self(self, "backend:kill")
  return task.run(cb, "backend:kill", function(done)
    finish(self, "kill", done)
  end)
end

--- TERM to what runs, and KILL after terminate_timeout. Returns true once it is gone.
---@async
---@param cb? fun(err: brood.Error?)
---@return true ok
function Backend:terminate(cb)
  check_self(self, "backend:terminate")
  return task.run(cb, "backend:terminate", function(done)
    finish(self, "terminate", done)
  end)
end

--- QUIT to what runs, on which it may finish its request, then `terminate` after quit_timeout. Returns true once it is
--- gone.
---@async
---@param cb? fun(err: brood.Error?)
---@return true ok
function Backend:quit(cb)
  check_self(self, "backend:quit")
  return task.run(cb, "backend:quit", function(done)
    finish(self, "quit", done)
  end)
end

--- Take no more requests; those that use a program or wait for one are served, then the programs quit. Returns true
--- once they are gone. A `quit`, `terminate` or `kill` after it ends those that still wait, too: code "stopped".
---@async
---@param cb? fun(err: brood.Error?)
---@return true ok
function Backend:close(cb)
  check_self(self, "backend:close")
  return task.run(cb, "backend:close", function(done)
    self.closed = true
    table.insert(self.closers, done)
    crew.settle(self)
  end)
end

-- ---- using ----

--- Wait for a program, for brood's own rooms: a lease, which says where to connect to. It is for one connection at a
--- time, and has to be given back: `lease:release()`, or `lease:fail()` where the connection failed or ended too early.
--- With a callback this returns a ticket, and `ticket:cancel()` gives up waiting.
---@async
---@param cb? fun(err: brood.Error?, lease: brood.BackendLease?)
---@return brood.BackendLease|brood.BackendTicket? lease_or_ticket, brood.Error? err
function Backend:acquire(cb)
  check_self(self, "backend:acquire")
  if cb then
    return crew.acquire(self, function(err, lease)
      task.spawn(cb, err, lease)
    end)
  end
  return task.run(nil, "backend:acquire", function(done)
    crew.acquire(self, done)
  end)
end

--- A connection to a program, started if need be: a `conn` as in brood.net. It has that program for itself until it is
--- closed; while all are used one waits, in order.
---@async
---@param cb? fun(err: brood.Error?, conn: brood.Conn?)
---@return brood.Conn? conn, brood.Error? err
function Backend:connect(cb)
  check_self(self, "backend:connect")
  return task.run(cb, "backend:connect", function(done)
    require("brood.backend.connection").open(self, done)
  end)
end

--- Have a request answered by a program. Where that fails before anything was sent to the client: nil and an error, and
--- the caller answers.
---@async
---@param req brood.Request
---@param res brood.Response
---@param cb? fun(err: brood.Error?)
---@return true? ok, brood.Error? err
function Backend:proxy(req, res, cb)
  check_self(self, "backend:proxy")
  if type(req) ~= "userdata" or type(res) ~= "userdata" then
    error("backend:proxy: it takes the req and res that a handler was called with", 2)
  end
  local mistake = core.relay.mistake(req, res)
  if mistake then
    error("backend:proxy: " .. mistake, 2)
  end
  return task.run(cb, "backend:proxy", function(done)
    require("brood.backend.relay")(self, req, res, done)
  end)
end

-- ---- looking ----

--- What there is: { state, size, served, waiting, error, programs = { { pid, state, served, started_at } } }.
---@return table
function Backend:status()
  check_self(self, "backend:status")
  local programs = {}
  for slot = 1, self.options.size do
    local one = self.slots[slot]
    if one then
      programs[#programs + 1] = {
        name = one.name, pid = one.pid, state = one.process.state, served = one.served,
        started_at = one.process.started_at, address = one.address,
      }
    end
  end
  return {
    state = self.state, size = self.options.size, served = self.served, waiting = self.queue.count, programs = programs,
    error = self.failure,
  }
end

return M
