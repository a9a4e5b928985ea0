--- The command line: from argv to what is to be done, or to a usage error. It opens no
--- file, and prints nothing but that error.
---
--- `brood exec` and a plain `brood run` are taken apart by hand, because they should
--- start fast; argparse is loaded only where there are options.
local lazy = require "brood.lazy"

local run = lazy.passing "brood.cli.args_run"
local usage = lazy.passing "brood.cli.usage"

local refuse = usage.refuse

local M = {}

---@class brood.Arguments
---@field command "run"|"check"|"exec"|"init"|"help"|"version"
---@field script? string of exec
---@field args? string[] of exec: what follows the script
---@field topic? "brood"|"run"|"exec"|"check"|"init"|"config" of help
---@field key? string of help config
---@field markdown? boolean of help config: as the README's table
---@field directory? string of init
---@field config? string of run and check, as the rest; nil: the default one, unless there is an app
---@field app? string
---@field listen? string[]
---@field port? string digits
---@field workers? integer
---@field pidfile? string
---@field daemonize? boolean
---@field control? string|false
---@field log_level? "debug"|"info"|"warn"|"error"
---@field log_format? "text"|"json"

--- The exit status of wrong usage.
M.USAGE = 2

---@return brood.Arguments
local function exec(argv)
  local i = 2
  local first = argv[i]
  if first == "-h" or first == "--help" then
    return { command = "help", topic = "exec" }
  elseif first == "--" then
    i = i + 1
  elseif first and first:match("^%-.") then
    refuse("exec", "unknown option '%s' before the script", first)
  end
  if not argv[i] or argv[i] == "" then
    refuse("exec", "the script is missing: brood exec SCRIPT [ARG...]")
  end
  return { command = "exec", script = argv[i], args = { unpack(argv, i + 1) } }
end

---@return brood.Arguments
local function init(argv)
  local words, plain = {}, false
  for i = 2, #argv do
    local word = argv[i]
    if not plain and (word == "-h" or word == "--help") then
      return { command = "help", topic = "init" }
    elseif not plain and word == "--" then
      plain = true
    elseif not plain and word:match("^%-") then
      refuse("init", "unknown option '%s'", word)
    else
      words[#words + 1] = word
    end
  end
  if words[2] then
    refuse("init", "too many arguments: '%s'", words[2])
  elseif words[1] == "" then
    refuse("init", "the name of the directory is empty")
  end
  return { command = "init", directory = words[1] }
end

---@return brood.Arguments
local function help_config(argv)
  local key = argv[3]
  if argv[4] then
    refuse("config", "too many arguments: '%s'", argv[4])
  elseif key == "--markdown" then
    return { command = "help", topic = "config", markdown = true }
  elseif key and not require("brood.cli.help").text("config", key) then
    local schema_keys, nearest = require "brood.rules.schema_keys", require "brood.rules.nearest"
    local reference = require "brood.cli.reference"
    local meant = schema_keys.called_elsewhere[key] or reference.inside(key) or reference.nearest_part(key)
      or nearest.find(key, schema_keys.order)
    refuse("config", "unknown key '%s'%s", key, nearest.hint(meant))
  end
  return { command = "help", topic = "config", key = key }
end

---@return brood.Arguments
local function help(argv)
  local topic = argv[2] or "brood"
  if topic == "config" then
    return help_config(argv)
  elseif argv[3] then
    refuse("brood", "too many arguments: '%s'", argv[3])
  elseif topic == "-h" or topic == "--help" or topic == "help" then
    topic = "brood"
  end
  local texts = require "brood.cli.help"
  if texts.text(topic) then
    return { command = "help", topic = topic }
  elseif usage.later[topic] then
    usage.not_yet(topic)
  end
  local nearest = require "brood.rules.nearest"
  return refuse("brood", "unknown command '%s'%s", topic, nearest.hint(nearest.find(topic, texts.topics)))
end

---@return brood.Arguments
local function dispatch(argv)
  local first, second = argv[1], argv[2]
  if first == "exec" then
    return exec(argv)
  elseif first == "--version" and not second then
    return { command = "version" }
  elseif first == "help" then
    return help(argv)
  elseif first == "init" then
    return init(argv)
  elseif first == nil or first == "run" and second == nil then
    return { command = "run" }
  elseif first == "run" and not argv[3] and second:match("^[^-]") then
    return { command = "run", config = second }
  elseif first == "run" or first == "check" then
    return run({ unpack(argv, 2) }, first)
  elseif first:match("^[^-]") then
    usage.check_command(first)
    if not second then
      return { command = "run", config = first }
    end
  end
  return run { unpack(argv) }
end

--- Take the command line apart, and print nothing.
---@param argv string[] without the program's name; an [0] is not looked at
---@return brood.Arguments? parsed, string? message for stderr
function M.read(argv)
  local ok, result = pcall(dispatch, argv)
  if ok then
    return result
  elseif type(result) == "table" and result.usage then
    return nil, ("brood: %s\n%s\n"):format(result.usage, require("brood.cli.help").hints[result.of])
  end
  error(result, 0)
end

--- Take the command line apart; wrong usage is explained on stderr.
---@param argv string[] without the program's name; an [0] is not looked at
---@return brood.Arguments? parsed, integer? status to exit with
function M.parse(argv)
  local parsed, message = M.read(argv)
  if not parsed then
    io.stderr:write(message)
    return nil, M.USAGE
  end
  return parsed
end

return M
