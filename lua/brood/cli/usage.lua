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

--- Commands of later versions, which are refused by name.
---@type table<string, boolean>
M.later = {}
for name in ([[status reload restart scale start stop quit terminate upgrade logs top eval]]):gmatch("%l+") do
  M.later[name] = true
end
local later = M.later

-- The commands there are. Suggestions name these alone.
local commands = { "run", "exec", "check", "init", "help" }

--- Give up on what a later version can do.
---@param of string
---@param what string
function M.not_yet(of, what)
  refuse(of, "%s is not available yet", what)
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
    not_yet("brood", ("command '%s'"):format(word))
  end
  local meant, hint = suspicious(word)
  if meant then
    refuse("brood", "unknown command '%s'%s; a config of that name is ./%s", word, hint, word)
  elseif meant == false and not require("luv").fs_stat(word) then
    refuse("brood", "unknown command '%s', and there is no config of that name", word)
  end
end

return M
