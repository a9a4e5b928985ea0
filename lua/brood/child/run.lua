--- Child.run: one script from its start to its end.
local E = require "brood.error"
local plan = require "brood.child.plan"
local tail = require "brood.child.tail"
local task = require "brood.task"
local timer = require "brood.timer"

local STOP_TIMEOUT = 2 -- seconds between TERM and KILL: somebody waits for the end

-- How it ended, where nobody has said more about it.
local function outcome(child)
  local begun = child.current.begun
  local how
  if child.exit_signal then
    how = "was killed by " .. child.exit_signal
  elseif child.exit_code ~= 0 then
    how = ("ended with status %s"):format(tostring(child.exit_code))
  elseif begun and begun.once and not child.current.finished then
    how = "ended before its function was done"
  else
    return nil
  end
  local err = E.new("exit", "%s %s", child.name, how)
  err.exit_code, err.exit_signal = child.exit_code, child.exit_signal
  return tail.explain(child, err)
end

---@param module table brood.child
---@param script string|table
---@param given? table
---@param cb? fun(err: brood.Error?)
return function(module, script, given, cb)
  local made = plan.make(2, "Child.run", script, given, {
    timeout = { type = "duration", off = true },
    stop_timeout = { type = "duration", off = true, default = STOP_TIMEOUT },
    start_timeout = { type = "duration", off = true, default = false },
    respawn = false, respawn_delay = false,
  })
  local child, seconds = module.of(made), made.options.timeout
  return task.run(cb, "Child.run", function(done)
    local failure
    local over = timer.limit(seconds, function()
      failure = failure or E.new("timeout", "%s ran longer than %s s", child.name, seconds)
      child:stop(function() end)
    end, done)
    child:on("error", function(err)
      failure = failure or err
    end)
    child:start(function(err)
      if not err then
        return child.process:wait(function()
          over(failure or child.current.stop_error or outcome(child))
        end)
      elseif err.code ~= "exit" or child.current.run.failure or not (child.exit_code or child.exit_signal) then
        failure = failure or err
      end
      -- A script that calls neither Child.main nor Child.once has merely come to its end.
      over(failure or outcome(child))
    end)
  end)
end
