--- What a config names and a look can find without starting anything: the app compiles, users,
--- groups and directories exist, no file is in a socket's way. It opens files to read, and changes nothing.
---
--- What only somebody else could do (root, the owner of a directory) is a note: who checks a config is not always
--- who runs it.
local address = require "brood.rules.address"
local core = require "brood.core"
local files = require "brood.files"
local kinds = require "brood.rules.kinds"
local merged = require "brood.rules.merged"
local paths = require "brood.rules.path"
local programs = require "brood.rules.programs"
local rights_of = require "brood.cluster.rights"
local unhooked = require "brood.rules.unhooked"
local unrouted = require "brood.rules.unrouted"
local uv = require "luv"

---@class brood.Found: brood.Mistake
---@field note boolean whether somebody else could do it
---@field about? string the path or the name that cannot be used
---@field advice? boolean whether nothing is wrong, but worth knowing

---@class brood.Preflight
---@field mistakes brood.Found[]
---@field prefix string "" at the top level, else "clusters.NAME.", "pools.NAME.", "services.NAME.", ...
---@field origins table<string, string>
---@field rights brood.Rights
local Look = {}
Look.__index = Look

local M = {}

local function add(self, note, key, about, fmt, ...)
  local problem = fmt:format(...)
  table.insert(self.mistakes, {
    key = self.prefix .. key, kind = "place", problem = #problem > 500 and problem:sub(1, 500) .. "..." or problem,
    source = self.prefix == "" and self.origins[key:match("^[%w_]+")] or nil, note = note, about = about,
  })
end

function Look:complain(key, about, fmt, ...)
  add(self, false, key, about, fmt, ...)
end

-- What we may not do: nobody may, where even root may not.
function Look:denied(key, about, fmt, ...)
  add(self, self.rights.uid ~= 0, key, about, fmt, ...)
end

