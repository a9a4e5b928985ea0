--- The services of a config by name, as every process of the master knows them: what `brood.service(name)` gives. In
--- the master it is the keeper's entry that answers, elsewhere the line to the master. What a service does, where and
--- with which pid stands in memory that all forked processes share, so that nobody has to ask. It makes no
--- services.
local by_name = require "brood.by_name"
local core = require "brood.core"

local names = by_name "brood.spinner.client"
local target = names.target -- the entry in the master, what speaks to it elsewhere

local M = { find = names.find, own = names.own, remove = names.remove, hide = names.hide, names = names.names }

---@class brood.NamedService: brood.Emitter a service of the config, in whatever process
---@field name string
---@field state brood.ServiceState
---@field port integer|string|nil while it is ready: its port, or the path of its socket; nil where it has none
---@field pid integer?
local Named = {}

local board -- a place for each, shared by all processes that are forked
local last_place = 0

local PLACES = 16384 -- of names in a master's life; what is not used costs no memory

-- ---- what is shared: state, port and pid in one number, so that they belong together --------------------------------

local STATES = { "stopped", "starting", "ready", "busy", "stopping", "faulted" }
local NUMBERS = {}
for i, name in ipairs(STATES) do
  NUMBERS[name] = i - 1
end

local PATH = 65536 -- its port is the path of a socket
local PORTS = 131072

--- State, port and pid as one number. A path is told in other ways.
---@param view { state: brood.ServiceState, port: any, pid: integer? }
---@return number
function M.pack(view)
  local port = view.port
  port = type(port) == "number" and port or type(port) == "string" and PATH or 0
  return NUMBERS[view.state] + 8 * port + 8 * PORTS * (view.pid or 0)
end

--- The other way round.
---@param number number
---@param path string? what is meant where the port is a path
---@return brood.ServiceState state, integer|string|nil port, integer? pid
function M.unpack(number, path)
  local state, rest = number % 8, math.floor(number / 8)
  local port, pid = rest % PORTS, math.floor(rest / PORTS)
  if port == PATH then
    port = path
  elseif port == 0 then
    port = nil
  end
  return STATES[state + 1], port, pid > 0 and pid or nil
end

--- Before the first one is added.
---@return true? ok, brood.Error? err
function M.prepare()
  if not board then
    local err
    board, err = core.scoreboard.create(PLACES)
    if not board then
      return nil, err
    end
  end
  return true
end

--- In the master: it is so now. All processes that were forked since it was added see it.
---@param name string
---@param view { state: brood.ServiceState, port: any, pid: integer? }
function M.note(name, view)
  local self = names.get(name)
  if self then
    if rawget(self, "place") then
      board:set(rawget(self, "place"), "state", M.pack(view))
    end
    if type(view.port) == "string" then
      rawset(self, "path", view.port)
    end
  end
end

-- ---- what it is here ------------------------------------------------------------------------------------------------

local meta = {}

for _, name in ipairs { "start", "stop", "restart", "touch" } do
  Named[name] = function(self, cb)
    if getmetatable(self) ~= meta then
      error(require("brood.options").no_self("service:" .. name), 2)
    end
    local it = target(self)
    return it[name](it, cb)
  end
end

for _, name in ipairs { "on", "once", "off", "emit" } do
  Named[name] = function(self, ...)
    local it = target(self)
    it[name](it, ...)
    return self
  end
end

local SHARED = { state = 1, port = 2, pid = 3 }

function meta.__index(self, key)
  local method = Named[key]
  if method ~= nil then
    return method
  end
  local it = target(self)
  if SHARED[key] and it ~= rawget(self, "own") then
    local place = rawget(self, "place")
    return (select(SHARED[key], it:look(place and board:get(place, "state"))))
  end
  return it[key]
end

-- ---- by name --------------------------------------------------------------------------------------------------------

--- There is one more.
---@param name string
---@param entry table what answers in the master: start, stop, restart, touch, state, port, pid, and an emitter
---@return brood.NamedService
function M.add(name, entry)
  local place
  if last_place < PLACES then
    last_place = last_place + 1
    place = last_place
  end
  local self = names.put(setmetatable({ name = name, own = entry, place = place }, meta))
  M.note(name, entry)
  return self
end

-- ---- for a process that sees nothing of our memory ------------------------------------------------------------------

--- What a script that is started in a process of its own has to know, as text for its environment: each name, and how
--- it is now.
---@return string? text nil where there are no services
function M.export()
  local parts = {}
  for i, name in ipairs(names.names()) do
    local self = names.get(name)
    local path = rawget(self, "path")
    parts[i] = ("%s=%.0f%s"):format(name, M.pack(rawget(self, "own")), path and "=" .. path:gsub("[ =%%]", function(c)
      return ("%%%02x"):format(c:byte())
    end) or "")
  end
  return parts[1] and table.concat(parts, " ") or nil
end

--- The same, in that script: from now on it knows the services of its master.
---@param text string
function M.adopt(text)
  for name, number, path in text:gmatch "([^ =]+)=(%d+)=?([^ ]*)" do
    path = path:gsub("%%(%x%x)", function(digits)
      return string.char(tonumber(digits, 16))
    end)
    names.put(setmetatable({ name = name, was = tonumber(number), path = path ~= "" and path or nil }, meta))
  end
end

return M
