--- What those wait for that come after a service: that it is ready; or, where it is there for one thing and ends then,
--- that it has done that.
local E = require "brood.error"
local log = require "brood.log"
local timer = require "brood.timer"

-- One that says nothing of when it is ready, has no port to show it, and does not run for ever: by its restart.
local function is_errand(o)
  return o.restart ~= "always" and not o.port and o.ready == nil
end

-- Its end, as it becomes: done() after a good one.
local function await_end(service, done)
  local o, over, limit = service.options, false, nil
  local finish
  local function on_event(event, value)
    if event == "stopped" then
      finish(not service.finished and E.new("stopped", "%s was stopped before it had ended", service.name))
    elseif event == "faulted" then
      finish(value)
    end
  end
  function finish(err)
    if over then
      return
    end
    over = true
    service:off("*", on_event)
    if limit then
      limit:cancel()
    end
    done(err or nil)
  end
  service:on("*", on_event)
  if o.timeout then
    limit = timer.after(o.timeout, function()
      log.warn(('%s still runs after its timeout of %g s: those after it are started, as it seems to be there to stay '
        .. '(ready = "spawn" says so, timeout = false that its end is waited for)'):format(service.name, o.timeout))
      finish()
    end)
  end
end

---@param service brood.Service
---@param done fun(err: brood.Error?)
return function(service, done)
  if service.finished then
    return done()
  end
  service:begin_start(function(err)
    if err or not is_errand(service.options) or service.finished then
      return done(err)
    elseif service.state == "faulted" then
      return done(service.error)
    end
    await_end(service, done)
  end)
end
