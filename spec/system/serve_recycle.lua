--- Workers that are replaced by requests, memory or age: the new one first, one at a time, and no request fails.
local lu = require "luaunit"
local masters = require "spec.support.master"
local s = require "spec.support"
local uv = require "luv"

-- Each worker answers with its id; what else it does is the path's.
local APP = [[
local brood = require "brood"
local held = {}
brood.worker:on("stopping", function() -- it accepts no more
  local file = io.open("left", "a") file:write("x") file:close()
end)
return function(req, res)
  if req.path == "/grow" then held[1] = ("x"):rep(64 * 2 ^ 20) end
  if req.path == "/slow" then
    io.open("begun", "w"):close()
    while not io.open("go") do brood.sleep(0.01) end
  end
  res:finish(tostring(brood.worker.id))
end]]

-- Notes every end, and how many have been ready.
local NOTE = [[
  worker_ready = function(m) note("ready", m.clusters.web.group:ready_count()) end,
  worker_exit = function(m, w, code, signal) note("exit", w.id, w.slot, w.reason, w.requests, code, signal) end,
]]

local function start(config, options)
  options = options or {}
  options.config, options.app = NOTE .. config, options.app or APP
  return masters.start(options)
end

-- Every exit so far, in order: { id, slot, reason, requests, code }.
local function exits(master)
  local list = {}
  for id, slot, reason, requests, code in master:notes():gmatch "exit (%d+) (%d+) (%S+) (%d+) (%S+)" do
    list[#list + 1] = {
      id = tonumber(id), slot = tonumber(slot), reason = reason, requests = tonumber(requests), code = code,
    }
  end
  return list
end

local function exited(master, n)
  s.wait(function() return #exits(master) >= n end, 15, function()
    return n .. " ends; " .. master:notes() .. master:log()
  end)
  return exits(master)
end

local REQUEST = "GET %s HTTP/1.1\r\nHost: x\r\n\r\n"

-- Requests on a connection that is kept as long as the server keeps it; then on another one.
local function ask(master, n)
  local client
  for _ = 1, n do
    client = client or s.connect(master:address())
    client:send(REQUEST:format "/")
    local answer = client:response()
    lu.assertEquals(answer.status, 200)
    if answer.headers.connection == "close" then
      client:close()
      client = nil
    end
  end
  if client then
    client:close()
  end
end

