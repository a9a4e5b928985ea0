--- The master's side of a proxy: its workers ask here for targets that cannot be asked at once. What does not run is
--- started, who must wait waits in the order of coming, whoever dies gives back what was his; what is used is kept from
--- being stopped as idle. It is loaded where a config has a proxy, and nowhere else.
local board = require "brood.proxy.board"
local crew = require("brood.lazy").room "brood.backend.crew"
local E = require "brood.error"
local join = require "brood.join"
local remote = require "brood.remote"
local routes = require "brood.rules.routes"
local services = require "brood.master.proxy_services"
local task = require "brood.task"
local timer = require "brood.timer"

local M = {}

local ROOM = "proxy"
---@class brood.MasterProxy
---@field master brood.Master
---@field followed table<string, brood.ProxyService> services by name
---@field waiting table<string, integer> requests by target
---@field callers table<integer, { column: integer?, tickets: table<integer, brood.ProxyTicket>, at_end: fun()[] }>
local Proxy = {}
Proxy.__index = Proxy

-- ---- before the workers ---------------------------------------------------------------------------------------------

--- Each target that may have to be started gets its place on the board, before the workers are forked.
---@param config brood.EffectiveConfig
---@return true? ok, brood.Error? err
function Proxy:prepare(config)
  for _, options in ipairs(config.clusters) do
    for _, route in ipairs(options.proxy and options.proxy.routes or {}) do
      if route.target.kind == "service" or route.target.kind == "backend" then
        local place, err = board.place(route.target.name)
        if not place then
          return nil, err
        end
      end
    end
  end
  return true
end

--- Tell the proxy where the clusters listen that it leads to.
---@param list brood.ClusterOptions[]
---@param by_cluster table<string, brood.Sockets>
function M.lend(list, by_cluster)
  for _, options in ipairs(list) do
    if options.proxy then
      options.proxy.addresses = {}
      for name, sockets in pairs(by_cluster) do
        options.proxy.addresses[name] = routes.reachable(sockets:addresses()[1])
      end
    end
  end
end

-- ---- services -------------------------------------------------------------------------------------------------------

--- When a service was used last, as the workers know: math.huge while it is in use. One that would be stopped for it is
--- withdrawn first, so that none of them asks it from now on without a word.
---@param name string
---@param idle number seconds after which it is stopped
---@param touched number when it was used otherwise
---@return number at monotonic seconds
function Proxy:last_used(name, idle, touched)
  return services.last_used(self.followed[name], idle, touched)
end

--- A service is about to be elsewhere: done() once nobody asks it any more where it is now, or has asked too long.
---@param name string
---@param done fun()
function Proxy:leave(name, done)
  services.leave(self.followed[name], self.master.config.graceful_timeout, done)
end

-- ---- backends -------------------------------------------------------------------------------------------------------

-- Whoever holds a lease, or waits for one.
---@class brood.ProxyTicket
---@field lease? brood.BackendLease
---@field waits? brood.BackendTicket
---@field answer? fun(err: brood.Error?, value: any)
---@field given_back? boolean
---@field limit? brood.Timer while it waits

local function nobody_waits()
  return E.new("closed", "nobody waits for it any more")
end

local function has_ready(backend)
  for _, program in pairs(backend.slots) do
    if program.was_ready and not program.asked then
      return true
    end
  end
  return false
end

-- Others have the programs, for longer than a target may take to answer: this one is told so. (A start has a limit of
-- its own.)
local function limit_wait(backend, ticket, seconds)
  ticket.limit = seconds and timer.after(seconds, function()
    local waits, answer = ticket.waits, ticket.answer
    ticket.limit = nil
    if not waits then
      return
    elseif not has_ready(backend) then
      return limit_wait(backend, ticket, seconds)
    elseif waits:cancel() then
      ticket.waits, ticket.answer = nil, nil
      answer(services.cannot_start(backend.name, E.new("turn_timeout", "no turn within %g s", seconds)))
    end
  end) or nil
end

-- Wait for a turn; who has had one that came to nothing waits before all others.
local function wait_for(backend, ticket, seconds, before, done)
  if ticket.given_back then
    return done(nobody_waits())
  end
  ticket.answer = done
  ticket.waits = crew.acquire(backend, function(err, lease)
    ticket.lease, ticket.waits, ticket.answer = lease, nil, nil
    timer.drop(ticket, "limit")
    if err then
      return done(services.cannot_start(backend.name, err))
    end
    done(nil, { address = lease.address })
  end, before)
  if ticket.waits and not ticket.waits.over then
    limit_wait(backend, ticket, seconds)
  end
end

local function reach_backend(backend, ticket, seconds, failed)
  return task.run(nil, "proxy", function(done)
    if failed and failed.lease then
      local lease = failed.lease
      failed.lease = nil
      return lease:fail(function()
        wait_for(backend, ticket, seconds, true, done)
      end)
    end
    wait_for(backend, ticket, seconds, false, done)
  end)
end

local function give_back(ticket, ok)
  local lease, waits, answer = ticket.lease, ticket.waits, ticket.answer
  timer.drop(ticket, "limit")
  ticket.lease, ticket.waits, ticket.answer, ticket.given_back = nil, nil, nil, true
  if lease and ok then
    lease:release()
  elseif lease then
    lease:fail()
  elseif waits and waits:cancel() then
    answer(nobody_waits())
  end
