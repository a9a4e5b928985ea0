--- The benchmarks: `brood exec spec/bench/run.lua [NAME]`. Each measures one thing brood does beside whoever does it
--- best, in turns on the same machine, and prints a line per figure: brood's median, the peer's, and the first divided
--- by the second. A peer that is not installed is said to be missing.
---
--- Nothing here is a test: figures depend on the machine and on what else runs on it. The binary that runs this file is
--- the one measured.
local uv = require "luv"
local root = assert(uv.fs_realpath(arg[0]:match("^(.*)/spec/bench/run.lua$") or "."))
package.path = ("%s/?.lua;%s/?/init.lua;%s"):format(root, root, package.path)

local E = require "brood.error"
local report = require "spec.bench.lib.report"
local temp = require "spec.support.temp"

local names = {
  "http", "replace", "reload", "start", "memory", "preload", "spawn", "supervise", "messages", "jobs", "never_drops",
  "proxy", "on_demand",
}

local function chosen()
  if not arg[1] or arg[1] == "" then
    return names
  end
  for _, name in ipairs(names) do
    if name == arg[1] then
      return { name }
    end
  end
  io.stderr:write(("no benchmark '%s'; there are: %s\n"):format(arg[1], table.concat(names, ", ")))
  os.exit(2)
end

local failed = false
io.stdout:setvbuf "line"
local list = chosen()
report.head()
for _, name in ipairs(list) do
  local began = uv.hrtime()
  local ok, err = xpcall(require("spec.bench." .. name), require("brood.task").on_raise)
  temp.cleanup()
  if not ok then
    failed = true
    io.stderr:write(("%s: %s\n"):format(name, E.text(err)))
  end
  report.note(("%s took %.0f s"):format(name, (uv.hrtime() - began) / 1e9))
end
os.exit(failed and 1 or 0)
