--- The process table, from /proc: what a process has open, who its children are, whether it lives.
local uv = require "luv"
local waiting = require "spec.support.wait"

local M = {}

local function read(path)
  local file = io.open(path, "r")
  local text = file and file:read("*a")
  if file then
    file:close()
  end
  return text
end

local function names(dir)
  local scan = uv.fs_scandir(dir)
  return function()
    return scan and uv.fs_scandir_next(scan)
  end
end

---The open fds of a process (default: this one): number -> what it is ("socket:[123]", "/dev/null").
---@param pid? integer
---@return table<integer, string>
function M.fds(pid)
  local dir = "/proc/" .. (pid or "self") .. "/fd"
  local found = {}
  for name in names(dir) do
    local target = uv.fs_readlink(dir .. "/" .. name)
    if target and not target:find("^/proc/%d+/fd$") then
      found[tonumber(name)] = target
    end
  end
  return found
end

---@param pid? integer
---@return integer
function M.fd_count(pid)
  local n = 0
  for _ in pairs(M.fds(pid)) do
    n = n + 1
  end
  return n
end

---@class spec.proc.Stat
---@field pid integer
---@field name string
---@field state string "R", "S", "Z", ...
---@field ppid integer
---@field group integer
---@field session integer

---@param pid integer
---@return spec.proc.Stat?
function M.stat(pid)
  local text = read("/proc/" .. pid .. "/stat")
  if not text then
    return nil
  end
  local name, state, ppid, group, session = text:match("^%d+ %((.*)%) (%a) (%-?%d+) (%-?%d+) (%-?%d+)")
  return {
    pid = tonumber(pid), name = name, state = state,
    ppid = tonumber(ppid), group = tonumber(group), session = tonumber(session),
  }
end

---Every process there is.
---@return spec.proc.Stat[]
function M.processes()
  local list = {}
  for name in names("/proc") do
    local stat = name:find("^%d+$") and M.stat(tonumber(name))
    if stat then
      table.insert(list, stat)
    end
  end
  return list
end

---The children of a process (default: this one), zombies too: pid -> "name state".
---@param pid? integer
---@return table<integer, string>
function M.children(pid)
  pid = pid or uv.os_getpid()
  local found = {}
  for _, p in ipairs(M.processes()) do
    if p.ppid == pid then
      found[p.pid] = p.name .. " " .. p.state
    end
  end
  return found
end

---The pids of the children, sorted.
---@param pid? integer
---@return integer[]
function M.child_pids(pid)
  local list = {}
  for child in pairs(M.children(pid)) do
    table.insert(list, child)
  end
  table.sort(list)
  return list
end

---Whether a process runs: a zombie does not.
---@param pid integer
---@return boolean
function M.alive(pid)
  local stat = M.stat(pid)
  return stat ~= nil and stat.state ~= "Z" and stat.state ~= "X"
end

---Wait until none of these processes runs any more.
---@param pids integer[]
---@param seconds number
function M.gone(pids, seconds)
  waiting.wait(function()
    for _, pid in ipairs(pids) do
      if M.alive(pid) then
        return false
      end
    end
    return true
  end, seconds, function()
    return "the end of " .. table.concat(pids, ", ")
  end)
end

---The inodes of a process's sockets, as they stand in /proc/net: a set.
---@param pid integer
---@return table<string, true>
function M.socket_inodes(pid)
  local inodes = {}
  for _, target in pairs(M.fds(pid)) do
    local inode = target:match "^socket:%[(%d+)%]"
    if inode then
      inodes[inode] = true
    end
  end
  return inodes
end

---A field of /proc/PID/status, as text: s.status_field(pid, "Uid").
---@param pid integer
---@param field string
---@return string?
function M.status_field(pid, field)
  local text = read("/proc/" .. pid .. "/status")
  return text and text:match("\n" .. field .. ":%s*([^\n]*)") or nil
end

---@param pid integer
---@return string[]?
function M.cmdline(pid)
  local text = read("/proc/" .. pid .. "/cmdline")
  local list = text and {}
  for part in (text or ""):gmatch("([^%z]*)%z") do
    table.insert(list, part)
  end
  return list
end

---How many workers a master has: a new master is its child too.
---@param pid integer
---@return integer
function M.worker_count(pid)
  local n = 0
  for _, child in ipairs(M.child_pids(pid)) do
    local cmdline = M.cmdline(child)
    n = n + (cmdline and cmdline[1] and cmdline[1]:find "worker" and 1 or 0)
  end
  return n
end

return M
