--- A job as it is seen in another process than the master: a handle with what was heard of it. Whoever asks for
--- something that may have changed meanwhile is told of every change from then on; hearing is `pool.client`'s business.
local E = require "brood.error"
local emitter = require "brood.emitter"
local handles = require "brood.pool.handle"
local log = require "brood.log"
local task = require "brood.task"
local uv = require "luv"

local answer, value_of = handles.answer, handles.value_of

---@class brood.ClientJob: brood.Job
local Job = emitter.mixin {}

local M = {}

-- ---- what a handle tells --------------------------------------------------------------------------------------------

local tells = {}

function tells.id(self)
  local id = self.client.tag .. "-" .. require("brood.pool.ledger").base36(self.seq)
  rawset(self, "id", id)
  self.client:flush() -- who is told of it may ask another process for it
  return id
end

tells.data = handles.tells.data

-- In the turn in which it was heard it is true; who asks later wants to know.
local function refresh(self)
  if not self.ending and not self.watched and uv.now() ~= self.heard_at then
    self.client:watch(self)
  end
end

function tells.state(self)
  refresh(self)
  return self.ending and "ended" or self.known_state
end

function tells.attempt(self)
  refresh(self)
  return self.known_attempt
end

function tells.last_progress(self)
  refresh(self)
  return value_of(self.reported)
end

for _, name in ipairs { "result", "err" } do
  tells[name] = function(self)
    refresh(self)
    return handles.tells[name](self)
  end
end

local meta = handles.meta(Job, tells)

--- A handle.
---@param client brood.PoolClient
---@param seq integer
---@param input string|false its data, encoded
---@return brood.ClientJob
function M.new(client, seq, input)
  return setmetatable({
    client = client, seq = seq, input = input, own_id = false, cb = false, waiters = false, ending = false,
    output = false, reported = false, known_state = "waiting", known_attempt = 1, heard_at = uv.now(), watched = false,
    record = false,
  }, meta)
end

-- ---- what is done with it -------------------------------------------------------------------------------------------

---@private
function Job:on_listen()
  if not self.ending then
    self.client:watch(self)
  end
end

Job.wait = handles.wait

--- Call done(err, result) at its end, which is still to come.
---@private
function Job:add_waiter(done)
  self.waiters = self.waiters or {}
  table.insert(self.waiters, done)
  self.client:want_end(self)
end

--- End the job now, whatever it is doing: one that runs loses its worker. It is not tried again.
---@return boolean? aborted
---@return brood.Error? err code "ended": it has ended before
function Job:abort()
  handles.check(self, "job:abort")
  if self.ending then
    return nil, E.new("ended", "the job has ended already")
  end
  self.client:abort(self)
  return true
end

-- ---- what is heard of it --------------------------------------------------------------------------------------------

local function hears(self, event)
  return emitter.has_listener(self, event) or emitter.has_listener(self, "*")
end

-- Nobody is left to hear of a failure: then the log does.
local function tell_nobody(self)
  if self.ending == "failure" then
    log.error(("job %s of %s: %s"):format(self.id, self.client.name, E.text(self.err)))
  end
end

local function tell_end(self, event, asked)
  local waiters, cb = self.waiters, self.cb
  self.waiters, self.cb = false, false
  local heard = hears(self, event)
  if heard then
    emitter.emit(self, event, event == "success" and self.result or event == "failure" and self.err or nil)
  end
  for _, done in ipairs(waiters or {}) do
    answer(self, done)
  end
  if cb then
    answer(self, function(...)
      task.spawn(cb, ...)
    end)
  elseif not heard and not waiters and not asked then
    tell_nobody(self)
  end
end

--- It has ended.
---@param event "success"|"failure"|"abort"
---@param bytes string|false
---@param asked? boolean somebody has asked how it stands, and so hears of it
function Job:finish(event, bytes, asked)
  if not self.ending then
    self.ending, self.output, self.record = event, bytes, false
    self.known_state = "ended"
    tell_end(self, event, asked)
  end
end

local news = {}

function news.start(self)
  self.known_state = "running"
  emitter.emit(self, "start")
end

function news.progress(self, bytes)
  self.reported = bytes
  if hears(self, "progress") then
    emitter.emit(self, "progress", value_of(bytes))
  end
end

function news.retry(self, bytes)
  self.known_state = "waiting"
  if hears(self, "retry") then
    emitter.emit(self, "retry", E.from(value_of(bytes) or "its error cannot be decoded"))
  end
end

-- How it stood when it was first asked for.
function news.state(self, bytes)
  local told = value_of(bytes)
  if type(told) == "table" then
    self.known_state, self.reported = told[1], told[2] or self.reported
  end
end

--- Something has happened to it.
---@param event string
---@param attempt integer
---@param bytes string|false
function Job:hear(event, attempt, bytes)
  if self.ending then
    return
  end
  self.known_attempt, self.heard_at = attempt, uv.now()
  local fn = news[event]
  if fn then
    return fn(self, bytes)
  end
  local unknown = event == "unknown"
  self:finish(unknown and "failure" or event, bytes, unknown)
end

--- What the master has told of it when it was asked.
---@param found table as `pool:describe` says
function Job:learn(found)
  if self.ending then
    return
  end
  self.input = self.input or found.data or false
  self.reported = found.last_progress or self.reported
  self.known_attempt, self.heard_at = found.attempt, uv.now()
  if found.state == "ended" then
    self.client:forget(self)
    self:finish(found.ending, found.result or found.err or false, true)
  else
    self.known_state = found.state
  end
end

return M
