--- Who listens on a Unix socket, as the kernel's list of sockets has it: seen without connecting, since some programs
--- take a connection for a request. It only looks.
local M = {}

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

return M
