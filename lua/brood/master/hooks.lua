--- The hooks that run in the master: called by name, so that those of the newest
--- config serve old workers too, and a cluster's own beat the top level's. Hooks may wait while the
--- master's loop turns; those about one worker follow upon each other, and a master that ends waits for them.
local core = require "brood.core"
local E = require "brood.error"
local run_hook = require "brood.hook"
local task = require "brood.task"

local M = {}

--- Run a hook, if there is one. What it raises comes back, named after it, with its traceback.
---@async
---@param master brood.Master
---@param hooks table<string, function> the config's, or a cluster's
---@param name string
---@return brood.Error? err
function M.call(master, hooks, name, ...)
  return run_hook(hooks, name, master, ...)
end

--- The same; what it raises is only logged.
---@async
---@param master brood.Master
---@param hooks table<string, function>
---@param name string
function M.run(master, hooks, name, ...)
  local err = M.call(master, hooks, name, ...)
  if err then
    core.uncaught(E.text(err))
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
    queue[1].run()
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

--- The running task is about to wait for the master's end, unless it has given a callback.
---@param master brood.Master
---@param cb? function
function M.excuse(master, cb)
  local fn = master.excuses[coroutine.running() or false]
  if fn and not cb then
    fn()
  end
end

--- Run a hook about a worker behind those about it that still run.
---@param master brood.Master
---@param hooks table<string, function>
---@param name string
---@param worker brood.ClusterWorker
function M.queue(master, hooks, name, worker, ...)
  if not hooks[name] then
    return
  end
  local n, args = select("#", ...), { ... }
  local queue = master.hooking[worker]
  local first = queue == nil
  queue = queue or {}
  master.hooking[worker] = queue
  table.insert(queue, {
    name = name,
    run = function()
      M.run(master, hooks, name, worker, unpack(args, 1, n))
    end,
  })
  if first then
    task.spawn(run_queue, master, worker, queue)
  end
end

--- Which hooks about workers still run, for the log.
---@param master brood.Master
---@return string[] each as "worker_exit of web worker 1"
function M.running(master)
  local list = {}
  for worker, queue in pairs(master.hooking) do
    list[#list + 1] = ("%s of %s worker %d"):format(queue[1].name, worker.cluster or worker.pool, worker.id)
  end
  table.sort(list)
  return list
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
