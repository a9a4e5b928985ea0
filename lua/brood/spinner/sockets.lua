--- Paths for the Unix sockets of services: in a folder of the spinner's own, which is there while it has services that
--- need it. A path is used once, so that no run meets the file of another.
local core = require "brood.core"
local E = require "brood.error"
local address = require "brood.rules.address"
local files = require "brood.files"
local folder = require "brood.folder"
local supervised = require "brood.supervised"
local uv = require "luv"

local M = {}

local FOLDER_MODE = 457 -- 0711: who knows the path may pass; the socket's own mode says who may connect

-- With the sockets in it, and the folders of users. What these have put into theirs may change at any moment, so
-- nothing is entered there.
local function remove(directory, of_user)
  for _, entry in ipairs(folder.entries(directory)) do
    local path = directory .. "/" .. entry.name
    if not uv.fs_unlink(path) and not of_user then
      remove(path, true)
    end
  end
  uv.fs_rmdir(directory)
end

local function open(spinner)
  local base = os.getenv "XDG_RUNTIME_DIR"
  if not base or base == "" or core.posix.getuid() == 0 then
    base = uv.os_tmpdir()
  end
  local directory, why = uv.fs_mkdtemp(base .. "/brood-XXXXXX")
  if not directory then
    return nil, E.new("EACCES", "no folder for sockets can be made in %s: %s", base, files.reason(why))
  end
  uv.fs_chmod(directory, FOLDER_MODE)
  local pid = uv.os_getpid()
  spinner.socket_directory, spinner.last_socket = directory, 0
  spinner.socket_end = {
    close = function()
      if uv.os_getpid() == pid then
        remove(directory)
      end
    end,
  }
  supervised.close_at_end(spinner.socket_end)
  return true
end

--- A path that a service can listen on.
---@param spinner brood.Spinner
---@param o table options: user and group, who must be able to make it
---@return string? path, brood.Error? err
function M.take(spinner, o)
  if not spinner.socket_directory then
    local ok, err = open(spinner)
    if not ok then
      return nil, err
    end
  end
  local directory = spinner.socket_directory
  if o.user ~= nil then
    -- A folder in the folder: whoever makes the socket has to write there.
    local user, err = core.privileges.lookup_user(o.user)
    if not user then
      return nil, E.of(tostring(o.user), err)
    end
    directory = ("%s/%s"):format(directory, tostring(user.uid))
    uv.fs_mkdir(directory, FOLDER_MODE)
    uv.fs_chown(directory, user.uid, user.gid or core.posix.getgid())
  end
  spinner.last_socket = spinner.last_socket + 1
  local path = ("%s/%d"):format(directory, spinner.last_socket)
  if #path > address.UNIX_PATH_MAX then
    return nil, E.new("ENAMETOOLONG", "%s: a socket's path has at most %d bytes: set TMPDIR to a shorter folder", path,
      address.UNIX_PATH_MAX)
  end
  return path
end

--- A path is not used any more.
---@param path string
function M.free(path)
  uv.fs_unlink(path)
end

--- There are no services that need the folder.
---@param spinner brood.Spinner
function M.close(spinner)
  remove(spinner.socket_directory)
  spinner.socket_directory, spinner.socket_end = nil, nil
end

return M
