--- The kinds of values an option can have: what each accepts, how it reads once
--- normalised, and how it is described to somebody who gave something else. Both
--- `brood.options` and the config's schema check with it.
---
--- Checking is idempotent: a normalised value is accepted again and stays what it is, so
--- that checked options can be handed on. Therefore a mode stays a string of octal digits
--- (`duration.parse_mode` where it is used), and a signal becomes its name without SIG.
local nearest = require "brood.rules.nearest"
local show = require "brood.rules.show"

local M = {}

---@class brood.Spec what one option may be
---@field type? string a kind by name; see `M.kinds`
---@field any_of? brood.Spec[] in place of type: the first that fits
---@field off? boolean whether `false` switches it off
---@field default? any in normal form; a table is copied
---@field required? boolean
---@field min? number of a number, the seconds, the bytes, the length of a list
---@field max? number
---@field values? string[] of an enum
---@field of? brood.Spec of the elements of a list or the values of a map
---@field single? boolean of a list: one element may stand alone
---@field fields? table<string, brood.Spec> of a record
---@field expected? string in place of the kind's own description
---@field available? boolean false: known, but refused as not available yet
---@field doc? string
---@field example? string Lua source

---@class brood.Mistake
---@field key string where: "listen[2].backlog"
---@field kind "type"|"unknown"|"missing"|"unavailable"|"conflict"
---@field message string the whole sentence
---@field problem? string what follows the key in it
---@field expected? string
---@field got? string the value of a "type" mistake, as it is shown
---@field why? string what "got" does not say
---@field suggestion? string the nearest known name
---@field belongs? string where an unknown name would be known
---@field source? string where the value comes from, when not from the table that was checked
---@field note? boolean whether it is no mistake, but worth knowing

---@alias brood.Report fun(mistake: brood.Mistake)

M.kinds = {}
for name, kind in pairs(require "brood.rules.kinds_one") do
  M.kinds[name] = kind
end
local kinds = M.kinds

M.show = show

local function copy(value)
  if type(value) ~= "table" then
    return value
  end
  local result = {}
  for k, v in pairs(value) do
    result[k] = copy(v)
  end
  return result
end
M.copy = copy

--- The path of a key inside the path of its table.
---@param path string
---@param key any
---@return string
function M.join(path, key)
  if type(key) == "number" and path ~= "" then
    return ("%s[%s]"):format(path, show(key))
  elseif type(key) ~= "string" then
    return path == "" and show(key) or ("%s[%s]"):format(path, show(key))
  elseif path ~= "" and not key:match("^[%a_][%w_]*$") then
    return ("%s[%s]"):format(path, show(key))
  end
  return path == "" and key or path .. "." .. key
end

