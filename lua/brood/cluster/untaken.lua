--- Connections that wait at the sockets of a cluster of programs while no program takes any: most probably the program
--- does not serve on the sockets that it is passed. Looked for in the first half minute of each generation, in what the
--- kernel tells of its TCP sockets, and told once. It changes nothing.
local log = require "brood.log"
local timer = require "brood.timer"
local uv = require "luv"

local M = {}

local LOOK, LOOKS = 2, 15 -- seconds between two looks, and how many
local ENOUGH = 65536 -- bytes: those that listen come first, and a server with many connections takes them
local LISTEN = "0A"
-- Closed by our side: it had been taken before. (What still waits belongs to no descriptor, and its client may have
-- gone.)
local CLOSED = { ["04"] = true, ["05"] = true, ["06"] = true, ["09"] = true, ["0B"] = true }

local function read(path)
  local fd = uv.fs_open(path, "r", 0)
  local text = fd and uv.fs_read(fd, ENOUGH, 0)
  if fd then
    uv.fs_close(fd)
  end
  return text or ""
end

local ROW = "^%s*%d+: %x+:(%x+) %x+:%x+ (%x+) %x+:(%x+) %S+ %x+%s+%d+%s+%d+ (%d+)"

-- How many wait at a socket, and whether somebody takes what comes to its port.
local function state_of(inode, rows)
  local port, waiting, taken
  for _, row in ipairs(rows) do
    if row.inode == inode and row.state == LISTEN then
      port, waiting = row.port, row.waiting
    end
  end
  for _, row in ipairs(rows) do
    if row.port == port and row.state ~= LISTEN and (row.inode ~= 0 or CLOSED[row.state]) then
      taken = true
    end
  end
  return waiting or 0, taken
end

local function all_rows()
  local rows = {}
  for _, name in ipairs { "tcp", "tcp6" } do
    for line in read("/proc/net/" .. name):gmatch "[^\n]+" do
      local port, state, waiting, inode = line:match(ROW)
      if port then
        rows[#rows + 1] = { port = port, state = state, waiting = tonumber(waiting, 16), inode = tonumber(inode) }
      end
    end
  end
  return rows
end

-- Where connections wait and none is taken; whether some were taken anywhere.
local function look(sockets)
  local rows, where = all_rows(), nil
  for _, one in ipairs(sockets.entries) do
    for _, listener in ipairs(one.list) do
      local stat = uv.fs_fstat(listener:fd())
      local waiting, taken = state_of(stat and stat.ino, rows)
      if taken then
        return nil, true
      end
      where = where or waiting > 0 and listener:address() or nil
    end
  end
  return where, false
end

--- Look for them from now on, for a while. The first worker of the generation is ready.
---@param cluster brood.Cluster
---@param generation brood.Generation
function M.watch(cluster, generation)
  local looks, before = 0, nil
  local looking
  looking = timer.every(LOOK, function()
    looks = looks + 1
    if cluster.group.state ~= "running" or cluster.generation ~= generation then
      return looking:cancel()
    end
    local where, taken = look(generation.sockets)
    if where and where == before then
      log.warn(("%s: a connection waits at %s, and no program has taken one yet: does `command` serve on the sockets "
        .. "that it is passed (LISTEN_FDS, from descriptor 3 on)?"):format(cluster.name, where))
    end
    if taken or looks == LOOKS or where and where == before then
      looking:cancel()
    end
    before = where
  end):unref()
end

return M
