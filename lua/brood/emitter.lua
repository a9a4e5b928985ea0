--- Emitters: on, once, off, emit. Each listener runs in a task of its own, so
--- it may wait, and one that raises is logged without harm to the others.
local core = require "brood.core"
local E = require "brood.error"
local task = require "brood.task"

---@class brood.Emitter
local M = {}

--- Raise at the line that called what calls this, where these cannot be listened with.
---@param event any
---@param fn any
function M.check(event, fn)
  if type(event) ~= "string" then
    error("the event must be a string, got " .. type(event), 3)
  elseif type(fn) ~= "function" then
    error(("the listener of '%s' must be a function, got %s"):format(event, type(fn)), 3)
  end
end

-- Lists are replaced, never changed: an emit that is under way keeps the one it began with.
local function add(self, event, entry)
  local all = rawget(self, "heard")
  if not all then
    all = {}
    rawset(self, "heard", all)
  end
  local list = { unpack(all[event] or {}) }
  list[#list + 1] = entry
  all[event] = list
  local hook = self.on_listen
  if hook then
    hook(self, event)
  end
end

--- Call fn(...) at every emit of the event; for "*", fn(event, ...) at every emit of any.
---@generic T
---@param self T
---@param event string
---@param fn function
---@return T
function M.on(self, event, fn)
  M.check(event, fn)
  add(self, event, { fn = fn })
  return self
end

--- Like `on`, for the next emit alone.
---@generic T
---@param self T
---@param event string
---@param fn function
---@return T
function M.once(self, event, fn)
  M.check(event, fn)
  add(self, event, { fn = fn, once = true })
  return self
end

--- Take back an `on` or `once`; without fn, every listener of the event.
---@generic T
---@param self T
---@param event string
---@param fn? function
---@return T
function M.off(self, event, fn)
  local all = rawget(self, "heard")
  local old = all and all[event]
  if not old then
    return self
  end
  local list = {}
  for _, entry in ipairs(old) do
    if fn and entry.fn ~= fn then
      list[#list + 1] = entry
    end
  end
  all[event] = #list > 0 and list or nil
  return self
end

local function remove_entry(all, event, gone)
  local list = {}
  for _, entry in ipairs(all[event] or {}) do
    if entry ~= gone then
      list[#list + 1] = entry
    end
  end
  all[event] = #list > 0 and list or nil
end

local function each(all, event, wanted, call, ...)
  local list = all[event]
  if not list then
    return
  end
  for i = 1, #list do
    local entry = list[i]
    if not wanted or wanted(entry) then
      if entry.once then
        remove_entry(all, event, entry)
      end
      call(entry.fn, ...)
    end
  end
end

--- Whether somebody listens to exactly this event.
---@param event string
---@return boolean
function M.has_listener(self, event)
  local all = rawget(self, "heard")
  return all ~= nil and all[event] ~= nil
end

--- The same for those listeners alone that wanted(entry) names, nil: all of them.
---@param wanted? fun(entry: table): boolean
---@param event string
function M.emit_to(self, wanted, event, ...)
  local all = rawget(self, "heard")
  if event == "error" and not (all and (all.error or all["*"])) then
    core.log.write("error", ("%s: %s"):format(rawget(self, "name") or "error", E.text((...))))
    return
  end
  if not all then
    return
  end
  -- An object may want to know when its listeners have finished.
  local call = rawget(self, "call_listener") or task.spawn
  each(all, event, wanted, call, ...)
  each(all, "*", wanted, call, event, ...)
end

--- Call the listeners of the event, each in a task, in the order of their
--- adding. It does not wait for one that suspends.
---@param event string
function M.emit(self, event, ...)
  return M.emit_to(self, nil, event, ...)
end

--- Like emit, and tells whether a listener returned true before it first waited.
---@param event string
---@return boolean
function M.ask(self, event, ...)
  local all = rawget(self, "heard")
  local answer = false
  local function take(fn, ...)
    if fn(...) == true then
      answer = true
    end
  end
  each(all or {}, event, nil, function(fn, ...)
    task.spawn(take, fn, ...)
  end, ...)
  return answer
end

--- All listeners that there are now, to tell them from those to come.
---@return table<table, true>
function M.listening(self)
  local set = {}
  for _, list in pairs(rawget(self, "heard") or {}) do
    for _, entry in ipairs(list) do
      set[entry] = true
    end
  end
  return set
end

--- Take all listeners back that keep(entry) does not want; entry.fn is the function.
---@param keep fun(entry: table): boolean
function M.only(self, keep)
  local all = rawget(self, "heard") or {}
  for event, list in pairs(all) do
    local kept = {}
    for _, entry in ipairs(list) do
      kept[#kept + 1] = keep(entry) and entry or nil
    end
    all[event] = kept[1] and kept or nil
  end
end

--- Give a class the methods of an emitter.
---@generic T: table
---@param class T
---@return T
function M.mixin(class)
  for _, name in ipairs { "on", "once", "off", "emit" } do
    class[name] = M[name]
  end
  return class
end

--- A plain emitter.
---@return brood.Emitter
function M.new()
  return setmetatable({}, { __index = { on = M.on, once = M.once, off = M.off, emit = M.emit } })
end

return M
