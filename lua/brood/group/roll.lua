--- One roll of a group: every member replaced, up to `surge` at a time, with
--- `pause` between them. The first replacement that does not become ready halts it at
--- once, a later one is tried twice. How one member is replaced is the group's.
local E = require "brood.error"
local timer = require "brood.timer"

--- Roll a group.
---@param self brood.Group
---@param token table a newer roll has another one, and takes this one's place; replacements: those not yet ready
---@param reason string why the old ones go
---@param done fun(err: brood.Error?, replaced: integer)
return function(self, token, reason, done)
  local slot, running, replaced, failed, over = 0, 0, 0, nil, false
  local begin

  -- Why this roll goes no further, whatever became of a replacement.
  local function called_off()
    if self.rolling ~= token then
      return E.new("superseded", "a newer wish took the place of this roll of %s", self.name)
    elseif self.state ~= "running" then
      return E.new("stopped", "%s was stopped during the roll", self.name)
    end
  end

  local function finished()
    if running == 0 and not over then
      over = true
      if self.rolling == token then
        self.rolling = nil
      end
      done(failed, replaced)
    end
  end

  -- It counts as running, so that the roll is not over before.
  local function pause()
    running = running + 1
    local waiting
    local function go_on()
      waiting:cancel()
      self.pauses[go_on] = nil
      running = running - 1
      begin()
    end
    waiting = timer.after(self.pause, go_on)
    self.pauses[go_on] = true
  end

  local function one(which, attempt)
    running = running + 1
    local member, answered
    member = self:replace(which, reason, function(err)
      answered = true
      if member then
        token.replacements[member] = nil
      end
      running = running - 1
      if not err then
        replaced = replaced + 1
      end
      if err and which <= self.size then
        failed = failed or called_off()
        if not failed and replaced > 0 and attempt == 1 then
          return one(which, 2)
        end
        failed = failed or err
      elseif not err and self.pause > 0 and slot < self.size and not called_off() then
        return pause()
      end
      begin()
    end)
    if not answered then
      token.replacements[member] = true
    end
  end

  function begin()
    failed = failed or slot < self.size and called_off() or nil
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
