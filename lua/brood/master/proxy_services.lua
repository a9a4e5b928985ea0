--- What the proxy of a master knows of services: where each can be asked, when it was used last, and when nobody asks
--- it any more where it was. One that another master runs, during an upgrade, is idle by that one's clock: it is told
--- that ours use it. Nothing here starts or stops anything by itself; who may start what, is the proxy's business.
local board = require "brood.proxy.board"
local clock = require "brood.clock"
local E = require "brood.error"
local routes = require "brood.rules.routes"
local timer = require "brood.timer"

local M = {}

local LINGER = 0.25 -- seconds that a service goes on where it was: who has just asked for its port still gets there
local LOOK = 0.02 -- seconds between two looks whether nobody asks a service any more where it was
local SHARE = 0.25 -- of its `idle`: so often the other master hears of a service's use

---@class brood.ProxyService one that the proxy leads to
---@field source brood.NamedService
---@field place brood.BoardPlace
---@field look fun() what is published of it is what it is now
---@field let_go fun()
---@field awake? number of another master's: when that one was told last that it is used; nil: it may stop it

-- ---- those of another master ----------------------------------------------------------------------------------------

local SERVES = { ready = true, busy = true }

-- How long another master leaves it running unused; nil where it never stops it for that, or it is ours.
local function lent_idle(service)
  local lent = service.lent
  if not lent then
    return nil
  end
  local idle = lent.idle
  if idle == nil then -- an older brood does not say
    idle = service.options.idle
  end
  return idle or nil
end

local function tell(one)
  one.awake = clock.now()
  one.source:touch(function() end)
end

-- As long as our workers use it the other master knows; then they ask before they use it again, as it may stop it.
local function watch(one)
  local idle = lent_idle(one.source)
  one.watching = idle ~= nil and one.awake ~= nil and SERVES[one.source.state]
  if not one.watching then
    one.awake = nil
    return one.look()
  end
  local open, at = one.place:use()
  if open > 0 or at > one.awake then
    tell(one)
  elseif clock.now() - one.awake >= idle / 2 then
    local told = one.awake
    one.awake = nil
    one.look()
    open, at = one.place:use()
    if open > 0 or at > told then -- in this moment
      tell(one)
      one.look()
    end
  end
  timer.after(idle * SHARE, function()
    watch(one)
  end):unref()
end

-- It has just been asked for there.
local function keep_awake(one)
  if lent_idle(one.source) then
    one.awake = clock.now()
    if not one.watching then
      watch(one)
    end
  end
end

-- ---- where they are -------------------------------------------------------------------------------------------------

local function address_of(one)
  local service = one.source
  if not SERVES[service.state] or lent_idle(service) and not one.awake then
    return nil
  end
  return service.listening and routes.reachable(service.listening) or nil
end

local function follow(followed, name, service)
  local known = followed[name]
  if known and known.source == service then
    return known
  elseif known then
    known.let_go()
  end
  local one = { source = service, place = board.place(name) }
  function one.look()
    if followed[name] == one then
      one.place:publish(address_of(one))
    end
  end
  function one.let_go()
    service:off("*", one.look)
  end
  service:on("*", one.look)
  followed[name] = one
  one.look()
  return one
end

--- See brood.MasterProxy:last_used.
---@param one brood.ProxyService?
---@param idle number
---@param touched number
---@return number at
function M.last_used(one, idle, touched)
  if not one then
    return 0
  end
  local open, at = one.place:use()
  if open == 0 and math.max(at, touched) + idle <= clock.now() then
    one.place:publish(nil)
    open, at = one.place:use()
    if open > 0 or math.max(at, touched) + idle > clock.now() then
      one.look()
    end
  end
  return open > 0 and math.huge or at
end

--- See brood.MasterProxy:leave.
---@param one brood.ProxyService?
---@param patience number|false
---@param done fun()
function M.leave(one, patience, done)
  local former = one and one.place.version
  local ends = patience and clock.now() + patience or math.huge
  local function look()
    if one and one.place.version ~= former and one.place:use(former) > 0 and clock.now() < ends then
      return timer.after(LOOK, look)
    end
    done()
  end
  timer.after(LINGER, look) -- others than the proxy may have asked for its port
end

-- ---- asking for one -------------------------------------------------------------------------------------------------

local CODES = { timeout = "start_timeout", stopped = "stopped", backlog = "backlog", turn_timeout = "turn_timeout" }

--- Whoever waits is told what it means for the request; the reason is in the log already.
---@param name string
---@param err brood.Error
---@return brood.Error
function M.cannot_start(name, err)
  return E.new(CODES[err.code] or "start", "%s: %s", name, err.message)
end

--- Where a service can be asked, started if need be. `suspect`: the version that has refused somebody.
---@async
---@param followed table<string, brood.ProxyService> by name
---@param name string
---@param service brood.NamedService
---@param suspect? integer
---@return { address: string, version: integer }? lease, brood.Error? err
function M.reach(followed, name, service, suspect)
  local one = follow(followed, name, service)
  if suspect and suspect == one.place.version and one.place.address then
    -- It has just refused somebody: its end may not have been noticed yet. What it is asked next is asked of its state.
    one.look()
  end
  if not one.place.address then
    local port, err = service:start()
    if not port then
      return nil, M.cannot_start(name, err)
    end
    keep_awake(one)
    one.look()
  end
  local address = one.place.address
  if not address then
    return nil, E.new("start", "%s: it runs, but listens nowhere", name)
  end
  return { address = address, version = one.place.version }
end

return M
