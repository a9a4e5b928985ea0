--- A pool whose store is a plain model and whose workers are Lua tables in this process: for what a pool decides, with
--- no process, and no time but the one that a spec lets pass. A worker runs a job when the spec says so.
local core = require "brood.core"
local message = require "brood.message"
local model = require "spec.support.job_model"
local payload = require "brood.pool.payload"
local pool = require "brood.pool"
local pool_options = require "brood.rules.pool_options"
local task = require "brood.task"

local M = {}
local pools = {}

---@class spec.PoolWorker
local Worker = {}
Worker.__index = Worker

function Worker:outstanding() return self.lane:outstanding() end
function Worker:room() return self.dead and 0 or self.prefetch - self.lane:outstanding() end
function Worker:fault(err) self.faulty = err end
function Worker:took(kind, seq) table.insert(self.told, { kind, seq }) end
function Worker:discard(reason) self.reason = reason self.dead = true end

function Worker:give(n, now)
  local frame, count = self.lane:assign(math.min(n, self:room()), now)
  if frame then
    self.inbox:feed(frame)
  end
  return count
end

---Begin with the next job: its number and data.
function Worker:claim(now)
  local seq, attempt, bytes = self.inbox:next(now or self.clock())
  if seq then
    self.current = seq
    return seq, select(2, message.decode((payload.unpack(bytes)))), attempt
  end
end

function Worker:put(kind, value, seq)
  self.inbox:put(seq or self.current, kind, kind == "failure" and message.encode_error(value) or message.encode(value))
end

function Worker:flush()
  local frame = self.inbox:frame()
  if frame then
    self.on.result(self, frame)
  end
end

---End the job it has begun with.
function Worker:answer(kind, value, seq)
  self:put(kind, value, seq)
  self:flush()
end

---It dies.
function Worker:die(err, running)
  self.dead = true
  for at, w in ipairs(self.crew.list) do
    if w == self then
      table.remove(self.crew.list, at)
    end
  end
  self.on.lost(self, self.lane:abandon(), err, running)
end

local Crew = {}
Crew.__index = Crew

function Crew:add()
  local w = setmetatable({
    id = self.count + 1, lane = self.store:lane(), prefetch = self.options.prefetch, on = self.on, crew = self,
    told = {}, clock = require("brood.clock").now,
  }, Worker)
  w.inbox = w.lane:inbox()
  self.count = w.id
  table.insert(self.list, w)
  self.on.room(w)
  return w
end

function Crew:wanted(n) table.insert(self.wishes, n) end
function Crew:spawn(done) self.spawned = true done() end
function Crew:workers() return self.list end
function Crew:timeout_seen(s) self.seen = s end
function Crew:change(options, _, done) self.options = options done() end

function Crew:free()
  local best
  for _, w in ipairs(self.list) do
    if w:room() > 0 and (not best or w:outstanding() < best:outstanding()) then
      best = w
    end
  end
  if best then
    return best, best:outstanding(), best:room()
  end
end

function Crew:counts()
  local busy = 0
  for _, w in ipairs(self.list) do
    busy = busy + (w:outstanding() > 0 and 1 or 0)
  end
  return #self.list, busy
end

function Crew:kill(done)
  for _, w in ipairs { unpack(self.list) } do
    w:die { code = "exit", message = "killed" }
  end
  self.killed = (self.killed or 0) + 1
  done()
end

---@param options? table of Pool.new
---@param workers? integer how many there are at once (0)
---@return brood.Pool pool, spec.PoolWorker ... the workers
function M.new(options, workers)
  local all = { worker = "none.lua", max_processes = math.max(1, workers or 1) }
  for name, value in pairs(options or {}) do
    all[name] = value
  end
  local crew
  local checked = require("brood.options").check(2, all, pool_options.fields, "Pool.new")
  local made = pool.make(checked, {
    make_store = options and options.store_of or model.store,
    make_crew = function(given)
      crew = setmetatable({
        store = given.store, on = given.on, options = given.options, list = {}, wishes = {}, count = 0,
      }, Crew)
      return crew
    end,
  })
  table.insert(pools, made)
  for _ = 1, workers or 0 do
    crew:add()
  end
  return made, unpack(crew.list)
end

---Leave all pools: nothing of them keeps the process running. To be the suite's teardown.
function M.cleanup()
  for at = #pools, 1, -1 do
    local each = pools[at]
    pools[at] = nil
    each:on("job:failure", function() end)
    each:exit()
  end
  M.turn()
end

---Let the turn end.
function M.turn()
  return task.run(nil, "turn", core.at_turn_end)
end

---Every event of an emitter, with the number of the job that comes first.
---@param emitter brood.Emitter
---@return string[]
function M.record(emitter)
  local list = {}
  emitter:on("*", function(event, ...)
    local first = ...
    table.insert(list, type(first) == "table" and first.seq and event .. " " .. first.seq or event)
  end)
  return list
end

---An error as a worker sends it.
---@param text? string
---@param fields? table
---@return table
function M.fail(text, fields)
  local err = { message = text or "bad", code = "error" }
  for key, value in pairs(fields or {}) do
    err[key] = value
  end
  return err
end

---@param jobs brood.Job[]
---@return integer[]
function M.seqs(jobs)
  local list = {}
  for i, job in ipairs(jobs) do
    list[i] = job.seq
  end
  return list
end

---Have the worker run all it has, in order.
---@param w spec.PoolWorker
---@param order integer[] to which the jobs' numbers are added
function M.run_all(w, order)
  local seq = w:claim()
  while seq do
    table.insert(order, seq)
    w:answer("success", seq)
    M.turn()
    seq = w:claim()
  end
end

---What is logged while fn runs.
---@param fn fun()
---@return string[]
function M.logged(fn)
  local write, list = core.log.write, {}
  core.log.write = function(level, text)
    table.insert(list, level .. ": " .. text)
  end
  local ok, err = xpcall(fn, debug.traceback)
  core.log.write = write
  assert(ok, err)
  return list
end

return M
