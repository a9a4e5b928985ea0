--- A pool's worker that is a foreign program: it reads a job as a line of JSON from its stdin and writes progress and
--- its answer as lines to its stdout. This file knows how such a program is started, and carries jobs and answers
--- between its pipes and the worker's lane; it never has more than one job. Starting, ending and replacing the
--- program, timeouts and retries are the business of those who keep workers of every kind.
---
---   in   {"job": "t5-3k", "attempt": 1, "data": ...}
---   out  {"progress": value}  {"success": value}  {"failure": "why" or {"message":, "code":, "retry": false, ...}}
---   and  {"ready": true} once, before the first job, where the worker says ready = "line"
---
--- `options` of the pool are in its environment, as JSON in BROOD_POOL_OPTIONS. Its stderr is ours.
local clock = require "brood.clock"
local core = require "brood.core"
local E = require "brood.error"
local json_line = require "brood.json_line"
local line = require "brood.pool.program_line"
local merged = require "brood.rules.merged"
local message = require "brood.message"
local payload = require "brood.pool.payload"
local Process = require "brood.process"
local task = require "brood.task"
local timer = require "brood.timer"

local M = {}

local VARIABLE = "BROOD_POOL_OPTIONS"
local VARIABLE_MAX = 128 * 1024 - #VARIABLE - 2 -- the kernel takes no longer one
local ENDING = 0.5 -- seconds in which a program that has closed a pipe may also end
local END_OF_INPUT = 1 -- seconds it has to end by itself once its stdin has ended, before it is told to

-- The pool's `options` as the program finds them; nil where there are none.
local function options_text(given)
  if given == nil then
    return nil
  end
  local text, err = line.encode(given, "options")
  if not text then
    return nil, E.new("options", "the options of a program must be JSON: %s", err.message)
  elseif #text > VARIABLE_MAX then
    return nil, E.new("options", "the options of a program are %d bytes of JSON, and its environment takes %d", #text,
      VARIABLE_MAX)
  end
  return text
end

--- Raise what is wrong with the `options` of a pool whose worker is a program.
---@param given any
---@param level integer as of `error`, in the function that calls this
---@param what string the function to name
function M.check(given, level, what)
  local _, err = options_text(given)
  if err then
    error(("%s: %s"):format(what, err.message), level + 1)
  end
end

---@class brood.PoolProgram
---@field process_options table for Process.new
---@field inner table for Process.new
---@field process brood.Process? once attached
---@field current { seq: integer, id: string, refused: any }? the job it has
local Program = {}
Program.__index = Program

---@class brood.PoolProgramWiring
---@field name string what errors call it
---@field worker table the option, checked
---@field options any the pool's
---@field lane userdata of the pool's store
---@field id_of fun(seq: integer): string what the program sees as the job's id
---@field on_frame fun(frame: string) answers, as `lane:take` reads them
---@field env? table<string, string|false> the pool's
---@field on_fault fun(err: brood.Error) it has broken the protocol and must be killed; its job has failed already

--- A program that is not started yet.
---@param o brood.PoolProgramWiring
---@return brood.PoolProgram
function M.new(o)
  local self = setmetatable({
    name = o.name, worker = o.worker, inbox = o.lane:inbox(),
    id_of = o.id_of, on_frame = o.on_frame, on_fault = o.on_fault,
    lines = json_line.lines(),
  }, Program)
  local text, err = options_text(o.options)
  if err then
    error(err, 0)
  end
  local env = merged(merged({ [VARIABLE] = text or false }, o.env), o.worker.env)
  self.process_options = {
    command = o.worker.command, cwd = o.worker.cwd, env = env, stdin = "pipe",
    stdout = function(chunk) self:took(chunk) end,
  }
  self.inner = {
    raw = { stdout = function() self:output_ended() end },
    ready = o.worker.ready == "line" and "line" or nil,
  }
  return self
end

--- The process that was made of `process_options` and `inner`. Its `stop` ends the program's stdin first.
---@param process brood.Process
function Program:attach(process)
  self.process = process
  process:once("exit", function()
    self.over = true
    if self.grace then
      self.grace:cancel()
    end
  end)
  process.stop = function(_, cb)
    return self:stop(cb)
  end
end

-- ---- jobs in ----

local function flush(self)
  local frame = self.inbox:frame()
  while frame do
    self.on_frame(frame)
    frame = self.inbox:frame()
  end
end

-- An error that no message can carry is told by another one.
local function put_end(self, seq, kind, bytes)
  local ok, err = self.inbox:put(seq, kind, bytes)
  if not ok then
    err = E.new(err.code, "the job's end cannot be told: %s", err.message)
    self.inbox:put(seq, "failure", message.encode_error(err))
  end
end

local function put_failure(self, seq, err)
  put_end(self, seq, "failure", message.encode_error(err))
end

-- It has a job and can neither read nor answer: unless it ends by itself, as most do then, it is at fault.
local function await_end(self, what)
  if self.over or self.grace or self.broken then
    return
  end
  self.grace = timer.after(ENDING, function()
    self.grace = nil
    if not self.over and not self.broken then
      self:fault(E.new("protocol", "it has closed its %s but goes on", what))
    end
  end)
end

local function write(self, text)
  local job = self.current
  self.process:write(text, function(err)
    job.refused = err
    if err and self.current == job then
      await_end(self, "stdin")
    end
  end)
