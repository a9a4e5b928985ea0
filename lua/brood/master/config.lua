--- From a config file and the command line to the effective config: the only
--- place that reads the file. What the keys mean is rules.schema's; what only a
--- mistake needs (where keys stand, how errors read) is loaded only then.
local core = require "brood.core"
local environment = require "brood.master.environment"
local files = require "brood.files"
local paths = require "brood.rules.path"
local task = require "brood.task"

local M = {}

M.DEFAULT = "brood.lua"

-- A handler function(req, res), a server, or { server = ... }: what `brood -s` serves.
local function is_app(value)
  if type(value) == "function" then
    return true
  elseif type(value) ~= "table" then
    return false
  end
  local server = rawget(value, "server")
  return type(value.listen) == "function" or type(server) == "function"
    or type(server) == "table" and type(server.listen) == "function"
end

-- What a metatable adds counts as well.
local function plain(value)
  local copy = {}
  for _, key in ipairs(require("brood.rules.schema_keys").order) do
    copy[key] = value[key]
  end
  for key, own in pairs(value) do
    copy[key] = own
  end
  return copy
end

-- The value of the chunk, or what the function it returned returns. Raises what is wrong with it.
local function evaluate(chunk, master, found)
  local value = chunk()
  if type(value) == "function" and debug.getinfo(value, "u").nparams < 2 then
    found.called = true
    value = value(master)
  end
  found.is_app = is_app(value)
  if type(value) == "table" and getmetatable(value) and not found.is_app then
    value = plain(value)
  end
  return value
end

---@class brood.ConfigSource one config, read
---@field path? string absolute; nil without a config file
---@field shown? string the path as it was typed
---@field text? string
---@field value any what it is in the end
---@field named? boolean whether somebody asked for it, and it is not the default one
---@field called? boolean whether the file returned a function
---@field is_app? boolean whether it is an app, and no config
---@field chunk? function

-- Read and run the file. Problems come back as text.
local function read(found, master)
  local file_errors = "brood.master.config_errors"
  local text, why = files.read(found.path)
  if not text then
    return nil, require(file_errors).unreadable(found, why)
  end
  found.text = text
  local chunk
  chunk, why = files.compile(text, found.path)
  if not chunk then
    return nil, require(file_errors).syntax(found, why)
  end
  found.chunk = chunk
  files.path_first(found.path)
  environment.watch()
  local ok, value = task.call(evaluate, chunk, master, found)
  environment.mend()
  if not ok then
    return nil, require(file_errors).raised(found, value)
  elseif found.is_app then
    return nil, require(file_errors).app(found)
  elseif type(value) ~= "table" then
    return nil, require(file_errors).no_table(found, value)
  end
  found.value = value
  return true
end

---@class brood.EffectiveConfig: brood.Config
---@field path string the config file, or the app where there is none
---@field clusters brood.ClusterOptions[] what each cluster is started with, the web cluster first
---@field hooks table<string, function>

local function complete(effective, found, beaten)
  effective.path = found.path or effective.app
  effective.clusters = require("brood.rules.clusters").list(effective, beaten.workers and beaten.workers.value)
  effective.hooks = {}
  for name, key in pairs(require("brood.rules.schema_keys").fields) do
    if key.is_hook then
      effective.hooks[name] = effective[name]
    end
  end
  return effective
end

---@class brood.Examined
---@field source brood.ConfigSource
---@field effective? brood.EffectiveConfig
---@field mistakes? brood.Mistake[]
---@field sound brood.Config the same, or what can be used of a config with mistakes
---@field clusters? table<string, table> what each entry of `clusters` itself says
---@field origins table<string, string>

local function judge(options, found, cwd)
  local schema = require "brood.rules.schema"
  local cpus = core.cpus()
  local merged, origins, beaten = schema.merge(options, found.value, core.posix.environ(), cpus, cwd)
  local effective, mistakes, sound = schema.validate(merged, {
    cpus = cpus, directory = found.path and paths.directory(found.path) or cwd, origins = origins, beaten = beaten,
  })
  sound = sound or effective
  return {
    source = found, mistakes = mistakes, origins = origins, sound = sound, clusters = sound.clusters,
    effective = effective and complete(effective, found, beaten),
  }
end

--- Read the config of a command line, and find all that is wrong with it.
---@async
---@param options table from the command line: config, app, listen, port, workers, control
---@param master table what a config that is a function is given
---@return brood.Examined? examined, string? why it cannot be read, as text
function M.examine(options, master)
  environment.remember()
  -- What the command line names is seen from where it was typed, wherever the master is later.
  options.cwd = options.cwd or assert(core.cwd())
  local cwd = options.cwd
  local shown = options.config or (not options.app and M.DEFAULT) or nil
  local found = { shown = shown, path = shown and paths.absolute(cwd, shown), named = options.config ~= nil }
  if found.path then
    local ok, why = read(found, master)
    if not ok then
      return nil, why
    end
  end
  local ok, examined = task.call(judge, options, found, cwd)
  if ok then
    return examined
  end
  -- Its values can raise as well when they are looked at; what we raise is no mistake of the config.
  local why = require("brood.master.config_errors").of_value(found, examined)
  return nil, why or error(examined, 0)
end

--- Mistakes of a config as text, with their lines where they are certain.
---@param source brood.ConfigSource without its text it is read again
---@param mistakes brood.Mistake[]
---@param more? boolean whether some have been told already
---@return string
function M.explain(source, mistakes, more)
  local text, line_of = source.text or source.path and files.read(source.path), nil
  if text then
    line_of = require("brood.rules.config_lines").finder(text, source.value)
  end
  return require("brood.rules.mistakes").format(mistakes, source.shown, line_of, more)
end

--- Whoever goes on with an effective config needs neither its rules nor its text any more.
---@param examined brood.Examined
---@return brood.EffectiveConfig
---@return brood.Examined origin what a start that fails is explained with
function M.settle(examined)
  require("brood.rules.schema").forget()
  local source = examined.source
  return examined.effective, {
    source = { path = source.path, shown = source.shown, value = source.value },
    origins = examined.origins, clusters = examined.clusters,
  }
end

return M
