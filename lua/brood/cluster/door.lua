--- The sockets that a script's cluster opens itself, at its start or when an app asks for one, and lends to its
--- workers; and what comes before the first of them is forked. They are released when it begins to stop: who connects
--- from then on is refused at once. How sockets are opened is brood.listeners', the workers are the group's business.
local core = require "brood.core"
local E = require "brood.error"
local generation = require "brood.cluster.generation"
local listeners = require "brood.listeners"
local logs = require "brood.logs"
local merged = require "brood.rules.merged"
local passed = require("brood.lazy").passing "brood.cluster.passed"
local peer = require "brood.peer"
local supervised = require "brood.supervised"
local task = require "brood.task"
local timer = require "brood.timer"

local M = {}

local DAY = 86400

---@class brood.Door
---@field cluster brood.Cluster
---@field listeners brood.Listeners
---@field logs brood.Logs
---@field opening? { called_off: boolean?, waiting: function[] } the start, until its first worker is launched
---@field later function[] who wants a start after the stop that is under way
---@field lending table<string, function[]> by what is asked for: who waits for it to be opened
local Door = {}
Door.__index = Door

local function answer_all(list, ...)
  for _, done in ipairs(list) do
    done(...)
  end
end

local function no_sockets()
  return listeners.sockets {}
end
M.no_sockets = no_sockets

---@param cluster brood.Cluster
---@return brood.Door
function M.new(cluster)
  local self = setmetatable({
    cluster = cluster, later = {}, lending = {}, listeners = listeners.new(function(listener)
      listener:close()
    end), logs = logs.new(function(list)
      cluster:reopen(list)
    end),
  }, Door)
  cluster.group:on("stopping", function()
    self:release()
  end)
  cluster.group:on("stopped", function()
    self:stopped()
  end)
  cluster:on("reopen_all", function()
    self.logs:reopen_soon()
  end)
  return self
end

-- ---- the start ------------------------------------------------------------------------------------------------------

-- A generation that has all it needs of what is opened here; the app is loaded again.
local function prepare(self, opening)
  local cluster = self.cluster
  local options = cluster.options
  local wanted = { name = cluster.name, listen = options.listen or {}, workers = cluster.group.size }
  local ok, err = true, nil
  if wanted.listen[1] and os.getenv "LISTEN_FDS" then
    ok, err = passed.offer(self.listeners, wanted.listen)
  end
  if not ok then
    return nil, err
  end
  ok, err = self.listeners:open({ wanted }, function()
    return opening.called_off == true
  end)
  if not ok then
    return nil, err
  end
  local access_log
  access_log, err = self.logs:access(self.access_log, "text")
  if err then
    return nil, err
  end
  options = merged(options, { sockets = self.listeners:of(cluster.name), workers = cluster.group.size })
  options.access_log = access_log
  local gen = generation.new(cluster, options)
  err = gen:problem()
  if err then
    return nil, err
  end
  cluster:adopt(gen)
  return true
end

-- Nobody was launched.
local function give_up(self)
  self.opening = nil
  self:release()
  self.logs:close()
end

local function begin(self, waiting)
  local cluster, opening = self.cluster, { waiting = waiting }
  self.opening, cluster.fault = opening, nil
  supervised.close_at_end(self)
  local function go_on(err)
    if opening.called_off then
      return
    elseif err then
      give_up(self)
      return answer_all(waiting, err)
    end
    self.opening = nil
    self.held = timer.every(DAY, function() end) -- it stays, though it may have no worker
    cluster:launch(function(failure)
      answer_all(waiting, failure)
    end)
  end
  task.spawn(function()
    local whole, ok, err = task.call(prepare, self, opening)
    if opening.called_off or not whole or not ok then
      return go_on(whole and err or ok)
    end
    cluster.generation:load(go_on)
  end)
end

--- Start the cluster: its sockets and files are opened, then its workers are started.
---@param done fun(err: brood.Error?)
function Door:start(done)
  local all = self.cluster.group
  if self.opening then
    table.insert(self.opening.waiting, done)
  elseif all.state == "running" then
    all:start(done)
  elseif all.state == "stopping" then
    table.insert(self.later, done)
  else
    begin(self, { done })
  end
end

--- A start that has launched nobody yet is not wanted any more.
function Door:call_off()
  local opening, later = self.opening, self.later
  self.later = {}
  local err = E.new("stopped", "%s was stopped before it had started", self.cluster.name)
  if opening then
    opening.called_off = true
    give_up(self)
    answer_all(opening.waiting, err)
  end
  answer_all(later, err)
end

-- ---- the stop -------------------------------------------------------------------------------------------------------

--- Nobody is to connect any more.
function Door:release()
  self.listeners:close()
  timer.drop(self, "held")
end

--- The process ends.
function Door:close()
  self:release()
end

---@private
function Door:stopped()
  local later = self.later
  self.later = {}
  self.logs:close()
  if later[1] then
    begin(self, later)
  end
end

--- Where it listens, with real ports.
---@return string[]
function Door:addresses()
  local list = self.listeners:addresses(self.cluster.name)
  for _, endpoint in ipairs(self.listeners.endpoints) do
    list[#list + 1] = endpoint.lent and endpoint.list[1]:address() or nil
  end
  return list
end

-- ---- what a worker asks for -----------------------------------------------------------------------------------------

-- Port 0 is another one each time that a worker asks, but the same for all of them.
local function key_of(address, nth)
  return address:find ":0$" and ("%s %d"):format(address, nth) or address
end

local function find(self, address, key)
  for _, endpoint in ipairs(self.listeners.endpoints) do
    local same = endpoint.entry.address == address and key == address or endpoint.list[1]:address() == address
    if endpoint.lent == key or same and not endpoint.entry.reuseport then
      return endpoint.list[1]
    end
  end
end

-- done(err, listener)
local function open(self, entry, key, done)
  local waiting = self.lending[key]
  if waiting then
    return table.insert(waiting, done)
  end
  self.lending[key] = { done }
  task.spawn(function()
    local all = self.cluster.group
    local function unwanted()
      return all.state ~= "running"
    end
    local whole, listener, err = task.call(listeners.open, entry, unwanted)
    if whole and listener and unwanted() then
      listener:close()
      listener, err = nil, E.new("stopped", "%s was stopped", self.cluster.name)
    elseif whole and listener then
      table.insert(self.listeners.endpoints, { entry = entry, list = { listener }, holders = 1, lent = key })
    end
    local list = self.lending[key]
    self.lending[key] = nil
    answer_all(list, not whole and listener or err, whole and listener or nil)
  end)
end

local function answer(fd, err, listener)
  local line = peer.new(fd, { role = "parent", name = "a worker that listens", disconnect = function() end })
  if not line then
    return core.fd.close(fd)
  end
  if listener then
    line:post("opened", { listener:address() }, listener:fd())
  else
    line:post("opened", { false, { message = err.message, code = err.code } })
  end
  line:flush(function()
    line:close()
  end)
end

--- The frames of its workers that are for this room.
---@return table<string, fun(value: any, fd: integer?)>
function Door:frames()
  return {
    open = function(value, fd)
      if not fd or type(value) ~= "table" or type(value[1]) ~= "table" or type(value[1].address) ~= "string" then
        return fd and core.posix.close(fd)
      end
      local entry, key = merged(value[1], { reuseport = false }), key_of(value[1].address, tonumber(value[2]) or 1)
      local there = find(self, entry.address, key)
      if there then
        return answer(fd, nil, there)
      end
      open(self, entry, key, function(err, listener)
        answer(fd, err, listener)
      end)
    end,
  }
end

return M
