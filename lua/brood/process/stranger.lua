--- A process that is none of our children, but has to be gone before something of ours takes its place: what a master
--- that died has left. It is looked at now and then, and killed when its time is over.
local clock = require "brood.clock"
local timer = require "brood.timer"
local uv = require "luv"

local M = {}

local LOOK = 0.02 -- seconds

-- Anything of it: the process itself, or its group. A zombie is still something: its parent is about to reap it.
local function is_there(pid, grouped)
  return uv.kill(pid, 0) == 0 or grouped and uv.kill(-pid, 0) == 0
end

--- done(killed) once nothing of it is left.
---@param pid integer? nil: there is nothing
---@param grouped boolean whether it is the leader of a group, all of which is meant
---@param patience number|false|nil seconds before KILL; false: never
---@param done fun(killed: boolean)
function M.await_end(pid, grouped, patience, done)
  if not pid or not is_there(pid, grouped) then
    return done(false)
  end
  local deadline = patience and clock.now() + patience or math.huge
  local killed, ticker = false, nil
  ticker = timer.every(LOOK, function()
    if not is_there(pid, grouped) then
      ticker:cancel()
      return done(killed)
    elseif clock.now() >= deadline then
      killed = true
      uv.kill(grouped and -pid or pid, "sigkill")
    end
  end)
end

return M
