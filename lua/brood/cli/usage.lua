--- Wrong usage, and the words that are commands; it looks whether a bare word is a file. Raised while a command line
--- is taken apart; `brood.cli.args` turns it into a message.
local M = {}

---@class brood.UsageError
---@field usage string
---@field of string the command whose help helps

--- Give up on a command line.
---@param of string the command whose help helps
---@param fmt string
function M.refuse(of, fmt, ...)
  error({ usage = fmt:format(...), of = of }, 0)
end
local refuse = M.refuse

-- Where a master tells of itself.
local STATUS = "GET /status on the control socket of the master tells what runs"

--- Commands of later versions, which are refused by name, each with what does it until then.
---@type table<string, string>
M.later = {
  status = STATUS,
  top = STATUS,
  reload = "send HUP to the master, or POST /reload to its control socket",
  restart = "send HUP to the master, or POST /reload to its control socket",
  scale = "send TTIN or TTOU to the master, or POST /scale to its control socket",
  start = "`brood run` starts a master, `brood run -D` in the background",
  stop = "send QUIT to the master, or POST /stop to its control socket",
  quit = "send QUIT to the master, or POST /stop to its control socket",
  terminate = "send TERM to the master, or POST /terminate to its control socket",
  upgrade = "send USR2 to the master, or POST /upgrade to its control socket",
  logs = "the log goes to stderr, or to the file of `stderr_path`",
  eval = "`brood exec SCRIPT` runs a script",
}
local later = M.later

-- What other programs have as a command, and here is an option.
local OPTIONS = { version = "--version" }

-- The commands there are. Suggestions name these alone.
local commands = { "run", "exec", "check", "init", "help" }

--- Give up on a command that a later version has.
---@param name string one of `later`
function M.not_yet(name)
  refuse("brood", "command '%s' is not available yet: %s", name, later[name])
end
local not_yet = M.not_yet

local function suspicious(word)
  -- Files have a dot or a slash in their name; a bare word that is nearly a command was meant as one.
  if word:find("[./]") then
    return nil
  end
  local nearest = require "brood.rules.nearest"
  local meant = nearest.find(word, commands)
  if meant then
    return true, nearest.hint(meant)
  end
  for name in pairs(later) do
    if nearest.find(word, { name }) then
      return true, ""
    end
  end
  return false
end

--- A first word that is no command is a config, unless it was meant as a command, or can only have been.
---@param word string
function M.check_command(word)
  if later[word] then
    not_yet(word)
  end
  local meant, hint = suspicious(word)
  if meant then
    refuse("brood", "unknown command '%s'%s; a config of that name is ./%s", word, hint, word)
  elseif meant == false and not require("luv").fs_stat(word) then
    local option = OPTIONS[word] and (" (did you mean '%s'?)"):format(OPTIONS[word]) or ""
    refuse("brood", "unknown command '%s', and there is no config of that name%s", word, option)
  end
end

return M
