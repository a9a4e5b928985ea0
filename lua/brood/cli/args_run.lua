--- The options of `brood run` and `brood check`, which are the same. Loaded only where there are any: a plain
--- `brood run` needs no argparse.
local argparse = require("brood.lazy").passing "argparse"
local usage = require "brood.cli.usage"

local refuse = usage.refuse

local function address_of(of, name)
  return function(text)
    local normal, why = require("brood.rules.address").normal(text)
    if not normal then
      refuse(of, "option '%s' must be an address, got '%s': %s", name, text, why)
    end
    return text
  end
end

local function port(of)
  return function(text)
    if not text:match("^%d+$") or tonumber(text) > 65535 then
      refuse(of, "option '-p' must be a port (0 to 65535), got '%s'", text)
    end
    return text
  end
end

local function workers(of)
  return function(text)
    local n = tonumber(text:match("^%d+$"))
    if not n or n < 1 or n > 65535 then
      refuse(of, "option '-w' must be a number of workers (1 to 65535), got '%s'", text)
    end
    return n
  end
end

local function control(of, text)
  if text == "false" then
    return false
  end
  return address_of(of, "--control")(text)
end

local function run_parser(of)
  local parser = argparse("brood", nil, nil):add_help(false)
  -- Its own way is to print and to exit with 1.
  parser.error = function(_, message)
    refuse(of, "%s", (message:gsub("\nDid you mean (.-)%?$", " (did you mean %1?)")))
  end
  parser:argument("words"):args "*"
  parser:flag "-h" "--help"
  parser:flag "--version"
  parser:option "-c":target "config"
  parser:option "-s":target "app"
  parser:option "-l":target "listen":count "*":convert(address_of(of, "-l"))
  parser:option "-p":target "port":convert(port(of))
  parser:option "-w":target "workers":convert(workers(of))
  -- false would read as a failed conversion, so it stays text until the end.
  parser:option "--control":target "control"
  parser:mutex(parser:flag "-q":target "quiet", parser:flag "-v":target "verbose")
  parser:option "--log-level":target "log_level":choices { "debug", "info", "warn", "error" }
  parser:option "--log-format":target "log_format":choices { "text", "json" }
  parser:option "-P":target "pidfile"
  parser:flag "-D":target "daemonize"
  return parser
end

local function level_of(found)
  return found.log_level or found.quiet and "warn" or found.verbose and "debug" or nil
end

local function config_of(of, found, words)
  local config = words[1]
  if words[2] then
    refuse(of, "too many arguments: '%s'", words[2])
  elseif config and found.config and config ~= found.config then
    refuse(of, "two configs are named: '%s' and '%s'", found.config, config)
  elseif config == "" or found.config == "" or found.app == "" or found.pidfile == "" then
    refuse(of, "the name of a file is empty")
  end
  return found.config or config
end

local first_words = { exec = "exec SCRIPT [ARG...]", init = "init [DIR]", help = "help [CMD]" }

---@param argv string[] without the command's name, when it is `named`
---@param named? "run"|"check" the command, where it came first: then no other word is one
---@return brood.Arguments
return function(argv, named)
  local of = named or "run"
  local found = run_parser(of):parse(argv)
  local words = found.words
  if not named and (words[1] == "run" or words[1] == "check") then
    named = table.remove(words, 1)
    of = named
  end
  if found.help then
    return { command = "help", topic = named or "brood" }
  elseif found.version then
    return { command = "version" }
  end
  if words[1] and not named and first_words[words[1]] then
    refuse(words[1] == "help" and "brood" or words[1], "'%s' comes first: brood %s", words[1], first_words[words[1]])
  elseif words[1] and not named then
    usage.check_command(words[1])
  end
  local parsed = {
    command = of, config = config_of(of, found, words), app = found.app, port = found.port, workers = found.workers,
    listen = found.listen[1] and found.listen or nil, pidfile = found.pidfile,
    daemonize = found.daemonize,
    log_level = level_of(found), log_format = found.log_format,
  }
  if found.control then
    parsed.control = control(of, found.control)
  end
  return parsed
end
