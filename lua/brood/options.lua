--- Option tables: the one way in which every public function takes them. A mistake
--- raises at the line of whoever made it, and names the option.
local duration = require "brood.rules.duration"

local M = {}

-- Looked up each time: a master that has started checks nothing for long, and lets go of them.
local function kinds()
  return require "brood.rules.kinds"
end

--- What options are checked with goes, and comes back when it is used again. Not while a config is being read.
function M.forget()
  if not package.loaded["brood.rules.schema"] then
    for _, name in ipairs { "kinds", "kinds_many", "kinds_one", "nearest" } do
      package.loaded["brood.rules." .. name] = nil
    end
  end
end

--- Check the options a function was given against what it takes.
---
---     local checked = options.check(2, given, {
---       name = { type = "name" },
---       command = { type = "argv", required = true },
---       stop_timeout = { type = "duration", off = true, default = 10 },
---     }, "Process.new")
---
---@param level integer as of `error`, in the function that calls check: 2 blames its caller
---@param given table? nil is none
---@param spec table<string, brood.Spec>
---@param what? string the function, for the message
---@return table checked a normalised copy with the defaults filled in
function M.check(level, given, spec, what)
  local prefix = what and what .. ": " or ""
  if given ~= nil and type(given) ~= "table" then
    error(("%sthe options must be a table, got %s"):format(prefix, kinds().show(given)), level + 1)
  end
  local mistakes = {}
  local _, checked = kinds().record(spec, given or {}, "", function(mistake)
    mistakes[#mistakes + 1] = kinds().sentence(mistake, "option '%s'", "'%s'")
  end)
  if #mistakes > 0 then
    table.sort(mistakes)
    error(prefix .. table.concat(mistakes, "; "), level + 1)
  end
  return checked
end

--- What is said of a method that was called with a dot.
---@param what string the method: "pool:run"
---@return string
function M.no_self(what)
  return ("%s: call it with a colon: %s(...), not %s(...)"):format(what, what, (what:gsub(":", ".")))
end

--- Check one argument that is no option.
---@param level integer as in `check`
---@param name string of the argument
---@param value any
---@param spec brood.Spec
---@param what? string the function, for the message
---@return any normalised
function M.argument(level, name, value, spec, what)
  local first
  local _, normal = kinds().check(spec, value, name, function(mistake)
    first = first or mistake
  end)
  if first then
    error((what and what .. ": " or "") .. kinds().sentence(first, "%s", "'%s'"), level + 1)
  end
  return normal
end

--- The seconds of an argument that is a duration.
---@param what string the function, for the message
---@param value any
---@param level? integer as of `error`, here: 3 (the default) blames the caller of the function that calls this
---@return number seconds
function M.duration(what, value, level)
  local seconds = duration.parse_duration(value)
  if not seconds then
    error(("%s: the time must be %s, got %s"):format(what, duration.DURATION, kinds().show(value)), level or 3)
  end
  return seconds
end

return M
