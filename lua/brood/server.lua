--- What HTTP and plain servers have in common: where they listen, and how they
--- stop. Nothing of libuv is made before `listen`, so that an app may be loaded
--- in a master and served in its forked workers.
local address = require "brood.rules.address"
local core = require "brood.core"
local E = require "brood.error"
local options = require "brood.options"
local ours = require "brood.ours"
local supervised = require "brood.supervised"
local task = require "brood.task"

local M = {}

---@class brood.Server
local Server = {}

--- Those that listen. Each lives on, though its script may have let go of it: its listeners would go with it.
---@type table<brood.Server, true>
M.listening = {}
local listening = M.listening

--- Who opens sockets for this process, where it does not do so itself.
---@type nil|fun(entry: table): table?, brood.Error?
M.lend = nil

-- A server opened before a fork is the parent's, and so are its listeners.
local function state(self)
  local generation = core.generation()
  if self.generation ~= generation then
    self.generation = generation
    self.core, self.listeners = nil, {}
    self.stopping, self.closers = {}, {}
  end
  return self
end

-- Of the cores that were told to stop, this one has; whoever closes waits for all.
local function has_stopped(self, stopped)
  self.stopping[stopped] = nil
  if next(self.stopping) == nil then
    local closers = self.closers
    self.closers = {}
    for _, done in ipairs(closers) do
      done(nil)
    end
  end
end

local function open_listener(where)
  local open = M.lend or core.listener.open
  if type(where) == "table" then
    local entry, err = require "brood.listen_entry"(where)
    if not entry then
      return nil, err
    end
    return open(entry)
  end
  local text, why = address.normal(where)
  if not text then
    return nil, E.new("EINVAL", "cannot listen on '%s': %s", where, why)
  end
  return open { address = text }
end

local function check_target(target)
  if type(target) == "table" then
    if getmetatable(target) == nil then
      local checked = options.check(3, target, require("brood.rules.schema_keys").listen_fields, "server:listen")
      return checked
    end
  elseif type(target) == "string" or type(target) == "number" then
    return target
  end
  error(('server:listen: expected an address ("host:port", "unix:/path", a port), { address = ... } or a list of ' ..
    "these, got %s"):format(type(target)), 3)
end

-- A table with names in it is one target by itself.
local function is_list(where)
  return type(where) == "table" and (where[1] ~= nil or next(where) == nil)
end

local function close_listeners(list)
  for _, listener in ipairs(list) do
    listener:close()
  end
end

local function open_all(targets)
  local opened, fds = {}, {}
  for i, target in ipairs(targets) do
    local listener, err = open_listener(target)
    if not listener then
      close_listeners(opened)
      return nil, err
    end
    opened[i], fds[i] = listener, listener:fd()
  end
  return opened, fds
end

local function accept_from(self, fds)
  local err
  if not self.core then
    self.core, err = self:open_core()
  end
  for _, fd in ipairs(fds) do
    if not err then
      local _, why = self.core:listen(fd)
      err = why
    end
  end
  if err then
    return nil, err
  end
  listening[self] = true
  return true
end

--- Start to accept at an address, or at several. May be called again for more.
--- `{ fds = {...} }` in place of it are listening descriptors, which stay the caller's.
---@param where brood.ListenAddress|brood.ListenAddress[]|{ fds: integer[] } "host:port", "unix:/path", a port, ...
---@return brood.Server? self, brood.Error? err
function Server:listen(where)
  state(self)
  if type(where) == "table" and where.fds then
    local ok, err = accept_from(self, where.fds)
    return ok and self, err
  end
  if where == nil then
    error('server:listen: an address is missing (e.g. "127.0.0.1:8080")', 2)
  end
  local targets = is_list(where) and where or { where }
  if #targets == 0 then
    error("server:listen: the list of addresses is empty", 2)
  end
  local checked = {}
  for i, target in ipairs(targets) do
    checked[i] = check_target(target)
  end
  local opened, fds = open_all(checked)
  if not opened then
    return nil, fds
  end
  local ok, err = accept_from(self, fds)
  if not ok then
    -- Whoever listens there next must not find connections taken that nobody serves.
    self:destroy()
    close_listeners(opened)
    return nil, err
  end
  for _, listener in ipairs(opened) do
    self.listeners[#self.listeners + 1] = listener
    if not listener.is_lent and listener:address():find("unix:", 1, true) == 1 then
      supervised.close_at_end(listener) -- its file would be left behind
    end
  end
  return self
end

--- The addresses of the sockets this server opened itself, with their real ports.
---@return string? first, string ... the others
function Server:address()
  local list = {}
  for i, listener in ipairs(state(self).listeners) do
    list[i] = listener:address()
  end
  return unpack(list)
end

-- Whom one wakes may start and stop others.
local function each_stopping(self, fn)
  local list = {}
  for each in pairs(self.stopping) do
    list[#list + 1] = each
  end
  for _, each in ipairs(list) do
    fn(each)
  end
end

local function begin_close(self, linger, done)
  local current, listeners = self.core, self.listeners
  self.core, self.listeners = nil, {}
  listening[self] = nil
  if not current and next(self.stopping) == nil then
    return done(nil)
  end
  table.insert(self.closers, done)
  if not linger then
    each_stopping(self, function(each)
      each:shutdown()
    end)
  end
  if current then
    self.stopping[current] = true
    current:shutdown(function()
      has_stopped(self, current)
    end, linger)
  end
  close_listeners(listeners)
end

--- Accept no more, let what is in progress finish, and wait for that. Connections that are idle are closed, also those
--- that a `linger` has kept.
---@async
---@param cb? fun(err: brood.Error?)
---@return true? ok, brood.Error? err
function Server:close(cb)
  state(self)
  return task.run(cb, "server:close", function(done)
    begin_close(self, false, done)
  end)
end

--- Like `close`, but an idle HTTP connection stays until its client has had one more answer, with `Connection: close`,
--- or until a `close`: so nobody's request meets a connection that has just been closed.
---@async
---@param cb? fun(err: brood.Error?)
---@return true? ok, brood.Error? err
function Server:linger(cb)
  state(self)
  return task.run(cb, "server:linger", function(done)
    begin_close(self, true, done)
  end)
end

--- From now on no request takes longer than so much, those in progress from now: then it is answered with 503, or cut.
---@private
---@param seconds number
function Server:limit_requests(seconds)
  local current = state(self).core
  if current and current.limit_requests then
    current:limit_requests(seconds * 1000)
  end
end

--- Cut everything off now, also what a `close` still waits for.
function Server:destroy()
  local current, listeners = state(self).core, self.listeners
  self.core, self.listeners = nil, {}
  listening[self] = nil
  if current then
    current:close()
  end
  each_stopping(self, function(each)
    each:close()
  end)
  close_listeners(listeners)
end

ours.guard(Server, "server", { "listen", "address", "close", "linger", "destroy" }, function(self)
  return type(self) == "table" and self.open_core ~= nil
end)

--- A class of servers. `open_core(self)` makes the core object when the first listener comes.
---@param open_core fun(self): userdata?, brood.Error?
function M.class(open_core)
  local class = { open_core = open_core, listen = Server.listen, address = Server.address, close = Server.close,
    linger = Server.linger, destroy = Server.destroy, limit_requests = Server.limit_requests }
  class.__index = class
  return class
end

--- The answer to anything that comes too late.
---@return brood.Error
function M.closed(what)
  return E.new("closed", "%s is closed", what)
end

return M
