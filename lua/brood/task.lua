--- Tasks: the coroutines in which everything runs that the runtime calls, and
--- the one way in which an *async* function is written.
---
--- A task runs in a pooled coroutine, because one is needed for every request
--- and every listener. It knows nothing of processes; after a fork only the
--- task that called it goes on, because what another one waits for is the parent's.
local core = require "brood.core"
local E = require "brood.error"

local create, resume, yield, running = coroutine.create, coroutine.resume, coroutine.yield, coroutine.running
local select, unpack, xpcall = select, unpack, xpcall
local yieldable = core.yieldable

local M = {}

local IDLE_MAX = 128
local HEAD = 1024 -- bytes of a message in which stands who says it, and where
local SHOWN = 64 * 1024 -- bytes of it above a traceback
local tasks = setmetatable({}, { __mode = "k" }) -- the coroutines that are tasks
local idle, idle_count = {}, 0
local generation = core.generation()

-- How the runtime came to call the function is of no use to whoever wrote it: the lines behind the last one of
-- theirs. Where nothing is theirs, all is of use.
local function callers_off(trace)
  local head, rest = trace:match "^(\nstack traceback:)\n(.*)$"
  while rest do
    local shorter, last = rest:match "^(.*)\n([^\n]*)$"
    if not (last or rest):find "^\t%[C%]: " and not (last or rest):find "^\t%S*lua/brood/" then
      return head .. "\n" .. rest
    end
    rest = shorter
  end
  return trace
end

-- Nor is where brood noticed a mistake, above the line at which it was made.
local function own_part_off(trace, mistake)
  trace = callers_off(trace)
  if mistake then
    local n
    repeat
      trace, n = trace:gsub("^(\nstack traceback:)\n\t%[C%]: in function '[^\n]*'", "%1", 1)
      if n == 0 then
        trace, n = trace:gsub("^(\nstack traceback:)\n\t%S*lua/brood/[^\n]*", "%1", 1)
      end
    until n == 0
  end
  return (trace:gsub("^\nstack traceback:$", ""))
end

-- A message may be of any length, and stands in the error; above the traceback (and so in a log) its beginning does.
local function beginning(text)
  return #text <= SHOWN and text or ("%s... (%d bytes more)"):format(text:sub(1, SHOWN), #text - SHOWN)
end

--- Turns what was raised into an error with the traceback of the place, while its stack still stands.
local function on_raise(value)
  if type(value) == "table" and rawget(value, "traceback") then
    return value
  end
  local start = type(value) == "string" and value:sub(1, HEAD)
  if start and (start:find "^[%w_.]+[:.][%a_]+: " or start:find "^%S*lua/brood/") then
    local blame = require "brood.blame"
    value = blame.is_without_place(value) and blame.place(value, 2) or value
    start = value:sub(1, HEAD)
  end
  local text = value == nil and "nil was raised, in place of an error" or E.describe(value)
  if type(value) == "table" then
    text = E.describe(rawget(value, "message") or getmetatable(value) and value or "an error object without a message")
  end
  local mistake = start and start:find "^%S+:[%d, or]+: [%w_.]+[:.][%a_]+: " ~= nil
  return E.from(value, beginning(text) .. own_part_off(debug.traceback("", 2), mistake))
end
M.on_raise = on_raise

-- What we hand to a coroutine first when we wake it: whoever kept one of ours, and resumes it, has it not.
local KEY = {}

local function round(key, fn, ...)
  if key ~= KEY then
    return round(yield())
  end
  local ok, err = xpcall(fn, on_raise, ...)
  if not ok then
    core.uncaught(E.text(err))
  end
end

local function body()
  local co = running()
  while true do
    round(yield())
    if idle_count >= IDLE_MAX then
      return
    end
    idle_count = idle_count + 1
    idle[idle_count] = co
  end
end

-- What the running task works for (a request), which it keeps while it waits, and passes on to the tasks it starts:
-- owner:_resumed() is called each time it goes on after a wait.
local owner

local function step(co, ...)
  local born, outer = generation, owner
  local ok, err = resume(co, KEY, ...)
  owner = outer
  if not ok then
    core.uncaught(debug.traceback(co, tostring(err)))
  end
  if born ~= generation then
    -- We are in the child of a fork that co made, and all that stands on the stack below is the parent's.
    core.live()
  end
