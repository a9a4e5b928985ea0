--- Where the sockets of backends are: one private folder per process (mode 0700), which is there only while a program
--- has a socket in it. It is removed when the last one goes, and however this process ends; where it was killed, the
--- next process that needs such a folder clears away what is left. It starts nothing, and listens to nothing.
local address = require "brood.rules.address"
local core = require "brood.core"
local E = require "brood.error"
local folder = require "brood.folder"
local fork = require "brood.fork"
local log = require "brood.log"
local supervised = require "brood.supervised"
local uv = require "luv"

local M = {}

local PREFIX, LOCK = "brood-", "backends.pid"
local PRIVATE, PASSABLE = 448, 457 -- 0700; 0711: others find what is theirs in it, and see nothing else
local LONGEST_NAME = 16 -- bytes of what is put into the folder: "/12/12345.sock"

---@class brood.BackendHome
---@field dir string
---@field lock userdata a lock in the folder: while it is held, its process lives
---@field count integer how many places are taken
---@field last integer the latest number given

local home ---@type brood.BackendHome?
local swept = false

fork.on_child(function()
  home = nil -- the parent's
end)

-- A folder with what is in it; links are not followed.
local function remove_all(dir)
  for _, entry in ipairs(folder.entries(dir)) do
    local path = dir .. "/" .. entry.name
    local stat = uv.fs_lstat(path)
    if stat and stat.type == "directory" then
      remove_all(path)
    else
      uv.fs_unlink(path)
    end
  end
  return uv.fs_rmdir(dir)
end

-- ---- what others have left ----

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

-- ---- the folder ----

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

local function make_folder(base)
  local dir, why, code = uv.fs_mkdtemp(base .. "/" .. PREFIX .. "XXXXXX")
  if not dir then
    return nil, E.new(code, "a folder for sockets in %s: %s", base, (tostring(why):gsub("^%w+: ", "")))
  end
  local lock, err = core.pidfile.open(dir .. "/" .. LOCK)
  if not lock then
    uv.fs_rmdir(dir)
    return nil, err
  end
  return { dir = dir, lock = lock, count = 0, last = 0 }
end

local function remove_home(self)
  self.lock:close()
  local ok, why = remove_all(self.dir)
  if not ok and uv.fs_lstat(self.dir) then
    log.warn(("%s is left behind: %s"):format(self.dir, why))
  end
end

local function open_home()
  if home and uv.fs_lstat(home.dir) then
    return home
  elseif home then -- somebody has cleared it away, as what clears /tmp does
    home.lock:close()
    home = nil
  end
  local found, err
  for _, base in ipairs(bases()) do
    if #base + #PREFIX + 7 + LONGEST_NAME <= address.UNIX_PATH_MAX then
      if not swept then
        sweep(base)
      end
      found, err = make_folder(base)
      if found then
        break
      end
    end
  end
  if not found then
    return nil, err or E.new("ENAMETOOLONG", "no folder for sockets has a path that is short enough")
  end
  swept = true
  home = found
  -- Whoever ends this process closes it; the programs are gone by then.
  found.close = function(self)
    if home == self then
      home = nil
      remove_home(self)
    end
  end
  supervised.close_at_end(found)
  return found
end

-- ---- one place in it ----

---@class brood.BackendPlace
---@field path string of the socket, which is not there yet
---@field dir string the folder that it is in
---@field name string the socket's in that
local Place = {}
Place.__index = Place

-- Who does not run as we do has a folder in ours.
local function own_folder(self, owner, number)
  self.dir = ("%s/%d"):format(self.home.dir, number)
  local ok, why, code = uv.fs_mkdir(self.dir, PRIVATE)
  ok = ok and uv.fs_chown(self.dir, owner.uid or core.posix.getuid(), owner.gid or core.posix.getgid())
  if ok then
    ok, why, code = uv.fs_chmod(self.home.dir, PASSABLE)
  end
  if not ok then
    return nil, E.new(code or "EPERM", "a folder for the socket: %s", (tostring(why):gsub("^%w+: ", "")))
  end
  return true
end

--- A path for the socket of a program, never used before: program.place.
---@param program brood.BackendProgram
---@param owner? { uid: integer?, gid: integer? } who is to bind it, if not we
---@return true? ok, brood.Error? err
function M.take(program, owner)
  local in_folder, err = open_home()
  if not in_folder then
    return nil, err
  end
  in_folder.count, in_folder.last = in_folder.count + 1, in_folder.last + 1
  local self = setmetatable({ home = in_folder, dir = in_folder.dir }, Place)
  self.name = in_folder.last .. ".sock"
  if owner then
    local ok
    ok, err = own_folder(self, owner, in_folder.last)
    if not ok then
      self:release()
      return nil, err
    end
  end
  self.path = self.dir .. "/" .. self.name
  program.place = self
  return true
end

--- Its program is gone: so is the socket's file, and behind the last one the folder.
function Place:release()
  local in_folder = self.home
  if in_folder ~= home then
    return
  end
  if self.dir ~= in_folder.dir then
    remove_all(self.dir)
  elseif self.path then
    uv.fs_unlink(self.path)
  end
  in_folder.count = in_folder.count - 1
  if in_folder.count == 0 then
    in_folder:close()
  end
end

return M