-- Nothing is wrong, but worth knowing.
function Look:note(key, fmt, ...)
  add(self, true, key, nil, fmt, ...)
  self.mistakes[#self.mistakes].advice = true
end

function Look:me()
  return "user " .. tostring(core.posix.getuid())
end

-- What is at a path; a complaint where nothing can be seen there.
function Look:stat(key, about, path, what)
  local stat, err, code = uv.fs_stat(path)
  if not stat then
    local say = code == "EACCES" and self.denied or self.complain
    say(self, key, about, "%s: %s: %s", what, path, files.reason(err))
  end
  return stat
end

-- Whether we may read ("R") or write ("W") it; a complaint where we may not.
function Look:access(key, about, path, mode, what)
  local ok, err = uv.fs_access(path, mode)
  if not ok then
    self:denied(key, about, "%s by %s: %s: %s", what, self:me(), path, files.reason(err or "permission denied"))
  end
  return ok
end

function Look:directory(key, path)
  local stat = self:stat(key, path, path, "names a directory that cannot be used")
  if stat and stat.type ~= "directory" then
    self:complain(key, path, "is not a directory: %s", path)
  end
end

-- A file that will be made: its folder must be there, and take it.
function Look:folder_of(key, path)
  local folder = paths.directory(path)
  local stat = self:stat(key, path, folder, "is in a directory that cannot be used")
  if stat and stat.type ~= "directory" then
    self:complain(key, path, "is not in a directory: %s", folder)
  elseif stat then
    self:access(key, path, folder, "W", "cannot be made")
  end
end

function Look:file(key, path)
  local stat = uv.fs_stat(path)
  if stat and stat.type == "directory" then
    return self:complain(key, path, "is a directory: %s", path)
  elseif not stat then
    return self:folder_of(key, path)
  end
  self:access(key, path, path, "W", "cannot be written")
end

-- ---- the app --------------------------------------------------------------------------------------------------------

-- Who can do what with a file: its owner, its group and all others have three bits each. Beyond that is not looked.
local function allows(stat, user, groups, wanted)
  local shift = stat.uid == user.uid and 6 or groups[stat.gid] and 3 or 0
  return user.uid == 0 or bit.band(bit.rshift(stat.mode, shift), wanted) == wanted
end

local READ, ENTER = 4, 1 -- (to execute is the same right as to enter)

-- The first part of a path that keeps a user from reading the file, or executing it.
local function barrier(path, user, groups, wanted)
  for folder in path:gmatch("()/") do
    local name = folder == 1 and "/" or path:sub(1, folder - 1)
    local stat = uv.fs_stat(name)
    if stat and not allows(stat, user, groups, ENTER) then
      return name, stat.mode
    end
  end
  local stat = uv.fs_stat(path)
  if stat and not allows(stat, user, groups, wanted) then
    return path, stat.mode
  end
end

-- The groups that a worker of this user and group has.
local function groups_of(user, group)
  local gid = group and group.gid or user.gid
  local set = {}
  for _, id in ipairs(user.name and gid and core.privileges.groups(user.name, gid) or { gid }) do
    set[id] = true
  end
  return set
end

-- What keeps workers from loading it, or executing it, when they are somebody else already; and the mode of that.
function Look:obstacle(key, path, config, wanted)
  local may = self.rights.may
  local user = config.user ~= nil and may.SETUID and may.SETGID and core.privileges.lookup_user(config.user)
  if not user or key == "app" and config.preload then
    return nil
  end
  local group = config.group ~= nil and core.privileges.lookup_group(config.group) or nil
  return barrier(uv.fs_realpath(path) or path, user, groups_of(user, group), wanted)
end

function Look:usable(key, path, config, wanted)
  local at, mode = self:obstacle(key, path, config, wanted)
  if at then
    self:complain(key, nil, "cannot be %s by the user '%s': %s has mode %04o", wanted == READ and "read" or "executed",
      tostring(config.user), at, bit.band(mode, 4095))
  end
end

-- A Lua file that workers load: an app, or what a pool's workers do.
function Look:script(key, path, config)
  local stat = self:stat(key, path, path, "cannot be read")
  if not stat then
    return
  elseif stat.type == "directory" then
    return self:complain(key, path, "is a directory: %s", path)
  end
  if not self:access(key, path, path, "R", "cannot be read") then
    return
  end
  local chunk, why = loadfile(path)
  if not chunk then
    local line, what = why:match("^.-:(%d+): (.*)$")
    return self:complain(key, path, "%s", line and ("does not compile: %s:%s: %s"):format(path, line, what)
      or ("cannot be read: %s"):format(why))
  end
  self:usable(key, path, config, READ)
end

-- Who runs it has the `user` of this config, if one is given: then that user must be able to.
function Look:program(key, command, folder, env, config)
  local found, why, about = files.program(command[1], folder, env, config and function(path)
    return not self:obstacle(key, path, config, ENTER)
  end)
  if not found then
    self:complain(key, about, "%s", why)
  elseif config then
    self:usable(key, found, config, ENTER)
  end
end

-- Workers that are programs.
function Look:command(config, whole)
  self:program("command", config.command, whole.working_directory or ".", whole.env or {}, whole)
  local hooks = whole.hooks or whole
  for _, advice in ipairs(programs.advice(whole, hooks.after_fork)) do
    self:note(advice.key, "%s", advice.text)
  end
end

-- It takes nothing from the rest of the config but where the master is.
function Look:service(service, whole)
  if service.cwd then
    self:directory("cwd", service.cwd)
  end
  if service.script then
    self:script("script", service.script, service)
  elseif service.command then
    local folder = service.cwd or whole.working_directory or "."
    self:program("command", service.command, folder, service.env, service)
  end
  for _, key in ipairs { "stdout", "stderr" } do
    if type(service[key]) == "string" then
      self:file(key, service[key])
    end
  end
  for i, path in ipairs(service.monitor or {}) do
    if path ~= service.script and not uv.fs_stat(path) then
      self:note(#service.monitor == 1 and "monitor" or kinds.join("monitor", i), "is not there yet: %s", path)
    end
  end
  self:identity(service)
  self:limits(service)
end

-- What it does not say itself the top level says.
function Look:backend(backend, whole)
  local env, hooks = merged(whole.env or {}, backend.env), whole.hooks or whole
  if backend.cwd then
    self:directory("cwd", backend.cwd)
  end
  self:program("command", backend.command, backend.cwd or whole.working_directory or ".", env)
  for _, key in ipairs { "stdout", "stderr" } do
    if type(backend[key]) == "string" then
      self:file(key, backend[key])
    end
  end
  self:identity(backend)
  self:limits(backend)
  local user = backend.user
  if user == nil then
    user = whole.user
  end
  local advice = unhooked(backend, hooks.after_fork, user)
  if advice then
    self:note("command", "is a program: %s", advice)
  end
end

function Look:pool(pool, whole)
  local worker, hooks = pool.worker, whole.hooks or whole
  if type(worker) == "string" then
    return self:script("worker", worker, whole)
  elseif type(worker) ~= "table" or not worker.command then
    return
  end
  if worker.cwd then
    self:directory("worker.cwd", worker.cwd)
  end
  self:program("worker.command", worker.command, worker.cwd or whole.working_directory or ".",
    merged(whole.env or {}, worker.env))
  local advice = unhooked(worker, hooks.after_fork, whole.user)
  if advice then
    self:note("worker.command", "is a program: %s", advice)
  end
end

-- ---- users, limits, sockets -----------------------------------------------------------------------------------------

function Look:owner(key, value, look_up)
  local found, err
  if value ~= nil then
    found, err = look_up(value)
    if not found then
      self:complain(key, tostring(value), "cannot be used: %s", err.message)
    end
  end
  return found
end

function Look:identity(config)
  local user = self:owner("user", config.user, core.privileges.lookup_user)
  local group = self:owner("group", config.group, core.privileges.lookup_group)
  if not (config.user ~= nil and not user) and not (config.group ~= nil and not group) then
    local err, key = rights_of.identity(config)
    if err and err.code == "EINVAL" then
      self:complain(key, tostring(config[key]), "has no group of its own: name one with `group`")
    elseif err then
      self:denied(key, tostring(config[key]), "needs root: %s cannot become '%s'", self:me(), tostring(config[key]))
    end
  end
end

function Look:limits(config)
  local found = config.limits and rights_of.limits(config.limits) or {}
  for _, name in ipairs(kinds.sorted_keys(found)) do
    self:denied("limits", found[name], "cannot be set by %s: %s", self:me(), found[name])
  end
end

function Look:socket(key, text)
  local parsed = address.parse(text)
  if parsed and parsed.kind == "tcp" then
    return self:port(key, text, parsed.port)
  elseif not parsed or parsed.kind ~= "unix" then
    return
  end
  local stat = uv.fs_lstat(parsed.path)
  if stat and stat.type ~= "socket" then
    return self:complain(key, parsed.path, "is the path of something that is no socket: %s (a %s)", parsed.path,
      stat.type)
  end
  self:folder_of(key, parsed.path)
end

function Look:port(key, text, port)
  if port > 0 and port < 1024 and not self.rights.may.NET_BIND_SERVICE then
    local first = tonumber(files.read "/proc/sys/net/ipv4/ip_unprivileged_port_start" or "") or 1024
    if port < first then
      self:denied(key, text, "cannot be bound by %s: ports below %d need root or CAP_NET_BIND_SERVICE", self:me(),
        first)
    end
  end
end

-- Only root gives files away; one's own groups can have them.
function Look:given_to(key, entry)
  local user = self:owner(key .. ".owner", entry.owner, core.privileges.lookup_user)
  local group = self:owner(key .. ".group", entry.group, core.privileges.lookup_group)
  local rights = self.rights
  if user and not rights.may.CHOWN and user.uid ~= rights.uid then
    self:denied(key .. ".owner", entry.address, "needs root: %s cannot give a file to '%s'", self:me(),
      tostring(entry.owner))
  end
  if group and not rights.may.CHOWN and not rights.groups[group.gid] then
    self:denied(key .. ".group", entry.address, "needs root: %s is not in the group '%s'", self:me(),
      tostring(entry.group))
  end
end

local file_keys = { "pidfile", "stdout_path", "stderr_path", "access_log" }

---@param config table of the top level, or an entry of clusters
---@param whole table the same, with what it takes from the top level
function Look:all(config, whole)
  if config.app then
    self:script("app", config.app, whole)
  end
  if config.command then
    self:command(config, whole)
  end
  if config.working_directory then
    self:directory("working_directory", config.working_directory)
  end
  for _, key in ipairs(file_keys) do
    if type(config[key]) == "string" and config[key] ~= "-" then
      self:file(key, config[key])
    end
  end
  self:identity(config)
  self:limits(config)
  for i, entry in ipairs(config.listen or {}) do
    local where = #config.listen == 1 and "listen" or kinds.join("listen", i)
    self:socket(where, entry.address)
    self:given_to(where, entry)
  end
end

--- Look at everything that a config names.
---@param config brood.Config what of it is sound
---@param origins table<string, string>
---@return brood.Found[]
function M.look(config, origins)
  local mistakes, rights = {}, rights_of.now()
  local function at(prefix)
    return setmetatable({ mistakes = mistakes, prefix = prefix, origins = origins, rights = rights }, Look)
  end
  local top = at("")
  top:all(config, config)
  if config.control and config.control.address then
    top:socket("control", config.control.address)
  end
  local clusters = config.clusters or {}
  for _, name in ipairs(kinds.sorted_keys(type(clusters) == "table" and clusters or {})) do
    local entry = clusters[name]
    at(kinds.join("clusters", name) .. "."):all(entry, setmetatable({}, {
      __index = function(_, key)
        return entry[key] == nil and config[key] or entry[key]
      end,
    }))
  end
  for _, name in ipairs(kinds.sorted_keys(type(config.pools) == "table" and config.pools or {})) do
    at(kinds.join("pools", name) .. "."):pool(config.pools[name], config)
  end
  for _, name in ipairs(kinds.sorted_keys(type(config.backends) == "table" and config.backends or {})) do
    at(kinds.join("backends", name) .. "."):backend(config.backends[name], config)
  end
  for _, advice in ipairs(unrouted(config)) do
    top:note(advice.key, "%s", advice.text)
  end
  if config.proxy then
    for i, entry in ipairs(config.proxy.listen or {}) do
      local where = #config.proxy.listen == 1 and "listen" or kinds.join("listen", i)
      at("proxy."):socket(where, entry.address)
      at("proxy."):given_to(where, entry)
    end
  end
  for _, name in ipairs(kinds.sorted_keys(type(config.services) == "table" and config.services or {})) do
    at(kinds.join("services", name) .. "."):service(config.services[name], config)
  end
  return mistakes
end

--- All that is wrong with a config: what its rules say, and what a look at what it names finds.
---@param examined brood.Examined
---@return brood.Mistake[] found, boolean sound whether there are none but notes
function M.all(examined)
  local found, sound = examined.mistakes or {}, examined.mistakes == nil
  local config = not sound and examined.sound
    or setmetatable({ clusters = examined.clusters }, { __index = examined.effective })
  for _, mistake in ipairs(M.look(config, examined.origins)) do
    found[#found + 1] = mistake
    sound = sound and mistake.note
  end
  return found, sound
end

--- What else is wrong with a config that could not be started, where there is something.
---@param config brood.EffectiveConfig
---@param origin brood.Examined as `config.settle` left it
---@param err brood.Error what has been said already
---@return brood.Mistake[]
function M.others(config, origin, err)
  local found, given = {}, setmetatable({ clusters = origin.clusters }, { __index = config })
  for _, mistake in ipairs(M.look(given, origin.origins)) do
    local is_said = mistake.about and err.message:find(mistake.about, 1, true)
    if not (is_said or mistake.advice) then
      mistake.note = nil -- whoever runs it is who cannot
      found[#found + 1] = mistake
    end
  end
  return found
end

return M
