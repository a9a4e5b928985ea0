--- `brood --help`, `brood CMD --help` and `brood help config`. The texts name only what this version does.
local M = {}

local texts = {}

texts.brood = [[
brood - run programs and Lua apps as supervised processes

usage:
  brood [run] [CONFIG]                      run a config file in the foreground
  brood -s APP [-l ADDR] [-p PORT] [-w N]   serve one app without a config file
  brood exec SCRIPT [ARG...]                run a Lua script on the runtime
  brood check [CONFIG]                      validate a config, print what it amounts to
  brood init [DIR]                          write a commented starter config and app

  brood --help, brood CMD --help            this text, or that of a command
  brood help config [KEY]                   the keys of the config file
  brood --version                           the version

`brood run --help` lists the options. The exit status is 0 for success, 1 for
failure, 2 for wrong usage.
]]

texts.run = [[
usage: brood [run] [options] [CONFIG]
       brood [run] -s APP [-l ADDR]... [-p PORT] [-w N]

Runs a config file (./brood.lua when none is named), or serves one app without
one, in the foreground unless -D says otherwise. QUIT stops it and lets requests
finish first, TERM and INT stop it quickly; a second TERM or INT kills what is
left.

options:
%s
The command line beats the config, the config beats PORT and WEB_CONCURRENCY in
the environment. Without any of them an app listens on 127.0.0.1:8080 with one
worker for each cpu. `brood help config` lists the keys of the config.
]]

texts.exec = [[
usage: brood exec SCRIPT [ARG...]

Runs a Lua script on the runtime; arg and ... are as in stock Lua. Everything
after SCRIPT is the script's own. It runs on while something that it started has
not ended, and nothing that it supervises is left behind.

In a script's first line: #!/usr/bin/env -S brood exec
]]

texts.check = [[
usage: brood check [options] [CONFIG]
       brood check -s APP [options]

Reads a config (./brood.lua when none is named) as `brood run` with the same
options would, and starts nothing: no socket is opened, no file is written. The
file itself is run, because it is a program; when it returns a function, that is
called with a master that does nothing.

Checked are all keys and values, and that the app compiles and that users,
groups and directories exist. All that is wrong goes to stderr, with file and
line, and the status is 1. Else the effective config is printed, as Lua, with
where each value comes from, and the status is 0.

options:
%s]]

texts.init = [[
usage: brood init [DIR]

Writes brood.lua, a config with every key explained, and app.lua, the app that
it serves, to DIR (default: here), which is made if need be. `brood run` serves
them at once. A file that exists is never overwritten: then nothing is written,
and the status is 1.
]]

--- The line below a usage error, by topic.
---@type table<string, string>
M.hints = {
  brood = "Try 'brood --help'.",
  run = "Try 'brood run --help'.",
  exec = "Try 'brood exec --help'.",
  check = "Try 'brood check --help'.",
  init = "Try 'brood init --help'.",
  config = "Try 'brood help config'.",
}

--- What `brood help` knows.
---@type string[]
M.topics = { "run", "exec", "check", "init", "config" }

local function options()
  local list = { { "-c FILE", "the config file; the same as CONFIG" } }
  for _, option in ipairs(require("brood.cli.reference").options()) do
    list[#list + 1] = option
  end
  for _, option in ipairs {
    { "-q", "log warnings and errors only" }, { "-v", "log what happens in detail" },
    { "--log-level LEVEL", "debug, info, warn or error" }, { "--log-format FORMAT", "text or json" },
    { "-h, --help", "this text" },
  } do
    list[#list + 1] = option
  end
  local wrap = require "brood.cli.wrap"
  local lines = {}
  for _, option in ipairs(list) do
    local wrapped = wrap(option[2], (" "):rep(24))
    wrapped[1] = ("  %-20s  "):format(option[1]) .. wrapped[1]:sub(25)
    lines[#lines + 1] = table.concat(wrapped, "\n") .. "\n"
  end
  return table.concat(lines)
end

--- The help of a topic.
---@param topic string
---@param key? string of the config
---@return string? text nil where there is none
function M.text(topic, key)
  if topic == "config" then
    local reference = require "brood.cli.reference"
    return key and reference.key(key) or not key and reference.all() or nil
  end
  local text = texts[topic]
  return text and text:find("\n%s", 1, true) and text:format(options()) or text
end

--- Print a help text.
---@param parsed brood.Arguments
---@return integer status
function M.main(parsed)
  local text
  if parsed.markdown then
    text = require("brood.cli.reference").markdown()
  else
    text = M.text(parsed.topic, parsed.key)
  end
  return io.stdout:write(text) and io.stdout:flush() and 0 or 1
end

return M
