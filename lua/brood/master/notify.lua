--- What a master tells its own supervisor (systemd, or whoever speaks sd_notify): that it serves, that it reads its
--- config again, that it stops, which process is the main one, and that its loop still turns. It takes what says
--- how out of the environment, so that nobody whom we start takes it for its own. It decides nothing, and that
--- nobody listens harms nobody.
local clock = require "brood.clock"
local core = require "brood.core"
local E = require "brood.error"
local fork = require "brood.fork"
local log = require "brood.log"
local timer = require "brood.timer"
local uv = require "luv"

local M = {}

local AGAIN, TRIES = 0.05, 100 -- seconds between two attempts at a supervisor that is behind, and how many
local LAST = 0.5 -- seconds that an end waits for it
local FULL = { EAGAIN = true, ENOBUFS = true }

local socket -- its path; nil: nobody listens
local watchdog -- seconds between two signs of life
local waiting -- messages that found no room, in order; nil: none
local timed = false -- whether another attempt is to come
local complained = false

-- Whatever a worker does is no news of the master.
fork.on_child(function()
  socket, watchdog, waiting, timed = nil, nil, nil, false
end)

local function give_up(err)
  waiting = nil
  if not complained then
    complained = true
    log.warn(("the supervisor cannot be told anything: %s"):format(err))
  end
end

-- Whether nothing waits any more.
local function send_waiting()
  while waiting and waiting[1] do
    local ok, err = core.notify.send(socket, waiting[1])
    if ok then
      table.remove(waiting, 1)
    elseif FULL[err.code] then
      return false
    else
      give_up(err)
      return true
    end
  end
  if waiting then
    waiting, complained = nil, false
  end
  return true
end

-- Try now, and again until there is room.
local function push(tries)
  if send_waiting() or timed then
    return
  elseif tries == 0 then
    return give_up(E.new("EAGAIN", "it does not read"))
  end
  timed = true
  timer.after(AGAIN, function()
    timed = false
    push(tries - 1)
  end)
end

--- Take what concerns us out of the environment. Called once, at the start.
function M.take()
  local environ = core.posix.environ()
  local path, usec = environ.NOTIFY_SOCKET, tonumber(environ.WATCHDOG_USEC)
  local meant = tonumber(environ.WATCHDOG_PID or core.posix.getpid()) == core.posix.getpid()
  for _, name in ipairs { "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID" } do
    if environ[name] then
      uv.os_unsetenv(name)
    end
  end
  if path and path ~= "" then
    socket = path
    watchdog = meant and usec and usec > 0 and usec / 1e6 / 2 or nil
  end
end

--- Whether somebody supervises us that way.
---@return boolean
function M.supervised()
  return socket ~= nil
end

--- Tell it something: each of the fields on a line, in the order of their names.
---@param fields table<string, string|number>
function M.send(fields)
  if not socket then
    return
  end
  local lines = {}
  for name, value in pairs(fields) do
    lines[#lines + 1] = ("%s=%s"):format(name, (tostring(value):gsub("%c", " ")))
  end
  table.sort(lines)
  waiting = waiting or {}
  table.insert(waiting, table.concat(lines, "\n"))
  push(TRIES)
end

-- What was said last must not get lost because this process ends at once.
local function flush()
  local till = clock.now() + LAST
  while not send_waiting() and clock.now() < till do
    uv.sleep(1)
  end
end

--- What `systemctl status` shows.
---@param text string
function M.status(text)
  M.send { STATUS = text }
end

--- The service's main process is that one from now on. Whoever is the main process now has to say so: others may not be
--- heard.
---@param pid integer
function M.main_pid(pid)
  M.send { MAINPID = pid }
end

local function serving(master)
  local parts = {}
  for _, web in ipairs(master.order) do
    parts[#parts + 1] = ("%s: %d of %d workers serve %s"):format(web.name, web.group:ready_count(), web.group.size,
      table.concat(master.listeners:addresses(web.name), ", "))
  end
  return #parts > 0 and table.concat(parts, "; ") or "ready"
end

-- The one that serves beside us is what the service is now.
local function is_replaced(master)
  local successor = master.successor
  return master.old_pid ~= nil or successor ~= nil and successor.ready and not successor.leaving
end

local function watch_transitions(master)
  master:on("reloading", function()
    -- The clock is what systemd compares with: of the last reload that it asked for it wants to hear.
    M.send { RELOADING = 1, MONOTONIC_USEC = ("%d"):format(uv.hrtime() / 1000), STATUS = "reloading" }
  end)
  master:on("reloaded", function(err)
    if master.state == "ready" then
      M.send { READY = 1, STATUS = err and "the last reload failed: " .. err or serving(master) }
    end
  end)
end

-- One that is behind gets by with those that wait for it already.
local function sign_of_life()
  if not waiting then
    M.send { WATCHDOG = 1 }
  end
end

--- The master serves. From now on its transitions are told, and that its loop turns.
---@param master brood.Master
function M.ready(master)
  if not socket then
    return
  end
  M.send { READY = 1, STATUS = serving(master) }
  watch_transitions(master)
  if watchdog then
    sign_of_life()
    timer.every(watchdog, sign_of_life):unref()
  end
end

--- Watch for its end from the start on: it may be told to stop before it serves.
---@param master brood.Master
function M.watch(master)
  master:on("stopping", function()
    if not is_replaced(master) then
      M.send { STOPPING = 1, STATUS = "stopping" }
    end
  end)
  master:on("stopped", flush)
end

return M
