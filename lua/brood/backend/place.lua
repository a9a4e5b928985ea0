--- Where the sockets of backends are: one private folder per process (mode 0700), which is there only while a program
--- has a socket in it. It starts nothing, and listens to nothing.
local core = require "brood.core"
local E = require "brood.error"
local files = require "brood.files"
local fork = require "brood.fork"
local socket_folder = require "brood.socket_folder"
local uv = require "luv"

local M = {}

local PRIVATE, PASSABLE = 448, 457 -- 0700; 0711: others find what is theirs in it, and see nothing else

---@class brood.BackendHome: brood.SocketFolder
---@field count integer how many places are taken
---@field last integer the latest number given

local home ---@type brood.BackendHome?

fork.on_child(function()
  home = nil -- the parent's
end)

local function open_home()
  if home and home:is_there() then
    return home
  elseif home then -- somebody has cleared it away, as what clears /tmp does
    home:close()
    home = nil
  end
  local err
  home, err = socket_folder.open()
  if home then
    home.count, home.last = 0, 0
  end
  return home, err
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
    return nil, E.new(code or "EPERM", "a folder for the socket: %s", files.reason(why))
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
    socket_folder.remove(self.dir)
  elseif self.path then
    socket_folder.remove(self.path)
  end
  in_folder.count = in_folder.count - 1
  if in_folder.count == 0 then
    home = nil
    in_folder:close()
  end
end

return M
