--- The listeners of what stands in another process for a pool or a service of the master: the master tells of an event
--- for as long as somebody here listens to it. How what is told travels is the business of what stands there.
local emitter = require "brood.emitter"

--- Give an emitter's class what it needs for that.
---@param class table its objects have `name`, `line` (brood.remote's) and `listened`
---@param room string of the master, which takes the orders "listen" and "unlisten"
return function(class, room)
  --- The master has told of something. Who is told of everything hears of it in that way, and not twice.
  ---@private
  ---@param whose string the event, or "*"
  ---@param event string
  function class:tell(whose, event, ...)
    local listeners = rawget(self, "heard")
    if not listeners or not listeners[whose] then
      return
    end
    local only = { heard = { [whose] = listeners[whose] }, name = self.name }
    emitter.emit(only, event, ...)
    listeners[whose] = only.heard[whose]
    self:listening(whose)
  end

  ---@private
  function class:listening(event)
    local wanted, listened = emitter.has_listener(self, event), self.listened
    if wanted and not listened[event] then
      listened[event] = true
      self.line:hold()
      self.line:order(room, "listen", self.name, event)
    elseif not wanted and listened[event] then
      listened[event] = nil
      self.line:release()
      self.line:order(room, "unlisten", self.name, event)
    end
  end

  ---@private
  function class:on_listen(event)
    self:listening(event)
  end

  --- Like the emitter's; for the last listener the master need not tell any more.
  function class:off(event, fn)
    emitter.off(self, event, fn)
    self:listening(event)
    return self
  end
end
