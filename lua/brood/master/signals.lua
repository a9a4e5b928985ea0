--- What each signal does to a master, as a table. It only calls the master's methods.
local clock = require "brood.clock"
local core = require "brood.core"
local log = require "brood.log"
local signals = require "brood.signals"
local supervised = require "brood.supervised"
local uv = require "luv"

local M = {}

-- One that is sent to a process and to its group as well, as timeout(1) does, comes twice and is meant once.
local SAME = 0.05 -- seconds
local STOPS = { TERM = true, INT = true }

local function ignore() end

local function is_terminal(fd)
  return uv.guess_handle(fd) == "tty"
end

-- A descriptor that was a terminal and is none any more: it was hung up.
local function terminal_gone(master)
  for _, fd in ipairs(master.terminals) do
    if not is_terminal(fd) then
      return true
    end
  end
  return false
end

local function not_available(name, what)
  return function()
    log.warn(("%s: %s is not available yet"):format(name, what))
  end
end

local reload = not_available("HUP", "reload")
local drain = not_available("WINCH", "taking the workers away")

---@type table<string, fun(master: brood.Master)>
M.actions = {
  QUIT = function(master)
    master:quit(ignore)
  end,
  INT = function(master)
    master:terminate(ignore)
  end,
  TERM = function(master)
    -- Who starts us there sends TERM for a stop, and KILL when it takes too long.
    local patient = master.pid == 1 or os.getenv("NOTIFY_SOCKET") ~= nil
    if patient and master.state ~= "stopping" then
      return master:quit(ignore)
    end
    master:terminate(ignore)
  end,
  HUP = function(master)
    if terminal_gone(master) then
      log.info("the terminal has gone away")
      return master:quit(ignore)
    end
    reload()
  end,
  WINCH = function(master)
    -- A terminal sends it whenever its window changes.
    if #master.terminals == 0 then
      drain()
    end
  end,
  USR1 = not_available("USR1", "reopening logs"),
  USR2 = not_available("USR2", "an upgrade"),
  TTIN = not_available("TTIN", "scaling"),
  TTOU = not_available("TTOU", "scaling"),
}

--- Which of its standard descriptors are terminals: asked again after they have been sent elsewhere.
---@param master brood.Master
function M.look_at_terminals(master)
  master.terminals = {}
  for fd = 0, 2 do
    if is_terminal(fd) then
      table.insert(master.terminals, fd)
    end
  end
end

--- From now on signals do this to the master, until it ends. TERM and INT end it also while a config or a hook does not
--- let go: the second one, where the first has waited for a second.
---@param master brood.Master
function M.watch(master)
  supervised.unguard_signals()
  M.look_at_terminals(master)
  local last = {}
  for name, action in pairs(M.actions) do
    signals.on(name, function()
      core.process.end_heard()
      local now = clock.now()
      if STOPS[name] and last[name] and now - last[name] < SAME then
        return
      end
      last[name] = now
      action(master)
    end)
  end
  core.process.insist_on_end()
end

return M