end

-- A job that JSON cannot carry fails here, for good, and the next one has its turn.
local function begin(self, seq, attempt, bytes)
  local encoded, id = payload.unpack(bytes)
  local whole, data = message.decode(encoded)
  id = id or self.id_of(seq)
  local text, err
  if whole then
    text, err = line.job(id, attempt, data)
  else
    err = E.new("protocol", "the job cannot be decoded: %s", E.describe(data))
  end
  if text then
    self.current = { seq = seq, id = id }
    return write(self, text)
  end
  err.retry = false
  put_failure(self, seq, err)
end

-- Give it the next job that waits for it, where it has none. What fails here is told at the end of this turn: whoever
-- has just given it jobs is not to hear of their end before it has finished with that.
local function advance(self)
  while not (self.current or self.broken or self.output_over or self.over) do
    local seq, attempt, bytes = self.inbox:next(clock.now())
    if not seq then
      return
    end
    begin(self, seq, attempt, bytes)
    if not self.current and not self.flushing then
      self.flushing = true
      core.at_turn_end(function()
        self.flushing = false
        if not self.over then
          flush(self)
        end
      end)
    end
  end
end

--- Jobs for it, as `lane:assign` has made them. It has them one after the other.
---@param frame string
---@return true? ok, string? err
function Program:feed(frame)
  local ok, err = self.inbox:feed(frame)
  if ok then
    advance(self)
  end
  return ok, err
end

-- ---- answers out ----

--- It cannot be trusted any more: what it works on fails, and it must be killed.
---@private
---@param err brood.Error
function Program:fault(err)
  if self.broken then
    return
  end
  self.broken = true
  err = E.of(self.name, err)
  local job = self.current
  if job and job.refused then
    self.unread = true -- it has closed its stdin: that job is for another one
  elseif job then
    self.current = nil
    put_failure(self, job.seq, err)
  end
  flush(self) -- with what it said before that was right
  self.on_fault(err)
end

local function answer(self, said)
  local job = self.current
  local bytes, err
  if said.kind == "failure" then
    bytes = message.encode_error(said.value)
  else
    bytes, err = message.encode(said.value, said.kind == "success" and "the result" or "the progress")
  end
  if not bytes then
    err.retry = false
  end
  if said.kind ~= "progress" then
    self.current = nil
  elseif not bytes then
    return self:fault(err)
  end
  put_end(self, job.seq, bytes and said.kind or "failure", bytes or message.encode_error(err))
end

local function take_line(self, text)
  local said, err = line.parse(text)
  if not said then
    return self:fault(err)
  elseif said.kind == "ready" then
    local run = self.process.run
    local ready = run and run.on_ready
    return ready and ready()
  elseif not self.current then
    return self:fault(E.new("protocol", "it answered without a job: %s", line.quote(text)))
  elseif said.job and said.job ~= self.current.id then
    return self:fault(E.new("protocol", "it answered for job %s while it had job %s", line.quote(said.job),
      self.current.id))
  end
  answer(self, said)
end

-- The next job is given only behind all that has come: an answer too many is then seen for what it is.
---@private
function Program:took(chunk)
  if self.broken then
    return
  end
  local ok, err = self.lines:feed(chunk, function(text)
    take_line(self, text)
    return not self.broken
  end)
  if not ok then
    return self:fault(err)
  elseif not self.broken then
    flush(self)
    advance(self)
  end
end

--- See to what it has written and nobody has read yet.
function Program:read_now()
  local run = self.process.run
  for _, output in ipairs(run and run.outputs or {}) do
    output:look()
  end
end

-- ---- ends ----

-- Whether the program has read all of the line that gave it its job. What the pipe has not taken, or still has, it has
-- not. (That a write is complete libuv may tell later than the program's end; how much it still has, at once.)
local function has_read(self)
  local stdin = self.process.run and self.process.run.stdin
  if not stdin or stdin.handle:is_closing() then
    return true
  elseif self.current.refused or stdin.handle:get_write_queue_size() > 0 then
    return false
  end
  return core.fd.unread(stdin.handle:fileno()) == 0
end

---@private
function Program:output_ended()
  self.output_over = true
  local text = self.lines:last()
  if not self.broken and line.parse(text) then
    take_line(self, text) -- the last line may lack its end; but half a line is what somebody who was killed leaves
    flush(self)
  end
  if self.current then
    self.unread = not has_read(self)
  end
  await_end(self, "stdout")
end

--- Once it is dead: the job that was meant for it, and of which it provably has read nothing or not all.
---@return integer? seq
function Program:untaken()
  return self.current and self.unread and self.current.seq or nil
end

--- End it: its stdin ends, which tells most programs enough; else it is stopped as any process.
---@async
---@param cb? fun(err: brood.Error?)
function Program:stop(cb)
  local process = self.process
  local stop = Process.class.stop
  if self.ending or self.current or process.state ~= "ready" and process.state ~= "busy" then
    return stop(process, cb)
  end
  self.ending = true
  process:close_stdin(function() end)
  self.grace = self.grace or timer.patience(END_OF_INPUT, function()
    self.grace = nil
    if not self.over then
      stop(process, function() end)
    end
  end)
  return task.run(cb, "process:stop", function(done)
    process:wait(function() done() end)
  end)
end

return M
