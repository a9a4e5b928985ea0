--- A service of the config, in a process that the master has started: what is asked of it goes to the master, and what
--- somebody here wants to hear of it comes back. The service itself, and what becomes of it, is in the master.
local emitter = require "brood.emitter"
local message = require "brood.message"
local named = require "brood.spinner.named"
local remote = require "brood.remote"
local remote_listeners = require "brood.remote_listeners"
local task = require "brood.task"

local ROOM = "service"

---@class brood.ServiceClient: brood.Emitter
---@field name string
---@field line brood.Line
---@field was number? how it was when last heard of, where nothing is shared with the master
---@field path string? of its socket, when last heard of
---@field listened table<string, true> events that the master tells of
local Client = emitter.mixin {}
Client.__index = Client
remote_listeners(Client, ROOM)

local M = {}

---@type table<string, brood.ServiceClient>
local clients = {}
local heard_line -- of this process; another one's after a fork

-- ---- what comes back ------------------------------------------------------------------------------------------------

local heard = {}

-- { name, how it is, path of its socket }
function heard.now(told)
  local client = clients[told[1]]
  if client then
    client.was, client.path = told[2], told[3] or client.path
  end
end

-- { name, whose listeners, event, n, values }
function heard.event(told)
  local client, whose, event, n, packed = clients[told[1]], told[2], told[3], told[4], told[5]
  if not client then
    return
  end
  local values = {}
  for i = 1, n do
    local one = packed[i]
    if one and one[1] == "error" then
      values[i] = message.decode_error(one[2])
    else
      values[i] = one and one[2]
    end
  end
  client:tell(whose, event, unpack(values, 1, n))
end

local function connect()
  local line = remote.line()
  if not line then
    error("brood.service: this process was not started by a master, but forked from one that was", 0)
  end
  if heard_line ~= line then
    clients, heard_line = {}, line
    line:listen(ROOM, {
      event = function(what, value)
        local fn = heard[what]
        if fn then
          fn(value)
        end
      end,
    })
  end
  return line
end

-- ---- for users ------------------------------------------------------------------------------------------------------

for _, name in ipairs { "start", "stop", "restart", "touch" } do
  --- As the service's own, in the master.
  Client[name] = function(self, cb)
    return task.run(cb, "service:" .. name, function(done)
      self.line:call(function(err, port, was, path)
        if was then
          self.was, self.path = was, path or self.path
        end
        done(err, port)
      end, ROOM, name, self.name)
    end)
  end
end

--- Its state, port and pid: as the shared memory has them, or as they were heard of last.
---@param number number?
---@return brood.ServiceState state, integer|string|nil port, integer? pid
function Client:look(number)
  return named.unpack(number or self.was or 0, self.path)
end

-- ---- by name --------------------------------------------------------------------------------------------------------

--- What speaks to that service from here.
---@param known brood.NamedService
---@return brood.ServiceClient
function M.new(known)
  local line = connect()
  local self = clients[known.name]
  if not self then
    self = setmetatable({
      name = known.name, line = line, listened = {}, was = rawget(known, "was"), path = rawget(known, "path"),
    }, Client)
    clients[known.name] = self
    if self.was or self.path then
      line:order(ROOM, "watch", self.name) -- nothing is shared, or not the path of its socket
    end
  end
  return self
end

return M
