--- Private folders for Unix sockets: in the first place that has room for their paths, gone when they are closed and
--- however this process ends. What processes that were killed have left is cleared away by the first that makes one.
local address = require "brood.rules.address"
local core = require "brood.core"
local E = require "brood.error"
local files = require "brood.files"
local folder = require "brood.folder"
local fork = require "brood.fork"
local log = require "brood.log"
local supervised = require "brood.supervised"
local uv = require "luv"

local M = {}

local PREFIX, LOCK = "brood-", "sockets.pid"
local LONGEST_NAME = 16 -- bytes of what is put into one: "/12/12345.sock"

---@class brood.SocketFolder
---@field dir string
---@field private lock userdata while it is held, the process that made the folder lives
local SocketFolder = {}
SocketFolder.__index = SocketFolder

local swept = false

fork.on_child(function()
  swept = false
end)

-- With what is in it: sockets, and folders of others. What these put into theirs may change at any moment, so that
-- nothing is entered there.
local function remove_all(dir, of_others)
  for _, entry in ipairs(folder.entries(dir)) do
    local path = dir .. "/" .. entry.name
    if not uv.fs_unlink(path) and not of_others then
      remove_all(path, true)
    end
  end
  return uv.fs_rmdir(dir)
end

-- ---- what others have left ------------------------------------------------------------------------------------------

-- It is ours, and nobody holds the lock in it: then it is taken, and what is there goes.
local function clear_away(dir)
  local stat, lock = uv.fs_lstat(dir), uv.fs_lstat(dir .. "/" .. LOCK)
  if not (stat and lock and stat.type == "directory" and lock.type == "file") or stat.uid ~= core.posix.getuid() then
    return
  end
  local held = core.pidfile.open(dir .. "/" .. LOCK)
  if held then
    remove_all(dir)
    held:close()
  end
end

local function sweep(base)
  for _, entry in ipairs(folder.entries(base)) do
    if entry.name:find("^" .. PREFIX:gsub("%p", "%%%0") .. "%w%w%w%w%w%w$") then
      clear_away(base .. "/" .. entry.name)
    end
  end
end

-- ---- one of ours ----------------------------------------------------------------------------------------------------

local function bases()
  local list = {}
  -- Root's runtime folder is closed to those that its programs may run as.
  for _, name in ipairs { core.posix.getuid() ~= 0 and "XDG_RUNTIME_DIR" or "TMPDIR", "TMPDIR" } do
    local value = os.getenv(name)
    list[#list + 1] = value and value:sub(1, 1) == "/" and value:gsub("/+$", "") or nil
  end
  list[#list + 1] = "/tmp"
  return list
end

local function make(base)
  local dir, why, code = uv.fs_mkdtemp(base .. "/" .. PREFIX .. "XXXXXX")
  if not dir then
    return nil, E.new(code, "a folder for sockets in %s: %s", base, files.reason(why))
  end
  local lock, err = core.pidfile.open(dir .. "/" .. LOCK)
  if not lock then
    uv.fs_rmdir(dir)
    return nil, err
  end
  return setmetatable({ dir = dir, lock = lock, pid = uv.os_getpid() }, SocketFolder)
end

--- A new one, which only we may enter.
---@return brood.SocketFolder? self, brood.Error? err
function M.open()
  local self, err
  for _, base in ipairs(bases()) do
    if #base + #PREFIX + 7 + LONGEST_NAME <= address.UNIX_PATH_MAX then
      if not swept then
        sweep(base)
      end
      self, err = make(base)
      if self then
        break
      end
    end
  end
  if not self then
    return nil, err or E.new("ENAMETOOLONG", "no folder for sockets has a path that is short enough: set TMPDIR")
  end
  swept = true
  supervised.close_at_end(self)
  return self
end

--- Whether it is still there: what clears /tmp may have taken it.
---@return boolean
function SocketFolder:is_there()
  return uv.fs_lstat(self.dir) ~= nil
end

--- It goes, with what is in it.
function SocketFolder:close()
  if self.pid ~= uv.os_getpid() or self.closed then
    return
  end
  self.closed = true
  self.lock:close()
  local ok, why = remove_all(self.dir)
  if not ok and self:is_there() then
    log.warn(("%s is left behind: %s"):format(self.dir, files.reason(why)))
  end
end

--- A path in it goes: a socket, or a folder that another was given, with what is in that.
---@param path string
function M.remove(path)
  if not uv.fs_unlink(path) then
    remove_all(path, true)
  end
end

return M
