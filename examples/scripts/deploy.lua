#!/usr/bin/env -S brood exec
-- A deployment in miniature: check, build side by side, switch a symlink, start and watch a server.
--   brood exec deploy.lua TARGET_DIR
local brood = require "brood"
local Process = require "brood.process"

local target = arg[1] or error("usage: brood exec deploy.lua TARGET_DIR", 0)

-- check = true: a status other than 0 is an error that carries the last lines of stderr.
local function must(argv, options)
  options = options or {}
  options.check = true
  local result, err = Process.run(argv, options)
  if not result then
    brood.log.error("deploy: " .. err)
    os.exit(1)
  end
  return result.stdout
end

local release = ("%s/releases/%d"):format(target, os.time())
must { "mkdir", "-p", release }
must({ "sh", "-c", "cat > index.html" }, { cwd = release, input = "<h1>release</h1>\n" })

-- Two steps that do not need each other run at the same time.
local size = brood.async(must, { "du", "-sb", release })
local sums = brood.async(must, { "sha256sum", release .. "/index.html" })
print("size:   " .. size:wait():match("^%d+"))
print("sha256: " .. sums:wait():match("^%x+"):sub(1, 12))

must { "ln", "-sfn", release, target .. "/current" }

-- A program that has to end by itself in time, and one that does not.
local slow, err = Process.run({ "sleep", "10" }, { timeout = "200ms" })
print("slow:   " .. tostring(slow) .. ", " .. err.code)

-- A server under supervision: `start` returns once its port answers; nothing of it is left at the end.
local port = tonumber(os.getenv "DEPLOY_PORT") or 8099
local server = Process.new {
  name = "files",
  command = { "python3", "-u", "-m", "http.server", "--bind", "127.0.0.1", tostring(port) },
  cwd = target .. "/current",
  stdout = false,
  stderr = function(line)
    print("files:  " .. line:gsub(" %[.-%]", ""))
  end,
  ready = { port = port },
  start_timeout = "10s",
}
assert(server:start())
print("index:  " .. must({ "curl", "-s", ("http://127.0.0.1:%d/index.html"):format(port) }):gsub("\n", ""))
assert(server:stop())
print("ended:  " .. (server.exit_signal or server.exit_code))
