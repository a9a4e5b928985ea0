--- Where a mistake was made, when the stack no longer tells. `return res:finish({})` is a
--- tail call: the function that made it has left the stack, and the message would name no line.
--- What called that function is there, and so are its instructions.
--- Looked at only when something has been raised; it changes nothing.
local bit = require "bit"
local util = require "jit.util"

local M = {}

local METHOD = "^[%w_.]+[:.]([%a_]+): " -- of a message that begins with what was called
local OWN = "^%S*lua/brood/%S+:%d+: (.*)$" -- of one that begins with a line of ours, to which the caller's has gone

local band, rshift = bit.band, bit.rshift

local function opcode(ins)
  return band(ins, 0xff)
end

local function first_and_last(fn)
  local pc, last = 1, nil
  while util.funcbc(fn, pc) do
    last = opcode(util.funcbc(fn, pc))
    pc = pc + 1
  end
  return opcode(util.funcbc(fn, 1)), last
end

-- The numbers of instructions differ between versions of LuaJIT: taken from functions that use them.
local INDEX = first_and_last(function(t) return t.x end)
local _, TAIL = first_and_last(function(f) return f() end)
local _, TAIL_OPEN = first_and_last(function(f, ...) return f(...) end)
-- Where a function has closures, its returns stand at its end, and are jumped to.
local LEAVE = opcode(util.funcbc(function(a) if a then return a() end return function() return a end end, 4))

local function is_own(info)
  return info.source:find("lua/brood/", 1, true) ~= nil
end

-- The instruction from which control comes to pc.
local function before(fn, pc)
  for i = 1, pc - 1 do
    local ins = util.funcbc(fn, i)
    if opcode(ins) == LEAVE and i + 1 + rshift(ins, 16) - 0x8000 == pc then
      return i
    end
  end
  return pc - 1
end

-- What the function in register a is called, that an instruction before pc fetched there.
local function name_of(fn, pc, a)
  for i = before(fn, pc), 1, -1 do
    local ins = util.funcbc(fn, i)
    if band(rshift(ins, 8), 0xff) == a and opcode(ins) == INDEX then
      return util.funck(fn, -band(rshift(ins, 16), 0xff) - 1)
    end
  end
end

--- The lines of fn that call a method of this name in a tail call.
---@param fn function
---@param name string
---@return integer[]
function M.lines(fn, name)
  local lines, pc = {}, 1
  local ins = util.funcbc(fn, pc)
  while ins do
    local op = opcode(ins)
    if (op == TAIL or op == TAIL_OPEN) and name_of(fn, pc, band(rshift(ins, 8), 0xff)) == name then
      local line = util.funcinfo(fn, pc).currentline
      lines[#lines + 1] = line
    end
    pc = pc + 1
    ins = util.funcbc(fn, pc)
  end
  table.sort(lines)
  return lines
end

-- The user's function that a frame of ours has called: it is one of its locals.
local function called_from(level)
  local i = 1
  local name, value = debug.getlocal(level + 1, i)
  while name do
    local info = type(value) == "function" and debug.getinfo(value, "S")
    if info and info.what ~= "C" and not is_own(info) then
      return value, info
    end
    i = i + 1
    name, value = debug.getlocal(level + 1, i)
  end
end

-- From what raised, through ours that it was in, to the protected call in which the user's function was.
local function find_caller(level)
  local info = debug.getinfo(level, "fS")
  if info and info.func == error then
    level = level + 1
    info = debug.getinfo(level, "fS")
    if not info or info.what == "C" then
      return nil -- the user's own, without a place on purpose
    end
  end
  if info and info.what == "C" then
    level = level + 1
    info = debug.getinfo(level, "fS")
  end
  while info and info.what ~= "C" and is_own(info) do
    level = level + 1
    info = debug.getinfo(level, "fS")
  end
  if info and info.func == xpcall then
    local fn, where = called_from(level + 1) -- no tail call: levels are counted
    return fn, where
  end
end

--- Whether there is no line in the message that whoever made the mistake could look at.
---@param message string
---@return boolean
function M.is_without_place(message)
  return (message:match(OWN) or message):find(METHOD) ~= nil
end

--- The message, with the place of the mistake where it has none and one can be found.
---@param message string what was raised, beginning with what was called: "res:finish: ..."
---@param level integer of the function that raised it, as for debug.getinfo in the caller
---@return string message
function M.place(message, level)
  message = message:match(OWN) or message
  local method = message:match(METHOD)
  local fn, info = find_caller(level + 2)
  if not fn then
    return message
  end
  local lines = M.lines(fn, method)
  local where = table.concat(lines, ", "):gsub(", (%d+)$", " or %1")
  if #lines == 0 then
    where = info.linedefined
  end
  return where == 0 and ("%s: %s"):format(info.short_src, message)
    or ("%s:%s: %s"):format(info.short_src, where, message)
end

--- The level, for `error` in the function that asks, of the first line outside of brood: methods of several objects
--- wrap one another, some as tail calls.
---@return integer
function M.callers_level()
  local level = 3
  local info = debug.getinfo(level, "S")
  while info and (info.what == "C" or info.source:find("lua/brood/", 1, true)) do
    level = level + 1
    info = debug.getinfo(level, "S")
  end
  return info and level - 1 or 2
end

return M
