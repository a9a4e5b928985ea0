--- From what Child.new is given to the process it means: a Lua script on this runtime, or a foreign program. It checks
--- and translates options, and keeps nothing.
local core = require "brood.core"
local merged = require "brood.rules.merged"
local options = require "brood.options"
local paths = require "brood.rules.path"
local spawn = require "brood.process.spawn"
local uv = require "luv"

local M = {}

local OURSELVES = "/proc/self/exe" -- while it runs it can be executed, wherever its file may be

local own = {
  respawn = { type = "boolean", default = true },
  respawn_delay = { type = "duration", default = 1 },
  args = { type = "list", of = { any_of = { { type = "string" }, { type = "number" } } }, default = {} },
}

-- A script has words of its own for these: its start and stop functions, and the channel.
local PROGRAM_ONLY = { "ready", "stop_signal", "survive", "watchdog" }

local function without(spec, names)
  local rest = merged(spec)
  for _, name in ipairs(names) do
    rest[name] = nil
  end
  return rest
end

local common = without(merged(spawn.spec, own), { "main", "command", unpack(PROGRAM_ONLY) })
local script_spec = merged(common, { script = { type = "path", required = true } })
local program_spec = merged(without(merged(spawn.spec, own), { "main" }), {
  command = { type = "argv", required = true },
})

local function refuse(level, what, fmt, ...)
  error(("%s: %s"):format(what, fmt:format(...)), level + 1)
end

-- The two forms of the arguments in one: a table with `script` or `command`.
local function one_table(level, what, first, given)
  if type(first) == "string" then
    if given ~= nil and type(given) ~= "table" then
      refuse(level + 1, what, "the options must be a table, got %s", type(given))
    end
    return merged(given or {}, { script = first })
  elseif type(first) ~= "table" or given ~= nil then
    refuse(level + 1, what, "the path of a script is needed, or a table of options with `script` or `command`, got %s",
      type(first) == "table" and "two tables" or type(first))
  elseif (first.script == nil) == (first.command == nil) then
    local both = first.script and ", not both" or ""
    refuse(level + 1, what, "either option 'script' or option 'command' is needed%s", both)
  end
  return first
end

local function check(level, what, given, more)
  local spec = merged(given.script ~= nil and script_spec or program_spec, more)
  for name, one in pairs(spec) do
    spec[name] = one or nil
  end
  for _, name in ipairs(PROGRAM_ONLY) do
    if given.script ~= nil and given[name] ~= nil then
      refuse(level + 1, what, "option '%s' is for a `command`: a script says itself when it is ready, and ends by its "
        .. "stop function", name)
    end
  end
  local checked = options.check(level + 1, given, spec, what) -- no tail call, which would count as no level
  return checked
end

--- The runtime as it can be executed now.
---@return string
function M.runtime()
  local path = uv.fs_readlink(OURSELVES)
  return path and uv.fs_stat(path) and path or OURSELVES
end

---@class brood.ChildPlan
---@field kind "script"|"program"
---@field name string
---@field respawn boolean
---@field respawn_delay number
---@field process table options for Process.new
---@field ready? string in place of what Process knows: "line"
---@field options table what was given, checked

--- Check what Child.new or Child.run were given.
---@param level integer as of `error`, in the function that calls this
---@param what string that function's name
---@param first string|table
---@param given? table
---@param more? table<string, brood.Spec|false> what it takes beside the usual, false: does not take
---@return brood.ChildPlan
function M.make(level, what, first, given, more)
  local all = one_table(level + 1, what, first, given)
  local ready
  if all.command ~= nil and all.ready == "line" then
    ready, all = "line", without(all, { "ready" })
  end
  local o = check(level + 1, what, all, more)
  local process = {}
  for name in pairs(spawn.spec) do
    process[name] = o[name]
  end
  local env = o.env or {}
  if o.script then
    local path = paths.absolute(assert(core.cwd()), o.script)
    process.name = o.name or path:match "[^/]*$"
    process.command = { "brood", "exec", path, unpack(o.args) }
    process.ready = "channel"
    process.env = merged(env, { BROOD_STOP_TIMEOUT = o.stop_timeout and tostring(o.stop_timeout) or nil })
  else
    process.command = { unpack(o.command) }
    for _, arg in ipairs(o.args) do
      table.insert(process.command, arg)
    end
    process.env = merged(env, { BROOD_CHANNEL = "json" })
  end
  spawn.check(process, level + 1, what) -- here, where whoever is to blame is known
  return {
    kind = o.script and "script" or "program", name = process.name or process.command[1]:match "[^/]*$",
    respawn = o.respawn, respawn_delay = o.respawn_delay, process = process, ready = ready, options = o,
  }
end

return M
