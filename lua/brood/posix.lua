--- The posix layer: thin names over the system calls. Failures are nil, err, errno; wrong types raise.
local core = require "brood.core"
local fork = require "brood.fork"

---@class brood.posix
local M = {}

for name, fn in pairs(core.posix) do
  M[name] = fn
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
