--- A restart of a script's cluster: the change to what it is already, for which every worker is replaced. Restarts
--- follow each other: those that are asked for while one is under way share the next one, for the app may have changed.
--- How a change is made is cluster.change's business.
local clock = require "brood.clock"
local E = require "brood.error"
local linger = require "brood.cluster.linger"
local merged = require "brood.rules.merged"
local timer = require "brood.timer"

local LOOK = 0.005 -- seconds between two looks at those that go
local ROOM = 5 -- seconds in which others may finish, before their time is cut short for a restart

local function answer_all(list, err)
  for _, done in ipairs(list) do
    done(err)
  end
end

-- done() when fn() is true, or after so many seconds.
local function eventually(seconds, fn, done)
  local deadline = clock.now() + seconds
  local function look()
    if fn() or clock.now() >= deadline then
      return done()
    end
    timer.after(LOOK, look)
  end
  look()
end

-- So many old workers may finish in each slot; one more would cut the oldest short.
local function has_room(cluster)
  for slot = 1, cluster.group.size do
    if cluster.group.state == "running" and linger.is_full(cluster, slot) then
      return false
    end
  end
  return true
end

local function stopped(cluster)
  return E.new("stopped", "%s was stopped", cluster.name)
end

local run

local function over(cluster, list, err)
  local following = cluster.restarts
  cluster.restarts = nil
  answer_all(list, err)
  if not following[1] then
    return
  elseif cluster.group.state ~= "running" then
    answer_all(following, err or stopped(cluster)) -- who stops it means those as well
  elseif cluster.restarts then -- begun by who has just been answered
    for _, done in ipairs(following) do
      table.insert(cluster.restarts, done)
    end
  else
    run(cluster, following)
  end
end

local function roll(cluster, done)
  if cluster.group.state ~= "running" then
    return done(stopped(cluster))
  end
  local change = cluster:change(merged(cluster.options, { workers = cluster.group.size }))
  change:probe(function(err)
    if err then
      return done(err)
    end
    change.generation.options.workers = cluster.group.size -- it may have been scaled meanwhile
    change:commit(done)
  end)
end

function run(cluster, list)
  cluster.restarts = {}
  local runs = cluster.group.state == "running"
  cluster:start(function(err)
    if err or not runs then
      return over(cluster, list, err)
    end
    eventually(ROOM, function()
      return has_room(cluster)
    end, function()
      roll(cluster, function(failure)
        over(cluster, list, failure)
      end)
    end)
  end)
end

--- Restart a cluster; one that does not run is started.
---@param cluster brood.Cluster
---@param done fun(err: brood.Error?)
return function(cluster, done)
  if cluster.restarts then
    return table.insert(cluster.restarts, done)
  end
  run(cluster, { done })
end
