--- The command line: from argv to the command that does it.
local lazy = require "brood.lazy"

local M = {}

local arguments = lazy.passing "brood.cli.args"

-- A command's room has its name, but for the one whose name this file has.
local rooms = { init = "starter" }

-- Those whose paths are relative to the working directory.
local placed = { run = true, check = true, init = true }

--- Called once, as the main task.
---@param argv string[] with [0]
---@return integer? status
function M.main(argv)
  -- The script's own options are the script's: this one is read by hand, and before anything else is loaded.
  if argv[1] == "exec" and argv[2] and argv[2]:sub(1, 1) ~= "-" then
    return require("brood.cli.exec").main(argv[2], { unpack(argv, 3) })
  end
  local parsed, status = arguments.parse(argv)
  if not parsed then
    return status
  elseif parsed.command == "exec" then
    return require("brood.cli.exec").main(parsed.script, parsed.args)
  end
  local cwd, err = require("brood.core").cwd()
  if not cwd and placed[parsed.command] then
    io.stderr:write("brood: ", err.message, "\n")
    return 1
  end
  return require("brood.cli." .. (rooms[parsed.command] or parsed.command)).main(parsed)
end

return M
