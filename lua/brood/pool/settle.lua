--- The end of an attempt, and of a job: whether it is tried again, and who hears of it. The one place where a job ends,
--- which is why each ends exactly once: what is not in the store has ended.
local count = require "brood.rules.count"
local E = require "brood.error"
local emitter = require "brood.emitter"
local job = require "brood.pool.job"
local log = require "brood.log"
local message = require "brood.message"
local payload = require "brood.pool.payload"
local queue = require "brood.rules.queue"
local task = require "brood.task"

local decode, spawn, emit = message.decode, task.spawn, emitter.emit
local rawget, type, sub = rawget, type, string.sub
local CB, DONE, ENDING, OUTPUT, ENDED_AT = job.CB, job.DONE, job.ENDING, job.OUTPUT, job.ENDED_AT
local INPUT, SIZE = job.INPUT, job.SIZE

local M = {}

-- As the pool calls a job's events.
local ON_POOL = {}
for _, event in ipairs { "start", "progress", "success", "failure", "retry", "abort" } do
  ON_POOL[event] = "job:" .. event
end

---@param heard table<string, table>? an emitter's listeners
---@return boolean
local function hears(heard, event)
  return heard ~= nil and (heard[event] ~= nil or heard["*"] ~= nil)
end

--- The handle of a job that has not ended; one is made where there is none.
---@param self brood.Pool
---@param seq integer
---@return brood.Job?
function M.handle(self, seq)
  local ledger = self.ledger
  local handle = ledger.held:get(seq) or ledger.weak:get(seq)
  if not handle then
    local data = self.store:data(seq)
    if not data then
      return nil
    end
    local input, id = payload.unpack(data)
    handle = job.new(self, seq, input)
    if id then
      handle.id = id
    end
    ledger.weak:put(seq, handle)
  end
  return handle
end

-- What somebody far away is told, in bytes.
local function tell_far(self, seq, client, event, bytes, attempt)
  if client ~= 0 and self.remote then
    self.remote(client, seq, event, bytes, attempt)
  end
  local list = self.watchers[seq]
  if list then
    for _, watcher in ipairs(list) do
      watcher(event, bytes, attempt, seq)
    end
  end
end
M.tell_far = tell_far

--- Tell of something that happens to a job that has not ended. `make` gives the value where somebody needs it.
---@param self brood.Pool
---@param seq integer
---@param event string
---@param bytes string?
---@param value any decoded already, or nil
function M.tell(self, seq, event, bytes, value)
  local heard, on_pool = rawget(self, "heard"), ON_POOL[event]
  local handle = self.ledger.held:get(seq) or self.ledger.weak:get(seq)
  local by_job, by_pool = handle and hears(rawget(handle, "heard"), event), hears(heard, on_pool)
  if by_job or by_pool then
    handle = handle or M.handle(self, seq)
    if value == nil and bytes then
      value = select(2, decode(bytes))
    end
    if by_job then
      emit(handle, event, value)
    end
    if by_pool and not handle[ENDING] then -- its own listener may have ended it, of which the pool has heard
      emit(self, on_pool, handle, value)
    end
  end
  if self.far then
    local _, attempt, _, client = self.store:find(seq)
    if attempt then
      tell_far(self, seq, client or 0, event, bytes, attempt)
    end
  end
end

--- The worker has begun with the job.
---@param self brood.Pool
---@param seq integer
function M.started(self, seq)
  if not self.started[seq] then
    self.started[seq] = true
    M.tell(self, seq, "start")
  end
end

-- Those who wait for the end of a job; whether there were any.
local function answer(handle, err, value)
  local cb, done, more = handle[CB], handle[DONE], rawget(handle, "more")
  handle[CB], handle[DONE] = false, false
  if cb then
    spawn(cb, err, value)
  end
  if done then
    done(err, value)
  end
  if more then
    handle.more = nil
    for _, each in ipairs(more) do
      each(err, value)
    end
  end
  return cb or done or more
end

--- A job has failed and nobody hears of it. Whether there is one word for all that end together, and so none for it.
---@param self brood.Pool
---@return boolean
function M.hush(self)
  if self.hushed then
    self.hushed = self.hushed + 1
    return true
  end
  return false
end

local function log_unheard(self, handle, err)
  if not M.hush(self) then
    log.error(("%s: job %s failed: %s"):format(self.name, handle.id, E.text(err)))
  end
