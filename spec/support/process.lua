--- Processes and groups under test, in the spec's own process. What a test leaves running is killed by `cleanup`, which
--- is to be the suite's teardown.
local group = require "brood.group"
local Process = require "brood.process"
local s = require "spec.support"
local supervised = require "brood.supervised"

-- What watches signals and orphans stays for good: no test's leak.
supervised.adopt_orphans()
supervised.guard_signals()

local M = {}
local made, groups = {}, {}

---A process that the end of the test ends.
---@param options brood.ProcessOptions
---@param inner? table
---@return brood.Process
function M.new(options, inner)
  local process = Process.new(options, inner)
  table.insert(made, process)
  return process
end

---A group that the end of the test ends.
---@param options table as of brood.group
---@return brood.Group
function M.group(options)
  local self = group.new(options)
  table.insert(groups, self)
  return self
end

---Record every event of an emitter: a list of its names, or of whole events if `whole` is given.
---@param emitter table
---@param whole? boolean
---@return table list
function M.record(emitter, whole)
  local list = {}
  emitter:on("*", function(name, ...)
    if whole then
      table.insert(list, { name, ... })
    elseif name ~= "state" then
      table.insert(list, name)
    end
  end)
  return list
end

---Start a call with a callback; the result is a table that fills in: answers (how often), err, values.
---@param object table
---@param method string
---@param ... any
---@return table
function M.call(object, method, ...)
  local call = { answers = 0 }
  local arguments = { ... }
  table.insert(arguments, function(err, ...)
    call.answers, call.err, call.values = call.answers + 1, err, { ... }
  end)
  object[method](object, unpack(arguments))
  return call
end

---Wait until all these calls are answered, and assert that none is answered twice.
---@param ... table
function M.answered(...)
  for i, call in ipairs { ... } do
    s.wait(function() return call.answers > 0 end, 10, "the answer to call " .. i)
  end
  for i, call in ipairs { ... } do
    assert(call.answers == 1, ("call %d was answered %d times"):format(i, call.answers))
  end
end

---A process that runs `sh -c text`.
---@param text string
---@param options? brood.ProcessOptions
---@return brood.Process
function M.sh(text, options)
  local full = { command = { "sh", "-c", text } }
  for name, value in pairs(options or {}) do
    full[name] = value
  end
  return M.new(full)
end

---A process that runs `brood exec` with this Lua text, and `args`.
---@param text string
---@param options? brood.ProcessOptions
---@param args? string[]
---@return brood.Process
function M.script(text, options, args)
  local head = 'local brood, uv, posix = require "brood", require "luv", require "brood.posix"\n'
  local full = { command = { s.binary, "exec", s.write_file("script.lua", head .. text), unpack(args or {}) } }
  for name, value in pairs(options or {}) do
    full[name] = value
  end
  return M.new(full)
end

---Collect lines: `stdout = lines.add`.
---@return { add: fun(line: string), [integer]: string }
function M.lines()
  local lines = {}
  lines.add = function(line)
    table.insert(lines, line)
  end
  return lines
end

---KILL what still runs, and wait for it.
function M.cleanup()
  for i, self in ipairs(groups) do
    groups[i] = nil
    self:kill()
    self:stop()
  end
  for i = #made, 1, -1 do
    local process = made[i]
    made[i] = nil
    process.next_starters = {}
    process:hurry(9, 0)
    process:stop()
  end
end

return M
