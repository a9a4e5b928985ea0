--- Files and directories of which somebody wants to know when they change. Many changes in a row are one; what changed
--- and what follows from it are the caller's business. Where the kernel watches no more for us, it looks every second.
local E = require "brood.error"
local clock = require "brood.clock"
local core = require "brood.core"
local ignored = require "brood.rules.ignored"
local log = require "brood.log"
local task = require "brood.task"
local timer = require "brood.timer"
local watched = require "brood.spinner.watched"

local M = {}

local QUIET, LONGEST = 0.1, 1 -- seconds without another change, and from the first one at most
local LOOK = 1 -- seconds between two looks where nobody tells
local LOOK_SHARE = 20 -- a look that takes long comes less often: a 20th of the time at most

---@class brood.Monitor
---@field private paths brood.WatchedPath[]
---@field private on_change fun(path: string)
local Monitor = {}
Monitor.__index = Monitor

-- A file that is gone is not told of until it is back: there is nothing yet to be started with.
local function tell(self)
  timer.drop(self, "waiting")
  local pending = self.pending
  self.pending, self.first = {}, nil
  for _, one in ipairs(self.paths) do
    if pending[one] and one:exists() then
      return task.spawn(self.on_change, pending[one])
    end
  end
end

local function stir(self, one, path)
  if self.closed then
    return
  end
  local now = clock.now()
  self.pending[one] = self.pending[one] or path
  self.first = self.first or now
  -- One timer for a burst: it looks at its end whether there was more meanwhile.
  self.last = now
  if self.waiting then
    return
  end
  local function look()
    local due = math.min(self.last + QUIET, self.first + LONGEST)
    local left = due - clock.now()
    if left <= 0 then
      return tell(self)
    end
    self.waiting = timer.after(left, look):unref()
  end
  self.waiting = timer.after(QUIET, look):unref()
end

local function difference(old, new)
  for path, seen in pairs(new) do
    if old[path] ~= seen then
      return path
    end
  end
  for path in pairs(old) do
    if new[path] == nil then
      return path
    end
  end
end

local function look_now_and_then(self)
  local seen = {}
  local function look(first)
    local began = clock.now()
    for _, one in ipairs(self.paths) do
      local found = one:look()
      local path = not first and difference(seen[one], found)
      seen[one] = found
      if path then
        stir(self, one, path)
      end
    end
    self.looking = timer.after(math.max(LOOK, LOOK_SHARE * (clock.now() - began)), look):unref()
  end
  look(true)
end

local function give_up_watching(self, err)
  if self.looking or self.closed then
    return
  end
  for _, one in ipairs(self.paths) do
    one:close()
  end
  log.warn(("monitor: %s (%s): looking every second instead; fs.inotify.max_user_watches or max_user_instances may be "
    .. "raised"):format(err.message, self.paths[1].path))
  look_now_and_then(self)
end

local function absolute(path)
  path = path:sub(1, 1) == "/" and path or core.cwd() .. "/" .. path
  path = path:gsub("/%./", "/"):gsub("//+", "/"):gsub("/%.$", "")
  return #path > 1 and (path:gsub("/$", "")) or "/"
end

--- Call on_change(path) when something there has changed: about 100 ms after the last of many changes, and at most a
--- second after the first. It runs in a task, and is not called while a single file that changed is missing.
--- What version control, editors and interpreters leave is ignored below a directory; symlinks there are not followed.
---@param paths string|string[] files and directories; a file may be missing, not so its folder
---@param options? { ignore?: string[] } names and patterns below the directories, see brood.rules.ignored
---@param on_change fun(path: string)
---@return brood.Monitor?, brood.Error? err
function M.watch(paths, options, on_change)
  local self = setmetatable({ paths = {}, pending = {}, on_change = on_change, closed = false }, Monitor)
  local is_ignored = ignored.compile(options and options.ignore)
  local failure
  for _, path in ipairs(type(paths) == "string" and { paths } or paths) do
    local one
    one = watched.new(absolute(path), is_ignored, function(changed)
      stir(self, one, changed)
    end, function(err)
      if self.watching then
        return give_up_watching(self, err)
      end
      failure = err
    end)
    if not one:exists() and not watched.has_folder(one.path) then
      self:close()
      return nil, E.new("ENOENT", "monitor: %s: neither it nor its folder is there", one.path)
    end
    self.paths[#self.paths + 1] = one
  end
  for _, one in ipairs(self.paths) do
    if not failure then
      one:attach()
    end
  end
  self.watching = true
  if failure then
    give_up_watching(self, failure)
  end
  return self
end

--- on_change is not called any more. Twice does nothing.
function Monitor:close()
  self.closed = true
  timer.drop(self, "waiting")
  timer.drop(self, "looking")
  for _, one in ipairs(self.paths) do
    one:close()
  end
end

return M
