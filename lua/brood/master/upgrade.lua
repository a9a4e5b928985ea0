--- USR2: a new master, of whatever program is now in this one's place, on the same listening sockets. Both serve until
--- one of them is told to go. This is the old master's side: it starts the new one, watches it, and takes
--- everything back when that one fails or goes. What the new one knows of it is master.predecessor.
local core = require "brood.core"
local E = require "brood.error"
local handover = require "brood.master.handover"
local hooks = require "brood.master.hooks"
local line = require "brood.master.line"
local log = require "brood.log"
local notify = require "brood.master.notify"
local pidfile = require "brood.master.pidfile"
local Process = require "brood.process"
local supervised = require "brood.supervised"
local timer = require "brood.timer"
local transition = require "brood.master.transition"

local M = {}

local HEAR = 2 -- seconds that a new master which is told to go has to say that it does

---@class brood.Successor the new master, while it lives
---@field pid integer
---@field process brood.Process
---@field ready boolean whether it serves
---@field sockets brood.Handed[] what it was given
---@field aside? brood.PidfileAside|false our pidfile, which made room for its
---@field wish? brood.Wish until it is ready
---@field done? fun(err: brood.Error?)
---@field failure? brood.Error why it was told to go
---@field limit? brood.Timer
---@field handed_over? boolean it was told that we go, and that all is its own
---@field taken? boolean it has heard that
---@field quit? boolean somebody has sent us QUIT meanwhile

-- ---- the end of the new master, and of waiting for it ---------------------------------------------------------------

local function settle(successor, err)
  local done, limit = successor.done, successor.limit
  successor.done, successor.limit, successor.wish = nil, nil, nil
  if limit then
    limit:cancel()
  end
  if done then
    done(err)
  end
  return done ~= nil
end

-- Socket files that a reload has left to it; but not where another has brought us back there.
local function remove_left(master, successor)
  local in_use = master.listeners:all()
  if master.control then
    table.insert(in_use, master.control.listener)
  end
  handover.remove(successor.sockets, in_use)
end

-- What this master was before the new one is what it is again.
local function go_on(master, successor, was_replaced)
  core.posix.setproctitle("brood: master " .. master.config.path)
  remove_left(master, successor)
  pidfile.back(master, successor.aside, successor.pid)
  if master.control then
    local ok, err = master.control:accept(master)
    if not ok then
      log.error(E.text(err))
    end
  end
  if was_replaced then
    notify.main_pid(master.pid)
  end
  if next(master.drained) ~= nil then
    log.info "what was drained gets its workers back"
    require("brood.master.scale").step(master, 1, function() end)
  end
end

-- It has ended: what is on disk, and it has not taken, is nobody's.
local function remove_files(successor)
  if successor.handed_over and not successor.taken then
    handover.remove(successor.sockets)
  end
end

local function describe_end(process)
  return process.exit_signal and "was killed by " .. process.exit_signal
    or ("ended with status %s"):format(tostring(process.exit_code))
end

local function on_gone(master, successor, err)
  if master.successor ~= successor then
    return
  end
  master.successor, master.new_pid, master.line = nil, nil, nil
  if master.programs then
    master.programs:alone()
  end
  local was_ready = successor.ready
  if successor.ready then
    err = E.new("exit", "the new master (pid %d) %s", successor.pid, describe_end(successor.process))
  else
    err = successor.failure or err
  end
  if master.state == "stopping" or master.state == "stopped" then
    if was_ready and successor.process.exit_code ~= 0 then
      log.error(E.text(err))
    end
    remove_files(successor)
    line.alone(master)
    return settle(successor, err)
  end
  go_on(master, successor, was_ready)
  -- One that serves and ends well was told to: that it goes is what somebody wanted.
  local meant = was_ready and successor.process.exit_code == 0
  log[meant and "info" or "error"](("%s%s; this master goes on"):format(was_ready and "" or "the upgrade has failed: ",
    meant and ("the new master (pid %d) has ended as it was told"):format(successor.pid) or E.text(err)))
  if successor.quit then
    log.warn("QUIT came while the new master was starting: as that has failed, it is not obeyed")
  end
  settle(successor, err)
end

