--- The access log of a worker: one line for each request. The core gathers and writes
--- them; here is what becomes of a function of the user's that makes the lines.
local core = require "brood.core"
local clock = require "brood.clock"
local E = require "brood.error"
local log = require "brood.log"
local task = require "brood.task"

local M = {}

local QUIET = 10 -- seconds between two complaints about a function that raises

---@alias brood.AccessLine fun(req: brood.Request, status: integer, bytes: integer, seconds: number): string?

--- Either a format, or a function that makes the lines.
---@class brood.AccessLog
---@field fd integer borrowed
---@field format? "combined"|"json"
---@field line? brood.AccessLine

-- What the function does wrong is told, but not for every request.
local function guard(line)
  local told, untold = nil, 0
  local function complain(text)
    untold = untold + 1
    local now = clock.now()
    if told and now - told < QUIET then
      return
    end
    log.error(untold == 1 and text or ("%s (%d times)"):format(text, untold))
    told, untold = now, 0
  end
  return function(req, status, bytes, seconds)
    local ok, text = xpcall(line, task.on_raise, req, status, bytes, seconds)
    if not ok then
      return complain("access_log: " .. E.text(text))
    elseif text ~= nil and type(text) ~= "string" then
      return complain("access_log: the function must return a line or nil, got " .. type(text))
    end
    return text
  end
end

--- From now on, log every request of this process.
---@param options brood.AccessLog
---@return true? ok, brood.Error? err
function M.open(options)
  return core.http.access_log {
    fd = options.fd, format = options.format, line = options.line and guard(options.line) or nil,
  }
end

return M
