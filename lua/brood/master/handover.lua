--- What an old master hands to the new one: its listening sockets with all that is known of them, and at its end the
--- socket files. It starts and closes nothing; the other side is master.inherit.
local core = require "brood.core"
local inherit = require "brood.master.inherit"
local json = require "brood.json"
local passed = require "brood.rules.passed"
local uv = require "luv"

local M = {}

local UNNAMED = "brood" -- a socket that no supervisor has named

---@class brood.Handed a socket
---@field listener userdata
---@field told table what the new master is told of it, see master.inherit
---@field claimed? boolean it uses it
---@field address? string

local lasting = { "address", "backlog", "reuseport", "ipv6only", "mode", "uid", "gid" }

local function plain(entry)
  local copy = {}
  for _, name in ipairs(lasting) do
    copy[name] = entry[name]
  end
  return copy
end

-- The device and inode of its file where that is ours to remove; false: nobody reaches the socket by it any more.
local function file_of(listener)
  local device, inode = listener:file()
  if not device then
    return nil
  end
  local stat = uv.fs_lstat(listener:address():match "^unix:(.*)$" or "")
  return stat and stat.dev == device and stat.ino == inode and { device, inode }
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
---@return string
function M.describe(list, program)
  local told = {}
  for i, one in ipairs(list) do
    told[i] = one.told
  end
  return assert(json.encode { pid = core.posix.getpid(), program = program, sockets = told })
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

--- The files of what it uses are its own from now on.
---@param list brood.Handed[]
function M.leave(list)
  for _, socket in ipairs(list) do
    if socket.claimed then
      socket.address = socket.listener:address()
      socket.listener:keep_file()
    end
  end
end

--- It has ended without having taken them.
---@param list brood.Handed[]
function M.remove(list)
  for _, socket in ipairs(list) do
    if socket.claimed and socket.told.file then
      inherit.remove_file(socket.address, socket.told.file)
    end
  end
end

return M
