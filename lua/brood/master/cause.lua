--- What has prompted something that the master is asked for, a signal or the control socket, so that the log can
--- name it. It is known in the task that asks, and nowhere else; nothing depends on it.
local task = require "brood.task"

local M = {}

local causes = setmetatable({}, { __mode = "k" }) -- by task

local function over(co, ...)
  causes[co] = nil
  return ...
end

--- Call fn in the running task, where what it asks for has this cause. Returns what task.call does.
---@param cause string
---@param fn function
---@return boolean ok, any ...
function M.within(cause, fn, ...)
  local co = coroutine.running()
  causes[co] = cause
  return over(co, task.call(fn, ...))
end

--- The cause of what is being asked for, as the end of a phrase of the log; "" where nobody knows of one.
---@return string
function M.note()
  local co = coroutine.running()
  local cause = co and causes[co]
  return cause and (" (%s)"):format(cause) or ""
end

return M
