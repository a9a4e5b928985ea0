--- One timer for all services of this process: whoever is to be looked at later says when, and is looked at then. It
--- wakes nobody before, and does not keep the process alive.
local clock = require "brood.clock"
local fork = require "brood.fork"
local timer = require "brood.timer"

local M = {}

local due = {} ---@type table<{ look: fun(self, now: number): number? }, number>
local waiting, waiting_for

-- In the child of a fork there is nothing to look at.
fork.on_child(function()
  due, waiting, waiting_for = {}, nil, nil
end)

local arm

local function turn()
  waiting, waiting_for = nil, nil
  local now, list, first = clock.now(), {}, nil
  for one, at in pairs(due) do
    if at <= now then
      list[#list + 1] = one
    end
  end
  for _, one in ipairs(list) do
    if due[one] then
      due[one] = nil -- it may be put in again by what the look leads to
      local at = one:look(now)
      if at then
        due[one] = math.min(at, due[one] or at)
      end
    end
  end
  for _, at in pairs(due) do
    first = math.min(first or at, at)
  end
  if first then
    arm(first)
  end
end

function arm(at)
  if waiting_for and waiting_for <= at then
    return
  elseif waiting then
    waiting:cancel()
  end
  waiting_for = at
  waiting = timer.after(math.max(0, at - clock.now()), turn):unref()
end

--- Look at one: one:look(now) returns when again, nil: not.
---@param one table
---@param at number monotonic seconds
function M.at(one, at)
  due[one] = at
  arm(at)
end

--- Not any more.
---@param one table
function M.forget(one)
  due[one] = nil
  if waiting and next(due) == nil then
    waiting:cancel()
    waiting, waiting_for = nil, nil
  end
end

return M
