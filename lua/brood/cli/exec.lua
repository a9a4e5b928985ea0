--- `brood exec SCRIPT [ARG...]`: a Lua script on the runtime, with arg and ... as in stock Lua.
local core = require "brood.core"
local E = require "brood.error"
local files = require "brood.files"
local task = require "brood.task"
local uv = require "luv"

local M = {}

local function load_script(path)
  local text, why = files.read(path)
  if not text then
    return nil, why or path .. ": cannot be read (is it a folder?)"
  end
  return files.compile(text, path)
end

-- A parent that is brood as well has left us a line to it, which is not for the programs that the script starts.
local function attach()
  local fd = tonumber(os.getenv("BROOD_CHANNEL_FD"))
  if not fd then
    return
  end
  uv.os_unsetenv("BROOD_CHANNEL_FD")
  local stat = uv.fs_fstat(fd)
  if stat and stat.type == "socket" then
    local ours = assert(core.fd.dup_above(fd, 3))
    core.posix.close(fd)
    require("brood").worker = require("brood.worker").attach(ours)
  end
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
  if not script then
    core.log.write("error", ("brood exec: %s"):format(why))
    core.exit(1)
  end
  _G.arg = { [-1] = "brood", [0] = path, unpack(args) }
  files.path_first(path)
  attach()
  if uv.os_getpid() == 1 then
    be_init()
  end
  local ok, err = xpcall(script, task.on_raise, unpack(args))
  if not ok then
    error(E.from(err), 0)
  end
end

return M
