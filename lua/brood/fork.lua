--- The fork of a Lua process as its users see it: what must be forgotten in the
--- child, in one place. The system side (loop, fds, signals) is core's runtime_fork.
local core = require "brood.core"
local task = require "brood.task"
local uv = require "luv"

local M = {}

local forgetters = {}

--- Register fn to run in every forked child, before anything else there.
---@param fn fun()
function M.on_child(fn)
  forgetters[#forgetters + 1] = fn
end

local function child()
  task.forked()
  for _, fn in ipairs(forgetters) do
    fn()
  end
  -- Every child would otherwise draw the same "random" numbers.
  math.randomseed(tonumber(uv.hrtime() % 0x7fffffff) + uv.os_getpid() * 7919)
end

--- Fork, and return in both processes: the child's pid, or 0 in the child.
---@param keep? integer[] owned descriptors that stay open in the child
---@param prepare? fun() in the child, before signals arrive
---@return integer? pid, brood.Error? err
function M.both(keep, prepare)
  return core.fork(keep or {}, function()
    child()
    if prepare then
      prepare()
    end
  end)
end

--- Fork a child that runs main() on its own loop and never comes back here.
---@param keep integer[]
---@param main fun() runs while signals still wait: set handlers first, then start tasks
---@param aside? boolean it is not our child but our parent's; only in a process of which that knows
---@return integer? pid, brood.Error? err
function M.main(keep, main, aside)
  return core.fork_main(keep, function()
    -- The round that the parent's collector is amid is not gone on with: it would copy all of the heap.
    collectgarbage("restart", -1)
    child()
    main()
  end, aside)
end

--- Look after a child that was forked. One that cannot be looked after is ended: nobody would ever hear of it.
---@param pid integer
---@param own_group boolean
---@return table? proc, brood.Error? err
function M.adopt(pid, own_group)
  local proc, err = core.process.adopt(pid, own_group)
  if not proc then
    M.wait_for_end(pid)
  end
  return proc, err
end

--- KILL a child and wait, with everything standing still, until it is over: it could not be looked after.
---@param pid integer
function M.wait_for_end(pid)
  core.posix.kill(pid, 9)
  core.posix.waitpid(pid)
end

return M
