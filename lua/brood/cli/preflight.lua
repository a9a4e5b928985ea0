--- What a config names and a look can find without starting anything: the app compiles, users,
--- groups and directories exist, no file is in a socket's way. It opens files to read, and changes nothing.
local address = require "brood.rules.address"
local core = require "brood.core"
local kinds = require "brood.rules.kinds"
local paths = require "brood.rules.path"
local uv = require "luv"

---@class brood.Preflight
---@field mistakes brood.Mistake[]
---@field prefix string "" at the top level, else "clusters.NAME."
---@field origins table<string, string>
local Look = {}
Look.__index = Look

local M = {}

function Look:complain(key, fmt, ...)
  local problem = fmt:format(...)
  table.insert(self.mistakes, {
    key = self.prefix .. key, kind = "place", problem = #problem > 500 and problem:sub(1, 500) .. "..." or problem,
    source = self.prefix == "" and self.origins[key:match("^[%w_]+")] or nil,
  })
end

-- uv says "ENOENT: no such file or directory: /x".
local function reason(err)
  return (tostring(err):gsub("^%u+: ", ""):gsub(": /.*$", ""))
end

function Look:directory(key, path)
  local stat, err = uv.fs_stat(path)
  if not stat then
    self:complain(key, "names a directory that cannot be used: %s: %s", path, reason(err))
  elseif stat.type ~= "directory" then
    self:complain(key, "is not a directory: %s", path)
  end
end

-- A file that will be made: its folder must be there.
function Look:folder_of(key, path)
  local folder = paths.directory(path)
  local stat, err = uv.fs_stat(folder)
  if not stat then
    self:complain(key, "is in a directory that cannot be used: %s: %s", folder, reason(err))
  elseif stat.type ~= "directory" then
    self:complain(key, "is not in a directory: %s", folder)
  end
  return stat ~= nil
end

function Look:file(key, path)
  local stat = uv.fs_stat(path)
  if stat and stat.type == "directory" then
    self:complain(key, "is a directory: %s", path)
  elseif not stat then
    self:folder_of(key, path)
  end
end

function Look:app(path)
  local stat, err = uv.fs_stat(path)
  if not stat then
    return self:complain("app", "cannot be read: %s: %s", path, reason(err))
  elseif stat.type == "directory" then
    return self:complain("app", "is a directory: %s", path)
  end
  local chunk, why = loadfile(path)
  if not chunk then
    local line, what = why:match("^.-:(%d+): (.*)$")
    self:complain("app", "%s", line and ("does not compile: %s:%s: %s"):format(path, line, what)
      or ("cannot be read: %s"):format(why))
  end
end

function Look:owner(key, value, look_up)
  if value ~= nil then
    local found, err = look_up(value)
    if not found then
      self:complain(key, "cannot be used: %s", err.message)
    end
  end
end

function Look:socket(key, text)
  local parsed = address.parse(text)
  if not parsed or parsed.kind ~= "unix" then
    return
  end
  local stat = uv.fs_lstat(parsed.path)
  if stat and stat.type ~= "socket" then
    self:complain(key, "is the path of something that is no socket: %s (a %s)", parsed.path, stat.type)
  elseif not stat then
    self:folder_of(key, parsed.path)
  end
end

local files = { "pidfile", "stdout_path", "stderr_path", "access_log" }

function Look:all(config)
  if config.app then
    self:app(config.app)
  end
  if config.working_directory then
    self:directory("working_directory", config.working_directory)
  end
  for _, key in ipairs(files) do
    if type(config[key]) == "string" and config[key] ~= "-" then
      self:file(key, config[key])
    end
  end
  self:owner("user", config.user, core.privileges.lookup_user)
  self:owner("group", config.group, core.privileges.lookup_group)
  for i, entry in ipairs(config.listen or {}) do
    local where = #config.listen == 1 and "listen" or kinds.join("listen", i)
    self:socket(where, entry.address)
    self:owner(where .. ".owner", entry.owner, core.privileges.lookup_user)
    self:owner(where .. ".group", entry.group, core.privileges.lookup_group)
  end
end

--- Look at everything that a config names.
---@param config brood.Config what of it is sound
---@param origins table<string, string>
---@return brood.Mistake[]
function M.look(config, origins)
  local mistakes = {}
  local function at(prefix)
    return setmetatable({ mistakes = mistakes, prefix = prefix, origins = origins }, Look)
  end
  local top = at("")
  top:all(config)
  if config.control and config.control.address then
    top:socket("control", config.control.address)
  end
  local clusters = config.clusters or {}
  for _, name in ipairs(kinds.sorted_keys(type(clusters) == "table" and clusters or {})) do
    at(kinds.join("clusters", name) .. "."):all(clusters[name])
  end
  return mistakes
end

return M
