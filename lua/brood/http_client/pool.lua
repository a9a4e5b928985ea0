--- Connections to HTTP servers that wait for their next request. It opens none, and keeps
--- no process alive: what waits here is closed when its server closes it, when it has
--- waited too long, or when there are too many. A forked child starts with none.
local clock = require "brood.clock"
local core = require "brood.core"
local timer = require "brood.timer"

local M = {}

local TARGET_MAX, ALL_MAX = 32, 256
local SECONDS = 15 -- less than most servers wait

---@class brood.http.Link one connection, and the parser of what comes on it
---@field conn brood.Conn
---@field answer userdata
---@field target string
---@field expires number while it waits
---@field sent? boolean whether the whole request has been taken
---@field close? boolean whether it is for one request only

local idle = {} ---@type table<string, brood.http.Link[]> by target, the oldest first
local count, sweeper = 0, nil
local generation = core.generation()

-- What was open before a fork is the parent's.
local function renew()
  if generation ~= core.generation() then
    generation = core.generation()
    idle, count, sweeper = {}, 0, nil
  end
end

local function drop(link)
  local list = idle[link.target]
  for i, one in ipairs(list or {}) do
    if one == link then
      table.remove(list, i)
      count = count - 1
      break
    end
  end
  if list and #list == 0 then
    idle[link.target] = nil
  end
  link.conn.core:wait_read(nil)
  link.conn.core:close()
end

local function oldest()
  local found
  for _, list in pairs(idle) do
    if not found or list[1].expires < found.expires then
      found = list[1]
    end
  end
  return found
end

local function sweep()
  sweeper = nil
  local first, now = oldest(), clock.now()
  while first and first.expires <= now do
    drop(first)
    first = oldest()
  end
  if first then
    sweeper = timer.after(first.expires - now, sweep):unref()
  end
end

--- One that was used before and is still open, the latest first.
---@param target string
---@return brood.http.Link?
function M.take(target)
  renew()
  while idle[target] do
    local list = idle[target]
    local link = list[#list]
    local raw = link.conn.core
    raw:wait_read(nil)
    -- Anything to read now is an end, or an answer to nothing.
    if raw:read() == false and raw:keep(true) then
      list[#list] = nil
      count = count - 1
      if #list == 0 then
        idle[target] = nil
      end
      return link
    end
    drop(link)
  end
end

--- Keep one for later; `seconds` is how long its server says that it will wait.
---@param link brood.http.Link
---@param seconds? number
function M.put(link, seconds)
  renew()
  local list = idle[link.target] or {}
  local patience = math.min(SECONDS, seconds and seconds - 1 or SECONDS)
  local raw = link.conn.core
  if #list >= TARGET_MAX or patience <= 0 or not raw:keep(false) then
    return raw:close()
  end
  if count >= ALL_MAX then
    drop(oldest())
    list = idle[link.target] or {}
  end
  link.expires = clock.now() + patience
  idle[link.target] = list
  list[#list + 1] = link
  count = count + 1
  raw:wait_read(function()
    drop(link)
  end)
  if not sweeper then
    sweeper = timer.after(patience, sweep):unref()
  end
end

--- Close all that wait.
function M.clear()
  renew()
  while count > 0 do
    drop(oldest())
  end
  if sweeper then
    sweeper:cancel()
    sweeper = nil
  end
end

--- How many wait.
---@return integer
function M.count()
  renew()
  return count
end

return M
