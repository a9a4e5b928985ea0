--- The command line: from argv to what is to be done, or to a usage error. It opens no
--- file, and prints nothing but that error.
---
--- `brood exec` and a plain `brood run` are taken apart by hand, because they should
--- start fast; argparse is loaded only where there are options.
local M = {}

---@class brood.Arguments
---@field command "run"|"exec"|"help"|"version"
---@field script? string of exec
---@field args? string[] of exec: what follows the script
---@field topic? "brood"|"run"|"exec" of help
---@field config? string of run, as the rest; nil: the default one, unless there is an app
---@field app? string
---@field listen? string[]
---@field port? string digits
---@field workers? integer
---@field pidfile? string
---@field control? string|false
---@field log_level? "debug"|"info"|"warn"|"error"
---@field log_format? "text"|"json"

--- The exit status of wrong usage.
M.USAGE = 2

-- Raised inside, and turned into a result by `parse`.
---@class brood.UsageError
---@field usage string
---@field of string the command whose help helps

local function refuse(of, fmt, ...)
  error({ usage = fmt:format(...), of = of }, 0)
end

local later = {}
for name in ([[check init status reload restart scale start stop quit terminate upgrade logs top
  eval]]):gmatch("%l+") do
  later[name] = true
end

local function not_yet(of, what)
  refuse(of, "%s is not available yet", what)
end

-- ---- run ----------------------------------------------------------------------------------------------------------

local function address_of(name)
  return function(text)
    local normal, why = require("brood.rules.address").normal(text)
    if not normal then
      refuse("run", "option '%s' must be an address, got '%s': %s", name, text, why)
    end
    return text
  end
end

local function port(text)
  if not text:match("^%d+$") or tonumber(text) > 65535 then
    refuse("run", "option '-p' must be a port (0 to 65535), got '%s'", text)
  end
  return text
end

local function workers(text)
  local n = tonumber(text:match("^%d+$"))
  if not n or n < 1 or n > 65535 then
    refuse("run", "option '-w' must be a number of workers (1 or more), got '%s'", text)
  end
  return n
end

local function control(text)
  if text == "false" then
    return false
  end
  return address_of("--control")(text)
end

local function run_parser()
  local parser = require "argparse" ("brood", nil, nil):add_help(false)
  -- Its own way is to print and to exit with 1.
  parser.error = function(_, message)
    refuse("run", "%s", (message:gsub("\nDid you mean (.-)%?$", " (did you mean %1?)")))
  end
  parser:argument("words"):args "*"
  parser:flag "-h" "--help"
  parser:flag "--version"
  parser:option "-c":target "config"
  parser:option "-s":target "app"
  parser:option "-l":target "listen":count "*":convert(address_of "-l")
  parser:option "-p":target "port":convert(port)
  parser:option "-w":target "workers":convert(workers)
  -- false would read as a failed conversion, so it stays text until the end.
  parser:option "--control":target "control"
  parser:mutex(parser:flag "-q":target "quiet", parser:flag "-v":target "verbose")
  parser:option "--log-level":target "log_level":choices { "debug", "info", "warn", "error" }
  parser:option "--log-format":target "log_format":choices { "text", "json" }
  parser:option "-P":target "pidfile"
  parser:flag("-D"):action(function()
    not_yet("run", "option '-D'")
  end)
  return parser
end

local function suspicious(word)
  -- Files have a dot or a slash in their name; a bare word that is nearly a command was meant as one.
  if word:find("[./]") then
    return nil
  end
  local names = { "run", "exec", "help" }
  for name in pairs(later) do
    names[#names + 1] = name
  end
  return require("brood.rules.nearest").find(word, names)
end

local function check_command(word)
  if later[word] then
    not_yet("brood", ("command '%s'"):format(word))
  end
  local meant = suspicious(word)
  if meant then
    refuse("brood", "unknown command '%s' (did you mean '%s'?); a config of that name is ./%s", word, meant, word)
  end
end

local function level_of(found)
  return found.log_level or found.quiet and "warn" or found.verbose and "debug" or nil
end

local function config_of(found, words)
  local config = words[1]
  if words[2] then
    refuse("run", "too many arguments: '%s'", words[2])
  elseif config and found.config and config ~= found.config then
    refuse("run", "two configs are named: '%s' and '%s'", found.config, config)
  elseif config == "" or found.config == "" or found.app == "" or found.pidfile == "" then
    refuse("run", "the name of a file is empty")
  end
  return found.config or config
end

---@param argv string[] without the word run, when `named`
---@param named boolean whether that word was there: then nothing else is a command
---@return brood.Arguments
local function run(argv, named)
  local found = run_parser():parse(argv)
  local words = found.words
  if words[1] == "run" and not named then
    table.remove(words, 1)
    named = true
  end
  if found.help then
    return { command = "help", topic = named and "run" or "brood" }
  elseif found.version then
    return { command = "version" }
  end
  if words[1] == "exec" and not named then
    refuse("exec", "'exec' comes first: brood exec SCRIPT [ARG...]")
  elseif words[1] and not named then
    check_command(words[1])
  end
  local parsed = {
    command = "run", config = config_of(found, words), app = found.app, port = found.port, workers = found.workers,
    listen = found.listen[1] and found.listen or nil, pidfile = found.pidfile,
    log_level = level_of(found), log_format = found.log_format,
  }
  if found.control then
    parsed.control = control(found.control)
  end
  return parsed
end

-- ---- everything else ----------------------------------------------------------------------------------------------

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
local function help(argv)
  local topic = argv[2] or "brood"
  if require("brood.cli.help").texts[topic] then
    return { command = "help", topic = topic }
  end
  check_command(topic)
  refuse("brood", "unknown command '%s'", topic)
  error "unreachable"
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
  elseif first == nil or first == "run" and second == nil then
    return { command = "run" }
  elseif first == "run" and not argv[3] and second:match("^[^-]") then
    return { command = "run", config = second }
  elseif first == "run" then
    return run({ unpack(argv, 2) }, true)
  elseif first:match("^[^-]") then
    check_command(first)
    if not second then
      return { command = "run", config = first }
    end
  end
  return run({ unpack(argv) }, false)
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
