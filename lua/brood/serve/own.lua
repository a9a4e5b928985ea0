--- Apps that listen themselves, in a worker of a script's cluster: `server:listen` asks the cluster for the socket, so
--- that all its workers share one, and those to come. It is used, and let go of, as if it were the worker's own.
--- What kind of app that may be is known here as well. The cluster's side is cluster.door.
local core = require "brood.core"
local E = require "brood.error"
local fork = require "brood.fork"
local paths = require "brood.rules.path"
local peer = require "brood.peer"
local serve = require "brood.serve"
local server = require "brood.server"
local uv = require "luv"

local LOOK = 1 -- milliseconds between two looks for the answer

local M = {}

fork.on_child(function()
  server.lend = nil -- whoever is forked here is no worker of that cluster
end)

---@class brood.OwnServers
---@field alone boolean the cluster has no sockets of its own
---@field serving brood.Serving
---@field asked table<string, integer> how often for each address
local Own = {}
Own.__index = Own

-- ---- asking for sockets ---------------------------------------------------------------------------------------------

---@class brood.LentListener
local Lent = { is_lent = true }
Lent.__index = Lent

function Lent:fd()
  return self.number
end

function Lent:address()
  return self.where
end

--- Its descriptor may have gone with all others.
function Lent:close()
  local fds = self.serving.fds
  for i, fd in ipairs(fds) do
    if fd == self.number then
      table.remove(fds, i)
      core.process.let_go_at_master_death(fds)
      core.fd.close(fd)
    end
  end
end

-- `listen` does not suspend: the worker stands still until the answer is there. It has a line of its own, so that
-- nobody else is called meanwhile.
local function ask(self, entry)
  local ours, theirs = core.channel.pair()
  if not ours then
    return nil, theirs
  end
  local sent, err = self.serving.worker.peer:post("open", { entry, self.asked[entry.address] }, theirs)
  core.fd.close(theirs)
  if sent == nil then
    core.fd.close(ours)
    return nil, err
  end
  self.serving.worker.peer:flush_blocking(LOOK)
  local answer, socket
  local line = assert(peer.new(ours, { role = "child", name = "the cluster", disconnect = function()
    answer = answer or { false, E.new("stopped", "cannot listen on %s: the cluster is gone", entry.address) }
  end }))
  line:handle("opened", function(value, fd)
    answer, socket = value, fd
  end)
  line:read_now()
  while not answer do
    uv.sleep(LOOK)
    line:read_now()
  end
  line:close()
  return socket, socket and answer[1] or E.from(answer[2])
end

local function lend(self, given)
  local entry = {}
  for name, value in pairs(given) do
    entry[name] = value
  end
  local path = entry.address:match "^unix:(.*)$"
  entry.address = path and "unix:" .. paths.absolute(assert(core.cwd()), path) or entry.address
  self.asked[entry.address] = (self.asked[entry.address] or 0) + 1
  local fd, address = ask(self, entry)
  if not fd then
    return nil, address
  end
  local serving = self.serving
  core.fd.own(fd)
  table.insert(serving.fds, fd)
  core.process.let_go_at_master_death(serving.fds)
  return setmetatable({ number = fd, where = address, serving = serving }, Lent)
end

--- From now on `server:listen` asks the cluster.
---@param serving brood.Serving
---@param alone boolean the cluster has no sockets of its own
function M.begin(serving, alone)
  local self = setmetatable({ serving = serving, alone = alone, asked = {} }, Own)
  serving.own = self
  server.lend = function(entry)
    return lend(self, entry)
  end
end

-- ---- the app --------------------------------------------------------------------------------------------------------

local function nothing() end

-- Than a start and a stop.
local function has_no_more(value)
  for key in pairs(value) do
    if key ~= "start" and key ~= "stop" then
      return false
    end
  end
  return true
end

--- What an app file returned, in one form, where the cluster has no sockets for it: it may be a script that listens, or
--- does something else.
---@param value any
---@param where string
---@return table app {server=, start=, stop=}
function Own.normalise(value, where)
  if value == nil or value == true then
    return {}
  elseif type(value) == "table" and next(value) ~= nil and has_no_more(value) then
    local app = serve.normalise({ server = nothing, start = value.start, stop = value.stop }, where)
    return { start = app.start, stop = app.stop }
  end
  return serve.normalise(value, where)
end

--- Whether what the app returned has found something to serve from.
---@param app table
---@param path string
---@return true? ok, brood.Error? err
function Own:check(app, path)
  if app.server and not server.listening[app.server] then
    local err = E.new("app", "%s has a handler or a server, but the cluster has no `listen`, and it does not call "
      .. "server:listen itself", path)
    err.traceback = err.message
    return nil, err
  end
  return true
end

--- All that this worker serves with.
---@param returned? brood.Server by the app
---@return brood.Server[]
function Own:servers(returned)
  local list = { returned }
  for each in pairs(server.listening) do
    list[#list + 1] = each ~= returned and each or nil
  end
  return list
end

return M
