--- The order of what a master runs: services, pools, backends, clusters, and the proxy that leads to them. They start
--- one after the other, each once those before it are there, and stop in reverse: a lifecycle. What each of them is,
--- and how it starts and ends, is the rooms' business; when to begin, and how patiently to end, that of master.start
--- and master.stop.
local clock = require "brood.clock"
local clusters = require "brood.master.clusters"
local core = require "brood.core"
local E = require "brood.error"
local join = require "brood.join"
local lazy = require "brood.lazy"
local Lifecycle = require "brood.lifecycle"
local task = require "brood.task"
local timer = require "brood.timer"

local itself = lazy.passing "brood.master.order" -- what is to end is not kept for as long as all runs

local M = {}

---@class brood.MasterPart
---@field title string
---@field start fun(master: brood.Master, done: fun(), fail: fun(err: brood.Error)) fail as soon as it is known, done
--- when nothing of the start is under way any more
---@field stop fun(master: brood.Master, done: fun()) also in the midst of its start, which then ends
---@field hurry fun(master: brood.Master) quicker than it was told; nothing of it may run (yet)

local function deadline(master)
  local patience = master.config and master.config.graceful_timeout
  return patience and master.stop_began + patience or math.huge
end

--- A keeper of pools or of services: there is none where no config has had any.
local function kept(title, field)
  return {
    title = title,
    start = function(master, done, fail)
      local keeper = master[field]
      if not keeper then
        return done()
      end
      keeper:start(keeper.list, function(err)
        if err then
          fail(err)
        end
        done()
      end)
    end,
    stop = function(master, done)
      if not master[field] then
        return done()
      end
      master[field]:stop(deadline(master), done)
    end,
    hurry = function(master)
      if master[field] then
        master[field]:hurry()
      end
    end,
  }
end

-- A process names itself "web worker 1" in its errors: that is name enough.
local function named(web, err)
  if err.message:find(web.name .. ": ", 1, true) == 1 or err.message:find(web.name .. " worker ", 1, true) == 1 then
    return err
  end
  -- Where a module was looked for has been logged with the failure.
  return E.new(err.code, "%s: %s", web.name, (err.message:gsub("not found:\n\tno .*$", "not found")))
end

-- The clusters that are the proxy, or those that are not: it leads to the others, and ends before them.
local function those(list, of_proxy)
  local found = {}
  for _, web in ipairs(list) do
    found[#found + 1] = (web.options.proxy ~= nil) == of_proxy and web or nil
  end
  return found
end

-- What is left of graceful_timeout is for all clusters together: who had to wait for the proxy has less.
local function bound(master, list)
  local left = deadline(master) - clock.now()
  return left < math.huge and timer.after(math.max(0, left), function()
    join.each(list, function(web, over)
      web:terminate(over)
    end, function() end)
  end)
end

---@return brood.MasterPart
local function of_clusters(title, of_proxy)
  return {
    title = title,
    -- All at once; one that cannot start ends the others as well, however far they are.
    start = function(master, done, fail)
      join.each(those(master.order, of_proxy), function(web, over)
        web:start(function(err)
          if err then
            fail(named(web, err))
          end
          over()
        end)
      end, done)
    end,
    stop = function(master, done)
      local list = those(clusters.every(master), of_proxy)
      local limit
      if not of_proxy then
        master.listeners:close() -- those of the proxy are closed already
        limit = master.proxy and bound(master, list)
      end
      join.each(list, function(web, over)
        if master.ending == "terminate" and not web.hurried then
          return web:terminate(over)
        end
        web:stop(master.elsewhere, over)
      end, function()
        if limit then
          limit:cancel()
        end
        done()
      end)
    end,
    hurry = function(master)
      join.each(those(clusters.every(master), of_proxy), function(web, over)
        web:terminate(over)
      end, function() end)
    end,
  }
end

---@type brood.MasterPart[] in the order of their start
local parts = {
  kept("services", "programs"), kept("pools", "keeper"), kept("backends", "backend_keeper"),
  of_clusters("clusters", false), of_clusters("proxy", true),
}

-- Its end comes when the start is over and, where it was called off, what it has begun is gone.
local function start(master, part, fail, done)
  local underway = {}
  local function over()
    if underway.begun and (not underway.halted or underway.gone) then
      master.underway = nil
      done(underway.halted and E.new("stopped", "%s: stopped before they had started", part.title) or nil)
    end
  end
  function underway.halt()
    underway.halted = true
    part.stop(master, function()
      underway.gone = true
      over()
    end)
  end
  master.underway = underway
  part.start(master, function()
    underway.begun = true
    over()
  end, fail)
end

--- Stop one part; done() when it has ended.
---@param master brood.Master
---@param at integer its place in the order
---@param done fun()
function M.stop_part(master, at, done)
  parts[at].stop(master, done)
end

--- What a master starts and stops; nothing is started yet.
---@param master brood.Master
---@param fail fun(err: brood.Error) what to do about a part that cannot start: it calls `stop`
---@return brood.Lifecycle
function M.new(master, fail)
  local life = Lifecycle.new "master"
  for at, part in ipairs(parts) do
    local item
    item = life:add(part.title, function(done)
      item.start = nil -- a master starts once
      start(master, part, fail, done)
    end, function(done)
      itself.stop_part(master, at, done)
    end)
  end
  return life
end

--- Stop what was started, in reverse; a start that is under way ends. done() when all has ended.
---@param master brood.Master `ending` says how
---@param done fun()
function M.stop(master, done)
  if not master.life then
    return done()
  end
  master.life:stop(function()
    done()
  end)
  if master.underway and not master.underway.halted then
    master.underway.halt()
  end
end

--- All end now, in the same order but without waiting for each other.
---@param master brood.Master
function M.hurry(master)
  for i = #parts, 1, -1 do
    -- A hook may have done anything to the master's tables: the others end all the same.
    local ok, err = xpcall(parts[i].hurry, task.on_raise, master)
    if not ok then
      core.uncaught(E.text(err))
    end
  end
end

return M
