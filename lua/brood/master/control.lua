--- The control server of a master: HTTP and JSON on a private Unix socket. It
--- answers what it is asked, and decides nothing.
local core = require "brood.core"
local E = require "brood.error"
local http = require "brood.http"
local json = require "brood.json"
local listeners = require "brood.master.listeners"
local log = require "brood.log"
local paths = require "brood.rules.path"
local uv = require "luv"

---@class brood.Control
---@field address string
local Control = {}
Control.__index = Control

local M = {}

local PATH_MAX = 107 -- bytes of a Unix socket's path

local routes = {
  ["GET /health"] = function(master)
    local serving = master.state == "ready"
    return serving and 200 or 503, { status = serving and "ok" or master.state }
  end,
  ["GET /status"] = function(master)
    return 200, master:status()
  end,
}

local function answer(master, req, res)
  local route = routes[req.method .. " " .. req.path]
  local status, body = 404, { error = ("there is no %s %s"):format(req.method, req.path) }
  if route then
    status, body = route(master)
  end
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

--- Where the control socket is when the config does not say: beside the pidfile, else in a private folder under a name
--- made from the config's path.
---@param config brood.EffectiveConfig
---@return string? path
function M.default_path(config)
  if config.pidfile then
    local path = paths.directory(config.pidfile) .. "/brood.sock"
    return #path <= PATH_MAX and path or nil
  end
  local name = config.path:gsub("^/", ""):gsub("%.lua$", ""):gsub("[^%w._-]+", "-") .. ".sock"
  local runtime = os.getenv("XDG_RUNTIME_DIR")
  local dir = runtime and private_dir(runtime) or private_dir("/run/brood")
    or private_dir(("%s/brood-%d"):format(os.getenv("TMPDIR") or "/tmp", core.posix.getuid()))
  if not dir then
    return nil
  end
  local prefix = dir == runtime and "brood-" or ""
  local path = ("%s/%s%s"):format(dir, prefix, name)
  if #path > PATH_MAX then
    -- The end of a path tells configs apart better than its beginning.
    path = ("%s/%s%s"):format(dir, prefix, name:sub(-(PATH_MAX - #dir - #prefix - 1)))
  end
  return path
end

local function open(master)
  local wanted = master.config.control
  local address = wanted and wanted.address
  if not address then
    local path = M.default_path(master.config)
    if not path then
      return nil, E.new("EACCES", "no private folder for the control socket: set XDG_RUNTIME_DIR, or `control`")
    end
    address = "unix:" .. path
  elseif not address:match("^unix:") then
    return nil, E.new("not_available", "control on TCP is not available yet: use unix:/path")
  end
  return listeners.open { address = address, mode = 384, backlog = 16, once = not wanted } -- 0600
end

--- Start it, unless the config says `control = false`. Where nobody asked for it, a failure is only logged.
---@param master brood.Master
---@return true? ok, brood.Error? err
function M.start(master)
  if master.config.control == false then
    return true
  end
  local listener, err = open(master)
  if not listener then
    err = E.new(err.code, "control: %s", err.message)
    if master.config.control then
      return nil, err
    end
    log.warn(("%s; going on without a control server"):format(err))
    return true
  end
  local server = http.server(function(req, res)
    answer(master, req, res)
  end)
  local ok
  ok, err = server:listen { listener:fd() }
  if not ok then
    listener:close()
    return nil, E.new(err.code, "control: %s", err.message)
  end
  master.control = setmetatable({ listener = listener, server = server, address = listener:address() }, Control)
  return true
end

function Control:close()
  self.server:close(function() end)
  self.listener:close()
end

return M