return {
  ["after max_requests, and by chance some more; no request fails, and none is left alone"] = function()
    local master = start "max_requests = 20, max_requests_jitter = 10, graceful_timeout = 5,"
    for _ = 1, 5 do
      ask(master, 100)
    end
    local counts = {}
    for _, gone in ipairs(exited(master, 8)) do
      lu.assertEquals({ gone.reason, gone.code }, { "max_requests", "0" })
      lu.assertTrue(gone.requests >= 20)
      counts[gone.requests] = true
    end
    lu.assertTrue(next(counts, next(counts)) ~= nil, "all had the same limit")
    for n in master:notes():gmatch "ready (%d+)" do
      lu.assertTrue(tonumber(n) <= 3)
    end
    local workers = master:ready(2)
    lu.assertEquals(workers[1].last_exit.reason, "max_requests")
    lu.assertStrContains(master:log(), "is to be replaced after")
    lu.assertEquals(master:stop "QUIT", 0)
  end,

  ["a request that is being answered finishes in the one that goes"] = function()
    local master = start("max_requests = 2,", { workers = 1 })
    local client = s.connect(master:address())
    client:send(REQUEST:format "/slow")
    s.wait(function() return uv.fs_stat(master.dir .. "/begun") end)
    ask(master, 1)
    ask(master, 1)
    s.wait(function() return master:get().body == "2" end)
    s.write_file(master.dir .. "/go", "")
    local answer = client:response()
    lu.assertEquals({ answer.body, answer.headers.connection }, { "1", "close" })
    lu.assertEquals(exited(master, 1)[1].reason, "max_requests")
  end,

  ["after max_lifetime, one at a time, and younger ones are left alone"] = function()
    local master = start("max_lifetime = 0.5,", { workers = 3 })
    local list = exited(master, 6)
    for i = 1, 6 do
      lu.assertEquals({ list[i].reason, list[i].code }, { "max_lifetime", "0" })
      lu.assertTrue(list[i].id <= 7)
    end
    lu.assertEquals(master:stop "QUIT", 0)
    for n in master:notes():gmatch "ready (%d+)" do
      lu.assertTrue(tonumber(n) <= 4)
    end
  end,

  ["beyond max_memory; one that stays below it is left alone"] = function()
    local master = start [[max_memory = "48m",]]
    local first = tonumber(master:get("/grow").body)
    local gone = exited(master, 1)[1]
    lu.assertEquals({ gone.id, gone.reason, gone.code }, { first, "max_memory", "0" })
    local taken = master.program:expect "is to be replaced after %d+ requests?: max_memory %((%d+%.%d) MB of 48%.0 MB%)"
    lu.assertTrue(tonumber(taken) > 48 and tonumber(taken) < 500, taken)
    local ids = {}
    for _, worker in ipairs(master:ready(2)) do
      ids[worker.id] = true
    end
    lu.assertEquals(ids, { [first == 1 and 2 or 1] = true, [3] = true })
  end,

  ["what workers share is counted once"] = function()
    -- 64 MB for each of 5 are 13 MB, and what one of them takes beyond that is its own.
    local master = start([[preload = true, max_memory = "48m",]], { workers = 4, app = [[
      local brood = require "brood"
      local shared, own = ("x"):rep(64 * 2 ^ 20), nil
      return function(req, res)
        if req.path == "/grow" then own = ("y"):rep(64 * 2 ^ 20) end
        res:finish(tostring(brood.worker.id + (own and 0 or 0) + (shared and 0 or 0)))
      end]] })
    local id = tonumber(master:get("/grow").body)
    lu.assertEquals(exited(master, 1)[1].id, id)
    lu.assertEquals(#exits(master), 1)
  end,

  ["a replacement that fails leaves the old one serving, and is tried again"] = function()
    local master = start("max_requests = 5,", { workers = 1, app = [[
      if io.open "broken" then error "broken" end
      local brood = require "brood"
      return function(req, res) res:finish(tostring(brood.worker.id)) end]] })
    master:address()
    s.write_file(master.dir .. "/broken", "")
    ask(master, 5)
    master.program:expect "worker 1 goes on serving, as its replacement did not become ready; the next try in"
    lu.assertEquals(master:get().body, "1")
    master.program:expect "worker 3: [^\n]*broken"
    lu.assertEquals(master:get().body, "1")
    os.remove(master.dir .. "/broken")
    master:noted "exit 1 1 (max_requests) %d+ 0"
    lu.assertEquals(#master:ready(1), 1)
  end,

  ["one that dies while its replacement comes, or whose replacement dies, is followed by one that serves"] = function()
    local master = start("max_requests = 3,", { workers = 1, app = [[
      local brood = require "brood"
      local file = io.open("starts", "a") file:write(brood.worker.pid, "\n") file:close()
      local _, n = io.open("starts"):read "*a":gsub("\n", "")
      if n > 1 then brood.sleep(0.3) end
      return function(req, res) res:finish(tostring(brood.worker.id)) end]] })
    local function started(n)
      local pids
      s.wait(function()
        pids = {}
        for pid in (s.read_file(master.dir .. "/starts") or ""):gmatch "%d+" do
          pids[#pids + 1] = tonumber(pid)
        end
        return #pids >= n
      end)
      return pids[n]
    end
    ask(master, 3)
    uv.kill(started(2), "sigkill") -- the replacement: tried again
    started(3)
    uv.kill(master:pids()[1], "sigkill") -- the old one: its slot is empty until one of them is ready
    local workers
    s.wait(function()
      workers = master:workers()
      return #workers == 1 and workers[1].state == "ready"
    end, 10)
    lu.assertEquals(exits(master)[2].reason, "signal")
    lu.assertEquals(master:get().status, 200)
  end,

  ["what a roll will replace is not replaced twice, and what it has replaced is not any more"] = function()
    local master = start([[
      env = { GEN = "a" }, max_requests = 3,
      on_start = function(m)
        m:on("ready", function()
          local web, options = m.clusters.web, {}
          while not io.open(here .. "/roll") do brood.sleep(0.01) end
          for key, value in pairs(web.options) do options[key] = value end
          options.rollout, options.max_requests = { surge = 1, pause = 0.3 }, 1000
          local change = web:change(options)
          assert(change:probe())
          note("begun")
          change:commit(function(err, n) note("rolled", err, n) end)
        end)
      end,]], { workers = 4 })
    master:address()
    s.write_file(master.dir .. "/roll", "")
    master:noted "begun"
    for _ = 1, 20 do
      ask(master, 1)
    end
    master:noted "rolled nil 4"
    for _, gone in ipairs(exited(master, 4)) do
      lu.assertEquals(gone.reason, "reload")
    end
    local ids = {}
    for i, worker in ipairs(master:ready(4)) do
      ids[i] = worker.id
    end
    lu.assertEquals(ids, { 5, 6, 7, 8 })
  end,

  ["a cluster that is scaled or stopped meanwhile is what it was told to be"] = function()
    local master = start([[
      max_lifetime = 0.2,
      after_fork = function(m, w) if w.id > 3 then brood.sleep(0.2) end end,
      on_start = function(m)
        m:on("ready", function()
          for _, n in ipairs { 1, 4, 0, 2 } do
            brood.sleep(0.25)
            note("scaled", m:scale(n), n)
          end
        end)
      end,]], { workers = 3 })
    master:noted "scaled true 2"
    master.program:expect "is to be replaced after"
    s.wait(function() return #master:workers() >= 2 end)
    lu.assertEquals(master:stop "QUIT", 0)
    for _, gone in ipairs(exits(master)) do
      lu.assertTrue(gone.reason ~= "crash" and gone.reason ~= "signal", master:notes())
    end
  end,

  ["one waits until no more than one finishes beside it: nobody's time is cut short for it"] = function()
    local master = start("max_requests = 1, graceful_timeout = 60,", { workers = 1 })
    local clients = {}
    local function slow()
      local client = s.connect(master:address())
      table.insert(clients, client)
      client:send(REQUEST:format "/slow")
      s.wait(function() return uv.fs_stat(master.dir .. "/begun") end)
      os.remove(master.dir .. "/begun")
    end
    for i = 1, 2 do
      slow()
      s.wait(function()
        local workers = master:workers()
        return #workers == i + 1 and workers[i].state == "stopping" and workers[i + 1].state == "ready"
      end)
      s.wait(function() return #(s.read_file(master.dir .. "/left") or "") == i end)
    end
    slow()
    for _ = 1, 10 do
      lu.assertEquals(master:get().body, "3")
    end
    lu.assertEquals(#master:workers(), 3)
    s.write_file(master.dir .. "/go", "")
    for i = 1, 3 do
      lu.assertEquals(clients[i]:response().body, tostring(i))
    end
    s.wait(function() return tonumber(master:get().body) > 3 end)
    lu.assertNotStrContains(master:log(), "still finishes")
  end,

  ["it does not wait for those that may finish for ever, of which at most two are left"] = function()
    local master = start("max_requests = 1, graceful_timeout = false,", { workers = 1 })
    for i = 1, 4 do
      s.connect(master:address()):send(REQUEST:format "/slow")
      s.wait(function()
        local workers = master:workers()
        return workers[#workers].id > i and workers[#workers].state == "ready"
      end)
      s.wait(function() return #(s.read_file(master.dir .. "/left") or "") >= i end) -- it takes no connection any more
    end
    lu.assertStrContains(master:log(), "still finishes, as 2 younger ones of its slot do: it has 5.0 s left")
    s.wait(function() return #master:workers() <= 3 end, 10 * s.slow)
    s.write_file(master.dir .. "/go", "")
    master:ready(1)
  end,
}
