--- What the config says of signals: a table from names (or numbers) to an action by name, a function(master), or false
--- for nothing. Which actions there are is the keys' business, what they do the master's.
local kinds = require "brood.rules.kinds"
local nearest = require "brood.rules.nearest"
local show = require "brood.rules.show"

-- The usual ones first, as they are suggested; the others mean nothing to a master unless a config says so.
local names = {
  "TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "WINCH", "TTIN", "TTOU", "CONT", "IO", "PROF", "PWR", "TSTP", "URG",
  "VTALRM", "XCPU",
}

local NOT_TO_BE_CAUGHT = "cannot be caught by anybody"
local OURS = "is the runtime's own"

local refused = {
  KILL = NOT_TO_BE_CAUGHT, STOP = NOT_TO_BE_CAUGHT, ABRT = OURS, ALRM = OURS, BUS = OURS, CHLD = OURS, FPE = OURS,
  ILL = OURS, PIPE = OURS, SEGV = OURS, SYS = OURS, TRAP = OURS,
}

local known = {}
for _, name in ipairs(names) do
  known[name] = true
end

-- Those of Linux on x86, ARM and RISC-V. 1 is more likely the first of a list than HUP.
local by_number = {
  false, "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
  [17] = "CHLD", [18] = "CONT", [19] = "STOP", [20] = "TSTP", [21] = "TTIN", [22] = "TTOU", [23] = "URG",
  [24] = "XCPU", [26] = "VTALRM", [27] = "PROF", [28] = "WINCH", [29] = "IO", [30] = "PWR", [31] = "SYS",
}

-- The name without SIG; nil once what is wrong with it has been reported.
local function name_of(key, where, report)
  local name = (by_number[key] or key):upper():gsub("^SIG", "")
  if refused[name] then
    report { key = where, kind = "conflict", problem = refused[name] }
  elseif not known[name] then
    report { key = where, kind = "unknown", suggestion = nearest.find(name, names) }
  else
    return name
  end
end

---@type brood.Kind
return {
  expected = 'a table from names of signals to actions (like { TERM = "quit" })',
  many = function(spec, value, path, report)
    if type(value) ~= "table" then
      return kinds.wrong(spec, value, path, report)
    end
    local result, first, all_ok = {}, {}, true
    for _, key in ipairs(kinds.sorted_keys(value)) do
      if type(key) ~= "string" and not by_number[key] then
        return kinds.wrong(spec, value, path, report, ("%s is no signal's name"):format(show(key)))
      end
      local where = kinds.join(path, key)
      local name = name_of(key, where, report)
      if name and first[name] then
        report { key = where, kind = "conflict", problem = ("is the same signal as '%s'"):format(first[name]) }
        name = nil
      end
      local ok, action = kinds.check(spec.of, value[key], where, report)
      all_ok = all_ok and ok and name ~= nil
      if name then
        result[name], first[name] = action, where
      end
    end
    return all_ok, result
  end,
}
