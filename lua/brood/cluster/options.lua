--- From what Cluster.new is given to the options of a cluster. It checks and translates, and keeps nothing.
local core = require "brood.core"
local kinds = require "brood.rules.kinds"
local merged = require "brood.rules.merged"
local paths = require "brood.rules.path"

local M = {}

-- The rules of the config are needed for a moment: a script that has made its clusters carries them no longer.
local function with_rules(fn)
  local there = package.loaded["brood.rules.schema"] ~= nil
  local schema = require "brood.rules.schema"
  local result = fn(require "brood.rules.cluster_options", require "brood.rules.schema_places")
  if not there then
    schema.forget()
    package.loaded["brood.rules.cluster_options"] = nil
  end
  return result
end

-- The two forms of the arguments in one: a table with `app` or `command`.
local function one_table(first, given)
  if type(first) == "string" then
    if given ~= nil and type(given) ~= "table" then
      return nil, ("the options must be a table, got %s"):format(type(given))
    end
    return merged(given or {}, { app = first })
  elseif type(first) ~= "table" or given ~= nil then
    return nil, ("the path of an app is needed, or a table of options with `app`, got %s"):format(
      type(first) == "table" and "two tables" or kinds.show(first))
  elseif first.app == nil and first.command == nil then
    return nil, "option 'app' is missing: it must be the path of a Lua file"
  end
  return first
end

local function sentence(rules, mistake)
  if mistake.kind == "unknown" then
    local event = rules.events[mistake.key]
    if event then
      return ("unknown option '%s': it is an event here, cluster:on(\"%s\", fn)"):format(mistake.key, event)
    end
    mistake.suggestion = rules.called_elsewhere[mistake.key] or mistake.suggestion
  end
  return (kinds.sentence(mistake, "option '%s'", "'%s'"))
end

-- What is wrong with those of programs.
local function conflicts_of_command(o, add)
  local _, why
  if type(o.ready) == "table" then
    _, why = require("brood.rules.ready_place").target(o.ready)
  end
  if why then
    add("option 'ready' cannot be used: " .. why)
  elseif o.watchdog and o.ready ~= "notify" then
    add "option 'watchdog' needs ready = \"notify\": the program says WATCHDOG=1 where it says READY=1"
  end
  for _, entry in ipairs(o.listen or {}) do
    if entry.reuseport then
      add "option 'listen' can have reuseport only with an 'app': programs share one socket"
    end
  end
end

-- What is wrong with options that are right each by itself.
local function conflicts(rules, o, add)
  for former, name in pairs(rules.renamed) do
    if o[former] ~= nil and o.given[name] ~= nil then
      add(("option '%s' is '%s' by another name: one of them"):format(former, name))
    end
  end
  for _, name in ipairs(o.command and rules.of_apps or rules.of_commands) do
    if o.given[name] ~= nil and o.given[name] ~= false then
      add(("option '%s' is for workers %s"):format(name, o.command and "with an app" or "that are programs"))
    end
  end
  if o.command then
    conflicts_of_command(o, add)
  end
  if o.app ~= nil and o.command ~= nil then
    add "either option 'app' or option 'command', not both"
  elseif o.preload and not o.listen then
    add "option 'preload' needs 'listen': an app that listens itself does so in each worker"
  end
end

-- Checked, with the defaults; or nil and the mistakes.
local function check(rules, places, given, directory)
  local found = {}
  local function add(text)
    found[#found + 1] = text
  end
  local function report(mistake)
    add(sentence(rules, mistake))
  end
  local ok, o = kinds.record(rules.fields, given, "", report)
  if ok then
    o.given = given
    conflicts(rules, o, add)
    places.listeners(o.listen or {}, "listen", {}, directory, report)
    o.given = nil
  end
  table.sort(found)
  return o, found[1] and table.concat(found, "; ")
end

local function base_name(o)
  local path = o.app or o.command[1]
  return (path:match "([^/]+)$":gsub("%.lua$", ""))
end

local IMMEDIATE, BREATH, SLOWEST = 10, 0.1, 1 -- as the group has it without a word

-- Many ends in a row are one thing, a start that fails another.
local function after_ready(o)
  local delay, backoff = o.respawn_delay, o.backoff or {}
  return {
    immediate = delay == 0 and IMMEDIATE or 0, stable_after = BREATH, delay = delay == 0 and 0.05 or delay,
    max_delay = math.max(SLOWEST, delay), factor = delay == 0 and 2 or 1, jitter = delay == 0 and 0.2 or 0,
    max_exits = backoff.max_exits, window = backoff.window,
  }
end

-- As a cluster takes them.
local function translate(rules, o, directory)
  local options = merged(o)
  for former, name in pairs(rules.renamed) do
    local value = o[former]
    if value == nil then
      value = o[name]
    end
    options[former], options[name] = value, nil
  end
  if type(o.ready) == "table" and o.ready.socket then
    options.ready = merged(o.ready, { socket = paths.absolute(directory, o.ready.socket) })
  end
  options.name = o.name or base_name(o)
  options.workers = options.workers or core.cpus()
  for _, name in ipairs { "app", "working_directory", "access_log" } do
    if type(o[name]) == "string" and o[name] ~= "-" then
      options[name] = paths.absolute(directory, o[name])
    end
  end
  options.after_ready, options.after_failure = after_ready(o), o.backoff
  options.hooks = { before_fork = o.before_fork, after_fork = o.after_fork }
  options.brought = {} -- modules, by an app that is preloaded
  return options
end

--- Check what Cluster.new was given.
---@param level integer as of `error`, in the function that calls this
---@param what string that function's name
---@param first string|table
---@param given? table
---@return table options for the class
function M.check(level, what, first, given)
  local all, problem = one_table(first, given)
  local options = all and with_rules(function(rules, places)
    local directory = assert(core.cwd())
    local o, mistakes = check(rules, places, all, directory)
    problem = mistakes
    return not mistakes and translate(rules, o, directory)
  end)
  if problem then
    error(("%s: %s"):format(what, problem), level + 1)
  end
  return options
end

return M