end

-- ---- what workers ask -----------------------------------------------------------------------------------------------

local function book_of(self, caller)
  local book = self.callers[caller.number]
  if not book then
    book = { tickets = {}, at_end = {} }
    self.callers[caller.number] = book
  end
  return book
end

local function find_service(name)
  local named = package.loaded["brood.spinner.named"]
  return named and named.find(name) or nil
end

-- Who starts it does not count as waiting. (A backend has a limit of its own.)
local function is_full(self, name)
  local proxy = self.master.config.proxy
  return proxy and proxy.max_waiting and (self.waiting[name] or 0) > proxy.max_waiting
end

local function reach_named(self, caller, name, number, suspect, failed)
  local service = find_service(name)
  local backend = not service and self.master.backend_keeper and self.master.backend_keeper:find(name)
  if service and service.told_to_stop and service.options.autostart ~= false then
    return nil, E.new("stopped", "%s was stopped", name) -- by an operator, who does not want it to run
  elseif service then
    return services.reach(self.followed, name, service, suspect)
  elseif not backend then
    return nil, E.new("stopped", "there is no '%s' any more", name)
  end
  local tickets, ticket = book_of(self, caller).tickets, {}
  local former = failed and tickets[failed]
  tickets[number] = ticket
  if former then
    tickets[failed] = nil
  end
  local lease, err = reach_backend(backend, ticket, (self.master.config.proxy or {}).timeout, former)
  if not lease then
    tickets[number] = nil
  end
  return lease, err
end

-- A request of a worker, known to it by a number: where it can be asked, as soon as it can be. `suspect` is the version
-- that has refused it, `failed` the number of its former lease, which came to nothing.
local function reach(self, caller, name, number, suspect, failed)
  if is_full(self, name) then
    return nil, E.new("backlog", "%d requests wait for %s already", self.waiting[name], name)
  end
  self.waiting[name] = (self.waiting[name] or 0) + 1
  local lease, err = reach_named(self, caller, name, number, suspect, failed)
  self.waiting[name] = self.waiting[name] > 1 and self.waiting[name] - 1 or nil
  return lease, err
end

local function let_go(self, caller, number, ok)
  local book = self.callers[caller.number]
  local ticket = book and book.tickets[number]
  if ticket then
    book.tickets[number] = nil
    give_back(ticket, ok)
  end
end

local function open_room(self)
  local methods = {}
  function methods.claim(caller)
    local book = book_of(self, caller)
    book.column = book.column or board.claim()
    return book.column or false
  end
  function methods.reach(...)
    return reach(self, ...)
  end
  function methods.release(caller, number, ok)
    let_go(self, caller, number, ok)
  end
  remote.room(ROOM, {
    methods = methods,
    gone = function(caller)
      local book = self.callers[caller.number]
      self.callers[caller.number] = nil
      if book and book.column then
        board.free(book.column)
      end
      for _, ticket in pairs(book and book.tickets or {}) do
        give_back(ticket, false)
      end
      for _, fn in ipairs(book and book.at_end or {}) do
        fn()
      end
      if book then
        book.gone = true
      end
    end,
  })
end

-- What calls a function once the workers are gone that are there now.
local function those_present(self)
  local books = {}
  for _, book in pairs(self.callers) do
    books[#books + 1] = book
  end
  return function(fn)
    local left = join.new(fn)
    for _, book in ipairs(books) do
      if not book.gone then
        table.insert(book.at_end, left:branch())
      end
    end
    left.all_begun()
  end
end

--- How many requests wait for a target, and how many it has open, as far as the board knows.
---@param name string
---@return integer waiting, integer open
function Proxy:use(name)
  return self.waiting[name] or 0, (board.place(name):use())
end

local function new(master)
  local self = setmetatable({ master = master, followed = {}, waiting = {}, callers = {} }, Proxy)
  open_room(self)
  return self
end

-- ---- start and reload -----------------------------------------------------------------------------------------------

--- Make what a config with a proxy or with backends needs, before its workers are forked.
---@param master brood.Master
---@return true? ok, brood.Error? err
function M.begin(master)
  local config = master.config
  if next(config.backends) ~= nil then
    master.backend_keeper = require("brood.master.backends").new(master, config)
  end
  if not config.proxy then
    return true
  end
  master.proxy = new(master)
  M.lend(config.clusters, master.listeners.by_cluster)
  return master.proxy:prepare(config)
end

--- The same for a reload: the workers that it tries find what they need beside what the others have.
---@param reload brood.Reload
---@return true? ok, brood.Error? err
function M.reload(reload)
  local master, config = reload.master, reload.config
  if next(config.backends) ~= nil and not master.backend_keeper then
    master.backend_keeper = require("brood.master.backends").new(master, { backends = {} })
  end
  if config.proxy then
    master.proxy = master.proxy or new(master)
    M.lend(config.clusters, reload.sockets.by_cluster)
    local ok, err = master.proxy:prepare(config)
    if not ok then
      return nil, err
    end
  end
  return not master.backend_keeper or master.backend_keeper:prepare(reload, master.proxy and those_present(master.proxy)
    or function(fn)
      fn()
    end)
end

return M
