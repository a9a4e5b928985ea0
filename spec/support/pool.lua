--- Pools under test, in the spec's own process. What a test leaves running is ended by `cleanup`, which is to be the
--- suite's teardown.
local Pool = require "brood.pool"
local s = require "spec.support"
local supervised = require "brood.supervised"
local uv = require "luv"

-- What watches signals and orphans stays for good: no test's leak.
supervised.adopt_orphans()
supervised.guard_signals()

local M = {}
local made = {}

---A pool that the end of the test ends. It has one worker unless told otherwise.
---@param worker string|function|table
---@param options? table
---@return brood.Pool
function M.new(worker, options)
  local full = { worker = worker, max_processes = 1, respawn_delay = 0.01 }
  for name, value in pairs(options or {}) do
    full[name] = value
  end
  local pool = Pool.new(full)
  table.insert(made, pool)
  return pool
end

---A pool with these options and no others, that the end of the test ends.
---@param options table
---@return brood.Pool
function M.of(options)
  local pool = Pool.new(options)
  table.insert(made, pool)
  return pool
end

---A worker of which the data says what it does: its process dies, exits, hangs, or its job waits or fails.
---@param job brood.WorkerJob
---@return any
function M.act(job)
  local data = job.data
  if data == "die" then
    uv.kill(uv.os_getpid(), 9)
  elseif data == "exit" then
    require("brood.core").exit(3) -- os.exit is luaunit's here
  elseif data == "hang" then
    while true do end -- luacheck: ignore
  elseif data == "pid" then
    return uv.os_getpid()
  elseif type(data) == "table" and data.sleep then
    require("brood").sleep(data.sleep)
    return data.value
  elseif type(data) == "table" and data.fail then
    error(data.fail)
  end
  return data
end

---A worker file with this text.
---@param text string
---@param name? string
---@return string path
function M.file(text, name)
  return s.write_file(name or "worker.lua", 'local brood = require "brood"\n' .. text)
end

---The events of a pool of these names, as they come: name and what `what` makes of the arguments.
---@param pool brood.Pool
---@param names string[]
---@param what? fun(...): any
---@return table list
function M.record(pool, names, what)
  local list = {}
  for _, name in ipairs(names) do
    pool:on(name, function(...)
      table.insert(list, what and { name, what(...) } or name)
    end)
  end
  return list
end

---Jobs with these data, all at once; returns what they ended with, in their order: the result, or the error's code.
---@param pool brood.Pool
---@param list any[]
---@param options? table of each job
---@return any[]
function M.all(pool, list, options)
  local ends, left = {}, #list
  for i, data in ipairs(list) do
    pool:enqueue(data, options or {}, function(err, result)
      ends[i], left = err and err.code or result, left - 1
    end)
  end
  s.wait(function() return left == 0 end, 20, function() return ("%d jobs"):format(left) end)
  return ends
end

---End what a test has left.
function M.cleanup()
  for i = #made, 1, -1 do
    local pool = made[i]
    made[i] = nil
    pool:on("job:failure", function() end)
    pool:exit()
  end
end

return M
