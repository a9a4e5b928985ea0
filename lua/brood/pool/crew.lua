--- The workers of a pool: how many there are, when another one comes, when one is replaced, and what is said when none
--- can be started. Starting, replacing and stopping is brood.group's; what one worker is, pool.worker's; which job goes
--- where, and what becomes of it, the dispatch's, which hears of all this by `on`.
local clock = require "brood.clock"
local E = require "brood.error"
local join = require "brood.join"
local limits = require "brood.pool.limits"
local news = require "brood.pool.news"
local oldest_first = require "brood.group.oldest_first"
local respawn = require "brood.group.respawn"
local restart = require "brood.rules.restart"
local supervised = require "brood.supervised"
local task = require "brood.task"
local timer = require "brood.timer"

local now = clock.now

local TICK = 1 -- seconds from one look to the next, at most, while something is looked at
local LATE = 0.5 -- seconds by which a look that comes too late shows that we have stood still ourselves
local GRACE = 1 -- seconds in which those who have stood still as well say what they have done
local STDERR = 2
local SOONER = 1.5 -- a replacement is started so many times its mean start before it is needed

---@class brood.Crew
---@field name string
---@field options table of the pool, normalised
---@field store table core.jobs' store
---@field heard table<string, function> room, result, lost, failed, event
---@field listening boolean? somebody wants to hear of each state of each worker
---@field group brood.Group
---@field generation { options: table, process: table, hooks: table<string, function> } what is made is of this one
---@field failed_starts table<integer, integer> slot -> failed starts since there was a worker
---@field restarts integer workers that have ended though nobody had told them to
---@field shortest number? seconds: the shortest limit that a job was given
local Crew = {}
Crew.__index = Crew

local M = {}

local function generation(options, inner)
  inner = inner or {}
  return { options = options, process = inner.process or {}, hooks = inner.hooks or {}, keep = inner.keep }
end

