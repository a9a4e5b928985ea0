--- A child: one script (or program) with a graceful start and stop, messages both ways, and another one in its place
--- when it ends unasked. Its process is brood.process's business, when to start again rules/restart's; this joins
--- the two, and carries what its functions failed with to whoever waits. What the script itself calls
--- (Child.main, Child.once) is child.inside.
local core = require "brood.core"
local emitter = require "brood.emitter"
local lazy = require "brood.lazy"
local lines = lazy.room "brood.child.lines"
local options = require "brood.options"
local ours = require "brood.ours"
local plan = require "brood.child.plan"
local Process = require "brood.process"
local respawn = require "brood.child.respawn"
local signals = require "brood.signals"
local tail = require "brood.child.tail"
local task = require "brood.task"

---@class brood.ChildOptions: brood.ProcessOptions
---@field script? string in place of the first argument
---@field args? (string|number)[] of the script (or more of the command)
---@field respawn? boolean default true: one that ends unasked is started again
---@field respawn_delay? number|string default 1 s; each further end in a row doubles it, up to 30 s
---@field ready? "spawn"|"line"|"notify"|table of a command; default "spawn". "line": it says {"ready": true}

--- Of one incarnation.
---@class brood.ChildRun
---@field run table the process's
---@field begun? { title: string, once: boolean } what the script has called, Child.main or Child.once
---@field finished? boolean its function has done what it had to do
---@field stop_error? brood.Error what its stop function failed with

---@class brood.Child: brood.Emitter
---@field name string
---@field pid integer? while it runs
---@field state brood.ProcessState
---@field process brood.Process
---@field current brood.ChildRun? the latest
local Child = emitter.mixin {}

local VIEWED = { pid = true, state = true, exit_code = true, exit_signal = true, started_at = true }

local class = {
  __index = function(self, key)
    if VIEWED[key] then
      return rawget(self, "process")[key]
    end
    return Child[key]
  end,
}

local M = {}

-- ---- what the process tells ----

local function frames(self)
  return {
    begun = function(value) self.current.begun = value end,
    stopped = function() self.current.finished = true end,
    stop_failed = function(err) self.current.stop_error = err end,
  }
end

-- A program says in which of its functions it has failed by when it says so.
local function program_failed(self, err)
  local process = self.process
  if process.state == "starting" then
    process:fail(err)
  elseif process.state == "stopping" then
    self.current.stop_error = err
  else
    self.current.run.failure = err
  end
end

-- What its start has not come beyond, where it may be the script that has forgotten something.
local function where(self)
  if self.plan.kind == "script" then
    return self.current.begun and "its start function is not done" or "it has not called Child.main or Child.once"
  end
  return self.plan.ready == "line" and 'it has not said {"ready": true}' or nil
end

-- It had its time to become ready: what it does at its end must not take as long again.
local function hurry_late_start(self)
  local failure = self.current.run.failure
  if failure and failure.code == "timeout" and self.plan.kind == "script" then
    self.process:signal "INT" -- with the TERM that follows they are two
  end
end

local function inner(self, program)
  local script = self.plan.kind == "script"
  return {
    target = self, ready = self.plan.ready, lua = script, leader_alone = script, program = program,
    frames = script and frames(self) or nil,
    where = function() return where(self) end,
    attach = not script and function(process, run)
      return lines.attach(process, run, self, function(err) program_failed(self, err) end)
    end or nil,
  }
end

local function listen(self)
  local process = self.process
  process:on("starting", function()
    self.current = { run = process.run }
    process.options.stop_timeout = self.stop_timeout
    self.tail:clear()
    if self.plan.kind == "script" then
      process.options.program = plan.runtime() -- which may have been put somewhere else since
    end
  end)
  process:on("stopping", function() hurry_late_start(self) end)
  process:on("state", function(new) self:emit("status", new) end)
  process:on("error", function(err) self:emit("error", err) end)
  process:on("exit", function(code, signal)
    self:emit("exit", code, signal)
    local stop_error = self.current.stop_error
    if stop_error and not self.current.run.stop_asked then
      self:emit("error", stop_error) -- nobody waits for it
    end
  end)
  respawn.watch(self)
end