end

-- Everybody who wants to know hears of the end.
local function announce(self, handle, ending, err, value, far)
  local heard, own, on_pool = rawget(self, "heard"), rawget(handle, "heard"), ON_POOL[ending]
  local by_job, by_pool = hears(own, ending), hears(heard, on_pool)
  local what = value
  if ending ~= "success" then
    what = ending == "failure" and err or nil
  end
  if by_job then
    emit(handle, ending, what)
  end
  if by_pool then
    emit(self, on_pool, handle, what)
  end
  if not answer(handle, err, value) and ending == "failure" and not (by_job or by_pool or far) then
    log_unheard(self, handle, err)
  end
  if hears(heard, "done") then
    emit(self, "done", handle)
  end
end

-- Watchers far away, and what else is kept of a job until its end.
local function close_books(self, seq, handle, client, ending, attempt, err)
  local watched = self.watchers[seq]
  local far = watched ~= nil or client ~= 0
  if far then
    local bytes = handle.output or err and message.encode_error(err) or nil
    tell_far(self, seq, client, ending, bytes, attempt)
    self.watchers[seq] = nil
  end
  self.started[seq] = nil
  local progress = self.progress[seq]
  if progress then
    self.progress[seq] = nil
    handle.reported = progress
  end
  return far
end

-- It is remembered, and whoever waits for it hears of it.
local function close(self, handle, ending, err, value, now, far)
  handle[ENDING], handle[ENDED_AT] = ending, now
  self.live, self.ended = self.live - 1, self.ended + 1
  self.ledger:remember(handle, now)
  local cb = handle[CB]
  if cb and not self.heard and not rawget(handle, "heard") and not rawget(handle, "more") then
    handle[CB] = false
    return spawn(cb, err, value)
  end
  announce(self, handle, ending, err, value, far)
end

--- The job has ended. Called for each once, while it is in the store or was never there.
---@param self brood.Pool
---@param seq integer
---@param ending "success"|"failure"|"abort"
---@param output string|false the result, or the error as it came from the worker
---@param err brood.Error? the error
---@param now number
---@param client? integer where the store does not know: of a job that was never there
function M.finish(self, seq, ending, output, err, now, client)
  local ledger = self.ledger
  local handle = ledger.held:get(seq) or M.handle(self, seq)
  local far, attempt = false, 1
  client = client or 0
  if self.eventful then
    local state, number, _, whose = self.store:find(seq)
    if state then
      attempt, client = number, whose or client
      if number ~= 1 then
        handle.attempt = number
      end
    end
  end
  local known, value
  if output and ending == "success" then
    known, value = self.store:finish(seq, output)
    if not known then
      known, value = decode(output)
      if not known then
        value = nil
      end
    end
  else
    self.store:remove(seq)
  end
  if output then
    handle[OUTPUT], handle[SIZE] = output, handle[SIZE] + #output
  end
  if err then
    handle.err = err
    self.failed = ending == "failure" and self.failed + 1 or self.failed
    self.aborted = ending == "abort" and self.aborted + 1 or self.aborted
  end
  if self.eventful then
    handle[ENDING] = ending
    far = close_books(self, seq, handle, client, ending, attempt, err)
  end
  close(self, handle, ending, err, value, now, far)
end
local finish = M.finish

local function end_as_failed(self, seq, output, err)
  finish(self, seq, "failure", output or false, err, self.now())
end

local function retry(self, seq, attempt, output, err, seconds)
  local now = self.now()
  self.eventful = true
  self.retried = self.retried + 1
  self.started[seq] = nil
  -- First, so that a listener finds it where it is, and may end it: nothing is given to a worker before the turn's end.
  local due = queue.due(now, seconds)
  self.store:requeue(seq, due, attempt + 1)
  self:_stir(due)
  M.tell(self, seq, "retry", output or self.far and message.encode_error(err) or nil, err)
end