--- The workers of a pool; none is started yet.
---@param given table name, options, store (core.jobs'), on (functions by name), id_of (seq -> string), inner (table?)
---@return brood.Crew
function M.new(given)
  local self = setmetatable({
    name = given.name, options = given.options, store = given.store, heard = given.on, id_of = given.id_of,
    generation = generation(given.options, given.inner), list = {}, spawners = {}, restarts = 0, failed_starts = {},
    watch_due = math.huge,
  }, Crew)
  self.group = news.group(self, given.inner)
  return self
end

-- ---- how many -------------------------------------------------------------------------------------------------------

local function begin(self)
  if self.group.state == "stopped" then
    self.group:start(function() end) -- of nobody: it is scaled as they are wanted
  end
end

-- In so long it is tried again, whoever waits then.
local function try_later(self)
  if not self.trying then
    self.trying = timer.after(math.max(0, self.try_at - now()), function()
      self.trying = nil
      if self.fault and self.group.state == "running" then
        self.group:scale(1, function() end)
      end
    end)
  end
end

--- So many jobs wait that nobody has room for: another worker comes for each, as far as there may be more.
---@param backlog integer
function Crew:wanted(backlog)
  local all = self.group
  local full = all.state == "running" and all.size >= self.options.max_processes
  if backlog <= 0 or full or self.closed or supervised.ending then
    return
  end
  begin(self)
  if all.state ~= "running" then
    return -- it is being stopped
  elseif not self.fault then
    local coming = all.size - all:ready_count()
    local size = math.min(self.options.max_processes, all.size + math.max(0, backlog - coming))
    if size > all.size then
      all:scale(size, function() end)
    end
  elseif all.size == 0 then
    try_later(self)
  end
end

--- Start all of them. Returns when they are ready, or the first one that could not be started has ended.
---@param cb fun(err: brood.Error?)
function Crew:spawn(cb)
  local all = self.group
  self.closed = nil
  begin(self)
  if all.state ~= "running" then
    return cb(E.new("stopped", "%s is being stopped", self.name))
  end
  table.insert(self.spawners, cb)
  self.failed_starts = {}
  for slot = 1, all.size do
    if all.retries[slot] then
      respawn.forget(all, slot) -- now, not when its patience is over
    end
  end
  timer.drop(self, "trying")
  all:scale(self.options.max_processes, function() end)
  news.settle_spawners(self)
end

--- A worker has ended its first job: those that have died before were not of no use.
---@private
---@param w brood.PoolWorker
function Crew:proved(w)
  news.recovered(self, w)
  restart.reset(self.group.after_ready)
end

--- All that are there, oldest first. Not to be kept.
---@return brood.PoolWorker[]
function Crew:workers()
  return self.list
end

--- How many there are, and how many of them have something to do.
---@return integer workers, integer busy
function Crew:counts()
  local busy = 0
  for _, w in ipairs(self.list) do
    busy = busy + (w:outstanding() > 0 and 1 or 0)
  end
  return #self.list, busy
end

--- The worker with room that has the least to do; what it has, and how much room.
---@return brood.PoolWorker? w, integer? outstanding, integer? room
function Crew:free()
  local best, least, most
  for _, w in ipairs(self.list) do
    local room, n = w:room()
    if room > 0 and (not least or n < least) then
      best, least, most = w, n, room
    end
  end
  return best, least, most
end

-- ---- replacing ------------------------------------------------------------------------------------------------------

local function is_due(self, w, at)
  local left = w.limit - w.jobs - w:outstanding()
  if left <= 0 then
    return true
  elseif not self.mean_start or w.jobs < 2 then
    return left <= w.limit / 4
  end
  local pace = (at - w.member.ready_at) / w.jobs -- seconds for each job
  return left * pace <= SOONER * self.mean_start
end

--- It has been given another job: when it comes to its last ones, the one after it is started.
---@private
---@param w brood.PoolWorker
---@param at number
function Crew:consider_replacing(w, at)
  local all, member = self.group, w.member
  if all.holders[member.slot] == member and is_due(self, w, at) then
    all:release(member, "max_jobs")
    if all.state == "running" and member.slot <= all.size then
      all:launch(member.slot)
    end
  end
end

-- ---- watching -------------------------------------------------------------------------------------------------------

-- Time in which this process stood still was perhaps not theirs either, and what they have said is not read. How much
-- that was is known to a tick.
local function stood_still(self, at)
  if at - self.watch_due < LATE then
    return false
  end
  for _, w in ipairs(self.list) do
    limits.allow(w, at - self.watch_since, at)
  end
  return true
end

local function look(self)
  local at, copy, nearest = now(), { unpack(self.list) }, math.huge
  local late = stood_still(self, at)
  self.watch_due = math.huge
  if late then
    nearest = at + GRACE
  else
    for _, w in ipairs(copy) do
      nearest = math.min(nearest, w:look(at) or math.huge)
    end
  end
  if nearest < math.huge then
    self:watch_until(math.max(nearest, at + 0.001))
  end
end

---@private
---@param due number
function Crew:watch_until(due)
  if due >= self.watch_due then
    return
  end
  if self.watching then
    self.watching:cancel()
  end
  local at = now()
  due = math.min(due, at + TICK)
  self.watch_due, self.watch_since = due, at
  self.watching = timer.after(due - at, function()
    self.watching = nil
    look(self)
  end)
end

--- A worker has begun with something: it is looked at when its time is over.
---@private
---@param w brood.PoolWorker
---@param at number monotonic seconds
function Crew:watch(w, at)
  local due = w:due(at)
  if due and due < self.watch_due then
    self:watch_until(due)
  end
end

--- A job has a limit of its own, which may be shorter than that of the others.
---@param seconds number
function Crew:timeout_seen(seconds)
  self.shortest = math.min(self.shortest or math.huge, seconds)
end

-- ---- the end, and other options -------------------------------------------------------------------------------------

-- Its template is of no use any more: what is forked next has another one.
local function drop_template(kind, done)
  local old = kind.template
  kind.template = nil
  if old then
    return old:stop(done)
  end
  done()
end

local function stop(self, done)
  local all = join.new(done)
  drop_template(self.generation, all:branch())
  local stopped = all:branch()
  timer.drop(self, "trying")
  news.answer_spawners(self, E.new("stopped", "%s was stopped before it had started", self.name))
  self.fault = nil
  self.group:stop(function()
    if #self.list == 0 and self.watching then
      self.watching:cancel()
      self.watching, self.watch_due = nil, math.huge
    end
    stopped()
  end)
  all.all_begun()
end

--- Stop all of them, each after its running job; what they have not begun with waits again, and no other worker comes
--- for it before `spawn`.
---@async
---@param cb? fun(err: brood.Error?)
function Crew:stop(cb)
  return task.run(cb, self.name .. ":stop", function(done)
    self.closed = true
    stop(self, done)
  end)
end

--- KILL all of them.
---@async
---@param cb? fun(err: brood.Error?)
function Crew:kill(cb)
  return task.run(cb, self.name .. ":kill", function(done)
    self.closed = nil
    for _, w in ipairs { unpack(self.list) } do
      w.discarded = true -- what it had is not taken back: the dispatch says what becomes of it
      self.group:release(w.member, "stop") -- one that was starting has not failed
    end
    self.group:kill()
    stop(self, done)
  end)
end

--- Another kind of workers, for `try` and `become`.
---@param options table normalised
---@param inner? table as for `new`
---@return table
function Crew:kind(options, inner) -- luacheck: ignore 212
  return generation(options, inner)
end

--- Start one worker of another kind, beside the others. It is given nothing to do.
---@param kind table
---@param slot integer
---@param done fun(err: brood.Error?, member: brood.Member)
---@return brood.Member
function Crew:try(kind, slot, done)
  begin(self)
  return self.group:launch(slot, done, { generation = kind, tentative = true })
end

--- Be that kind of workers from now on: new ones come, the old ones go after their running job.
---@param kind table
---@param first brood.Member the one that was tried
---@param done fun(err: brood.Error?, replaced: integer) when the new ones are ready
function Crew:become(kind, first, done)
  if kind.options.respawn_delay ~= self.options.respawn_delay then
    self.options = kind.options
    news.be_patient(self, self.group)
  end
  drop_template(self.generation, function() end)
  self.generation, self.options, self.fault = kind, kind.options, nil
  self.group:renew({
    size = kind.options.max_processes, reason = "reload", first = first,
    is_new = function(member)
      return member.worker and member.worker.generation == kind
    end,
  }, done)
  self.heard.room(first.worker)
end

--- Hand each worker files that were opened again, in place of what it has under that number. A program can be handed
--- nothing: where its stderr is meant, another one comes in its place, and it goes after its running job. (Those that a
--- reload is about to replace anyway are left to it.)
---@param list { target: integer, fd: integer }[]
function Crew:reopen(list)
  drop_template(self.generation, function() end) -- what it has under these numbers is the old ones
  local all, stderr = self.group, false
  for _, file in ipairs(list) do
    stderr = stderr or file.target == STDERR
  end
  for _, member in ipairs(oldest_first(all)) do
    local w = member.worker
    if not (w and w.line) then
      for _, file in ipairs(member.process and member.process.post and list or {}) do
        member.process:post("reopen", { target = file.target }, file.fd)
      end
    elseif stderr and all.state == "running" and all.holders[member.slot] == member
      and w.generation == self.generation then
      all:replace(member.slot, "reload", function() end)
    end
  end
end

return M
