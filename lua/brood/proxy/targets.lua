--- How a worker of a proxy comes from a route's target to an answer: where the target can be asked, by what the board
--- knows or the master says; the request there; what is tried again, and what the client is told in the end. The
--- master starts what does not run and says whose turn it is; the bytes are proxy.forward's business.
local answers = require "brood.proxy.answers"
local board = require "brood.proxy.board"
local clock = require "brood.clock"
local E = require "brood.error"
local forward = require "brood.proxy.forward"
local gather = require "brood.proxy.gather"
local log = require "brood.log"
local remote = require "brood.remote"
local task = require "brood.task"

local M = {}

local ROOM = "proxy"
local PAUSES = { 0.01, 0.05, 0.2 } -- seconds before a target that refuses is tried again: it may be about to come back
local IDEMPOTENT = { GET = true, HEAD = true, OPTIONS = true, TRACE = true, PUT = true, DELETE = true }

---@class brood.ProxyTargets
---@field options brood.ProxyOptions
---@field line brood.Line? to the master
---@field last_ticket integer
---@field fixed table<brood.RouteTarget, table> what forward is told of addresses that stay
---@field places table<brood.RouteTarget, brood.BoardPlace> of those that come and go
---@field complained table<string, number> by target: when its last failure was logged
local Targets = {}
Targets.__index = Targets

--- The targets of a proxy's routes.
---@param options brood.ProxyOptions
---@return brood.ProxyTargets
function M.new(options)
  local self = setmetatable({ options = options, last_ticket = 0, fixed = {}, places = {}, complained = {} }, Targets)
  for _, route in ipairs(options.routes) do
    local target = route.target
    local address = target.address or target.kind == "cluster" and options.addresses[target.name]
    if address then
      self.fixed[target] = self:way(address)
    else
      self.places[target] = board.place(target.name)
    end
  end
  return self
end

-- What forward is told. A program with one connection at a time must not be kept by an idle one.
function Targets:way(address, keep)
  return {
    address = address, timeout = self.options.timeout, connect_timeout = self.options.connect_timeout, keep = keep,
  }
end

--- Before the first request.
---@async
---@return true? ok, brood.Error? err
function Targets:start()
  self.line = remote.line()
  if not next(self.places) then
    return true
  end
  local column, err = task.run(nil, "proxy", function(done)
    self.line:call(done, ROOM, "claim")
  end)
  if err then
    return nil, err
  end
  board.attach(column or nil)
  return true
end

-- ---- the way of one request -----------------------------------------------------------------------------------------

-- Whether it may be sent once more: nothing of it has arrived anywhere, or it does no harm twice and was not answered.
local function may_repeat(req, err, repeated)
  if err.began or err.client or err.came or err.whole == false or req.closed then
    return false
  elseif not err.sent then
    return err.code == "connect" or err.code == "closed"
  end
  return not repeated and err.code == "closed" and IDEMPOTENT[req.method] ~= nil
end

local TOLD = { connect = true, closed = true, timeout = true, bad_answer = true, backlog = true, turn_timeout = true }
local NO_FILES = { EMFILE = true, ENFILE = true }
local SECOND = 1

-- What the client is told, and the log, where the master has not told it: of each target once in a second.
function Targets:fail(target, req, res, err)
  if err.began or not res:_open() then
    return
  elseif err.client then
    return res:_fail(502) -- which closes: nobody is there to be told more
  end
  local name, now = target.name or target.address, clock.now()
  if TOLD[err.code] and now - (self.complained[name] or -SECOND) >= SECOND then
    self.complained[name] = now
    local message = err.message:gsub("^" .. name:gsub("%p", "%%%0") .. ": ", "")
    log.warn(("%s: %s %s: %s"):format(name, req.method, req.path, message))
  end
  -- It is we who are short of descriptors; of the target nothing is known.
  answers.failed(res, err.code == "connect" and NO_FILES[err.reason] and "no_files" or err.code, name)
end

-- An address that stays: nobody but who listens there can help. (The workers of a cluster come and go.)
function Targets:serve_fixed(target, way, req, res)
  local ok, err = forward(req, res, way)
  if not ok and target.kind == "cluster" and may_repeat(req, err) then
    ok, err = forward(req, res, way)
  end
  if not ok then
    self:fail(target, req, res, err)
  end
end

local function gone()
  local err = E.new("closed", "the client has gone")
  err.client = true
  return err
end

-- Ask the master where the target is; it may have to be started, or be busy. Who goes away meanwhile does not wait on.
---@return table? lease, brood.Error? err
function Targets:ask(target, ticket, req)
  local line, waits, left = self.line, true, false
  local function cancel()
    if waits then
      left = true
      line:order(ROOM, "release", ticket.number, true)
    end
  end
  req:on("close", cancel)
  local lease, err = task.run(nil, "proxy", function(done)
    line:call(done, ROOM, "reach", target.name, ticket.number, ticket.suspect, ticket.failed)
  end)
  waits = false
  req:off("close", cancel)
  return lease, left and not lease and gone() or err
end

-- One that all may ask at once, if it is where we know it to be.
local function serve_shared(place, ticket, req, res)
  local version, way = place:enter()
  if not version then
    return nil, nil
  end
  ticket.suspect = version
  local ok, err = forward(req, res, way)
  place:leave(version)
  return ok, err
end

-- One that is ours alone until it is given back.
function Targets:serve_leased(lease, ticket, req, res)
  local ok, err = forward(req, res, self:way(lease.address, false))
  if ok or err.client then
    self.line:order(ROOM, "release", ticket.number, true)
  else
    ticket.failed = ticket.number
  end
  return ok, err
end

local function has_moved()
  return E.new("connect", "it has moved meanwhile")
end

-- Once: by what is known, or else by what the master says. It keeps in the ticket what the next try has to tell.
function Targets:try(target, ticket, req, res)
  local place = self.places[target]
  if not ticket.suspect then
    local ok, err = serve_shared(place, ticket, req, res)
    if ok or err then
      return ok, err
    end
  end
  if target.kind == "backend" then
    if not gather(req, res) then
      return nil, gone()
    end
  end
  self.last_ticket = self.last_ticket + 1
  ticket.number = self.last_ticket
  local lease, why = self:ask(target, ticket, req)
  ticket.failed = nil
  if not lease then
    return nil, why
  elseif not lease.version then
    return self:serve_leased(lease, ticket, req, res)
  end
  place:learn(lease.version, self:way(lease.address))
  local ok, err = serve_shared(place, ticket, req, res)
  return ok, not ok and (err or has_moved()) or nil
end

-- One that may have to be started.
function Targets:serve_named(target, req, res)
  local ticket, repeated, ok, err = {}, false, nil, nil
  for attempt = 1, #PAUSES + 1 do
    ok, err = self:try(target, ticket, req, res)
    if ok or not PAUSES[attempt] or not may_repeat(req, err, repeated) then
      break
    end
    repeated = repeated or err.sent
    if not ticket.failed then
      task.sleep(PAUSES[attempt])
    end
  end
  if ticket.failed then
    self.line:order(ROOM, "release", ticket.failed, false)
  end
  if not ok then
    self:fail(target, req, res, E.from(err))
  end
end

--- Answer a request by its target.
---@async
---@param target brood.RouteTarget
---@param req brood.Request
---@param res brood.Response
function Targets:serve(target, req, res)
  local way = self.fixed[target]
  if way then
    return self:serve_fixed(target, way, req, res)
  end
  return self:serve_named(target, req, res)
end

return M
