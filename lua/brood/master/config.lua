--- From a config file and the command line to the effective config: the only
--- place that reads the file. What the keys mean is rules.schema's.
local core = require "brood.core"
local paths = require "brood.rules.path"
local schema = require "brood.rules.schema"
local serve = require "brood.serve"
local task = require "brood.task"

local M = {}

local HOOKS = { "on_start", "before_fork", "after_fork", "worker_ready", "worker_exit", "on_stop" }

-- The file's value: a table, or what the function it returned returns. Raises what is wrong with it.
local function read(path, master)
  local chunk, why = loadfile(path)
  if not chunk then
    error(why, 0)
  end
  serve.path_first(path)
  local value = chunk()
  if type(value) == "function" then
    value = value(master)
  end
  return value
end

-- One web cluster, as the master starts it. Without an app there is none.
local function web(effective)
  if not effective.app then
    return nil
  end
  local cluster = { name = "web" }
  for _, key in ipairs { "app", "listen", "workers", "env", "working_directory", "umask", "limits", "user", "group",
    "start_timeout", "graceful_timeout" } do
    cluster[key] = effective[key]
  end
  return cluster
end

---@class brood.EffectiveConfig: brood.Config
---@field path string the config file, or the app where there is none
---@field clusters table[] what each cluster is started with
---@field hooks table<string, function>

--- The effective config of a command line.
---@async
---@param options table from the command line: config, app, listen, port, workers, control
---@param master brood.Master what a config that is a function is given
---@return brood.EffectiveConfig? effective, string? why all that is wrong, as text
function M.load(options, master)
  local cwd = assert(core.cwd())
  local path = options.config or (not options.app and "brood.lua") or nil
  local config, directory = nil, cwd
  if path then
    path = paths.absolute(cwd, path)
    directory = paths.directory(path)
    local ok, value = task.call(read, path, master)
    if not ok then
      return nil, ("%s: %s"):format(path, value.message)
    elseif value == nil then
      return nil, ("%s must return a table or a function, it returns nothing"):format(path)
    end
    config = value
  end
  local cpus = core.cpus()
  local merged, origins = schema.merge(options, config, core.posix.environ(), cpus, cwd)
  local effective, mistakes = schema.validate(merged, { cpus = cpus, directory = directory, origins = origins })
  if not effective then
    return nil, schema.format(mistakes, path)
  end
  effective.path = path or effective.app
  effective.clusters = { web(effective) }
  effective.hooks = {}
  for _, name in ipairs(HOOKS) do
    effective.hooks[name] = effective[name]
  end
  return effective
end

return M
