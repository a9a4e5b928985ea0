--- Sixty programs (BROOD_CHAOS_APPS: more) behind one proxy, started and idled out over and over while some are killed
--- by chance, workers of the proxy too: no request is lost that was not inside something killed, and nothing is left.
--- BROOD_SEED repeats a run.
--- time limit: 180 s
local brood = require "brood"
local chaos = require "spec.support.chaos"
local lu = require "luaunit"
local proxy = require "spec.support.proxy"
local s = require "spec.support"
local uv = require "luv"

local T = {}

local BACKENDS = tonumber(os.getenv "BROOD_CHAOS_APPS") or 50
local SERVICES, CLIENTS = 10, 8
local SECONDS = tonumber(os.getenv "BROOD_CHAOS_SECONDS") or 8

local APP = proxy.lua [[
local name = os.getenv "NAME"
serve(function(req, res)
  local body = req:body() or ""
  if req.query ~= "" then
    brood.sleep(tonumber(req.query) / 1000)
  end
  res:finish(("%s %s %d"):format(name, req.path, #body))
end)]]

local function config(chance)
  local backends, services, routes = {}, {}, {}
  for i = 1, BACKENDS do
    backends[i] = ("b%d = { command = %s, env = { NAME = 'b%d' }, idle = %g, size = %d, stderr = false },"):format(i,
      proxy.exec "one.lua", i, 0.05 + chance(300) / 1000, 1 + chance(2))
    routes[#routes + 1] = ('["/b%d"] = "b%d"'):format(i, i)
  end
  for i = 1, SERVICES do
    services[i] = ("s%d = { command = %s, env = { NAME = 's%d' }, idle = %g, autostart = false, restart_tolerance = 0,"
      .. "port = %s, stderr = false },"):format(i, proxy.exec "one.lua", i, 0.1 + chance(300) / 1000,
      i % 2 == 0 and "true" or "'socket'")
    routes[#routes + 1] = ('["s%d.localhost"] = "s%d"'):format(i, i)
  end
  return ("backends = { %s }, services = { %s },"):format(table.concat(backends, "\n"), table.concat(services, "\n")),
    table.concat(routes, ",")
end

-- Who was killed when, by name; "proxy" is any worker of the proxy.
local function killed_within(kills, name, from, to)
  for _, kill in ipairs(kills) do
    if (kill.name == name or kill.name == "proxy") and kill.at >= from - 0.02 and kill.at <= to then
      return true
    end
  end
  return false
end

local function one_request(master, chance, kills, count)
  local n = chance(BACKENDS + SERVICES) + 1
  local name = n > BACKENDS and "s" .. n - BACKENDS or "b" .. n
  local path = (n > BACKENDS and "/x" or "/" .. name) .. "/" .. chance(1000)
  local options = { host = n > BACKENDS and name .. ".localhost" or "x" }
  if chance(3) == 0 then
    options.method, options.body = "POST", ("y"):rep(chance(20000))
  end
  local began = brood.now()
  local ok, answer = pcall(master.ask, master, path .. (chance(2) == 0 and "?" .. chance(40) or ""), options)
  local wanted = ("%s %s %d"):format(name, path, #(options.body or ""))
  count.all = count.all + 1
  if ok and answer.status == 200 and answer.body == wanted then
    return
  end
  count.lost = count.lost + 1
  if not killed_within(kills, name, began, brood.now()) then
    error(("%s %s: %s, though nobody was killed"):format(options.method or "GET", path,
      ok and answer.status .. " " .. answer.body or tostring(answer)))
  end
end

-- The processes that can be killed, each with whose it is.
local function victims(status, of_proxy)
  local list = {}
  for name, backend in pairs(status.backends) do
    for _, process in ipairs(backend.processes) do
      list[#list + 1] = process.pid and { name = name, pid = process.pid } or nil
    end
  end
  for name, service in pairs(status.services) do
    list[#list + 1] = service.pid and { name = name, pid = service.pid } or nil
  end
  for _, process in ipairs(of_proxy and status.clusters.proxy.processes or {}) do
    list[#list + 1] = { name = "proxy", pid = process.pid }
  end
  return list
end

T["sixty programs are started, idled and killed, and no request is lost for it"] = function()
  local seed = tonumber(os.getenv "BROOD_SEED") or os.time() % 1000000
  print("seed " .. seed)
  local chance = chaos.chance(seed)
  local text, routes = config(chance)
  local master = proxy.start { workers = 3, files = { ["one.lua"] = APP }, config = text, routes = routes }
  master:front()
  local before, kills, count = s.fd_count(master.program.pid), {}, { all = 0, lost = 0 }
  local finish, tasks, seen = brood.now() + SECONDS * s.slow, {}, {}
  for i = 1, CLIENTS do
    tasks[i] = brood.async(function()
      while brood.now() < finish do
        one_request(master, chance, kills, count)
      end
    end)
  end
  tasks[#tasks + 1] = brood.async(function()
    while brood.now() < finish do
      brood.sleep(chance(60) / 1000)
      local list = victims(master:status(), chance(20) == 0)
      local victim = list[1] and list[chance(#list) + 1]
      if victim then
        seen[victim.pid] = true
        kills[#kills + 1] = { name = victim.name, at = brood.now() }
        uv.kill(victim.pid, "sigkill")
      end
    end
  end)
  for _, each in ipairs(tasks) do
    local ok, err = each:wait(60 * s.slow)
    if err then
      error(("seed %d: %s\n%s"):format(seed, err.message, master:log():sub(-3000)))
    end
    lu.assertTrue(ok == nil or ok)
  end
  print(("%d requests, %d lost to %d kills"):format(count.all, count.lost, #kills))
  lu.assertTrue(count.all > 20 and #kills > 2)
  -- All of it becomes idle, and nothing is left of it.
  s.wait(function()
    return #victims(master:status()) == 0
  end, 10 * s.slow, function() return "the end of all programs\n" .. brood.json.encode(victims(master:status())) end)
  for _, backend in pairs(master:status().backends) do
    lu.assertEquals(backend.waiting, 0)
  end
  s.wait(function() return #s.child_pids(master.program.pid) <= 3 + 3 end, 5 * s.slow, "no other children")
  s.wait(function() return s.fd_count(master.program.pid) <= before + 2 end, 5 * s.slow, function()
    return ("no more descriptors than the %d before: %s"):format(before, brood.json.encode(s.fds(master.program.pid)))
  end)
  master:finish()
  for pid in pairs(seen) do
    lu.assertFalse(s.alive(pid), pid)
  end
end

return T
