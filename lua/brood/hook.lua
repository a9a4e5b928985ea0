--- One call of a hook, in the master or in a worker: what it raises is told in its name. Which hooks there are, when
--- they run and what their failure means is decided by those who call them.
local E = require "brood.error"
local task = require "brood.task"

--- Call a hook, if there is one; it may wait.
---@async
---@param hooks table<string, function>
---@param name string
---@return brood.Error? err what it raised, named after it, with its traceback
return function(hooks, name, ...)
  local fn = hooks[name]
  if not fn then
    return nil
  end
  local ok, err = task.call(fn, ...)
  if ok then
    return nil
  end
  local failure = E.new("hook", "%s", ("%s: %s"):format(name, tostring(err)))
  failure.traceback = ("%s: %s"):format(name, E.text(err))
  return failure
end
