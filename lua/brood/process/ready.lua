--- Readiness: when a started child counts as ready. Each kind is a function
--- (run, done) that calls done() once the child is, done(err) when it cannot
--- become it, and returns a function that gives up waiting.
local E = require "brood.error"
local lazy = require "brood.lazy"
local timer = require "brood.timer"

local probe = lazy.room "brood.process.probe"
local unix_listeners = lazy.room "brood.unix_listeners"

local M = {}

local FIRST, LONGEST = 0.005, 0.1 -- seconds between two looks

-- Look again and again, less and less often, until look(found) succeeds or waiting is given up.
local function poll(look, done)
  local wait, waiting, stopped = FIRST, nil, false
  local function again()
    waiting = nil
    look(function(found)
      if stopped then
        return
      elseif found then
        return done()
      end
      waiting = timer.after(wait, again)
      wait = math.min(LONGEST, wait * 1.5)
    end)
  end
  again()
  return function()
    stopped = true
    if waiting then
      waiting:cancel()
    end
  end
end

local function answers(target)
  return function(found)
    probe.look(target, nil, function(err)
      found(not err)
    end)
  end
end

-- A connection that only looks would be a request to some programs, and one that has failed.
local function listens(target)
  return unix_listeners.look(target.socket, answers(target))
end

--- Where a `ready` table looks; see `brood.rules.ready_place`.
---@param ready table
---@return table? target, string? why
function M.target(ready)
  return require("brood.rules.ready_place").target(ready)
end

--- Somebody else may have the port already; then its answers would pass for the child's.
---@param ready table
---@param done fun(err: brood.Error?)
function M.check_free(ready, done)
  local target = M.target(ready)
  probe.look({ port = target.port, host = target.host, socket = target.socket }, nil, function(err)
    done(not err and E.new("EADDRINUSE", "something else already answers on %s", probe.where(target)) or nil)
  end)
end

--- Wait for the child of `run` as its `ready` option says.
---@param ready string|table
---@param run table the run: it may have `peer` and `notify`
---@param done fun(err: brood.Error?)
---@return fun() cancel
function M.wait(ready, run, done)
  if ready == "spawn" then
    done()
    return function() end
  elseif type(ready) == "table" then
    local target = M.target(ready)
    return poll((target.socket and not target.path and listens or answers)(target), done)
  end
  -- "channel" and "notify": the child's own word, which brood.process passes on
  run.on_ready = done
  return function()
    run.on_ready = nil
  end
end

return M
