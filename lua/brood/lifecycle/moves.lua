--- How a lifecycle moves: its items started one after the other, and stopped in reverse. What it is, and who may ask
--- it for what, is brood.lifecycle's. It keeps nothing in itself.
local core = require "brood.core"
local E = require "brood.error"
local log = require "brood.log"
local task = require "brood.task"
local timer = require "brood.timer"

local M = {}

-- ---- one function ----

-- Waits until its function is over, or has had its time: what it does after that is its own business.
---@async
---@return true? ok, brood.Error? err
local function run(self, item, what)
  local fn, seconds = item[what], item[what .. "_timeout"]
  self:emit(what, item)
  if not fn then
    return true
  end
  return task.run(nil, "lifecycle", function(done)
    local over = false
    local function finish(err)
      err = err and E.from(err) or nil
      if over then
        return err and log.error(("%s: its %s failed after its time: %s"):format(item.title, what, E.text(err)))
      end
      over = true
      if err and rawget(err, "item") == nil then
        rawset(err, "item", item.title)
      end
      done(err)
    end
    task.call_done(fn, timer.limit(seconds, function()
      finish(E.new("timeout", "%s: its %s took longer than %g s", item.title, what, seconds))
    end, finish))
  end)
end

-- ---- several errors as one ----

local function list_errors(errors)
  local texts, traces = {}, {}
  for i, err in ipairs(errors) do
    local text = E.describe(err)
    local named = err.item and text:sub(1, #err.item + 2) ~= err.item .. ": "
    texts[i] = named and ("%s: %s"):format(err.item, text) or text
    traces[i] = named and ("%s: %s"):format(err.item, E.text(err)) or E.text(err)
  end
  local err = E.new(errors[1].code or "error", "%s", table.concat(texts, "; "))
  err.traceback = table.concat(traces, "\n")
  err.errors = errors
  return err
end

-- ---- stopping ----

--- Call them all.
---@param list fun(...)[]
function M.answer(list, ...)
  for _, done in ipairs(list) do
    done(...)
  end
end

-- All that was to be stopped is. Where something runs that was online before this start, it stays so.
local function stopped(self, errors, failure)
  local err = errors[1] and list_errors(errors) or nil
  -- Taken first: a listener may well start it again at once.
  local starters, stoppers, later = self.starters, self.stoppers, self.next_starters
  self.starters, self.stoppers, self.next_starters = {}, {}, {}
  if self.running[1] then
    self.state = "ready"
  else
    self.state = err and "faulted" or "stopped"
    local offline = self.online and not err
    self.online = false
    if offline then
      self:emit "offline"
    end
  end
  if failure and err then
    failure = list_errors { failure, unpack(errors) }
  end
  M.answer(starters, failure or E.new("stopped", "%s was stopped before it was online", self.name))
  M.answer(stoppers, err)
  for _, done in ipairs(later) do
    M.begin_start(self, done)
  end
end

--- The last that was started first, down to what is to stay, of which there is nothing where somebody has called stop.
--- What cannot be stopped does not keep the others from it.
---@async
---@param self brood.Lifecycle
---@param stay integer how many
---@param failure? brood.Error of the start that this undoes
function M.stop_down_to(self, stay, failure)
  self.state, self.moving = "stopping", core.generation()
  local errors = {}
  while #self.running > (self.stoppers[1] and 0 or stay) do
    local item = table.remove(self.running)
    item.state = "stopping"
    local ok, err = run(self, item, "stop")
    item.state = ok and "stopped" or "faulted"
    table.insert(errors, err)
  end
  stopped(self, errors, failure)
end

-- ---- starting ----

local function next_to_start(self)
  for _, item in ipairs(self.items) do
    if item.state ~= "ready" then
      return item
    end
  end
end

local function online(self)
  local before = self.online
  self.state, self.online = "ready", true
  local starters = self.starters
  self.starters = {}
  if not before then
    self:emit "online"
  end
  M.answer(starters)
end

---@async
local function start_all(self)
  self.state, self.moving = "starting", core.generation()
  local before = #self.running
  for item in next_to_start, self do
    if self.stoppers[1] then
      break
    end
    item.state = "starting"
    local ok, err = run(self, item, "start")
    if not ok then
      item.state = "stopped"
      return M.stop_down_to(self, before, err)
    end
    item.state = "ready"
    table.insert(self.running, item)
  end
  if self.stoppers[1] then
    return M.stop_down_to(self, 0)
  end
  online(self)
end

--- Start what is not ready, or join; done(err) once.
---@param self brood.Lifecycle
---@param done fun(err: brood.Error?)
function M.begin_start(self, done)
  if self.state == "stopping" then
    return table.insert(self.next_starters, done)
  elseif self.state == "ready" and not next_to_start(self) then
    return done()
  end
  table.insert(self.starters, done)
  if self.state ~= "starting" then
    task.spawn(start_all, self)
  end
end

return M
