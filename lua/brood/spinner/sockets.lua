--- Paths for the Unix sockets of services: in a folder of the spinner's own, which is there while it has services that
--- need it. A path is used once, so that no run meets the file of another.
local address = require "brood.rules.address"
local core = require "brood.core"
local E = require "brood.error"
local socket_folder = require "brood.socket_folder"
local uv = require "luv"

local M = {}

local FOLDER_MODE = 457 -- 0711: who knows the path may pass; the socket's own mode says who may connect

local function open(spinner)
  local opened, err = socket_folder.open()
  if not opened then
    return nil, err
  end
  uv.fs_chmod(opened.dir, FOLDER_MODE)
  spinner.socket_folder, spinner.last_socket = opened, 0
  return true
end

--- A path that a service can listen on.
---@param spinner brood.Spinner
---@param o table options: user and group, who must be able to make it
---@return string? path, brood.Error? err
function M.take(spinner, o)
  if not spinner.socket_folder then
    local ok, err = open(spinner)
    if not ok then
      return nil, err
    end
  end
  local directory = spinner.socket_folder.dir
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
  spinner.socket_folder:close()
  spinner.socket_folder = nil
end

return M
