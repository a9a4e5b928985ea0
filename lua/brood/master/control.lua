--- The control server of a master: HTTP and JSON on a private Unix socket. It
--- answers what it is asked, and decides nothing.
local cause = require "brood.master.cause"
local core = require "brood.core"
local E = require "brood.error"
local http = require "brood.http"
local lazy = require "brood.lazy"
local listeners = require "brood.listeners"
local log = require "brood.log"
local paths = require "brood.rules.path"
local uv = require "luv"

local inherit = lazy.passing "brood.master.inherit"
local folder = lazy.room "brood.folder"
local json = lazy.room "brood.json"
local routes = lazy.room "brood.master.control_routes"
local unix_listeners = lazy.room "brood.unix_listeners"

---@class brood.Control
---@field address string
---@field listener userdata
---@field server? brood.http.Server nil while another master answers there
local Control = {}
Control.__index = Control

local M = {}

local PATH_MAX = require("brood.rules.address").UNIX_PATH_MAX

-- HEAD is GET without the body, which the server leaves out.
local function ask(master, req, res)
  local method = req.method == "HEAD" and "GET" or req.method
  local route, known = routes.find(method, req.path)
  if route then
    local ok, status, body = cause.within("control socket", route, master, req)
    if not ok then
      error(status, 0)
    end
    return status, body
  elseif known then
    res:header("allow", known == "GET" and "GET, HEAD" or known)
    return 405, { error = ("%s wants %s, not %s"):format(req.path, known, req.method) }
  end
  return 404, { error = ("there is no %s %s; GET / lists what there is"):format(method, req.path) }
end

local function answer(master, req, res)
  local status, body = ask(master, req, res)
  -- The encoder cannot know that an empty table is a list.
  local text = json.encode(body):gsub('"processes":{}', '"processes":[]')
  res:status(status):header("content-type", "application/json"):finish(text .. "\n")
end

-- A folder that only we can write to: made if need be, refused when it is somebody else's.
local function private_dir(path)
  uv.fs_mkdir(path, 448) -- 0700
  local stat = uv.fs_lstat(path)
  return stat and stat.type == "directory" and stat.uid == core.posix.getuid()
    and bit.band(stat.mode, 18) == 0 and path or nil
end

-- Paths of configs as parts of names: readable, and different for different paths.
local function name_of(path, room)
  local plain = path:match("^/([%w._/]+)%.lua$")
  local name = plain and plain:gsub("/", "-")
  if not name or #name > room then
    local hash = 0
    for i = 1, #path do
      hash = bit.bxor(hash * 31 % 4294967296, path:byte(i))
    end
    name = path:gsub("^/", ""):gsub("%.lua$", ""):gsub("[^%w._-]+", "-")
    -- The end of a path tells configs apart better than its beginning.
    name = ("%s-%s"):format(name:sub(-math.max(1, room - 9)), bit.tohex(hash))
  end
  return name
end

