--- The inside of a cluster's worker: loads the app, serves it on the sockets the
--- master holds, and ends as it is told. The master's side is brood.cluster.
local core = require "brood.core"
local E = require "brood.error"
local log = require "brood.log"
local signals = require "brood.signals"
local supervised = require "brood.supervised"
local task = require "brood.task"

-- Percent of the live heap at which the collector begins anew: an idle worker keeps the most that it ever used.
local PAUSE = 150

local M = {}

--- The folder of a file comes first in package.path.
---@param path string
function M.path_first(path)
  local dir = path:match("^(.*)/[^/]*$") or "."
  package.path = ("%s/?.lua;%s/?/init.lua;%s"):format(dir, dir, package.path)
end

-- Where brood noticed a mistake is of no use to whoever made it.
local function raise(err)
  err = E.from(err)
  err.traceback = err.traceback or err.message
  error(err, 0)
end

local function refuse(fmt, ...)
  raise(E.new("app", fmt, ...))
end

--- What an app file returned, in one form.
---@param value any
---@param where string
---@return table app {server=, start=, stop=}
function M.normalise(value, where)
  local app = value
  if type(value) == "function" or (type(value) == "table" and type(value.listen) == "function") then
    app = { server = value }
  elseif type(value) ~= "table" or value.server == nil then
    refuse("%s must return a handler function(req, res), a server, or {server=, start=, stop=}, got %s", where,
      type(value))
  end
  local server = app.server
  if type(server) == "function" then
    server = require("brood.http").server(server)
  elseif type(server) ~= "table" or type(server.listen) ~= "function" then
    refuse("%s: `server` must be a handler function or a server, got %s", where, type(server))
  end
  for _, name in ipairs { "start", "stop" } do
    if app[name] ~= nil and type(app[name]) ~= "function" then
      refuse("%s: `%s` must be a function, got %s", where, name, type(app[name]))
    end
  end
  return { server = server, start = app.start, stop = app.stop }
end

--- Load an app file. Raises what is wrong with it.
---@param path string
---@return table app
function M.load(path)
  local chunk, why = loadfile(path)
  if not chunk then
    refuse("cannot load the app: %s", why)
  end
  M.path_first(path)
  return M.normalise(chunk(), path)
end

-- One worker: its app, and how far its end has come.
---@class brood.Serving
---@field worker brood.Worker the line to the master
---@field fds integer[] the listening sockets: the master's, lent
---@field app? table once it serves
local Serving = {}
Serving.__index = Serving

local function run_hook(fn, worker)
  if not fn then
    return true
  end
  return task.run(nil, "hook", function(done)
    task.call_done(fn, done, worker)
  end)
end

function Serving:leave(status)
  self.worker.peer:flush_blocking(1)
  os.exit(status) -- which leaves nothing behind that the app supervises
end

-- Whoever listens there next must not find the socket held by one that only finishes.
local function close_listeners(self)
  core.process.let_go_at_master_death {}
  for _, fd in ipairs(self.fds) do
    core.fd.close(fd)
  end
  self.fds = {}
end

--- Finish what is being served, run the app's stop, and go. The master kills what takes too long.
function Serving:quit()
  if self.quitting then
    return
  end
  self.quitting = true
  if not self.app then
    return self:leave(0) -- still loading: nothing has been served
  end
  task.spawn(function()
    local finished = task.async(function()
      self.app.server:close()
    end)
    close_listeners(self)
    self.worker:emit("stopping")
    finished:wait()
    local ok, err = run_hook(self.app.stop, self.worker)
    if not ok then
      log.error("the app's stop failed: " .. E.text(err))
    end
    supervised.stop_all(function()
      self:leave(ok and 0 or 1)
    end)
  end)
end

-- Another slot's socket, which would have no worker otherwise.
local function listen_too(self, fd)
  if not fd then
    return
  elseif self.quitting or not self.app then
    return core.fd.close(fd)
  end
  core.fd.own(fd)
  table.insert(self.fds, fd)
  core.process.let_go_at_master_death(self.fds)
  local ok, err = self.app.server:listen { fds = { fd } }
  if not ok then
    log.error("cannot accept for another worker: " .. err)
  end
end

local function watch_signals(self)
  signals.on("QUIT", function()
    self:quit()
  end)
  for _, name in ipairs { "TERM", "INT" } do
    signals.on(name, function()
      self:leave(0)
    end)
  end
  -- Meant for the master, and sent to all that bear the name: nothing to die of.
  for _, name in ipairs { "HUP", "USR1", "USR2" } do
    signals.on(name, function()
      log.debug(name .. " means nothing to a worker")
    end)
  end
end

--- In the forked child, before anything else there: be a worker that ends as it is told.
---@param worker brood.Worker
---@param fds integer[]
---@return brood.Serving
function M.begin(worker, fds)
  local self = setmetatable({ worker = worker, fds = fds }, Serving)
  watch_signals(self)
  core.process.let_go_at_master_death(fds)
  worker.peer:handle("listen", function(_, fd)
    listen_too(self, fd)
  end)
  worker.peer:handle("look", core.listener.look)
  worker.peer:hold_loop(true) -- how long it may wait for nothing is the master's decision
  function worker.master_gone()
    self:quit()
  end
  return self
end

--- Load the app, start it, serve it. Raises when it cannot be served.
---@param path string
---@param loaded? table the app, where the master has loaded it
---@param access_log? brood.AccessLog
function Serving:run(path, loaded, access_log)
  if access_log then
    local opened, why = require("brood.access_log").open(access_log)
    if not opened then
      raise(why)
    end
  end
  if not loaded then
    collectgarbage("setpause", PAUSE) -- unless the app says otherwise; for one that was preloaded see cluster.preload
  end
  local app = loaded or M.load(path)
  local ok, err = run_hook(app.start, self.worker)
  if ok then
    ok, err = app.server:listen { fds = self.fds }
  end
  if not ok then
    raise(err)
  end
  self.app = app
  self.worker:ready()
end

return M
