--- Code of the user's that must not end the process: while a master serves, a config that is read again, or an app that
--- is preloaded anew, may fail, but os.exit there would take down what serves.
local task = require "brood.task"

local M = {}

local guarded = setmetatable({}, { __mode = "k" }) -- the tasks in which it runs
local installed

local function install()
  installed = true
  local exit = os.exit
  os.exit = function(...) -- luacheck: ignore 122
    if guarded[coroutine.running() or false] then
      error("os.exit: it would end a master that serves; raise an error, and only the reload fails", 2)
    end
    return exit(...)
  end
end

local function over(co, before, ...)
  guarded[co] = before
  return ...
end

--- task.call(fn, ...), in which os.exit raises. What it starts elsewhere may still end the process.
---@async
---@param fn function
---@return boolean ok, any ...
function M.call(fn, ...)
  if not installed then
    install()
  end
  local co = coroutine.running()
  local before = guarded[co]
  guarded[co] = true
  return over(co, before, task.call(fn, ...))
end

return M
