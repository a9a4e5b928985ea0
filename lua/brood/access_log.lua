--- The access log of a worker: one line for each request. The core gathers and writes
--- them; here is what becomes of a function of the user's that makes the lines, and of the
--- files that a worker writes to when they are opened anew (by the master: it opens none).
local core = require "brood.core"
local E = require "brood.error"
local log = require "brood.log"
local task = require "brood.task"
local timer = require "brood.timer"

local M = {}

local QUIET = 10 -- seconds between two complaints about a function that raises

---@alias brood.AccessLine fun(req: brood.Request, status: integer, bytes: integer, seconds: number): string?

--- Either a format, or a function that makes the lines.
---@class brood.AccessLog
---@field fd integer borrowed
---@field path? string of a file
---@field format? "combined"|"json"
---@field line? brood.AccessLine

-- What the function does wrong is told, but not for every request: the rest of it when some time has passed.
local function complainer()
  local latest, untold, waiting = nil, 0, false
  local function tell()
    if untold > 0 then
      log.error(untold == 1 and latest or ("%s (%d times)"):format(latest, untold))
      untold, waiting = 0, true
      timer.after(QUIET, function()
        waiting = false
        tell()
      end):unref()
    end
  end
  return function(text)
    latest, untold = "access_log: " .. text, untold + 1
    if not waiting then
      tell()
    end
  end
end

local function explain(err)
  local called = tostring(err):match("([%w_.]+[:.][%a_]+) cannot wait here: ")
  if called then
    return ("a function for access_log must not wait, and %s does"):format(called)
  end
  return E.text(err)
end

local function guard(line)
  local complain = complainer()
  return function(req, status, bytes, seconds)
    local ok, text = xpcall(line, task.on_raise, req, status, bytes, seconds)
    if not ok then
      return complain(explain(text))
    elseif text ~= nil and type(text) ~= "string" then
      return complain("the function must return a line or nil, got " .. type(text))
    end
    return text
  end
end

local current

--- From now on, log every request of this process.
---@param options brood.AccessLog
---@return true? ok, brood.Error? err
function M.open(options)
  current = options
  return core.http.access_log {
    fd = options.fd, format = options.format, line = options.line and guard(options.line) or nil,
  }
end

--- A file that was opened anew takes the place of stdout, of stderr or of the access log. What was logged before is
--- written to where it was meant for.
---@param fd integer borrowed
---@param target integer the descriptor that becomes it
---@return true? ok, brood.Error? err
function M.replace(fd, target)
  io.stdout:flush()
  io.stderr:flush()
  core.http.access_log_flush()
  local ok, err = core.fd.replace(fd, target)
  if not ok then
    return nil, err
  end
  core.log.setup {} -- which looks anew at what it writes to
  if current and current.fd == target then
    return M.open(current)
  end
  return true
end

--- The master's word that it has opened a file anew: stdout, stderr or the access log.
---@param value { target: integer }
---@param fd integer? the file; closed here
function M.reopen(value, fd)
  if fd then
    local ok, err = M.replace(fd, value.target)
    core.fd.close(fd)
    if not ok then
      core.log.write("error", "cannot go on in a log that was opened anew: " .. tostring(err))
    end
  end
end

return M
