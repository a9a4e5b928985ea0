--- What HTTP and plain servers have in common: where they listen, and how they
--- stop. Nothing of libuv is made before `listen`, so that an app may be loaded
--- in a master and served in its forked workers.
local core = require "brood.core"
local E = require "brood.error"
local task = require "brood.task"

local M = {}

---@class brood.Server
local Server = {}

-- One that listens lives on, though its script may have let go of it: its listeners would go with it.
local listening = {} -- luacheck: ignore 241

-- A server opened before a fork is the parent's, and so are its listeners.
local function state(self)
  local generation = core.generation()
  if self.generation ~= generation then
    self.generation = generation
    self.core, self.listeners = nil, {}
  end
  return self
end

local function open_listener(where)
  if type(where) == "table" then
    return core.listener.open(where)
  end
  return core.listener.open { address = tostring(where) }
end

-- A list of numbers is one of descriptors, borrowed from whoever opened them; everything else is an address.
local function each_target(where)
  if type(where) ~= "table" or where.address ~= nil then
    return { where }
  end
  return where
end

local function check_target(target, is_list)
  local kind = type(target)
  if kind == "string" or kind == "number" or (kind == "table" and type(target.address) ~= "nil") then
    return
  end
  error(('server:listen: %s must be an address ("host:port", "unix:/path", a port) or { address = ... }, got %s')
    :format(is_list and "each of the list" or "the argument", kind), 3)
end

local function close_listeners(list)
  for _, listener in ipairs(list) do
    listener:close()
  end
end

--- Start to accept at an address, several, or on descriptors.
--- A list of numbers is one of descriptors, which stay the caller's.
---@param where string|integer|table "host:port", "unix:/path", a port, { address = ... }, or a list of these
---@return brood.Server? self, brood.Error? err
function Server:listen(where)
  local targets = each_target(where)
  for _, target in ipairs(targets) do
    check_target(target, targets == where)
  end
  state(self)
  local err, opened = nil, {}
  if not self.core then
    self.core, err = self:open_core()
  end
  for _, target in ipairs(targets) do
    local fd = target
    if not err and not (targets == where and type(target) == "number") then
      local listener
      listener, err = open_listener(target)
      opened[#opened + 1] = listener
      fd = listener and listener:fd()
    end
    if not err then
      local _, why = self.core:listen(fd)
      err = why
    end
  end
  if err then
    close_listeners(opened)
    return nil, err
  end
  for _, listener in ipairs(opened) do
    self.listeners[#self.listeners + 1] = listener
  end
  listening[self] = true
  return self
end

--- The address of the first socket this server opened itself, with its real port.
---@return string?
function Server:address()
  local first = state(self).listeners[1]
  return first and first:address()
end

--- Accept no more, let what is in progress finish, and wait for that.
---@async
---@param cb? fun(err: brood.Error?)
---@return true? ok, brood.Error? err
function Server:close(cb)
  state(self)
  return task.run(cb, "server:close", function(done)
    local current, listeners = self.core, self.listeners
    self.core, self.listeners = nil, {}
    listening[self] = nil
    if not current then
      return done(nil)
    end
    current:shutdown(function()
      done(nil)
    end)
    close_listeners(listeners)
  end)
end

--- Cut everything off now.
function Server:destroy()
  local current, listeners = state(self).core, self.listeners
  self.core, self.listeners = nil, {}
  listening[self] = nil
  if current then
    current:close()
  end
  close_listeners(listeners)
end

--- A class of servers. `open_core(self)` makes the core object when the first listener comes.
---@param open_core fun(self): userdata?, brood.Error?
function M.class(open_core)
  local class = { open_core = open_core, listen = Server.listen, address = Server.address, close = Server.close,
    destroy = Server.destroy }
  class.__index = class
  return class
end

--- The answer to anything that comes too late.
---@return brood.Error
function M.closed(what)
  return E.new("closed", "%s is closed", what)
end

return M