--- Where the control socket may be when the config does not say, the first that is free: beside the pidfile (under a
--- name of its own where another master has taken that), else in a private folder, named after the config's path.
---@param config brood.EffectiveConfig
---@return string[] paths
function M.default_paths(config)
  if config.pidfile then
    local dir, stem = paths.directory(config.pidfile), config.pidfile:match("([^/]+)$"):gsub("%.pid$", "")
    local list = {}
    for _, name in ipairs { "brood.sock", ("brood-%s.sock"):format(stem) } do
      list[#list + 1] = #dir + 1 + #name <= PATH_MAX and dir .. "/" .. name or nil
    end
    return list
  end
  local runtime = os.getenv("XDG_RUNTIME_DIR")
  local dir = runtime and private_dir(runtime) or private_dir("/run/brood")
    or private_dir(("%s/brood-%d"):format(os.getenv("TMPDIR") or "/tmp", core.posix.getuid()))
  if not dir then
    return {}
  end
  local prefix = dir == runtime and dir .. "/brood-" or dir .. "/"
  local room = PATH_MAX - #prefix - #".sock"
  return { room > 9 and prefix .. name_of(config.path, room) .. ".sock" or nil }
end

-- Returns also whether it is the old master's, who answers there until it leaves that to us.
local function listen(master, address, once)
  local passed = inherit.control(master, address)
  if passed then
    return passed, nil, true
  end
  return listeners.open { address = address, mode = 384, backlog = 16, once = once } -- 0600
end

-- What masters that were killed have left in that folder.
local function clear(folder_path, prefix, own)
  for _, entry in ipairs(folder.entries(folder_path)) do
    local path = folder_path .. entry.name
    local stat = path ~= own and entry.name:find(prefix, 1, true) == 1 and entry.name:find "%.sock$"
      and uv.fs_lstat(path)
    if stat and stat.type == "socket" and stat.uid == core.posix.getuid() and not unix_listeners.listens(path) then
      core.listener.clear(path)
    end
  end
end

local function clear_around(path)
  local folder_path = path:match "^.*/"
  clear(folder_path, folder_path == (os.getenv "XDG_RUNTIME_DIR" or "") .. "/" and "brood-" or "", path)
end

local function open_default(master, config)
  local passed
  local listener, err = nil, E.new("EACCES",
    "no private folder for the control socket: set XDG_RUNTIME_DIR, or `control`")
  for _, path in ipairs(M.default_paths(config)) do
    listener, err, passed = listen(master, "unix:" .. path, true)
    if listener or err.code ~= "EADDRINUSE" then
      if listener and not config.pidfile then
        clear_around(path)
      end
      break
    end
  end
  return listener, err, passed
end

local function open(master, config)
  local address = config.control and config.control.address
  if not address then
    return open_default(master, config)
  elseif not address:match("^unix:") then
    return nil, E.new("not_available", "control on TCP is not available yet: use unix:/path")
  end
  return listen(master, address, false)
end

--- Start it, unless the config says `control = false`. Where nobody asked for it, a failure is only logged.
---@param master brood.Master
---@return true? ok, brood.Error? err
function M.start(master)
  if master.config.control == false then
    return true
  end
  local listener, err, passed = open(master, master.config)
  if not listener then
    err = E.of("control", err)
    if master.config.control then
      return nil, err
    end
    log.warn(("%s; going on without a control server"):format(err))
    return true
  end
  master.control = setmetatable({ listener = listener, address = listener:address() }, Control)
  if passed then
    return true
  end
  return master.control:accept(master)
end

--- Answer there, unless it does already.
---@param master brood.Master
---@return true? ok, brood.Error? err
function Control:accept(master)
  if self.server then
    return true
  end
  local server = http.server(function(req, res)
    answer(master, req, res)
  end)
  local ok, err = server:listen { fds = { self.listener:fd() } }
  if not ok then
    return nil, E.of("control", err)
  end
  self.server = server
  return true
end

--- Leave the answers to another master; those that are under way are finished.
function Control:pause()
  if self.server then
    self.server:close(function() end)
    self.server = nil
  end
end

-- Whether the one that there is now is where a config wants it.
local function in_place(master, config)
  local control = master.control
  if not control or config.control == false then
    return control == nil and config.control == false
  elseif not control.listener:in_place() then
    return false -- somebody has removed its file, or a symlink leads elsewhere now
  elseif config.control and config.control.address then
    return control.address == config.control.address
  end
  for _, path in ipairs(M.default_paths(config)) do
    if control.address == "unix:" .. path then
      return true
    end
  end
  return false
end

-- Another one, which answers at once.
local function open_beside(master, config)
  local listener, err = open(master, config)
  if not listener then
    return nil, E.of("control", err)
  end
  local control = setmetatable({ listener = listener, address = listener:address() }, Control)
  local ok, why = control:accept(master)
  if not ok then
    control:close()
    return nil, why
  end
  return control
end

-- For good. Another master may go on there: the new one, or the old one, which has left the answers to us.
local function leave(master, former)
  former:pause()
  master.listeners.let_go(former.listener)
  if master.old_pid then
    master.line:post "accept"
  end
end

local function no_change() end

--- Prepare for another config: what is to be done when it comes into force, and when it does not. The former server
--- answers what it was asked.
---@async
---@param master brood.Master
---@param config brood.EffectiveConfig
---@return { commit: fun(), cancel: fun() }? plan, brood.Error? err
function M.change(master, config)
  if in_place(master, config) then
    return { commit = no_change, cancel = no_change }
  end
  local former, control = master.control, nil
  if config.control ~= false then
    local err
    control, err = open_beside(master, config)
    if not control and config.control then
      return nil, err
    elseif not control then
      log.warn(("%s; going on as before"):format(err))
      return { commit = no_change, cancel = no_change }
    end
  end
  return {
    commit = function()
      master.control = control
      if former then
        leave(master, former)
      end
    end,
    cancel = function()
      if control then
        control:close()
      end
    end,
  }
end

function Control:close()
  self:pause()
  self.listener:close()
end

return M