local function sorted_keys(t)
  local keys = {}
  for key in pairs(t) do
    keys[#keys + 1] = key
  end
  local function rank(key)
    return type(key) == "number" and "" or type(key)
  end
  table.sort(keys, function(a, b)
    if rank(a) ~= rank(b) then
      return rank(a) < rank(b)
    elseif type(a) == "number" or type(a) == "string" then
      return a < b
    end
    return tostring(a) < tostring(b)
  end)
  return keys
end
M.sorted_keys = sorted_keys

-- The specs of options are few and checked often: the order of each is found once.
local orders = setmetatable({}, { __mode = "k" })

local function order_of(fields)
  local order = orders[fields]
  if not order then
    order = sorted_keys(fields)
    orders[fields] = order
  end
  return order
end

-- ---- describing ---------------------------------------------------------------------------------------------------

--- What a spec accepts, as it stands in "must be ...".
---@param spec brood.Spec
---@return string
function M.expected(spec)
  local said = spec.expected
  if not said and spec.any_of then
    local parts = {}
    for i, alternative in ipairs(spec.any_of) do
      parts[i] = M.expected(alternative)
    end
    said = table.concat(parts, " or ")
  elseif not said then
    said = kinds[spec.type].expected
    if type(said) == "function" then
      said = said(spec)
    end
  end
  return spec.off and said .. ", or false" or said
end

--- Report a value of the wrong kind.
---@return false
function M.wrong(spec, value, path, report, why)
  local expected = M.expected(spec)
  local problem = ("must be %s, got %s"):format(expected, show(value))
  if why then
    problem = ("%s: %s"):format(problem, why)
  end
  report { key = path, kind = "type", problem = problem, expected = expected, got = show(value), why = why }
  return false
end

local wrong = M.wrong
require "brood.rules.kinds_many" (M)

-- ---- checking -----------------------------------------------------------------------------------------------------

local function any_of(spec, value, path, report)
  local mistakes
  for _, alternative in ipairs(spec.any_of) do
    local found = {}
    local ok, normal = M.check(alternative, value, path, function(mistake)
      found[#found + 1] = mistake
    end)
    if ok then
      return true, normal
    elseif found[1] and found[1].key ~= path then
      mistakes = found -- it has the right shape, and says which part is wrong
    end
  end
  for _, mistake in ipairs(mistakes or {}) do
    report(mistake)
  end
  return not mistakes and wrong(spec, value, path, report)
end

--- Check one value. Each mistake is reported; the result is then not to be used.
---@param spec brood.Spec
---@param value any
---@param path string where it stands
---@param report brood.Report
---@return boolean ok, any normalised
function M.check(spec, value, path, report)
  if value == false and spec.off then
    return true, false
  elseif spec.any_of then
    return any_of(spec, value, path, report)
  end
  local kind = kinds[spec.type]
  if kind.many then
    return kind.many(spec, value, path, report)
  end
  local ok, normal, why = kind.one(value, spec)
  if ok then
    return true, normal
  end
  return wrong(spec, value, path, report, why)
end

local function all_known(fields, given)
  for key in pairs(given) do
    if fields[key] == nil then
      return false
    end
  end
  return true
end

local function report_unknown(fields, given, path, report)
  for _, key in ipairs(sorted_keys(given)) do
    if fields[key] == nil then
      report { key = M.join(path, key), kind = "unknown", suggestion = nearest.find(key, sorted_keys(fields)) }
    end
  end
end

-- There may be thousands of tables: where a value stands is found out when something is wrong with it.
local function check_given(spec, value, path, name, report)
  if spec.available == false then
    report { key = M.join(path, name), kind = "unavailable", problem = "is not available yet" }
    return false
  end
  local kind = kinds[spec.type]
  if kind and kind.one and not spec.any_of and value ~= false then
    local ok, normal = kind.one(value, spec)
    if ok then
      return true, normal
    end
  end
  return M.check(spec, value, M.join(path, name), report)
end

--- Check a table of named options: unknown ones, each known one, defaults.
---@param fields table<string, brood.Spec>
---@param given table
---@param path string
---@param report brood.Report
---@param order? string[] of the fields, for the order of the mistakes
---@param bare? boolean leave out the defaults
---@return boolean ok, table normalised a copy, without what was wrong
function M.record(fields, given, path, report, order, bare)
  local all_ok, result = all_known(fields, given), {}
  if not all_ok then
    report_unknown(fields, given, path, report)
  end
  order = order or order_of(fields)
  for i = 1, #order do
    local name = order[i]
    local spec, value = fields[name], given[name]
    local ok, normal = true, nil
    if value ~= nil then
      ok, normal = check_given(spec, value, path, name, report)
    elseif spec.required then
      local expected, where = M.expected(spec), M.join(path, name)
      report { key = where, kind = "missing", problem = "is missing: it must be " .. expected, expected = expected }
      ok = false
    elseif not bare and spec.available ~= false then -- what cannot be given has no effect either, so no default
      normal = copy(spec.default)
    end
    if normal ~= nil and ok then
      result[name] = normal
    end
    all_ok = all_ok and ok
  end
  return all_ok, result
end

--- The sentence of a mistake.
---@param mistake brood.Mistake
---@param subject string how a key is named: "option '%s'"
---@param quote string how a name is quoted: "'%s'"
---@return string
function M.sentence(mistake, subject, quote)
  local named = subject:format(mistake.key)
  if mistake.kind ~= "unknown" then
    return ("%s %s"):format(named, mistake.problem)
  elseif mistake.suggestion then
    return ("unknown %s (did you mean %s?)"):format(named, quote:format(mistake.suggestion))
  end
  return "unknown " .. named
end

return M
