--- The hooks that run in the master: called by name, so that those of the newest
--- config serve old workers too. Hooks may wait while the master's loop turns; those about one
--- worker follow upon each other, and a master that ends waits for them.
local core = require "brood.core"
local E = require "brood.error"
local task = require "brood.task"

local M = {}

-- What a hook raises, or nil.
local function call(master, name, ...)
  local fn = master.config.hooks[name]
  if not fn then
    return nil
  end
  local ok, err = task.call(fn, master, ...)
  return not ok and E.new("hook", "%s", ("%s: %s"):format(name, E.text(err))) or nil
end
M.call = call

--- The same; what it raises is only logged.
---@async
---@param master brood.Master
---@param name string
function M.run(master, name, ...)
  local err = call(master, name, ...)
  if err then
    core.uncaught(err.message)
  end
end

local function over(master, worker)
  master.hooking[worker] = nil
  if next(master.hooking) == nil and master.on_hooks_over then
    master.on_hooks_over()
  end
end

local function run_queue(master, worker, queue)
  M.excuse_with(master, function()
    over(master, worker)
  end)
  while queue[1] do
    queue[1]()
    table.remove(queue, 1)
  end
  M.excuse_with(master, nil)
  over(master, worker)
end

--- The running task is a hook's, for which the master's end waits; should it wait for that end in turn, call fn.
---@param master brood.Master
---@param fn fun()? nil: it is no longer
function M.excuse_with(master, fn)
  master.excuses[coroutine.running()] = fn
end

--- The running task is about to wait for the master's end.
---@param master brood.Master
function M.excuse(master)
  local fn = master.excuses[coroutine.running() or false]
  if fn then
    fn()
  end
end

--- Run a hook about a worker behind those about it that still run.
---@param master brood.Master
---@param name string
---@param worker brood.ClusterWorker
function M.queue(master, name, worker, ...)
  if not master.config.hooks[name] then
    return
  end
  local n, args = select("#", ...), { ... }
  local queue = master.hooking[worker]
  local first = queue == nil
  queue = queue or {}
  master.hooking[worker] = queue
  table.insert(queue, function()
    M.run(master, name, worker, unpack(args, 1, n))
  end)
  if first then
    task.spawn(run_queue, master, worker, queue)
  end
end

--- Wait until no hook about a worker runs any more.
---@async
---@param master brood.Master
function M.wait(master)
  if next(master.hooking) == nil then
    return
  end
  return task.run(nil, "hooks", function(done)
    master.on_hooks_over = done
  end)
end

return M
