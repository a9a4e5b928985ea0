--- The pools of a config by name, as every process of the master knows them: what `brood.pool(name)` gives. In the
--- master it is the pool itself that answers, in a process that it has started the line to it: an app that is preloaded
--- may have got hold of it before the fork. The pools are made and ended elsewhere.
local by_name = require "brood.by_name"
local core = require "brood.core"
local emitter = require "brood.emitter"
local task = require "brood.task"

local names = by_name "brood.pool.client"
local target = names.target -- the pool in the master, what speaks to it elsewhere

local M = { find = names.find, own = names.own, remove = names.remove, hide = names.hide, names = names.names }

---@class brood.NamedPool: brood.Emitter a pool of the config, in whatever process
---@field name string
---@field tag string of the ids of its jobs
---@field next_seq fun(): integer the number of the next job, of whatever pool and process
local Named = {}

local counter -- shared by all processes

local function next_seq()
  return counter:add(1, "state", 1)
end
M.next_seq = next_seq

--- Before the first pool is made.
---@return true? ok, brood.Error? err
function M.prepare()
  if not counter then
    local err
    counter, err = core.scoreboard.create(1)
    if not counter then
      return nil, err
    end
  end
  return true
end

--- How many numbers have been given out.
---@return integer
function M.last_seq()
  return counter and counter:get(1, "state") or 0
end

-- ---- what it is here ------------------------------------------------------------------------------------------------

local meta = {}

for _, name in ipairs { "enqueue", "run", "get", "drain", "exit", "spawn_workers", "emit" } do
  Named[name] = function(self, ...)
    if getmetatable(self) ~= meta then
      error(require("brood.options").no_self("pool:" .. name), 2)
    end
    local it = target(self)
    return it[name](it, ...)
  end
end

for _, name in ipairs { "on", "once", "off" } do
  Named[name] = function(self, event, fn)
    if getmetatable(self) ~= meta then
      error(require("brood.options").no_self("pool:" .. name), 2)
    elseif name ~= "off" then
      emitter.check(event, fn)
    end
    local it = target(self)
    it[name](it, event, fn)
    return self
  end
end

--- Counts, and how long jobs wait and run.
---@async
---@param cb? fun(err: brood.Error?, stats: brood.PoolStats?)
---@return brood.PoolStats? stats, brood.Error? err
function Named:stats(cb)
  if getmetatable(self) ~= meta then
    error(require("brood.options").no_self "pool:stats", 2)
  end
  local it = target(self)
  return task.run(cb, "pool:stats", function(done)
    if it == rawget(self, "own") then
      return done(nil, it:stats())
    end
    it:ask_stats(done)
  end)
end

function meta.__index(self, key)
  local method = Named[key]
  if method ~= nil then
    return method
  end
  return target(self)[key]
end

-- ---- by name --------------------------------------------------------------------------------------------------------

--- There is one more.
---@param pool brood.Pool
---@return brood.NamedPool
function M.add(pool)
  return names.put(setmetatable({ name = pool.name, tag = pool.tag, next_seq = next_seq, own = pool }, meta))
end

local RANGE = 2 ^ 31 -- numbers for a process that cannot see the counter

--- What a script that is started in a process of its own has to know, as text for its environment: the names and tags,
--- and the numbers that its jobs may have.
---@return string? text nil where there are no pools
function M.export()
  local parts = {}
  for _, name in ipairs(names.names()) do
    parts[#parts + 1] = ("%s=%s"):format(name, names.get(name).tag)
  end
  if not parts[1] then
    return nil
  end
  local last = counter:add(1, "state", RANGE)
  return ("%.0f-%.0f %s"):format(last - RANGE + 1, last, table.concat(parts, " "))
end

--- The same, in that script: from now on it knows the pools of its master.
---@param text string
---@return boolean ok
function M.adopt(text)
  local first, last, rest = text:match "^(%d+)%-(%d+) (.+)$"
  if not first then
    return false
  end
  local following, limit = tonumber(first), tonumber(last)
  local function next_of_range()
    local seq = following
    if seq > limit then
      error("brood.pool: this process has enqueued as many jobs as it can", 0)
    end
    following = seq + 1
    return seq
  end
  for name, tag in rest:gmatch "([^ =]+)=(%w+)" do
    names.put(setmetatable({ name = name, tag = tag, next_seq = next_of_range }, meta))
  end
  return true
end

return M