end

-- In the child of a fork the task ends here: it waits for ever, and whoever had started it lives as the child.
local function stay(born, ...)
  if born ~= generation then
    while tasks[running()] and yieldable() do
      yield()
    end
    core.live()
  end
  return ...
end

--- xpcall for a function of the user's that runs in a task of ours: where it forks, what follows the
--- call is done by the parent alone. On failure the error comes with its traceback.
---@param fn function
---@return boolean ok, any ...
function M.call(fn, ...)
  return stay(generation, xpcall(fn, on_raise, ...))
end

--- Run fn(...) in a task of its own, now, until it ends or first waits. What it raises is logged.
---@param fn function
function M.spawn(fn, ...)
  local co
  if idle_count > 0 then
    co = idle[idle_count]
    idle[idle_count] = nil
    idle_count = idle_count - 1
  else
    co = create(body)
    tasks[co] = true
    resume(co)
  end
  return step(co, fn, ...)
end
local spawn = M.spawn

-- For requests there is a pool of its own: tasks whose function takes three values and raises nothing.
local ready, ready_count = {}, 0

local function request_body()
  local co = running()
  while true do
    local key, fn, a, b, c = yield()
    while key ~= KEY do
      key, fn, a, b, c = yield()
    end
    fn(a, b, c)
    if ready_count >= IDLE_MAX then
      return
    end
    ready_count = ready_count + 1
    ready[ready_count] = co
  end
end

--- Run fn(handler, req, res), a function of ours that lets nothing be raised, in a task that works for `req`: `spawn`
--- in the least time.
---@param fn function
---@param handler function
---@param req userdata
---@param res userdata
function M.serve(fn, handler, req, res)
  local born, outer, count = generation, owner, ready_count
  local co
  if count > 0 then
    co = ready[count]
    ready[count] = nil
    ready_count = count - 1
  else
    co = create(request_body)
    tasks[co] = true
    resume(co)
  end
  owner = req
  local ok, err = resume(co, KEY, fn, handler, req, res)
  owner = outer
  if not ok then
    core.uncaught(debug.traceback(co, tostring(err)))
  end
  if born ~= generation then
    -- As in `step`.
    core.live()
  end
end

--- Whether an async function could wait here: in a task, and not across a C call.
---@return boolean
function M.can_wait()
  local co = running()
  return co ~= nil and tasks[co] == true and yieldable()
end

local function why_not()
  local co = running()
  if co == nil then
    return "in a raw luv callback there is no task"
  elseif not tasks[co] then
    return "a coroutine of your own is not a task"
  end
  return "a C call (require, table.sort, string.gsub, a metamethod, ...) is in between"
end

local function finish(err, ...)
  if err ~= nil then
    return nil, err
  elseif select("#", ...) == 0 then
    return true
  end
  return ...
end

local function resumed(mine, key, ...)
  if key ~= KEY then
    return resumed(mine, yield())
  end
  owner = mine
  if mine then
    mine:_resumed()
  end
  return finish(...)
end

local function wait(start)
  local co, born = running(), generation
  local waiting, answered, n, values, failure = false, false, 0, nil, nil
  start(function(err, ...)
    if answered or born ~= generation then
      return
    end
    answered = true
    if waiting then
      return step(co, err, ...)
    end
    failure, n, values = err, select("#", ...), { ... }
  end)
  if answered then
    return finish(failure, unpack(values, 1, n))
  end
  waiting = true
  return resumed(owner, yield())
end

--- The body of every async function. `start(done)` begins the operation, and
--- `done(err, ...)` ends it, at once or later; only the first call counts.
--- With a callback this returns at once and cb(err, ...) runs in a task;
--- without, it suspends the task and returns the values (`true` where there
--- are none) or nil and the error. Where it cannot wait it raises. To be called as
--- `return task.run(...)`: the tail call makes the user's line the one that is blamed.
---@param cb function|nil
---@param name string what the user called, for the error
---@param start fun(done: fun(err: any, ...: any))
function M.run(cb, name, start)
  if cb ~= nil then
    if type(cb) ~= "function" then
      error(("%s: the callback must be a function, got %s"):format(name, type(cb)), 2)
    end
    local answered, born = false, generation
    start(function(err, ...)
      if not answered and born == generation then
        answered = true
        spawn(cb, err, ...)
      end
    end)
    return
  end
  if not M.can_wait() then
    error(("%s cannot wait here: %s; call it with a callback, or inside brood.async(function() ... end)")
      :format(name, why_not()), 2)
  end
  return wait(start)
