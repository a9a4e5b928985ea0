--- The posix layer: thin names over the system calls. Failures are nil, err, errno; wrong types raise.
local core = require "brood.core"
local duration = require "brood.rules.duration"
local fork = require "brood.fork"

---@class brood.posix
local M = {}

for name, fn in pairs(core.posix) do
  M[name] = fn
end

--- Set the file mode creation mask: a string of octal digits, as everywhere. Returns the former one.
---@param mode? string without it the mask stays as it is
---@return string
function M.umask(mode)
  if mode == nil then
    return core.posix.umask()
  end
  local number, why = duration.parse_mode(mode)
  if not number then
    error("posix.umask: " .. why, 2)
  end
  return core.posix.umask(number)
end

--- Fork this process. The child has a fresh, empty event loop, default signals and none of the
--- parent's watchers, timers or unwritten output; only the calling task goes on in it.
---@return integer? pid 0 in the child
---@return brood.Error? err
---@return integer? errno
function M.fork()
  local pid, err = fork.both()
  if not pid then
    return nil, err, err.errno
  end
  return pid
end

return M
