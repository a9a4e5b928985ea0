--- Who listens where, from /proc: whether a port that answers is a service's own, and which one it has taken in its
--- place. It only looks; what cannot be seen is not held against anybody.
local clock = require "brood.clock"
local files = require "brood.files"
local folder = require "brood.folder"
local uv = require "luv"

local M = {}

local TABLES = {
  { path = "/proc/net/tcp", rest = " 00000000:0000 0A " },
  { path = "/proc/net/tcp6", rest = " 00000000000000000000000000000000:0000 0A " },
}
local FRESH = 0.5 -- seconds
-- They hold the ports that programs in containers are reached by: no service's own processes do.
local FORWARDERS = { ["docker-proxy"] = true, rootlessport = true, slirp4netns = true, pasta = true, conmon = true }

local LOOPBACK_6 = "00000000000000000000000001000000"

-- The inodes of those that listen on the port: a set, whether there are any, and whether on [::1] alone.
local function listeners(port)
  local found, any, only_6 = {}, false, true
  local wanted = (":%04X"):format(port)
  for _, one in ipairs(TABLES) do
    local text = files.read(one.path) or ""
    local at = 1
    while true do
      local from, to = text:find(wanted .. one.rest, at, true)
      if not from then
        break
      end
      -- After the state: queues, timer, retransmits, uid, timeout, inode.
      local inode = text:match("^%S+ %S+ %S+%s+%d+%s+%d+ (%d+)", to + 1)
      if inode then
        found[inode], any = true, true
        only_6 = only_6 and text:sub(from - #LOOPBACK_6, from - 1) == LOOPBACK_6
      end
      at = to
    end
  end
  return found, any, any and only_6
end

-- fn(inode) for each socket of a process until it returns true; false where the process cannot be looked at.
local function each_socket(pid, fn)
  local dir = ("/proc/%s/fd"):format(pid)
  local entries, why = folder.entries(dir)
  if why then
    return false
  end
  for _, entry in ipairs(entries) do
    local inode = (uv.fs_readlink(dir .. "/" .. entry.name) or ""):match "^socket:%[(%d+)%]$"
    if inode and fn(inode) then
      return true
    end
  end
  return nil
end

local function stat(pid)
  local text = files.read(("/proc/%s/stat"):format(pid))
  if not text then
    return nil
  end
  local name, parent, group = text:match "^%d+ %((.*)%) %a (%-?%d+) (%-?%d+) "
  return { name = name, parent = tonumber(parent), group = tonumber(group) }
end

-- All processes: { [pid] = stat }.
local function processes()
  local all = {}
  for _, entry in ipairs(folder.entries "/proc") do
    local pid = tonumber(entry.name)
    if pid then
      all[pid] = stat(pid)
    end
  end
  return all
end

-- Whether the process belongs to that one: in its group, or below it.
local function belongs(all, pid, leader)
  local seen = 0
  while all[pid] and seen < 64 do
    if pid == leader or all[pid].group == leader then
      return true
    end
    pid, seen = all[pid].parent, seen + 1
  end
  return false
end

-- What belongs to a process: its pid first.
local function family(leader)
  local all, list = processes(), { leader }
  for pid in pairs(all) do
    if pid ~= leader and belongs(all, pid, leader) then
      list[#list + 1] = pid
    end
  end
  return list, all
end

local snapshot, snapshot_at -- of all groups, for those that ask at the same time

--- The processes of a group, as they were a moment ago.
---@param group integer
---@return integer[]
function M.group(group)
  local now = clock.now()
  if not snapshot or now - snapshot_at > FRESH then
    snapshot, snapshot_at = {}, now
    for pid, one in pairs(processes()) do
      local list = snapshot[one.group] or {}
      list[#list + 1] = pid
      snapshot[one.group] = list
    end
  end
  return snapshot[group] or { group }
end

-- Whoever has one of these sockets.
local function owner(inodes, all)
  for pid, one in pairs(all) do
    if each_socket(pid, function(inode) return inodes[inode] end) then
      return { pid = pid, name = one.name }
    end
  end
end

--- Whether the listener of that port is the process, or belongs to it.
---@param port integer
---@param leader integer pid
---@return boolean? mine nil: it cannot be seen
---@return { pid: integer, name: string }? stranger who it is otherwise
---@return boolean? only_6 it listens on [::1] alone
function M.is_of(port, leader)
  local inodes, any, only_6 = listeners(port)
  if not any then
    return nil
  end
  local function wanted(inode)
    return inodes[inode]
  end
  if each_socket(leader, wanted) then
    return true, nil, only_6 -- as nearly ever, and then nobody else is looked at
  end
  local list, all = family(leader)
  for _, pid in ipairs(list) do
    if each_socket(pid, wanted) then
      return true, nil, only_6
    end
  end
  local stranger = owner(inodes, all)
  if not stranger or FORWARDERS[stranger.name] then
    return nil, nil, only_6
  end
  return false, stranger
end

--- Who listens on a port.
---@param port integer
---@return { pid: integer, name: string }? who nil: it cannot be seen
function M.who(port)
  local inodes, any = listeners(port)
  return any and owner(inodes, processes()) or nil
end

--- Whether anything is left on a port, in whatever state: connections that have ended keep it from a program that does
--- not ask for SO_REUSEADDR.
---@param port integer
---@return boolean
function M.is_in_use(port)
  local pattern = ("\n%%s*%%d+: %%x+:%04X "):format(port)
  for _, one in ipairs(TABLES) do
    if (files.read(one.path) or ""):find(pattern) then
      return true
    end
  end
  return false
end

local function address(hex)
  if #hex == 8 then
    local parts = {}
    for i = 7, 1, -2 do
      parts[#parts + 1] = tonumber(hex:sub(i, i + 1), 16)
    end
    return table.concat(parts, ".")
  elseif hex == ("0"):rep(32) then
    return "*"
  elseif hex == LOOPBACK_6 then
    return "[::1]"
  elseif hex:find "^0000000000000000FFFF0000" then
    return address(hex:sub(25))
  end
  return "an IPv6 address"
end

--- Where a process, and what belongs to it, listens: "127.0.0.1:7005".
---@param leader integer pid
---@return string[]
function M.places(leader)
  local all = {}
  for _, one in ipairs(TABLES) do
    for line in (files.read(one.path) or ""):gmatch "[^\n]+" do
      local host, port, state, inode =
        line:match "^%s*%d+: (%x+):(%x+) %x+:%x+ (%x+) %S+ %S+ %S+%s+%d+%s+%d+ (%d+)"
      if state == "0A" then
        all[inode] = ("%s:%d"):format(address(host), tonumber(port, 16))
      end
    end
  end
  local seen, list = {}, {}
  for _, pid in ipairs((family(leader))) do
    each_socket(pid, function(inode)
      local place = all[inode]
      if place and not seen[place] then
        seen[place] = true
        list[#list + 1] = place
      end
    end)
  end
  table.sort(list)
  return list
end

return M