-- Tell it to go. One that says nothing to that is stuck; its workers finish what they do without it.
local function dismiss(successor, failure)
  if successor.failure then
    return
  end
  successor.failure = failure
  local process = successor.process
  if not process or not process.run then
    return
  end
  process:stop(function() end)
  timer.after(HEAR, function()
    if process.run and not successor.leaving then
      process:kill_now()
    end
  end):unref()
end

-- ---- the steps ------------------------------------------------------------------------------------------------------

-- start_timeout counts anew whenever a worker of its gets ready.
local function arm(master, successor)
  local seconds = master.config.start_timeout
  timer.drop(successor, "limit")
  if seconds and successor.done then
    successor.limit = timer.patience(seconds, function()
      dismiss(successor, E.new("timeout", "the new master (pid %d) %s within %g s (start_timeout)", successor.pid,
        successor.progress and "got no further" or "had no ready worker", seconds))
    end)
  end
end

local function on_ready(master, successor)
  successor.ready = true
  supervised.remove(successor.process) -- from now on it outlives us, however we end
  if master.state == "stopping" or master.state == "stopped" then
    return
  end
  if master.control and handover.has_claimed(successor.sockets, master.control.listener) then
    master.control:pause()
  end
  master.line:post "accept"
  notify.main_pid(successor.pid)
  core.posix.setproctitle("brood: old master " .. master.config.path)
  log.info(("the new master (pid %d) serves beside this one: QUIT to %d ends this one, QUIT to %d the new one"):format(
    successor.pid, master.pid, successor.pid))
  settle(successor)
  if successor.quit then
    master:quit(function() end)
  end
end

local function new_process(master, successor, environ, executable)
  local o = master.origin
  local folder, found = o:folder()
  if not found then
    log.warn(("%s is gone, where brood was started: the new master is started in /"):format(o.cwd))
  end
  return Process.new({
    name = "the new master", command = o.argv, cwd = folder, stdin = "inherit", survive = true,
    ready = "channel", start_timeout = false, stop_signal = "QUIT",
    stop_timeout = master.config.graceful_timeout and master.config.graceful_timeout + HEAR,
    env = {
      BROOD_UPGRADE = handover.describe(successor.sockets, o.program, pidfile.aside_path(successor.aside),
        master.programs ~= nil),
      NOTIFY_SOCKET = environ.NOTIFY_SOCKET, WATCHDOG_USEC = environ.WATCHDOG_USEC,
    },
  }, {
    program = executable, environ = environ, sockets = handover.sockets(successor.sockets),
    limit_name = ("graceful_timeout + %d s"):format(HEAR),
    frames = {
      master = function(told, fd)
        if master.line and master.successor == successor then
          master.line:hear(told, fd)
        end
      end,
    },
  })
end

local function launch(master, successor, environ)
  local executable, found = master.origin:executable()
  if not found then
    log.warn(("%s is gone: the new master runs the program of this one"):format(master.origin.program))
  end
  successor.sockets = handover.collect(master)
  local process = new_process(master, successor, environ, executable)
  successor.process = process
  master.successor = successor
  master.line = line.new(master, function(...)
    return process:post(...)
  end)
  if master.programs then
    master.programs:be_asked()
  end
  process:on("exit", function()
    on_gone(master, successor)
  end)
  process:start(function(err)
    if not err then
      on_ready(master, successor)
    elseif not process.pid then
      on_gone(master, successor, err)
    end
  end)
  if process.pid then
    successor.pid, master.new_pid = process.pid, process.pid
    log.info(("upgrade: the new master is %s (pid %d)"):format(executable, process.pid))
    arm(master, successor)
  end
end

-- The wish is granted: nothing else changes this master meanwhile.
local function run(master, wish, done)
  local err
  local environ = master.origin:environ_after(function()
    err = hooks.call(master, master.config.hooks, "before_exec")
  end)
  if wish.over then
    return
  elseif err then
    log.error("the upgrade is cancelled: " .. E.text(err))
    return done(err)
  end
  local aside
  aside, err = pidfile.aside(master)
  if aside == nil then
    err = E.of("upgrade", err)
    log.error(E.text(err))
    return done(err)
  end
  local successor = { ready = false, wish = wish, done = done, sockets = {}, aside = aside }
  wish.cancel = function()
    successor.done = nil
    dismiss(successor, E.new("stopped", "called off"))
  end
  launch(master, successor, environ)
