--- One roll of a group: every member replaced, up to `surge` at a time, with
--- `pause` between them. The first replacement that does not become ready halts it at
--- once, a later one is tried twice. How one member is replaced is the group's.
local E = require "brood.error"
local timer = require "brood.timer"

--- Roll a group.
---@param self brood.Group
---@param token table a newer roll has another one, and takes this one's place
---@param reason string why the old ones go
---@param done fun(err: brood.Error?, replaced: integer)
return function(self, token, reason, done)
  local slot, running, replaced, failed = 0, 0, 0, nil
  local begin
  local function finished()
    if running == 0 then
      if self.rolling == token then
        self.rolling = nil
      end
      done(failed, replaced)
    end
  end
  local function one(which, attempt)
    running = running + 1
    self:replace(which, reason, function(err)
      running = running - 1
      if err and self.rolling == token and self.state == "running" and replaced > 0 and attempt == 1 then
        return one(which, 2)
      elseif err then
        failed = failed or err
        return finished()
      end
      replaced = replaced + 1
      if self.pause > 0 and slot < self.size then
        running = running + 1
        timer.after(self.pause, function()
          running = running - 1
          begin()
        end)
      else
        begin()
      end
    end)
  end
  function begin()
    if self.rolling ~= token then
      failed = failed or E.new("superseded", "a newer wish took the place of this roll of %s", self.name)
    elseif self.state ~= "running" then
      failed = failed or E.new("stopped", "%s was stopped during the roll", self.name)
    end
    while not failed and running < math.max(1, self.surge) and slot < self.size do
      slot = slot + 1
      one(slot, 1)
      if replaced == 0 and slot == 1 then
        return -- the first one shows whether the new ones can serve at all
      end
    end
    finished()
  end
  begin()
end
