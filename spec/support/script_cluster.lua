--- Clusters as scripts make them, in the spec's own process. What a test leaves running is ended by `cleanup`, which is
--- to be the suite's teardown.
local Cluster = require "brood.cluster"
local lu = require "luaunit"
local s = require "spec.support"
require "spec.support.process" -- what watches signals and orphans stays for good: no test's leak

local M = {}
local made = {}

local HEAD = 'local brood, posix = require "brood", require "brood.posix"\n'

---Answers with what a request may want to know of its worker.
M.APP = [[
return function(req, res)
  if req.path == "/slow" then brood.sleep(tonumber(req.query)) end
  res:finish(tostring(posix.getpid()))
end]]

---An app file.
---@param text string
---@param name? string
---@return string path
function M.write(text, name)
  return s.write_file(name or "app.lua", HEAD .. text)
end

-- A worker is a fork of the spec, in which luaunit has a say about os.exit.
local function leave_suite(after_fork)
  return function(...)
    lu.unregisterCurrentSuite()
    if after_fork then
      return after_fork(...)
    end
  end
end

---A cluster that the end of the test ends, of two workers unless told otherwise.
---@param first string|table the path of an app, or options
---@param options? table
---@return brood.Cluster
function M.new(first, options)
  local all = { count = 2, respawn_delay = 0 }
  for name, value in pairs(options or {}) do
    all[name] = value
  end
  all.after_fork = leave_suite(all.after_fork)
  if type(first) == "table" then
    first.after_fork = first.app and leave_suite(first.after_fork) or nil
  end
  local cluster = Cluster.new(first, type(first) == "string" and all or nil)
  table.insert(made, cluster)
  return cluster
end

---A cluster that serves this app on a port of the system's choice, started.
---@param text string
---@param options? table
---@return brood.Cluster cluster, string address
function M.serve(text, options)
  local all = { listen = "127.0.0.1:0" }
  for name, value in pairs(options or {}) do
    all[name] = value
  end
  local cluster = M.new(M.write(text), all)
  assert(cluster:start())
  return cluster, (cluster:address())
end

---The pids of its workers, sorted.
---@param cluster brood.Cluster
---@return integer[]
function M.pids(cluster)
  local list = {}
  cluster:each(function(worker) table.insert(list, worker.pid) end)
  table.sort(list)
  return list
end

---Its events as they come: the name, and what else there is, workers as their ids.
---@param cluster brood.Cluster
---@param names? table<string, boolean> these alone
---@return table[]
function M.events(cluster, names)
  local list = {}
  cluster:on("*", function(name, ...)
    local event = { name }
    for i = 1, select("#", ...) do
      local value = select(i, ...)
      event[i + 1] = type(value) == "table" and value.slot and value.id or value
    end
    if not names or names[name] then
      table.insert(list, event)
    end
  end)
  return list
end

---How often there is an event of that name.
---@param list table[]
---@param name string
---@return integer
function M.count(list, name)
  local n = 0
  for _, event in ipairs(list) do
    n = n + (event[1] == name and 1 or 0)
  end
  return n
end

---The pid of a worker that answers, on a connection of its own.
---@param address string
---@param path? string
---@return string body, integer status
function M.ask(address, path)
  local answer = s.get(address, path or "/")
  return answer.body, answer.status
end

---Wait until that many different workers have answered.
---@param address string
---@param n integer
function M.answering(address, n)
  local seen, count = {}, 0
  s.wait(function()
    local pid = M.ask(address)
    count = count + (seen[pid] and 0 or 1)
    seen[pid] = true
    return count == n
  end, 10, n .. " workers that answer")
end

---KILL what still runs, and wait for it.
function M.cleanup()
  for i = #made, 1, -1 do
    local cluster = made[i]
    made[i] = nil
    cluster:terminate(function() end)
    cluster:terminate()
  end
end

return M