end

--- Why there can be no upgrade now.
---@param master brood.Master
---@return brood.Error?
local function refusal(master)
  if master.pid == 1 then
    return E.new("pid1", "as PID 1 this master cannot be replaced: its end is that of the container; start a new one")
  elseif master.old_pid then
    return E.new("busy", "the old master (pid %d) is still there: QUIT it first", master.old_pid)
  elseif master.successor and master.successor.ready then
    return E.new("busy", "the new master (pid %d) is there already", master.successor.pid)
  end
end

--- Start a new master beside this one. done(err) once it serves, or once nothing is left of it.
---@param master brood.Master
---@param why string what has prompted it, as the end of a phrase
---@param done fun(err: brood.Error?)
function M.begin(master, why, done)
  local err = refusal(master)
  if err then
    log.warn(("no upgrade%s: %s"):format(why, err))
    return done(err)
  end
  transition.wish(master, "upgrade", function(granted, answer)
    local late = refusal(master)
    if late then
      return answer(late)
    end
    log.info(("upgrade%s: a new master is started beside this one"):format(why))
    run(master, granted, answer)
  end, done)
end

--- Whether a reload means that the workers of this master, which were drained to let the new one serve alone, are to
--- come back. What the config on disk says is meant for the new one.
---@param master brood.Master
---@param why string what has prompted it
---@return boolean
function M.is_taken_back(master, why)
  local successor = master.successor
  if not successor or not successor.ready or next(master.drained) == nil then
    return false
  end
  log.info(("the workers of this master come back%s, with the config that they had, and serve beside those of the new "
    .. "one (pid %d): QUIT to %d ends the new one"):format(why, successor.pid, successor.pid))
  return true
end

--- QUIT has come. While a new master is starting, it is meant for the time when that one serves: the hooks of the new
--- one send it as soon as they see the old one. Returns whether it is kept for then.
---@param master brood.Master
---@param signal string a supervisor's TERM means all of it
---@return boolean
function M.keep_quit(master, signal)
  local successor = master.successor
  if signal ~= "QUIT" or not successor or successor.ready or successor.failure or master.state ~= "ready" then
    return false
  end
  if not successor.quit then
    log.info("QUIT: obeyed once the new master serves")
  end
  successor.quit = true
  return true
end

--- The new master stays when this one goes: what is on disk is its own from now on. Returns whether there is one.
---@param master brood.Master
---@return boolean
function M.hand_over(master)
  local successor = master.successor
  if not successor or not successor.ready then
    return false
  end
  handover.leave(successor.sockets)
  successor.handed_over = true
  master.line:post "files"
  return true
end

--- Close a socket that the config names no more; the new master may go on with it.
---@param master brood.Master
---@param listener userdata
function M.let_go(master, listener)
  handover.let_go(master.successor and master.successor.sockets or {}, listener)
end

--- This master ends: the last word of the new one is heard.
---@param master brood.Master
function M.hear_all(master)
  local successor = master.successor
  local peer = successor and successor.process.run and successor.process.run.peer
  if peer then
    peer:read_now()
    if peer.closed then
      remove_files(successor)
    end
  end
end

-- ---- what the new master says ---------------------------------------------------------------------------------------

local function of_successor(fn)
  return function(master, value)
    if master.successor then
      fn(master, master.successor, value)
    end
  end
end

-- One of its workers is ready.
line.handle("progress", of_successor(function(master, successor)
  successor.progress = true
  if successor.done and not successor.failure then
    arm(master, successor)
  end
end))

-- These sockets are in use there, as numbers that it found them under.
line.handle("claimed", of_successor(function(_, successor, value)
  handover.claim(successor.sockets, value)
end))

-- What is on disk is its own now.
line.handle("taken", of_successor(function(_, successor)
  successor.taken = true
end))

-- It begins to end.
line.handle("leaving", of_successor(function(_, successor)
  successor.leaving = true
end))

return M
