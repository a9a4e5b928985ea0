--- The master's side of `spinner.client`: what other processes ask of the services, and what they are told of them. It
--- keeps something only of processes that want to hear of one; the services are the keeper's.
local core = require "brood.core"
local E = require "brood.error"
local message = require "brood.message"
local named = require "brood.spinner.named"
local remote = require "brood.remote"

local M = {}

local ROOM = "service"

---@type table<integer, table<string, { entry: table, event: string, fn: function }>> by the number of the caller
local books = {}

local function gone(name)
  return E.new("stopped", "there is no service '%s' any more", tostring(name))
end

local function pack(...)
  local list = {}
  for i = 1, select("#", ...) do
    local value = select(i, ...)
    if type(value) == "table" and getmetatable(value) == core.error_meta then
      list[i] = { "error", message.encode_error(value) }
    else
      list[i] = { "value", value }
    end
  end
  return list
end

local function path_of(entry)
  return type(entry.port) == "string" and entry.port or nil
end

-- Kept under a key, so that nobody is told twice.
local function follow(caller, key, entry, event, fn)
  local book = books[caller.number] or {}
  books[caller.number] = book
  if not book[key] then
    book[key] = { entry = entry, event = event, fn = fn }
    entry:on(event, fn)
  end
end

local methods = {}

for _, name in ipairs { "start", "stop", "restart", "touch" } do
  methods[name] = function(_, service)
    local entry = named.own(service)
    if not entry then
      return nil, gone(service)
    end
    local value, err = entry[name](entry)
    if err then
      return nil, err
    end
    return value, named.pack(entry), path_of(entry)
  end
end

--- Told of whatever changes, for its fields: it shares no memory with us.
function methods.watch(caller, name)
  local entry = named.own(name)
  if not entry then
    return
  end
  local function tell()
    caller:tell(ROOM, "now", { name, named.pack(entry), path_of(entry) })
  end
  follow(caller, name .. "\nnow", entry, "changed", tell)
  tell()
end

function methods.listen(caller, name, event)
  local entry = named.own(name)
  if not entry or event == "changed" then
    return
  end
  follow(caller, name .. "\n" .. event, entry, event, event == "*" and function(what, ...)
    if what ~= "changed" then
      caller:tell(ROOM, "event", { name, "*", what, select("#", ...), pack(...) })
    end
  end or function(...)
    caller:tell(ROOM, "event", { name, event, event, select("#", ...), pack(...) })
  end)
end

local function unfollow(book, key)
  local followed = book[key]
  book[key] = nil
  followed.entry:off(followed.event, followed.fn)
end

function methods.unlisten(caller, name, event)
  local book = books[caller.number]
  if book and book[name .. "\n" .. event] then
    unfollow(book, name .. "\n" .. event)
  end
end

-- A process that has asked for something has ended.
local function forget(caller)
  local book = books[caller.number]
  books[caller.number] = nil
  local keys = {}
  for key in pairs(book or {}) do
    keys[#keys + 1] = key
  end
  for _, key in ipairs(keys) do
    unfollow(book, key)
  end
end

--- From now on other processes are answered.
function M.open()
  remote.room(ROOM, { methods = methods, gone = forget })
end

return M
