--- The output of several programs on one terminal: each line with the name of its program before it, in a colour of
--- its own. A program never waits for whoever reads that.
local terminal = require "brood.spinner.terminal"

local M = {}

local RESET = "\27[0m"
-- Readable on dark and on light: no black, white or grey, and red is for errors.
local COLORS = { "36", "33", "32", "35", "34", "96", "93", "92", "95", "94" }

--- Whether what is written there may have colours.
---@param fd integer
---@return boolean
function M.colors(fd)
  local no = os.getenv("NO_COLOR")
  return terminal.at(fd).tty and not (no and no ~= "") and os.getenv("TERM") ~= "dumb"
end

--- A function that writes a line with the name before it, for `stdout` and `stderr` of a process. It never waits: what
--- a terminal does not take waits in memory, and beyond 1 MB lines are left out, which is said there.
---@param name string
---@param stream_fd integer ours: 1 or 2
---@param color_index integer from 1; programs side by side take one each
---@param width? integer of the longest name
---@return fun(line: string)
function M.writer(name, stream_fd, color_index, width)
  local out = terminal.at(stream_fd)
  local colored = M.colors(stream_fd)
  local before = name .. (" "):rep((width or 0) - #name) .. " | "
  if colored then
    before = ("\27[%sm%s%s"):format(COLORS[(color_index - 1) % #COLORS + 1], before, RESET)
  end
  return function(line)
    -- A program that colours its own lines may leave one open.
    local after = colored and line:find("\27", 1, true) and RESET .. "\n" or "\n"
    out:write(before .. line:gsub("\r$", "") .. after)
  end
end

return M
