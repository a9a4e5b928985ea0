--- What happens in directories, told to whoever watches them: one inotify descriptor for all of this process, none
--- while nobody watches. What a change means to a service is not known here.
local core = require "brood.core"
local E = require "brood.error"
local fork = require "brood.fork"
local task = require "brood.task"
local uv = require "luv"

local M = {}

---@class brood.DirectoryWatch
---@field closed boolean
---@field private number integer
---@field private fn function
local Watch = {}
Watch.__index = Watch

local shared -- { fd, poll, by_number = { [number] = { watches } }, count }

fork.on_child(function()
  shared = nil -- the descriptor is owned, and so closed there; the handle is the old loop's
end)

local function tell(list, ...)
  for _, watch in ipairs(list) do
    if not watch.closed then
      watch.fn(...)
    end
  end
end

-- A list is replaced, never changed: what is told may well end a watch, or begin one.
local function dispatch(events)
  for at = 1, #events, 4 do
    local what = events[at + 1]
    if not shared then
      return
    elseif what == "lost" then
      for _, list in pairs(shared.by_number) do
        tell(list, what)
      end
    else
      tell(shared.by_number[events[at]] or {}, what, events[at + 2], events[at + 3])
    end
  end
end

local function take()
  while shared do
    local events = core.file_events.take(shared.fd)
    if not events then
      return
    end
    dispatch(events)
  end
end

local function close_shared()
  shared.poll:close()
  core.fd.close(shared.fd)
  shared = nil
end

local function open()
  local fd, err = core.file_events.open()
  if not fd then
    return nil, err
  end
  local poll, why, code = uv.new_poll(fd)
  if not poll then
    core.fd.close(fd)
    return nil, E.new(code, "watch files: %s", why)
  end
  shared = { fd = fd, poll = poll, by_number = {}, count = 0 }
  poll:start("r", function()
    task.spawn(take)
  end)
  poll:unref()
  return true
end

--- Call fn(what, name, is_directory) for everything in that directory, not below it; `what` as core.file_events has it:
--- "changed" "appeared" "vanished", "gone" (the directory itself), "lost" (something, somewhere).
---@param directory string
---@param fn fun(what: string, name: string?, is_directory: boolean?)
---@return brood.DirectoryWatch?, brood.Error? err
function M.watch(directory, fn)
  if not shared then
    local ok, err = open()
    if not ok then
      return nil, err
    end
  end
  local number, err = core.file_events.watch(shared.fd, directory)
  if not number then
    if shared.count == 0 then
      close_shared()
    end
    return nil, err
  end
  local self = setmetatable({ number = number, fn = fn, closed = false, shared = shared }, Watch)
  local list = { unpack(shared.by_number[number] or {}) }
  list[#list + 1] = self
  shared.by_number[number] = list
  shared.count = shared.count + 1
  return self
end

--- No more of it. Twice does nothing, nor in the child of a fork.
function Watch:close()
  if self.closed or self.shared ~= shared then
    self.closed = true
    return
  end
  self.closed = true
  local left = {}
  for _, watch in ipairs(shared.by_number[self.number]) do
    left[#left + 1] = watch ~= self and watch or nil
  end
  shared.by_number[self.number] = left[1] and left or nil
  if not left[1] then
    core.file_events.forget(shared.fd, self.number)
  end
  shared.count = shared.count - 1
  if shared.count == 0 then
    close_shared()
  end
end

return M
