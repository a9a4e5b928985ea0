--- What a master goes through under load, so often: each of these starts a master on TCP and on a Unix socket, has a
--- load client ask it all the while, does it n times, and returns the client's figures. The suite does each a few
--- times, the benchmark the whole number.
local brood = require "brood"
local load_client = require "spec.support.load_client"
local s = require "spec.support"
local upgrade = require "spec.support.upgrade"

local M = {}

---@class spec.Transitions
---@field figures table of the load client
---@field log string
---@field times number[] seconds that each took

local CONFIG = 'listen = { "127.0.0.1:0", "unix:web.sock" }, graceful_timeout = 10,\n'

local function in_charge(master)
  return master.masters[#master.masters]
end

-- Start, load, do it n times, stop the load, then the master: nothing may have been left unanswered.
local function under_load(options, lanes, n, act)
  local master = upgrade.start {
    app = load_client.APP, config = CONFIG .. (options.config or ""), workers = options.workers or 2,
  }
  local load = load_client.start({ master:address(), "unix:" .. master.dir .. "/web.sock" }, lanes)
  local times = {}
  local ok, err = brood.async(function()
    for i = 1, n do
      brood.sleep(0.05)
      -- A third generation of workers that finish would cut the first one short, as it should.
      s.wait(function() return s.worker_count(in_charge(master)) <= 3 end, 15, "older workers to go")
      times[i] = s.timed(function() act(master, i) end)
    end
    return true
  end):wait()
  local figures = load:stop()
  local log = master:log()
  master:over()
  if not ok then
    error(err.message .. "\n" .. tostring(err.traceback), 0)
  end
  return { figures = figures, log = log, times = times }
end

local function until_workers(pid, n)
  s.wait(function() return s.worker_count(pid) == n end, 15, n .. " workers")
end

---HUP, until all new workers serve.
---@param n integer
---@param lanes string[]
---@param config? string more keys
function M.reload(n, lanes, config)
  return under_load({ config = config }, lanes, n, function(master)
    assert(master:hup())
  end)
end

---USR2, and QUIT to the old master once the new one serves.
function M.upgrade(n, lanes)
  return under_load({}, lanes, n, function(master)
    local old = in_charge(master)
    master:upgrade()
    master:finish(old)
  end)
end

---USR2, then the way back: WINCH and HUP to the old master, QUIT to the new one.
function M.back_out(n, lanes)
  return under_load({}, lanes, n, function(master)
    local old, new = master.masters[1], master:upgrade()
    master:signal(old, "WINCH")
    until_workers(old, 0)
    local ready = master:count "is ready"
    master:signal(old, "HUP")
    master:logged("is ready", ready + 1)
    master:finish(new)
    table.remove(master.masters)
  end)
end

---TTIN and TTOU in turns.
function M.scale(n, lanes)
  return under_load({ config = "graceful_timeout = 5," }, lanes, n, function(master, i)
    master:signal(in_charge(master), i % 2 == 1 and "TTIN" or "TTOU")
    until_workers(in_charge(master), i % 2 == 1 and 3 or 2)
  end)
end

---WINCH until no worker is left, and HUP.
function M.drain(n, lanes)
  return under_load({ config = "graceful_timeout = 5," }, lanes, n, function(master)
    master:signal(in_charge(master), "WINCH")
    until_workers(in_charge(master), 0)
    assert(master:hup())
  end)
end

---n workers recycled, because they have had their requests.
function M.recycle(n, lanes)
  return under_load({
    config = 'max_requests = 100, max_requests_jitter = 50, worker_exit = function(_, w) note("gone", w.reason) end,',
  }, lanes, 1, function(master)
    s.wait(function()
      return select(2, master:notes():gsub("gone max_requests", "")) >= n
    end, 30 + n, n .. " recycled workers")
  end)
end

return M
