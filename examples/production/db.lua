-- The client of the database: one connection for each process that opens it.
local brood = require "brood"
local net = require "brood.net"

local M = { PATH = os.getenv "DATABASE" or "database.sock" }

local conn, buffer, last

function M.open()
  conn, buffer = assert(net.connect("unix:" .. M.PATH)), ""
end

function M.close()
  if conn then
    conn:close()
    conn = nil
  end
end

local function read_line()
  while true do
    local line, rest = buffer:match "^([^\n]*)\n(.*)$"
    if line then
      buffer = rest
      return line
    end
    local bytes = conn and conn:read()
    if not bytes then
      error("the database has gone away", 0)
    end
    buffer = buffer .. bytes
  end
end

--- Ask one question; those of other tasks wait their turn. nil and the reason when there is no answer.
function M.ask(question)
  local before = last
  local mine = brood.async(function()
    if before then
      before:wait()
      before = nil
    end
    if not conn then
      error("the database is not open", 0)
    end
    conn:write(question .. "\n")
    return read_line()
  end)
  last = mine
  return mine:wait()
end

return M
