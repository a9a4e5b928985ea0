--- The app of a cluster with `preload`, loaded once in the master before the first fork, so
--- that its workers share what it built. It is not started here: its `start` and its
--- listening happen in each worker.
local collector = require "brood.collector"
local E = require "brood.error"
local log = require "brood.log"
local no_exit = require "brood.no_exit"
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

--- In a worker: its garbage is measured against what is its own. An app that has set a pause itself has its way.
---@param inherited {size: number, garbage: number} KiB
function M.tune(inherited)
  local pause = collectgarbage("setpause", USUAL)
  if pause ~= USUAL then
    return collectgarbage("setpause", pause)
  end
  set_pause(inherited)
  collectgarbage("restart", -1) -- the threshold is reckoned anew
  collector.at_each_round(function()
    set_pause(inherited)
  end)
end

-- ---- loading, in the master -----------------------------------------------------------------------------------------

local function run(generation, answer)
  local master = generation.options.master
  local call = master and master.state == "ready" and no_exit.call or task.call
  local brought, former = generation.options.brought, rawget(_G, "arg")
  local keep = brought and require("brood.cluster.brought").begin(brought)
  local ok, app = call(serve.load, generation.options.app, generation.options.args)
  if keep then
    keep(ok)
    _G.arg = former
  end
  if ok then
    return answer(nil, app)
  end
  local err = app
  if master and err.traceback and err.traceback ~= err.message then -- a script has it whole from `start`
    log.error(("%s: preload: %s"):format(generation.name, err.traceback))
  end
  answer(err)
end

--- Load it, within start_timeout: one that waits for ever would hold up the start, and nobody would be told.
--- done(err) with the file and line of what is wrong.
---@param generation brood.Generation gets `app`
---@param done fun(err: brood.Error?)
function M.load(generation, done)
  local seconds = generation.options.start_timeout
  local limit, answered
  local function answer(err, app)
    if answered then
      return
    end
    answered, generation.called_off = true, nil
    if limit then
      limit:cancel()
    end
    if not err then
      generation.app, generation.inherited = app, settle()
    end
    done(err)
  end
  generation.called_off = function()
    answer(E.new("stopped", "%s was stopped while its app was loaded", generation.name))
  end
  limit = seconds and timer.after(seconds, function()
    answer(E.new("timeout", "preload: %s was not loaded within %g s", generation.options.app, seconds))
  end):unref()
  task.spawn(run, generation, answer)
end

--- It is not wanted any more.
---@param generation brood.Generation
function M.cancel(generation)
  if generation.called_off then
    generation.called_off()
  end
end

return M
