--- Who listens on a Unix socket, as the kernel's list of sockets has it: seen without connecting, since some programs
--- take a connection for a request. It only looks.
local clock = require "brood.clock"
local uv = require "luv"

local M = {}

local UNSEEN = 0.25 -- seconds for which a socket is there that nobody seems to listen on: then it is tried

local ACCEPTS = "^%x+: %x+ %x+ 00010000 " -- __SO_ACCEPTCON

--- Whether somebody listens on the socket. A program in a network namespace of its own is in another list, and one that
--- has bound its socket by another name is in this one by that.
---@param path string
---@return boolean
function M.listens(path)
  local file = io.open("/proc/net/unix", "r")
  if not file then
    return false
  end
  local text = file:read "*a"
  file:close()
  local at = 1
  while true do
    local from, to = text:find(" " .. path .. "\n", at, true)
    if not from then
      return false
    end
    local line = from
    while line > 1 and text:byte(line - 1) ~= 10 do
      line = line - 1
    end
    if text:sub(line, to):find(ACCEPTS) then
      return true
    end
    at = to
  end
end

--- Looks at a socket that may not be there yet, for whoever looks again and again. What is there and yet in no list,
--- since its program is in a network namespace of its own, is tried in the end.
---@param path string tried too where it is relative
---@param try fun(found: fun(there: boolean)) by a connection
---@return fun(found: fun(there: boolean)) look
function M.look(path, try)
  local seen
  return function(found)
    local stat = uv.fs_stat(path)
    if not stat or stat.type ~= "socket" then
      return found(false)
    elseif M.listens(path) then
      -- By a relative name the list may mean another program's socket, in another directory.
      if path:sub(1, 1) ~= "/" then
        return try(found)
      end
      return found(true)
    end
    seen = seen or clock.now()
    if clock.now() - seen < UNSEEN then
      return found(false)
    end
    try(found)
  end
end

return M
