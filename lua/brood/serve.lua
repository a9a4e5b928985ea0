--- The inside of a cluster's worker: loads the app, serves it on the sockets the
--- master holds, and ends as it is told. The master's side is brood.cluster; what an app does that listens itself is
--- serve.own's.
local collector = require "brood.collector"
local core = require "brood.core"
local E = require "brood.error"
local files = require "brood.files"
local log = require "brood.log"
local signals = require "brood.signals"
local supervised = require "brood.supervised"
local task = require "brood.task"
local timer = require "brood.timer"

-- What the app supervises is asked to end before the worker's time is over, when it is killed: so long before, in
-- seconds, but in the last quarter of that time.
local LAST = 2

-- How long before the end of that time idle connections are closed that were kept until then: what is left is for the
-- app's stop.
local LAST_IDLE = 4

-- Seconds of it, or a tenth, that are left for the app's stop.
local FOR_STOP = 1

local RECYCLED = 2 -- as cluster.linger writes it

local CALLED_ELSEWHERE = { handler = "server", handle = "server", app = "server", request = "server" }
local SERVER_MISTAKE = "^%S+: %l+%.server: "
local WANTED = "a handler function(req, res), a server, or {server=, start=, stop=}"

local M = {}

-- Where brood noticed a mistake is of no use to whoever made it.
local function raise(err)
  err = E.from(err)
  err.traceback = err.traceback or err.message
  error(err, 0)
end

local function refuse(fmt, ...)
  raise(E.new("app", fmt, ...))
end

-- What was probably meant by a table without `server`.
local function guess(app)
  local nearest = require "brood.rules.nearest"
  for key in pairs(app) do
    local meant = CALLED_ELSEWHERE[key] or nearest.find(key, { "server", "start", "stop" })
    if meant and meant ~= key then
      return (": unknown key '%s'%s"):format(key, nearest.hint(meant))
    end
  end
  return ""
end

--- What an app file returned, in one form.
---@param value any
---@param where string
---@return table app {server=, start=, stop=}
function M.normalise(value, where)
  local app = value
  if type(value) == "function" or (type(value) == "table" and type(value.listen) == "function") then
    app = { server = value }
  elseif value == nil then
    refuse("%s returns nothing: is `return` missing? It must return %s", where, WANTED)
  elseif type(value) ~= "table" then
    refuse("%s must return %s, got %s", where, WANTED, type(value))
  elseif value.server == nil then
    refuse("%s must return %s, got a table without `server`%s", where, WANTED, guess(value))
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
---@param path string|fun(): table a function makes one of brood's own
---@param args? string[] its `arg` from now on, and its `...`
---@param normalise? fun(value: any, where: string): table in place of the usual
---@return table app
function M.load(path, args, normalise)
  if type(path) == "function" then
    return path()
  end
  local chunk, why = loadfile(path)
  if not chunk then
    refuse("cannot load the app: %s", why)
  end
  files.path_first(path)
  M.set_args(path, args)
  local ok, app = task.call(chunk, unpack(args or {}))
  if not ok then
    if app.code == "error" and tostring(app.message):find(SERVER_MISTAKE) then
      app.code = "app" -- it is written there, and will be so at the next try
    end
    error(app, 0)
  end
  return (normalise or M.normalise)(app, path)
end

--- What an app finds in `arg`, as a script does; without a word it is what it was.
---@param path string
---@param args? string[]
function M.set_args(path, args)
  if args then
    _G.arg = { [-1] = "brood", [0] = path, unpack(args) }
  end
end

-- One worker: its app, and how far its end has come.
---@class brood.Serving
---@field worker brood.Worker the line to the master
---@field fds integer[] the listening sockets: the master's, lent
---@field note brood.Note
---@field known { state: string } of `brood.worker`
---@field patience? number|false seconds that its end may take
---@field max_requests? integer after so many it asks the master for a replacement
---@field lingers? boolean while it goes: idle connections are kept
---@field orphan? boolean its master is gone
---@field on_trial? boolean all may yet go on as before: until the master says "serve" it accepts nothing
---@field recycle_timeout? number|false seconds that a request may take once this worker is recycled
---@field args? string[] of the app
---@field own? brood.OwnServers where the app may listen itself
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

-- The requests go on: who is killed at the end of its patience can ask nobody any more.
local function stop_supervised_in_time(self)
  local patience = self.patience
  if patience then
    timer.after(patience - math.min(LAST, patience / 4), function()
      supervised.stop_all(function() end)
    end):unref()
  end
end

-- Whether the master wants idle connections to be kept for a while: where another worker replaces this one.
local function may_linger(self)
  local note = self.note
  return not self.orphan and note.place ~= nil and note.board:get(note.place, "linger") ~= 0
end

local function can_linger(server)
  return type(server.linger) == "function"
end

local function drop_idle(self)
  if self.lingers then
    self.lingers = false
    for _, server in ipairs(self.servers) do
      if can_linger(server) then
        server:close(function() end) -- the first one is still waited for
      end
    end
  end
end

-- Idle connections alone must not keep it until it is killed.
local function begin_linger(self)
  local patience = self.patience
  self.lingers = may_linger(self)
  if self.lingers and patience then
    timer.after(patience - math.min(LAST_IDLE, patience * 0.4), function()
      drop_idle(self)
    end):unref()
  end