-- The user's function says how long to wait; it may wait itself, and the job may end meanwhile.
local function ask_delay(self, seq, attempt, output, err)
  local fn = self.options.retry_delay
  self.deciding[seq] = true
  spawn(function()
    local ok, value = task.call(fn, attempt, err)
    if not self.deciding[seq] then
      return
    end
    self.deciding[seq] = nil
    local seconds, why
    if ok then
      seconds, why = queue.delay(value)
    end
    if not ok or seconds == nil then
      log.error(("%s: retry_delay: %s"):format(self.name, not ok and E.text(value) or
        ("it must return seconds, or false: %s"):format(why)))
    end
    if not seconds then
      return end_as_failed(self, seq, output, err)
    end
    retry(self, seq, attempt, output, err, seconds)
  end)
end

--- An attempt has failed: the job is tried again, or ends.
---@param self brood.Pool
---@param seq integer
---@param output string? the error as it came from the worker
---@param err brood.Error? where it did not
---@param final? boolean there is nobody to try it again
function M.failed(self, seq, output, err, final)
  local state, attempt, _, _, _, retries = self.store:find(seq)
  if not state then
    return -- it has ended, or was aborted, meanwhile
  end
  if not err then
    err = message.decode_error(output)
  end
  if retries < 0 then
    retries = self.options.retries
  end
  local delay = self.options.retry_delay
  if final or self.leaving or delay == false or not queue.may_retry(err, attempt, retries) then
    end_as_failed(self, seq, output, err)
  elseif type(delay) == "function" then
    ask_delay(self, seq, attempt, output, err)
  else
    retry(self, seq, attempt, output, err, delay or 0)
  end
end

--- An attempt has come to a good end.
---@param self brood.Pool
---@param seq integer
---@param output string
---@param now number
function M.succeeded(self, seq, output, now)
  return finish(self, seq, "success", output, nil, now)
end

--- The same where the output is `size` bytes that end at `offset` in a frame: of most jobs they are never looked at
--- again, and no string is made of them.
---@param self brood.Pool
---@param seq integer
---@param frame string
---@param offset integer
---@param size integer
---@param now number
function M.answered(self, seq, frame, offset, size, now)
  local handle = self.ledger.held:get(seq)
  if handle and not self.eventful and type(handle[INPUT]) == "userdata" then
    local known, value, output = self.store:answer(seq, handle[INPUT], frame, offset, size)
    if known then
      handle[OUTPUT], handle[SIZE] = output, handle[SIZE] + size
      return close(self, handle, "success", nil, value, now, false)
    end
  end
  return finish(self, seq, "success", sub(frame, offset - size + 1, offset), nil, now)
end

--- What a worker reports on the way.
---@param self brood.Pool
---@param seq integer
---@param bytes string
function M.progressed(self, seq, bytes)
  self.eventful = true
  self.progress[seq] = bytes
  M.tell(self, seq, "progress", bytes)
end

-- The end of a job that nobody has anything to do with, and that will not be remembered: no more than its removal. Of
-- a million that end together that is most.
local function fail_unseen(self, seq)
  local ledger, heard = self.ledger, rawget(self, "heard")
  local state, _, _, client = self.store:find(seq)
  if not state or client ~= 0 or self.watchers[seq] or ledger.held:get(seq) or ledger.weak:get(seq)
    or hears(heard, "job:failure") or hears(heard, "done") then
    return false
  end
  self.store:remove(seq)
  self.started[seq], self.progress[seq] = nil, nil
  ledger:forget(seq)
  self.live, self.ended, self.failed = self.live - 1, self.ended + 1, self.failed + 1
  return M.hush(self)
end

--- Many jobs end with the same error, and not by their own fault. The log has one line for those that nobody hears of,
--- unless it has been told of them all before (`end_told`).
---@param self brood.Pool
---@param list integer[]
---@param err brood.Error
---@param rest? fun(): integer[] more of them, until there are none
function M.fail_all(self, list, err, rest)
  local outer = self.hushed
  self.hushed = 0
  while list[1] do
    local unseen = #list - (self.end_told and 0 or self.ledger:most()) -- those after them are remembered
    for at, seq in ipairs(list) do
      self.deciding[seq] = nil
      if at > unseen or not fail_unseen(self, seq) then
        if self.store:find(seq) then
          end_as_failed(self, seq, nil, err)
        end
      end
    end
    list = rest and rest() or {}
  end
  local unheard = self.hushed
  self.hushed = outer
  if unheard > 0 and not self.end_told then
    log.error(("%s: %s that nobody waited for failed: %s"):format(self.name, count(unheard, "job"), err.message))
  end
end

return M