end

--- In the child of a fork: what the parent's other tasks wait for will never be answered here.
function M.forked()
  generation = core.generation()
  owner = nil
end

--- Call a start, stop or once function and report its end: when it returns, or,
--- where it declares the parameter `done` behind the given arguments, when
--- done(err) is called. Raising is a failure in both, and so is returning nil and an error. finished(err, ...) is
--- called once; a failure after that is logged.
---@param fn function
---@param finished fun(err: any, ...: any)
function M.call_done(fn, finished, ...)
  local n = select("#", ...)
  local info = debug.getinfo(fn, "u")
  local args = { ... }
  local over = false
  local function once(err, ...)
    if not over then
      over = true
      finished(err, ...)
    elseif err ~= nil then
      core.uncaught(E.text(err))
    end
  end
  spawn(function()
    if not info.isvararg and info.nparams > n then
      args[n + 1] = once
      local ok, err = M.call(fn, unpack(args, 1, n + 1))
      if not ok then
        once(err)
      end
      return
    end
    local function after(ok, ...)
      local first, second = ...
      if not ok then
        once(first)
      elseif first == nil and second ~= nil then
        once(second) -- as all that can fail returns it
      else
        once(nil, ...) -- nothing stays nothing
      end
    end
    after(M.call(fn, unpack(args, 1, n)))
  end)
end

---@class brood.Task
local Task = {}
Task.__index = Task

local unobserved = {}

-- Once each: an error must not stay unseen for long, though a later wait may still take it.
local function log_unobserved()
  for task, logged in pairs(unobserved) do
    if not logged then
      unobserved[task] = true
      core.log.write("error", E.text(task.err))
    end
  end
end

--- At the end: the failures of tasks that nobody has waited for are failures of the process.
function M.report_unobserved()
  log_unobserved()
  if next(unobserved) ~= nil then
    unobserved = {}
    core.failed(true)
  end
end

local function settle(task, ok, ...)
  task.ended = true
  if ok then
    task.count, task.values = select("#", ...), { ... }
  else
    task.err = (...)
  end
  local waiters = task.waiters
  task.waiters = nil
  if #waiters == 0 and not ok then
    -- A wait that comes soon still gets it; otherwise it is an error that nobody caught.
    unobserved[task] = false
    require("brood.timer").after(1, log_unobserved):unref()
  end
  for _, done in ipairs(waiters) do
    done(task.err, unpack(task.values or {}, 1, task.count or 0))
  end
end

--- Start fn(...) as a task.
---@param fn function
---@return brood.Task
function M.async(fn, ...)
  if type(fn) ~= "function" then
    error("brood.async: a function is needed, got " .. type(fn), 2)
  end
  local task = setmetatable({ waiters = {}, ended = false }, Task)
  spawn(function(...)
    settle(task, M.call(fn, ...))
  end, ...)
  return task
end

--- Wait for the task's end: what its function returned, or nil and the error it
--- raised. After `timeout` (a duration) nil and an error with code "timeout"; the task goes on.
---@async
---@param timeout? number|string|false
---@param cb? fun(err: brood.Error?, ...: any)
function Task:wait(timeout, cb)
  if type(timeout) == "function" then
    timeout, cb = nil, timeout
  end
  local seconds
  if timeout then
    seconds = require("brood.options").duration("task:wait", timeout, 3)
  end
  return M.run(cb, "task:wait", function(done)
    unobserved[self] = nil
    if self.ended then
      return done(self.err, unpack(self.values or {}, 1, self.count or 0))
    end
    self.waiters[#self.waiters + 1] = seconds and require("brood.timer").limit(seconds, function()
      done(E.new("timeout", "the task has not ended within %s s", seconds))
    end, done) or done
  end)
end

--- Suspend the task for so long.
---@async
---@param seconds number|string a duration
---@param cb? fun()
function M.sleep(seconds, cb)
  seconds = require("brood.options").duration("brood.sleep", seconds, 3)
  return M.run(cb, "brood.sleep", function(done)
    require("brood.timer").after(seconds, done)
  end)
end

return M
