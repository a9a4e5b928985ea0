--- The side of a pool that other processes of the master see, through whoever speaks to them: jobs that come and go as
--- bytes, and are watched by number. Nothing here waits, raises for a user's mistake, or keeps a handle for a job.
local admission = require "brood.pool.admission"
local clock = require "brood.clock"
local dispatch = require "brood.pool.dispatch"
local job = require "brood.pool.job"
local message = require "brood.message"
local payload = require "brood.pool.payload"
local settle = require "brood.pool.settle"

---@class brood.Pool
local Far = {}

--- The number of a job that has this id, and has not ended or is remembered.
---@private
---@param id string
---@return integer?
function Far:_known(id)
  local ledger = self.ledger
  if ledger.count > 0 then
    ledger:expire(clock.now())
  end
  local seq = ledger:seq_of(id)
  return seq and (ledger:find(seq) or self.store:find(seq)) and seq or nil
end

---@private
Far.seq_of = Far._known

---@private
---@param seq integer
---@return string
function Far:id_of(seq)
  return self.ledger:id_of(seq)
end

--- Enqueue data that is encoded already. What becomes of the job is told by `pool.remote(client, seq, ...)`, never
--- before this has returned.
---@private
---@param input string
---@param options? table normalised
---@param client? integer
---@param seq? integer a number that was chosen already
---@return integer seq of the known job, where its id is known
function Far:put(input, options, client, seq)
  local id = options and options.id
  local known = id and self:_known(id)
  if known then
    return known
  end
  if not seq then
    seq = self:_number()
  end
  client = client or 0
  if client ~= 0 then
    self.far, self.eventful = true, true
  end
  local ok, err = admission.push(self, seq, input, options or admission.NONE, client)
  if id and not (err and err.code == "id") then
    self.ledger:name(seq, id)
  end
  self.live, self.worked = self.live + 1, true
  dispatch.arm(self)
  if not ok then
    self.ledger.held:put(seq, job.new(self, seq, input))
    dispatch.cannot_begin(self, seq, err, client)
  end
  if rawget(self, "heard") then
    local handle = self.ledger.held:get(seq) or settle.handle(self, seq)
    self:emit("enqueue", handle)
    if err and err.code == "backlog" then
      self:emit("backlog", handle)
    end
  end
  return seq
end

local function end_of(handle)
  local bytes = handle.output
  if not bytes and handle.ending ~= "success" then
    bytes = message.encode_error(handle.err)
  end
  return handle.ending, bytes or nil
end

--- Call watcher(event, bytes, attempt, seq) for each event of a job; of one that has ended, its end, now.
---@private
---@param seq integer
---@param watcher fun(event: string, bytes: string?, attempt: integer, seq: integer)
---@return true? known nil: there is no such job
function Far:watch(seq, watcher)
  local handle = self.ledger:find(seq)
  if handle and handle.ending then
    local ending, bytes = end_of(handle)
    watcher(ending, bytes, handle.attempt, seq)
    return true
  elseif not handle and not self.store:find(seq) then
    return nil
  end
  self.far, self.eventful, self.tells_starts = true, true, true
  local list = self.watchers[seq] or {}
  list[#list + 1] = watcher
  self.watchers[seq] = list
  return true
end

---@private
---@param seq integer
---@param watcher function
function Far:unwatch(seq, watcher)
  local list = {}
  for _, each in ipairs(self.watchers[seq] or {}) do
    if each ~= watcher then
      list[#list + 1] = each
    end
  end
  self.watchers[seq] = #list > 0 and list or nil
end

--- All that is known of a job, in bytes.
---@private
---@param seq integer
---@return { seq: integer, id: string, state: string, attempt: integer, data: string, [string]: string? }?
function Far:describe(seq)
  local handle = self.ledger:find(seq)
  local found = { seq = seq, id = self.ledger:id_of(seq) }
  if handle and handle.ending then
    local ending, bytes = end_of(handle)
    found.state, found.attempt, found.data, found.ending = "ended", handle.attempt, handle.input, ending
    found[ending == "success" and "result" or "err"] = bytes
    found.last_progress = rawget(handle, "reported")
    return found
  end
  local data = self.store:data(seq)
  if not data then
    return nil
  end
  local _, attempt = self.store:find(seq)
  found.state, found.attempt, found.data = self:_state(seq), attempt, payload.unpack(data)
  found.last_progress = self.progress[seq]
  return found
end

---@private
Far.snapshot = Far.describe

return Far