--- A child of that plan; nothing is started yet.
---@param made brood.ChildPlan
---@return brood.Child
function M.of(made)
  local self = setmetatable({ plan = made, name = made.name, by_hand = 0 }, class)
  self.tail = tail.new(made.process)
  self.process = Process.new(made.process, inner(self, made.kind == "script" and plan.runtime() or nil))
  self.stop_timeout = self.process.options.stop_timeout
  listen(self)
  return self
end

--- Describe a child; nothing is started yet.
---
---     local child = Child.new("worker.lua", { args = { "a" } })
---     local program = Child.new { command = { "python3", "worker.py" }, ready = "line" }
---
---@param script_or_options string|brood.ChildOptions the path of a Lua script; or options with `script` or `command`
---@param given? brood.ChildOptions
---@return brood.Child
function M.new(script_or_options, given)
  local made = plan.make(2, "Child.new", script_or_options, given)
  return M.of(made)
end

-- ---- methods ----

--- Start it; returns true once its start function is done. What that failed with arrives as it was raised. While it
--- is ready this starts nothing; while it starts this joins, while it stops it starts afterwards.
---@async
---@param cb? fun(err: brood.Error?)
function Child:start(cb)
  return task.run(cb, "child:start", function(done)
    respawn.by_hand(self)
    if self.state == "stopping" then
      self.process:excuse_reader(cb)
    end
    self.by_hand = self.by_hand + 1
    self.process:start(function(err)
      self.by_hand = self.by_hand - 1
      done(err and tail.explain(self, err))
    end)
  end)
end

--- Stop it, and start no other one: TERM, on which its stop function runs, and KILL after stop_timeout. Returns true
--- once nothing of it is left, or nil and what its stop function failed with.
---@async
---@param timeout? number|string|false in place of stop_timeout, this time; 0 kills at once
---@param cb? fun(err: brood.Error?)
function Child:stop(timeout, cb)
  if type(timeout) == "function" then
    timeout, cb = nil, timeout
  end
  local patience = timeout and options.duration("child:stop", timeout)
  return task.run(cb, "child:stop", function(done)
    respawn.cancel(self)
    if patience or timeout == false then
      self.process:limit_stop(patience or false)
    end
    self.process:excuse_reader(cb)
    local current = self.process.run and self.current
    self.process:stop(function()
      done(current and current.stop_error)
    end)
  end)
end

--- Send it a signal, TERM unless told otherwise. One that ends of it has ended unasked: `stop` is for good.
---@param signal? string|integer
---@return true? ok, brood.Error? err code "stopped" where none runs
function Child:kill(signal)
  local number = signals.check(signal or "TERM", 2)
  return self.process:signal(number)
end

--- Send it a message. Never suspends.
---@param value any a program gets it as a line of JSON, a script any Lua value without functions or userdata
---@param fd? integer a descriptor for a script
---@return boolean? sent false when more than 1 MB waits (`drain` follows); nil where none runs
---@return brood.Error? err
function Child:send(value, fd)
  return self.process:send(value, fd)
end

--- The word for what it is doing.
---@return brood.ProcessState
function Child:status()
  return self.process.state
end

---@private
function Child:on_listen()
  self.process:on_listen()
end

-- One that runs is a child of the process that has started it.
ours.guard(Child, "child", { "start", "stop", "kill", "send" },
  function(self) return getmetatable(self) == class end,
  function(self) return self.process.run and self.process.run.born ~= core.generation() end)

-- ---- the others ----

--- Run a script once: to the end of its Child.once.
---@async
---@param script string|brood.ChildOptions
---@param given? table what Child.new takes but respawn, and timeout
---@param cb? fun(err: brood.Error?)
function M.run(script, given, cb)
  if type(script) == "string" and type(given) == "function" and cb == nil then
    given, cb = nil, given
  end
  return require("brood.child.run")(M, script, given, cb)
end

--- In a script: what it does while it runs. `start` is over when it returns or, where it declares `done`, when that is
--- called; then the child is ready. `stop` runs when the parent stops it or is gone, and on TERM, INT and HUP.
---@param title string what ps shows
---@param start? fun(done: fun(err: any?)?)
---@param stop? fun(done: fun(err: any?)?)
function M.main(title, start, stop)
  return require("brood.child.inside").main(title, start, stop)
end

--- In a script: what it is there for. When the function is done the script ends, with status 0 or 1.
---@param title string what ps shows
---@param fn fun(done: fun(err: any?)?)
function M.once(title, fn)
  return require("brood.child.inside").once(title, fn)
end

return M
