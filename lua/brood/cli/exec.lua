--- `brood exec SCRIPT [ARG...]`: a Lua script on the runtime, with arg and ... as in stock Lua.
local core = require "brood.core"
local E = require "brood.error"
local files = require "brood.files"
local task = require "brood.task"
local uv = require "luv"

local M = {}

local PATIENCE = 30 -- seconds that the end may take once the parent is gone, where it has not said so

local function load_script(path)
  local text, why = files.read(path)
  if not text then
    return nil, why or path .. ": cannot be read (is it a folder?)"
  end
  return files.compile(text, path)
end

-- A parent that is brood as well has left us a line to it, which is not for the programs that the script starts. What
-- takes us for a program like any other has one for the script itself.
local function attach()
  local fd = tonumber(os.getenv("BROOD_CHANNEL_FD"))
  if not fd or os.getenv("BROOD_CHANNEL") == "json" then
    return
  end
  local patience = tonumber(os.getenv("BROOD_STOP_TIMEOUT")) or PATIENCE
  uv.os_unsetenv("BROOD_CHANNEL_FD")
  uv.os_unsetenv("BROOD_STOP_TIMEOUT")
  local stat = uv.fs_fstat(fd)
  if stat and stat.type == "socket" then
    local ours = assert(core.fd.dup_above(fd, 3))
    core.posix.close(fd)
    require("brood").worker = require("brood.worker").attach(ours)
    -- A stuck script hears of nothing, neither of the end of that line nor of the signal that comes otherwise.
    core.process.own_master_death(patience, uv.os_getppid())
  end
end

-- The parent is told why, in place of the log.
local function fail(err)
  local worker = require("brood").worker
  if not (worker and worker.peer:post("failed", err)) then
    return false
  end
  worker.peer:flush_blocking(1)
  os.exit(1)
end

-- PID 1 has no default actions for signals, and every orphan becomes its child.
local function be_init()
  local supervised = require "brood.supervised"
  supervised.adopt_orphans()
  supervised.guard_signals()
end

--- Run the script as the main task.
---@param path string
---@param args string[]
function M.main(path, args)
  local script, why = load_script(path)
  attach()
  if not script then
    why = ("brood exec: %s"):format(why)
    if not fail(E.new("script", "%s", why)) then
      core.log.write("error", why)
      core.exit(1)
    end
  end
  _G.arg = { [-1] = "brood", [0] = path, unpack(args) }
  files.path_first(path)
  if uv.os_getpid() == 1 then
    be_init()
  end
  local ok, err = xpcall(script, task.on_raise, unpack(args))
  err = not ok and E.from(err)
  if err and not fail(err) then
    error(err, 0)
  end
end

return M
