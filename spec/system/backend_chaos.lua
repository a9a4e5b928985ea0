--- Thirty backends that are started and idled out over and over while their programs are killed by chance, and told to
--- end: no request is lost that was not inside a program that was ended, each is answered once, and nothing is left.
---   BROOD_CHAOS=20x5       so many seconds, with so many seeds (default 4x1)
---   BROOD_SEED=N           the first seed (default: by the clock); it is printed, and part of every failure's text
-- time limit: 300 s
local log_to = require "spec.support.log_to"
local lu = require "luaunit"
local b = require "spec.support.backend"
local brood = require "brood"
local chance = require("spec.support.chaos").chance
local http = require "brood.http"
local posix = require "brood.posix"
local s = require "spec.support"

local seconds, seeds = (os.getenv "BROOD_CHAOS" or "4x1"):match "^(%d+)x(%d+)$"
seconds, seeds = tonumber(seconds) or 4, tonumber(seeds) or 1
local first = tonumber(os.getenv "BROOD_SEED") or os.time() % 100000

local BACKENDS, CLIENTS = 30, 24

local PROGRAM = [[
if arg[2] then brood.sleep(tonumber(arg[2])) end
serve(function(req, res)
  local body = req:body()
  if not body then return end
  if req.path:find "slow" then brood.sleep(0.02) end
  res:finish(("%s %s %d"):format(req.method, req.path, #body))
end)
]]

-- The log tells of every end; a spec has no use for hundreds of them.
local function quietly(fn)
  log_to(function(level, text, write)
    if level == "error" then
      write(level, text)
    end
  end, fn)
end

local function new_backend(run, i)
  local pick = run.pick
  local backend = b.lua(PROGRAM, {
    size = pick(3) == 0 and 1 + pick(3) or 1, idle = (10 + pick(60)) / 1000, run_once = pick(8) == 0,
    quit_timeout = 0.5, terminate_timeout = 0.5, stderr = false, port = pick(6) == 0,
  })
  backend.name = "backend" .. i
  if pick(4) == 0 then
    table.insert(backend.options.command, tostring(pick(80) / 1000))
  end
  run.ends[backend] = 0
  backend:on("exit", function(_, signal)
    run.ends[backend] = run.ends[backend] + (signal and 1 or 0)
  end)
  backend:on("spawn", function() run.starts = run.starts + 1 end)
  backend:on("idle", function() run.idled = run.idled + 1 end)
  backend:on("error", function() end)
  return backend
end

-- One request that must be answered, once, unless its program was ended.
local function request(run, address)
  local pick = run.pick
  run.asked = run.asked + 1
  local id = run.asked
  local at = pick(BACKENDS) + 1
  local method = pick(3) == 0 and "POST" or "GET"
  local body = method == "POST" and ("x"):rep(pick(20) == 0 and 200000 or pick(2000)) or nil
  local path = ("/%d/%d%s"):format(at, id, pick(5) == 0 and "/slow" or "")
  local ends = run.ends[run.backends[at]]
  local answer, err = http.request { url = "http://" .. address .. path, method = method, body = body, timeout = 60 }
  run.ended[id] = (run.ended[id] or 0) + 1
  if not answer then
    return run.fault("%s %s: %s", method, path, tostring(err))
  elseif answer.status == 200 then
    run.good = run.good + 1
    if answer.body ~= ("%s %s %d"):format(method, path, #(body or "")) then
      run.fault("%s %s: answered with '%s'", method, path, answer.body:sub(1, 100))
    end
    return
  end
  run.lost = run.lost + 1
  -- What can be asked twice is lost only with two programs.
  local needed = method == "GET" and 2 or 1
  if answer.status ~= 502 or run.ends[run.backends[at]] - ends < needed then
    run.fault("%s %s: %d %s, and %d programs were ended meanwhile", method, path, answer.status, answer.body,
      run.ends[run.backends[at]] - ends)
  end
end

-- A client that does not wait for its answer.
local function leave(run, address)
  local socket = s.connect(address)
  socket:send(("GET /%d/x/slow HTTP/1.1\r\nHost: x\r\n\r\n"):format(run.pick(BACKENDS) + 1))
  brood.sleep(run.pick(20) / 1000)
  socket:close()
end

local CALLS = { "kill", "terminate", "quit", "restart", "spawn" }

local function strike(run)
  local pick = run.pick
  local backend = run.backends[pick(BACKENDS) + 1]
  local programs = backend:status().programs
  local one = #programs > 0 and programs[pick(#programs) + 1]
  if one and one.pid and pick(4) > 0 then
    -- One that is killed three times while it starts rightly gives up.
    if one.state ~= "starting" or pick(4) == 0 and backend.failures.row == 0 then
      run.kills = run.kills + 1
      posix.kill(one.pid, 9)
    end
  elseif pick(3) == 0 then
    run.calls = run.calls + 1
    backend[CALLS[pick(#CALLS) + 1]](backend, function() run.called = run.called + 1 end)
  end
end

local function survive(seed)
  local run = {
    pick = chance(seed), backends = {}, ends = {}, ended = {}, asked = 0, good = 0, lost = 0, kills = 0, calls = 0,
    called = 0, starts = 0, idled = 0, faults = {},
  }
  run.fault = function(...)
    table.insert(run.faults, string.format(...))
  end
  for i = 1, BACKENDS do
    run.backends[i] = new_backend(run, i)
  end
  local _, address = b.front(function(req, res)
    local backend = run.backends[tonumber(req.path:match "^/(%d+)")]
    local ok, err = backend:proxy(req, res)
    if not ok and not err.began then
      res:status(502)
      res:finish(err.code .. ": " .. err.message)
    end
  end)
  local deadline, tasks = brood.now() + seconds, {}
  for i = 1, CLIENTS do
    tasks[i] = brood.async(function()
      while brood.now() < deadline do
        if run.pick(12) == 0 then
          leave(run, address)
        else
          request(run, address)
        end
        brood.sleep(run.pick(30) / 1000)
      end
    end)
  end
  while brood.now() < deadline do
    strike(run)
    brood.sleep((1 + run.pick(12)) / 1000)
  end
  for i = 1, CLIENTS do
    local _, err = tasks[i]:wait(60)
    if err then
      run.fault("client %d: %s", i, tostring(err))
    end
  end
  local closed = 0
  for i = 1, BACKENDS do
    run.backends[i]:close(function() closed = closed + 1 end)
  end
  s.wait(function() return closed == BACKENDS end, 20, "the end of all backends")
  s.wait(function() return run.called == run.calls end, 5, "the answers to all calls")
  for id = 1, run.asked do
    if run.ended[id] ~= 1 then
      run.fault("request %d ended %d times", id, run.ended[id] or 0)
    end
  end
  print(("seed %d: %d requests, %d answered, %d lost inside programs that were ended; %d starts, %d idled out, "
    .. "%d kills, %d calls"):format(seed, run.asked, run.good, run.lost, run.starts, run.idled, run.kills, run.calls))
  return run
end

return {
  teardown = b.cleanup,

  ["whatever is killed when, no request is lost that was not inside, and nothing is left"] = function()
    b.get(b.lua "serve()")
    b.cleanup()
    quietly(function()
      for seed = first, first + seeds - 1 do
        local fds, children = s.fd_count(), s.children()
        local run = survive(seed)
        if #run.faults > 0 then
          error(("seed %d: %d faults:\n  %s"):format(seed, #run.faults,
            table.concat(run.faults, "\n  ", 1, math.min(#run.faults, 20))), 0)
        end
        lu.assertTrue(run.good > 0 and run.idled > 0 and run.kills > 0)
        b.cleanup()
        http.close_idle = http.close_idle or require("brood.http_client").close_idle
        http.close_idle()
        lu.assertNil(b.folder(), "seed " .. seed)
        s.wait(function() return s.fd_count() <= fds + 1 end, 5, "descriptors to be closed, seed " .. seed)
        lu.assertEquals(s.children(), children, "seed " .. seed)
      end
    end)
  end,
}
