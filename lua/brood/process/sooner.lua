--- A process that runs: signals to it, and an end that is to come sooner than it would. How it ends is
--- brood.process.ending's business.
local E = require "brood.error"
local ending = require "brood.process.ending"
local signals = require "brood.signals"

---@class brood.Process
local Sooner = {}

--- Send a signal to the process itself, not to its group.
---@param signal string|number
---@return true? ok, brood.Error? err
function Sooner:signal(signal)
  local number = signals.check(signal, 2)
  if not self.run or not self.run.proc then
    return nil, E.new("stopped", "%s does not run", self.name)
  end
  local ok, err = self.run.proc:signal(number)
  if not ok and err.code == "ESRCH" then
    err = E.new("stopped", "%s has just ended", self.name)
  end
  return ok, err
end

--- From now on it ends sooner: another signal, and KILL after so many seconds, also when it is stopping already.
---@param signal integer
---@param patience number
---@param why? string for the log, should it come to KILL
function Sooner:hurry(signal, patience, why)
  local o = self.options
  o.stop_signal, o.stop_timeout = signal, patience
  if o.hurried ~= why then
    o.hurried = why
  end
  local run = self.run
  if self.state == "stopping" and run and run.proc and not run.killed then
    ending.terminate(self, run)
  end
end

--- Its end may take so long and no longer, that of one that is stopping as well; it hears nothing of this.
---@param patience number|false
function Sooner:limit_stop(patience)
  self.options.stop_timeout = patience
  if self.state == "stopping" and self.run.proc then
    ending.limit(self, self.run)
  end
end

---@private
function Sooner:hasten()
  local run = self.run
  if not ((self.options.main or self.options.lua) and run and run.proc) then
    return false
  end
  -- Two signals, as two of one kind would be one: the second does not wait for what the first has begun.
  run.proc:signal(signals.number("TERM"))
  run.proc:signal(signals.number("INT"))
  return true
end

---@private
function Sooner:destroy()
  if self.run and self.run.proc then
    ending.kill(self.run)
  end
end

---@private
function Sooner:gone()
  return not (self.run and self.run.proc) or ending.is_gone(self.run)
end

return Sooner
