--- What each signal does to a master. Those that arrive together are noted, and then acted on in the order of
--- their weight, each by the action that the config or the table here names for it. It only calls
--- the master's methods.
local cause = require "brood.master.cause"
local clock = require "brood.clock"
local core = require "brood.core"
local E = require "brood.error"
local lazy = require "brood.lazy"
local log = require "brood.log"
local notify = require "brood.master.notify"
local scale = require "brood.master.scale"
local signals = require "brood.signals"
local supervised = require "brood.supervised"
local task = require "brood.task"
local timer = require "brood.timer"
local uv = require "luv"
local wishes = require "brood.rules.wishes"

local upgrade = lazy.room "brood.master.upgrade"

local M = {}

-- One that is sent to a process and to its group as well, as timeout(1) does, comes twice and is meant once.
local SAME = 0.05 -- seconds
local STOPS = { TERM = true, INT = true }

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

-- Who wished by signal hears of a failure in the log, unless it has been told there already.
local function told(name)
  return function(err)
    if err and err.code == "stopped" then
      log.debug(("%s: %s"):format(name, err))
    elseif err then
      log.warn(("%s: %s"):format(name, err))
    end
  end
end

local function ignore() end

---@type table<string, fun(master: brood.Master, signal: string)>
M.actions = {
  quit = function(master, signal)
    if not master.successor or not upgrade.keep_quit(master, signal) then
      master:quit(ignore)
    end
  end,
  terminate = function(master)
    master:terminate(ignore)
  end,
  reload = function(master)
    master:reload(ignore) -- which logs how it went
  end,
  upgrade = function(master)
    master:upgrade(ignore)
  end,
  reopen = function(master)
    master:reopen(ignore)
  end,
  drain = function(master, signal)
    master:drain(told(signal))
  end,
  scale_up = function(master, signal)
    scale.step(master, 1, told(signal))
  end,
  scale_down = function(master, signal)
    scale.step(master, -1, told(signal))
  end,
}

---@type table<string, string|fun(master: brood.Master, signal: string)>
M.defaults = {
  QUIT = "quit", INT = "terminate", USR1 = "reopen", USR2 = "upgrade", WINCH = "drain", TTIN = "scale_up",
  TTOU = "scale_down",
  TERM = function(master)
    -- Who starts us there sends TERM for a stop, and KILL when it takes too long.
    local patient = master.pid == 1 or notify.supervised()
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
    M.actions.reload(master, "HUP")
  end,
}

local function configured(master)
  return master.config and master.config.signals or {}
end

-- One of the user's may wait, and what it raises is logged.
local function act(master, name)
  local wanted = configured(master)[name]
  if wanted == nil then
    wanted = M.defaults[name]
  end
  if wanted == false or name == "WINCH" and #master.terminals > 0 then
    return -- a terminal sends WINCH whenever its window changes
  end
  local fn = type(wanted) == "string" and M.actions[wanted] or wanted
  task.spawn(function()
    local ok, err = cause.within(name, fn, master, name)
    if not ok then
      core.uncaught(("signals.%s: %s"):format(name, E.text(err)))
    end
  end)
end

local noted = {} -- by name, until they are acted on

-- One more and one fewer, wished for at once: nobody comes and nobody goes. After a drain "one more" is no number.
local function cancel_out(master)
  local wanted = configured(master)
  local usual = wanted.TTIN == nil and wanted.TTOU == nil
  if usual and noted.TTIN and noted.TTOU and not noted.WINCH and next(master.drained) == nil then
    noted.TTIN, noted.TTOU = nil, nil
    log.info("TTIN and TTOU have come together: the number of workers stays")
  end
end

local function act_on_all(master)
  cancel_out(master)
  local list = wishes.in_order(noted)
  noted = {}
  for _, name in ipairs(list) do
    act(master, name)
  end
end

local function note(master, name)
  if next(noted) == nil then
    timer.after(0, function()
      act_on_all(master)
    end)
  end
  noted[name] = true
end

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

local watches = {} -- by name

local function watch(master, name)
  local last
  watches[name] = signals.on(name, function()
    core.process.end_heard()
    local now = clock.now()
    if STOPS[name] and last and now - last < SAME then
      return
    end
    last = now
    note(master, name)
  end)
end

--- The signals that the config names beside the usual ones are heard as well; those that a former one named have no
--- meaning any more.
---@param master brood.Master
function M.apply(master)
  local wanted = configured(master)
  for name, handle in pairs(watches) do
    if not M.defaults[name] and wanted[name] == nil then
      handle:close()
      watches[name] = nil
    end
  end
  for name in pairs(wanted) do
    if not watches[name] then
      watch(master, name)
    end
  end
end

--- From now on signals do this to the master, until it ends. TERM and INT end it also while a config or a hook does not
--- let go: the second one, where the first has waited for a second.
---@param master brood.Master
function M.watch(master)
  supervised.unguard_signals()
  M.look_at_terminals(master)
  for name in pairs(M.defaults) do
    watch(master, name)
  end
  core.process.insist_on_end()
end

return M
