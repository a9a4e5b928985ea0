--- The app of a cluster with `preload`, loaded once in the master before the first fork, so
--- that its workers share what it built. It is not started here: its `start` and its
--- listening happen in each worker.
local E = require "brood.error"
local log = require "brood.log"
local serve = require "brood.serve"
local task = require "brood.task"
local timer = require "brood.timer"

local M = {}

-- ---- the collector of the workers -----------------------------------------------------------------------------------
-- By its own rule it waits until the heap has doubled: what is shared would allow each worker as much garbage again.
-- It is to wait for less, yet not so little that looking through what is shared costs more than a tenth of the work.

local LEAST = 1536 -- KiB of garbage that a worker may always have
local ROUND = 128 -- KiB more of it for each millisecond that a round of the collector takes
local USUAL = 200 -- LuaJIT's pause: percent of the live heap at which the next round begins

-- Collect what loading has left over, which would be copied into every worker, and see how long a round takes.
local function settle()
  collectgarbage()
  local began = os.clock()
  collectgarbage()
  local took = (os.clock() - began) * 1000
  return { size = collectgarbage "count", garbage = math.max(LEAST, took * ROUND) }
end

local function set_pause(inherited)
  local live = collectgarbage "count"
  local garbage = math.max(inherited.garbage, live - inherited.size) -- of its own it may double, as ever
  collectgarbage("setpause", math.min(USUAL, math.ceil(100 + 100 * garbage / live)))
end

-- A piece of garbage that tells of the end of each round.
local function at_each_round(fn)
  local sentinel = newproxy(true)
  getmetatable(sentinel).__gc = function()
    fn()
    at_each_round(fn)
  end
end

--- In a worker: its garbage is measured against what is its own. An app that has set a pause itself has its way.
---@param inherited {size: number, garbage: number} KiB
function M.tune(inherited)
  local pause = collectgarbage("setpause", USUAL)
  if pause ~= USUAL then
    return collectgarbage("setpause", pause)
  end
  set_pause(inherited)
  collectgarbage("restart", -1) -- the threshold is reckoned anew
  at_each_round(function()
    set_pause(inherited)
  end)
end

-- ---- loading, in the master -----------------------------------------------------------------------------------------

-- It has the time that a worker has: one that waits for ever would hold up the start, and nobody would be told.
local function limit(cluster, token, done)
  local seconds = cluster.options.start_timeout
  return seconds and timer.after(seconds, function()
    if cluster.preloading == token then
      cluster.preloading = nil
      done(E.new("timeout", "preload: %s was not loaded within %g s", cluster.options.app, seconds))
    end
  end):unref()
end

--- Load it, within start_timeout. done(err) with the file and line of what is wrong.
---@param cluster brood.WebCluster gets `app`
---@param done fun(err: brood.Error?)
function M.load(cluster, done)
  local token = {}
  cluster.preloading = token
  local timeout = limit(cluster, token, done)
  task.spawn(function()
    local ok, app = task.call(serve.load, cluster.options.app)
    if timeout then
      timeout:cancel()
    end
    if cluster.preloading ~= token then
      return done(E.new("stopped", "%s was stopped while its app was loaded", cluster.name))
    end
    cluster.preloading = nil
    if not ok then
      local err = app
      if err.traceback and err.traceback ~= err.message then
        log.error(("%s: preload: %s"):format(cluster.name, err.traceback))
      end
      return done(err)
    end
    cluster.app = app
    cluster.inherited = settle()
    done()
  end)
end

--- It is not wanted any more.
---@param cluster brood.WebCluster
function M.cancel(cluster)
  cluster.preloading = nil
end

return M
