--- `brood --help` and `brood CMD --help`. The texts name only what this version does.
local M = { texts = {} }

M.texts.brood = [[
brood - run programs and Lua apps as supervised processes

usage:
  brood [run] [CONFIG]                      run a config file in the foreground
  brood -s APP [-l ADDR] [-p PORT] [-w N]   serve one app without a config file
  brood exec SCRIPT [ARG...]                run a Lua script on the runtime

  brood --help, brood CMD --help            this text, or that of a command
  brood --version                           the version

`brood run --help` lists the options.
]]

M.texts.run = [[
usage: brood [run] [options] [CONFIG]
       brood [run] -s APP [-l ADDR]... [-p PORT] [-w N]

Runs a config file (./brood.lua when none is named), or serves one app without
one, in the foreground. TERM and INT stop it, QUIT lets requests finish first.

options:
  -c FILE               the config file; the same as CONFIG
  -s APP                the Lua file that each worker serves
  -l ADDR               listen on "host:port", "[v6]:port", a port or
                        "unix:/path"; may be repeated
  -p PORT               listen on this port, on all interfaces
  -w N                  how many workers
  -P FILE               write the master's pid there while it runs
  --control ADDR        where the control server listens ("unix:/path");
                        false: nowhere
  -q                    log warnings and errors only
  -v                    log what happens in detail
  --log-level LEVEL     debug, info, warn or error
  --log-format FORMAT   text or json
  -h, --help            this text

The command line beats the config, the config beats PORT and WEB_CONCURRENCY in
the environment. Without any of them an app listens on 127.0.0.1:8080 with one
worker for each cpu.
]]

M.texts.exec = [[
usage: brood exec SCRIPT [ARG...]

Runs a Lua script on the runtime; arg and ... are as in stock Lua. Everything
after SCRIPT is the script's own. It runs on while something that it started has
not ended, and nothing that it supervises is left behind.

In a script's first line: #!/usr/bin/env -S brood exec
]]

--- The line below a usage error, by topic.
---@type table<string, string>
M.hints = {
  brood = "Try 'brood --help'.",
  run = "Try 'brood run --help'.",
  exec = "Try 'brood exec --help'.",
}

--- Print a help text.
---@param parsed brood.Arguments
---@return integer status
function M.main(parsed)
  local text = M.texts[parsed.topic]
  return io.stdout:write(text) and io.stdout:flush() and 0 or 1
end

return M
