--- The kinds of one value, without parts: each says what it expects and has a function
--- (value, spec) -> ok, normalised, why. `why` adds a reason where "got ..." does not say enough.
local address = require "brood.rules.address"
local duration = require "brood.rules.duration"
local show = require "brood.rules.show"

local signals = {}
for name in ([[HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP
  TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS IOT POLL CLD]]):gmatch("%u+%d*") do
  signals[name] = true
end

local function of_type(name)
  return function(value)
    return type(value) == name, value
  end
end

local function within(n, spec)
  return (not spec.min or n >= spec.min) and (not spec.max or n <= spec.max)
end

-- Why an amount is none of those that a spec allows.
local function beyond(n, spec, format)
  if spec.max and n > spec.max then
    return "it must be at most " .. format(spec.max)
  elseif n > 0 then
    return "it must be at least " .. format(spec.min)
  end
  return "it must be above 0" .. (spec.off and " (false switches it off)" or "")
end

local function amount(parse, format)
  return function(value, spec)
    local n, why = parse(value)
    if n and within(n, spec) then
      return true, n
    elseif n or type(value) == "number" and value < 0 and spec.min and spec.min > 0 then
      why = beyond(n or value, spec, format)
    elseif type(value) ~= "number" and not (type(value) == "string" and value:find("%d")) then
      why = nil -- "got ..." says enough
    end
    return false, n, why
  end
end

-- What reaches a system call ends at its first zero byte.
local function text(value)
  return type(value) == "string" and value ~= "" and not value:find("%z"), value
end

local function number(value, spec)
  return type(value) == "number" and math.abs(value) < math.huge and within(value, spec), value
end

local function integer(value, spec)
  return number(value, spec) and value == math.floor(value) and math.abs(value) < 2 ^ 53, value
end

-- The string stays: a number would not be accepted again. A number gets told why.
local function mode(value)
  local n, why = duration.parse_mode(value)
  return n ~= nil, value, type(value) == "number" and why or nil
end

local function signal(value)
  if type(value) ~= "string" then
    return integer(value, { min = 1, max = 64 }), value
  end
  local name = value:upper():gsub("^SIG", "")
  return signals[name] == true, name
end

local function enum(value, spec)
  for _, known in ipairs(spec.values) do
    if value == known then
      return true, value
    end
  end
  return false
end

local function id(value)
  if type(value) == "number" then
    return integer(value, { min = 0, max = 2 ^ 32 - 2 }), value
  end
  return text(value)
end

local function network_address(value)
  local normal, why = address.normal(value)
  return normal ~= nil, normal, type(value) == "string" and why or nil
end

local function bounded(what)
  return function(spec)
    local min, max = spec.min and show(spec.min), spec.max and show(spec.max)
    if min and max then
      return ("%s from %s to %s"):format(what, min, max)
    elseif min then
      return ("%s of at least %s"):format(what, min)
    end
    return max and ("%s of at most %s"):format(what, max) or what
  end
end

local function one_of(spec)
  local shown = {}
  for i, value in ipairs(spec.values) do
    shown[i] = show(value)
  end
  return #shown == 1 and shown[1] or "one of " .. table.concat(shown, ", ")
end

---@class brood.Kind
---@field expected string|fun(spec: brood.Spec): string
---@field one? fun(value: any, spec: brood.Spec): boolean, any, string?
---@field many? fun(spec: brood.Spec, value: any, path: string, report: brood.Report): boolean, any

---@type table<string, brood.Kind>
return {
  any = {
    expected = "anything",
    one = function(value)
      return true, value
    end,
  },
  string = { expected = "a string", one = of_type "string" },
  boolean = { expected = "true or false", one = of_type "boolean" },
  ["function"] = { expected = "a function", one = of_type "function" },
  table = { expected = "a table", one = of_type "table" },
  number = { expected = bounded "a number", one = number },
  integer = { expected = bounded "a whole number", one = integer },
  duration = { expected = duration.DURATION, one = amount(duration.parse_duration, duration.format_duration) },
  size = { expected = duration.SIZE, one = amount(duration.parse_size, duration.format_size) },
  mode = { expected = duration.MODE, one = mode },
  path = { expected = "a path", one = text },
  name = { expected = "a name (a string that is not empty)", one = text },
  signal = { expected = 'a signal (a name like "TERM" or a number)', one = signal },
  enum = { expected = one_of, one = enum },
  user = { expected = "a user (a name or a number)", one = id },
  group = { expected = "a group (a name or a number)", one = id },
  address = { expected = address.EXPECTED, one = network_address },
  fd = {
    expected = "a file descriptor (a number)",
    one = function(value)
      return integer(value, { min = 0 }), value
    end,
  },
  port = {
    expected = "a port (1 to 65535)",
    one = function(value)
      return integer(value, { min = 1, max = 65535 }), value
    end,
  },
}
