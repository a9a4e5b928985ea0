--- What a worker is doing for its clients, as its place on the scoreboard tells the master, who asks it nothing: for
--- the log, when it is stuck or its time is over.
local clock = require "brood.clock"
local count = require "brood.rules.count"

local M = {}

local function named(member)
  return member.counters("request"), clock.now() - member.counters("request_started") / 1e9
end

--- The request whose handler runs in this turn of its loop.
---@param member brood.Member
---@return string? text "GET /path, begun 1.5 s ago"
function M.running(member)
  if member.counters and member.counters("in_request") == 1 then
    return ("%s, begun %.1f s ago"):format(named(member))
  end
end

--- What it has not finished; of several requests the one that began last, or was worked on last, is named.
---@param member brood.Member
---@return string? text
function M.text(member)
  local running = M.running(member)
  if running then
    return "in " .. running
  end
  local active = member.counters and member.counters("active") or 0
  if active == 1 then
    return ("in %s, begun %.1f s ago"):format(named(member))
  elseif active > 1 then
    return ("in %s, the last one %s, begun %.1f s ago"):format(count(active, "request"), named(member))
  end
  local connections = member.counters and member.counters("connections") or 0
  return connections > 0 and "in no request, but with " .. count(connections, "connection") or nil
end

return M
