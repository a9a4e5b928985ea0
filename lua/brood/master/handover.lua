--- What an old master hands to the new one: its listening sockets with all that is known of them, and at its end the
--- socket files. It starts and closes nothing; the other side is master.inherit.
local core = require "brood.core"
local json = require "brood.json"
local lazy = require "brood.lazy"

local inherit = lazy.passing "brood.master.inherit"
local passed = lazy.passing "brood.rules.passed"

local M = {}

local UNNAMED = "brood" -- a socket that no supervisor has named

---@class brood.Handed a socket
---@field listener userdata
---@field told table what the new master is told of it, see master.inherit
---@field claimed? boolean it uses it
---@field address? string once its file was left to it

local lasting = { "address", "backlog", "reuseport", "ipv6only", "mode", "uid", "gid" }

local function plain(entry)
  local copy = {}
  for _, name in ipairs(lasting) do
    copy[name] = entry[name]
  end
  return copy
end

-- Device, inode and folder of its file; false: nobody reaches the socket by its address any more, which a symlink that
-- has moved may lead elsewhere by now. The new master then has one of its own there.
local function file_of(listener)
  local device, inode, folder = listener:file()
  if not device then
    return nil
  end
  return listener:in_place() and { device, inode, folder }
end

local function hand(list, listener, told)
  told.file = file_of(listener)
  if told.file ~= false then
    list[#list + 1] = { listener = listener, told = told }
  end
end

--- All sockets that the config in force names, and the control server's.
---@param master brood.Master
---@return brood.Handed[]
function M.collect(master)
  local list = {}
  for group, endpoint in ipairs(master.listeners.endpoints) do
    for _, listener in ipairs(endpoint.holders > 0 and endpoint.list or {}) do
      hand(list, listener, {
        group = group, cluster = endpoint.cluster, entry = plain(endpoint.entry), name = endpoint.passed,
      })
    end
  end
  if master.control then
    hand(list, master.control.listener, { control = true })
  end
  return list
end

--- The same as a program gets them.
---@param list brood.Handed[]
---@return { fd: integer, name: string }[]
function M.sockets(list)
  local sockets = {}
  for i, one in ipairs(list) do
    sockets[i] = { fd = one.listener:fd(), name = one.told.name or UNNAMED }
  end
  return sockets
end

--- What the new master is told of them, as text.
---@param list brood.Handed[]
---@param program string where ours was found
---@param pidfile? string where ours is, as long as both live
---@param services boolean whether we run any, and can be asked which
---@return string
function M.describe(list, program, pidfile, services)
  local told = {}
  for i, one in ipairs(list) do
    told[i] = one.told
  end
  return assert(json.encode {
    pid = core.posix.getpid(), program = program, pidfile = pidfile, sockets = told, services = services,
  })
end

--- The new master uses these, as numbers that it found them under.
---@param list brood.Handed[]
---@param fds any
function M.claim(list, fds)
  for _, fd in ipairs(type(fds) == "table" and fds or {}) do
    local socket = list[fd - passed.FIRST + 1]
    if socket then
      socket.claimed = true
    end
  end
end

--- Whether the new master uses this one.
---@param list brood.Handed[]
---@param listener userdata
---@return boolean
function M.has_claimed(list, listener)
  for _, socket in ipairs(list) do
    if socket.listener == listener then
      return socket.claimed == true
    end
  end
  return false
end

local function leave_file(socket)
  socket.address = socket.address or socket.listener:address()
  socket.listener:keep_file()
end

--- The files of what it uses are its own from now on.
---@param list brood.Handed[]
function M.leave(list)
  for _, socket in ipairs(list) do
    if socket.claimed then
      leave_file(socket)
    end
  end
end

--- Close a socket that our config names no more. The file of one that the new master uses stays where it is.
---@param list brood.Handed[] empty without a new master
---@param listener userdata
function M.let_go(list, listener)
  for _, socket in ipairs(list) do
    if socket.listener == listener and socket.claimed then
      leave_file(socket)
    end
  end
  listener:close()
end

-- A file that is gone may have left its number to the next one there.
local function is_of_any(listeners, file)
  for _, listener in ipairs(listeners) do
    local device, inode = listener:file()
    if device == file[1] and inode == file[2] then
      return true
    end
  end
  return false
end

--- It has ended without having taken them: files that were left to it are nobody's. By its address alone none can be
--- told: that a symlink leads to is another one than it was.
---@param list brood.Handed[]
---@param in_use? userdata[] our listeners
function M.remove(list, in_use)
  for _, socket in ipairs(list) do
    if socket.address and socket.told.file and not is_of_any(in_use or {}, socket.told.file) then
      inherit.remove_file(socket.address, socket.told.file)
    end
  end
end

return M
