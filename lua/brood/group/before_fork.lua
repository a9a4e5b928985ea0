--- What is to be done before a member is forked, and may wait: but no longer than somebody wants the member, as a stop
--- must not depend on its end, and a start has its time.
local E = require "brood.error"
local task = require "brood.task"
local timer = require "brood.timer"

--- Wait for fn().
---@async
---@param member brood.Member
---@param seconds? number|false
---@param fn fun(): brood.Error?
---@return true? ok, brood.Error? err what fn returned, or code "timeout" or "stopped"
return function(member, seconds, fn)
  local function not_yet()
    return nil, E.new("stopped", "this worker is not forked yet")
  end
  return task.run(nil, "before_fork", function(answer)
    local done = timer.limit(seconds, function()
      answer(E.new("timeout", "before_fork has not ended within %g s", seconds))
    end, answer)
    member.process = {
      state = "starting", signal = not_yet, send = not_yet,
      stop = function()
        done(E.new("stopped", "told to go before its fork"))
      end,
    }
    task.spawn(function()
      done(fn())
    end)
  end)
end
