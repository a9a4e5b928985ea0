--- A process that forks others for its parent: a copy of it as it was when the template was started, and which did
--- nothing since. The larger and busier a process is, the more a fork of it costs. What a template forks is the child
--- of its parent, and from then on like any other; when one is needed, others decide.
---
--- All that can become of an order: the child says over its own channel that it is born; the template says that it
--- cannot fork; the channel ends before either, as the child has; or the template is dead, and its whole group with it:
--- then the child is born, or never will be.
local by_template = require "brood.process.by_template"
local child = require "brood.process.child"
local clock = require "brood.clock"
local core = require "brood.core"
local E = require "brood.error"
local fork = require "brood.fork"
local log = require "brood.log"
local message = require "brood.message"
local Process = require "brood.process"
local timer = require "brood.timer"

local PATIENCE = 1 -- seconds for one fork, which takes some ms: a template that takes longer is stopped, or stuck
local AGAIN = 1 -- seconds after the end of one before there is another: meanwhile the parent forks by itself

---@class brood.Template
---@field process brood.Process?
---@field pending table<integer, { lost: fun(), failed: fun(err: brood.Error) }>
local Template = {}
Template.__index = Template

local M = {}

-- ---- in the template ------------------------------------------------------------------------------------------------

-- Its copy of the new one's channel must be in that one alone.
local function fork_one(self, fill, order, channel)
  core.fd.own(channel)
  local keep = { channel, unpack(self.keep) }
  local pid, err = fork.main(keep, function()
    child.run(by_template.plan(fill(order), channel, order.identity))
  end, true)
  core.fd.close(channel)
  return pid, err
end

-- It does not collect its garbage first: what is free then lies in many pages, and each child would copy those.
local function serve(self, line)
  local fill = self.make()
  line.peer:hold_loop(true)
  line.peer:handle("fork", function(order, channel)
    local pid, err
    if channel then
      pid, err = fork_one(self, fill, order, channel)
    else
      err = E.new("EMFILE", "too many files are open in %s", self.name)
    end
    if not pid then
      line.peer:post("not_forked", { order.number, message.encode_error(err) })
    end
  end)
end

-- ---- in its parent --------------------------------------------------------------------------------------------------

-- One that does not even answer is of no use; its end settles what it was asked.
local function watch(self)
  timer.drop(self, "watching")
  if next(self.pending) then
    self.watching = timer.patience(PATIENCE, function()
      self.watching = nil
      if self.process then
        log.warn(("%s (pid %s) has not answered for %g s: KILL; until there is another one the parent forks")
          :format(self.name, tostring(self.process.pid), PATIENCE))
        self.process:kill_now()
      end
    end)
  end
end

local function settle(self, number)
  local one = self.pending[number]
  self.pending[number] = nil
  watch(self)
  return one
end

-- Whatever it has forked is dead as well, or has said that it is born.
local function on_exit(self)
  self.process, self.again_at = nil, clock.now() + AGAIN
  local lost = {}
  for number in pairs(self.pending) do
    lost[#lost + 1] = number
  end
  table.sort(lost)
  for _, number in ipairs(lost) do
    settle(self, number).lost()
  end
end

local function not_forked(self, answer)
  local one = settle(self, answer[1])
  if one then
    local _, err = message.decode(answer[2])
    one.failed(E.from(err))
  end
end

local function launch(self)
  local process = Process.new({
    name = self.name, stop_timeout = 0,
    main = function(line)
      serve(self, line)
    end,
  }, {
    keep = self.keep,
    prepare = function()
      core.posix.setproctitle("brood: " .. self.name)
    end,
    frames = {
      not_forked = function(answer)
        not_forked(self, answer)
      end,
    },
  })
  process:on("exit", function()
    on_exit(self)
  end)
  process:on("error", function() end) -- those who need one fork by themselves then
  process:start(function() end)
  if process.run then
    self.process = process
  else
    self.again_at = clock.now() + AGAIN
  end
  return self.process
end

--- Have a child forked for the order, plain data, which gets the channel. Returns nil where there is no
--- template: the parent is to do it by itself. Else one of `heard.lost()` and `heard.failed(err)` is called, unless
--- what is returned has been: the child is born, or has ended before.
---@param order table
---@param channel integer
---@param heard { lost: fun(), failed: fun(err: brood.Error) }
---@return fun()? over
function Template:ask(order, channel, heard)
  local process = self.process
  if self.closed or self.owner ~= core.generation() or clock.now() < self.again_at then
    return nil
  end
  process = process or launch(self)
  if not process or process.state == "stopping" then
    return nil
  end
  local number = self.last + 1
  self.last, order.number = number, number
  if process:post("fork", order, channel) == nil then
    return nil
  end
  self.pending[number] = heard
  if not self.watching then
    watch(self)
  end
  return function()
    settle(self, number)
  end
end

--- End it; it makes no more. What it was asked for is `lost`.
---@param done fun() when nothing of it is left
function Template:stop(done)
  self.closed = true
  if not self.process then
    return done()
  end
  self.process:stop(done)
end

--- A template; it is started when it is asked for the first time.
---@param name string
---@param keep? integer[] owned descriptors that it and its children have
---@param make fun(): fun(order: table): brood.Process once in the template: what its children have in common; and in
--- each of these: what it is to be
---@return brood.Template
function M.new(name, keep, make)
  return setmetatable({
    name = name .. " template", keep = keep or {}, make = make, pending = {}, last = 0, again_at = 0,
    owner = core.generation(),
  }, Template)
end

return M
