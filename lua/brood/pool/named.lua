--- The pools of a config by name, as every process of the master knows them: what `brood.pool(name)` gives. In the
--- master it is the pool itself that answers, in a process that it has started the line to it: an app that is preloaded
--- may have got hold of it before the fork. The pools are made and ended elsewhere.
local core = require "brood.core"
local emitter = require "brood.emitter"
local task = require "brood.task"

local generation = core.generation

local M = {}

---@class brood.NamedPool: brood.Emitter a pool of the config, in whatever process
---@field name string
---@field tag string of the ids of its jobs
---@field next_seq fun(): integer the number of the next job, of whatever pool and process
local Named = {}

---@type table<string, brood.NamedPool>
local known = {}
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

-- The pool in the master, what speaks to it elsewhere.
local function target(self)
  local now = generation()
  if rawget(self, "born") == now then
    return rawget(self, "pool")
  elseif rawget(self, "far_born") ~= now then
    rawset(self, "far", require("brood.pool.client").new(self))
    rawset(self, "far_born", now)
  end
  return rawget(self, "far")
end

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
    if it == rawget(self, "pool") then
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
  local self = setmetatable({
    name = pool.name, tag = pool.tag, next_seq = next_seq, pool = pool, born = generation(),
  }, meta)
  known[pool.name] = self
  return self
end

--- One is no more.
---@param name string
---@param pool brood.Pool
function M.remove(name, pool)
  if known[name] and rawget(known[name], "pool") == pool then
    known[name] = nil
  end
end

--- One that is leaving: who asks for it by name does not find it, though its jobs are still done.
---@param name string
---@param hidden boolean
function M.hide(name, hidden)
  rawset(known[name], "hidden", hidden)
end

---@param name string
---@return brood.NamedPool?
function M.find(name)
  local found = known[name]
  return found and not rawget(found, "hidden") and found or nil
end

--- In the master: the pool itself.
---@param name string
---@return brood.Pool?
function M.own(name)
  local found = known[name]
  return found and rawget(found, "pool")
end

local RANGE = 2 ^ 31 -- numbers for a process that cannot see the counter

--- What a script that is started in a process of its own has to know, as text for its environment: the names and tags,
--- and the numbers that its jobs may have.
---@return string? text nil where there are no pools
function M.export()
  local parts = {}
  for _, name in ipairs(M.names()) do
    parts[#parts + 1] = ("%s=%s"):format(name, known[name].tag)
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
    known[name] = setmetatable({ name = name, tag = tag, next_seq = next_of_range, born = -1 }, meta)
  end
  return true
end

---@return string[] names, sorted
function M.names()
  local list = {}
  for name in pairs(known) do
    list[#list + 1] = M.find(name) and name
  end
  table.sort(list)
  return list
end

return M
