--- Workers that were told to go accept no more as soon as they have heard it, and say so. A roll is over only then: who
--- connects after it meets none of them. They may finish what they serve for much longer; how is not decided here.
local join = require "brood.join"
local oldest_first = require "brood.group.oldest_first"
local timer = require "brood.timer"

local M = {}

local PATIENCE = 0.5 -- seconds: one that is busy with something else hears it late, and is not worth more

local function is_closing(member)
  return member.reason ~= nil and member.ready_at ~= nil and not member.is_program and not member.closed
    and member.process.state == "stopping"
end

--- It has said that it goes, or has ended.
---@param member brood.Member
function M.closed(member)
  local waiting = member.on_closed
  member.closed, member.on_closed = true, nil
  for _, over in ipairs(waiting or {}) do
    over()
  end
end

--- Wait until none of those that were told to go accepts any more.
---@param cluster brood.Cluster
---@param done fun()
function M.wait(cluster, done)
  local limit
  local function answer()
    if limit then
      limit:cancel()
      limit = nil
      done()
    end
  end
  limit = timer.after(PATIENCE, answer)
  local all = join.new(answer)
  for _, member in ipairs(oldest_first(cluster.group)) do
    if is_closing(member) then
      member.on_closed = member.on_closed or {}
      table.insert(member.on_closed, all:branch())
    end
  end
  all.all_begun()
end

return M
