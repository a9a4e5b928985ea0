--- The line between an old and a new master during an upgrade. What travels over it are named messages with a value
--- and perhaps a descriptor, so that rooms which come later (pools, services) add names to a
--- table, and a master of another version passes over those it does not know. What a message means
--- that only one side sends is decided by the room that handles it; this one starts and ends nothing.
local clusters = require "brood.master.clusters"
local log = require "brood.log"

---@alias brood.LineHandler fun(master: brood.Master, value: any, fd: integer?)

local M = {}

local handlers = {}

---@class brood.Line
---@field master brood.Master
---@field post_frame fun(name: string, value: any, fd: integer?): boolean?
local Line = {}
Line.__index = Line

--- From now on a message of that name is handled like this, on whichever side it arrives.
---@param name string
---@param handler brood.LineHandler
function M.handle(name, handler)
  handlers[name] = handler
end

--- Our end of a line.
---@param master brood.Master
---@param post_frame fun(name: string, value: any, fd: integer?): boolean? sends a frame of rules.protocol
---@return brood.Line
function M.new(master, post_frame)
  return setmetatable({ master = master, post_frame = post_frame }, Line)
end

--- Send a message. Nothing happens where the other side is gone: its end is heard of elsewhere.
---@param name string
---@param value? any
---@param fd? integer
function Line:post(name, value, fd)
  self.post_frame("master", { name = name, value = value }, fd)
end

--- What has come from the other side.
---@param told any
---@param fd? integer
function Line:hear(told, fd)
  local handler = type(told) == "table" and handlers[told.name]
  if handler then
    return handler(self.master, told.value, fd)
  end
  log.debug(("a message of the other master that means nothing here: %s"):format(tostring(type(told) == "table"
    and told.name or told)))
  if fd then
    require("brood.core").fd.close(fd)
  end
end

--- The other one is gone, and so is this one: connections that were kept for somebody to take them over are closed.
---@param master brood.Master
function M.alone(master)
  master.elsewhere = false
  if master.state == "stopping" then
    for _, web in ipairs(clusters.every(master)) do
      web:stop(false, function() end)
    end
  end
end

-- ---- what either side may say ---------------------------------------------------------------------------------------

-- Workers of both accept from the same sockets.
M.handle("look", function(master)
  for _, web in ipairs(clusters.every(master)) do
    for _, member in pairs(web.group.members) do
      if member.process.post then
        member.process:post "look"
      end
    end
  end
end)

-- The old master accepts no more operators; or the new one has left the place where both did.
M.handle("accept", function(master)
  if master.control then
    master.control:accept(master)
  end
end)

return M