end

local function close_server(server, lingers)
  if lingers and can_linger(server) then
    return server:linger()
  end
  return server:close()
end

-- One that is recycled has finished its requests sooner than others.
local function limit_requests(self)
  local seconds, note = self.recycle_timeout, self.note
  if seconds and note.place and note.board:get(note.place, "linger") == RECYCLED then
    for _, server in ipairs(self.servers) do
      if server.limit_requests then
        server:limit_requests(seconds)
      end
    end
  end
end

-- A client that stays for ever must not keep the app's stop from running: the connections that are left are cut while
-- there is time for it.
local function cut_for_stop(self)
  local patience = self.app.stop and self.patience
  return patience and timer.after(patience - math.min(FOR_STOP, patience / 10), function()
    log.warn(("graceful_timeout (%g s) is nearly over: what is still served is cut, so that the app's stop can run")
      :format(patience))
    for _, server in ipairs(self.servers) do
      server:destroy()
    end
  end):unref()
end

--- Finish what is being served, run the app's stop, and go. The master kills what takes too long. Asked again, it looks
--- whether idle connections may still be kept.
function Serving:quit()
  if self.quitting then
    if self.lingers and not may_linger(self) then
      drop_idle(self)
    end
    return
  end
  self.quitting = true
  self.known.state = "stopping"
  if not self.app then
    return self:leave(0) -- still loading: nothing has been served
  end
  stop_supervised_in_time(self)
  self.servers = self.own and self.own:servers(self.app.server) or { self.app.server }
  task.spawn(function()
    local finished = {}
    limit_requests(self)
    begin_linger(self)
    for i, server in ipairs(self.servers) do
      finished[i] = task.async(close_server, server, self.lingers)
    end
    close_listeners(self)
    self.worker.peer:post "leaving" -- whoever sent the QUIT
    self.worker:emit("stopping")
    local cut = cut_for_stop(self)
    for _, each in ipairs(finished) do
      each:wait()
    end
    if cut then
      cut:cancel()
    end
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

-- It was on trial, and is one of the others now.
local function serve_too(self)
  self.on_trial = false
  if self.quitting or not self.app or self.own and self.own.alone then
    return -- (an app that listens itself does so as it likes)
  end
  local ok, err = self.app.server:listen { fds = self.fds }
  if not ok then
    log.error("cannot accept: " .. E.text(err))
    self:leave(1) -- whoever comes next in this slot tries it again
  end
end

-- What a worker hears itself, or the system side of it.
local HEARD = { QUIT = true, TERM = true, INT = true, USR1 = true, TTIN = true, TTOU = true, PWR = true }

local function watch_signals(self, masters)
  signals.on("QUIT", function()
    self.note:told("QUIT")
    self:quit()
  end)
  for _, name in ipairs { "TERM", "INT" } do
    signals.on(name, function()
      self.note:told(name)
      self:leave(0)
    end)
  end
  -- It has no rights to open them itself, and the others should not go on in the old ones.
  signals.on("USR1", function()
    self.worker.peer:post "reopen_all"
  end)
  -- Meant for the master, and sent to all that bear the name: nothing to die of, or to stand still for.
  assert(core.process.pass_stop_signals())
  for _, name in ipairs(masters) do
    if not HEARD[name] then
      signals.on(name, function()
        log.debug(name .. " means nothing to a worker")
      end)
    end
  end
end

--- In the forked child, before anything else there: be a worker that ends as it is told.
---@param worker brood.Worker
---@param fds integer[]
---@param note brood.Note
---@param masters string[] the signals that mean something to the master
---@return brood.Serving
function M.begin(worker, fds, note, masters)
  local self = setmetatable({ worker = worker, fds = fds, note = note, known = {} }, Serving)
  watch_signals(self, masters)
  core.process.let_go_at_master_death(fds)
  worker.peer:handle("listen", function(_, fd)
    listen_too(self, fd)
  end)
  worker.peer:handle("serve", function()
    serve_too(self)
  end)
  worker.peer:handle("look", core.listener.look)
  worker.peer:handle("reopen", function(value, fd)
    require("brood.access_log").reopen(value, fd)
  end)
  worker.peer:hold_loop(true) -- how long it may wait for nothing is the master's decision
  function worker.master_gone()
    self.orphan = true
    self:quit()
  end
  return self
end

--- Load the app, start it, serve it. Raises when it cannot be served.
---@param path string|fun(): table
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
    collector.tune()
  end
  self.note:stage("load")
  if loaded then
    M.set_args(path, self.args)
  end
  local own = self.own
  local app = loaded or M.load(path, self.args, own and own.alone and own.normalise or nil)
  self.note:stage("start")
  local ok, err = run_hook(app.start, self.worker)
  if ok and own and own.alone then
    ok, err = own:check(app, path)
  elseif ok then
    ok, err = app.server:listen { fds = self.on_trial and {} or self.fds }
  end
  if not ok then
    raise(err)
  end
  self.app = app
  if self.max_requests then
    core.http.request_limit(self.max_requests, function()
      self.worker.peer:post("recycle", "max_requests")
    end)
  end
  self.note:stage("ready")
  self.known.state = self.quitting and "stopping" or "ready"
  self.worker:ready()
end

return M
