--- The use of a program by one at a time: from the moment in which it is given to somebody until they give it back. One
--- that has failed somebody is looked at before anybody else gets it: the last connection of a dying program may end
--- before its end is known. Who gets it next is the crew's business.
local clock = require "brood.clock"
local E = require "brood.error"
local listening = require "brood.backend.listening"
local log = require "brood.log"
local timer = require "brood.timer"
local unix_listeners = require "brood.unix_listeners"

local M = {}

local GRACE = 0.05 -- seconds in which the end of a program that has failed somebody is heard of

---@class brood.BackendLease
---@field address string "unix:/path" or "host:port": it is for one connection at a time
---@field pid integer
---@field program? brood.BackendProgram until it is given back, or gone
---@field ended? brood.Error how the program ended, where it did before
local Lease = {}
Lease.__index = Lease

--- Give a program to somebody.
---@param program brood.BackendProgram a free one
---@param heard table used(program): it has served, spared(program, used): it has failed somebody, and lives
---@return brood.BackendLease
function M.new(program, heard)
  local self = setmetatable({
    address = program.address, pid = program.pid, program = program, heard = heard, name = program.name,
  }, Lease)
  program.lease = self
  program.process:set_busy(true)
  return self
end

local function let_go(self)
  local program = self.program
  self.program = nil
  if program then
    program.lease = nil
  end
  return program
end

--- It is not needed any more. Twice is once.
function Lease:release()
  local program = let_go(self)
  if program then
    program.served = program.served + 1
    self.heard.used(program)
  end
end

-- Whether it still listens, where it can be found. found(boolean).
local function look(program, found)
  if program.place then
    return found(not program:is_lost() and unix_listeners.listens(program.place.path))
  end
  local host, port = program.address:match "^%[?([^%]]*)%]?:(%d+)$"
  listening.answers(host, tonumber(port), found)
end

local function settle_suspect(program, heard)
  look(program, function(alive)
    if program.over or not program.suspect then
      return
    end
    program.suspect = nil
    if alive then
      local used = program.failed_somebody
      program.failed_somebody = nil
      return heard.spared(program, used)
    end
    if program:is_lost() and unix_listeners.listens(program.place.path) then
      log.warn(("%s cannot be reached, somebody has removed its socket: another one takes its place")
        :format(program.name))
      return program:terminate()
    end
    log.warn(("%s does not listen any more, but runs: KILL"):format(program.name))
    program:kill()
  end)
end

--- It did not do what it was to: the connection failed, or ended too early. `known`, where it is given, is called once
--- it is known whether the program has ended, with the error that says how.
---@param known? fun(ended: brood.Error?)
function Lease:fail(known)
  local program = let_go(self)
  if not program then
    return known and known(self.ended)
  end
  program.failed_somebody = true
  M.suspect(program, self.heard, function(ended)
    self.ended = ended
    if known then
      known(ended)
    end
  end)
end

--- It may be at its end: nobody gets it before that is known. known(error) once, without an error where it seems to
--- live.
---@param program brood.BackendProgram
---@param heard table
---@param known fun(ended: brood.Error?)
function M.suspect(program, heard, known)
  program.suspect = true
  local told = false
  local function tell(ended)
    if not told then
      told = true
      known(ended)
    end
  end
  program.on_gone = tell
  timer.after(GRACE, function()
    program.on_gone = nil
    tell(nil)
    if not program.over and program.suspect then
      settle_suspect(program, heard)
    end
  end)
end

--- The program is gone: whoever uses it may see that in the lease.
---@param program brood.BackendProgram
---@return brood.Error ended, boolean used whether somebody had it when it ended
function M.gone(program)
  local process = program.process
  local code, signal = process.exit_code, process.exit_signal
  local how = signal and "was killed by " .. signal or ("ended with status %s"):format(tostring(code))
  local err = E.new("exit", "%s %s", program.name, how)
  err.exit_code, err.exit_signal, err.output = code, signal, program.tail:text()
  local lease = program.lease
  if lease then
    lease.ended = err
    let_go(lease)
  end
  if program.on_gone then
    program.on_gone(err)
  end
  return err, (lease or program.failed_somebody) ~= nil
end

--- How long the row of a program's uses has been over.
---@param program brood.BackendProgram
---@return number seconds
function M.idle_for(program)
  return clock.now() - program.free_since
end

return M
