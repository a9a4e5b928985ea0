--- Services while a new master takes the place of an old one: each belongs to one of them, the other one uses it, and
--- never are there two of one, but with tandem.
-- time limit: 180 s
local brood = require "brood"
local lu = require "luaunit"
local s = require "spec.support"
local services = require "spec.support.services"
local upgraded = require "spec.support.upgrade"
local uv = require "luv"

local T = {}

-- A master with services that can be upgraded: the end of one is that of all of them.
local Both = { over = upgraded.class.over }
Both.__index = setmetatable(Both, { __index = function(_, name)
  return rawget(services.class, name) or upgraded.class[name]
end })

local function start(text, files)
  local all = { ["app.lua"] = [[
    local brood, posix = require "brood", require "brood.posix"
    return function(req, res)
      local ok, it = pcall(brood.service, req.path:match "%w+")
      if not ok then return res:finish(brood.json.encode { master = posix.getppid(), error = it }) end
      local method, pid = req.path:match "%w+/(%w+)/(%d+)"
      if method and tonumber(pid) ~= posix.getppid() then method = nil end
      local value, err
      if method then value, err = it[method](it) end
      res:finish(brood.json.encode { master = posix.getppid(), state = it.state, port = it.port, pid = it.pid,
        value = value, error = err and err.message })
    end]] }
  for name, content in pairs(files or {}) do
    all[name] = content
  end
  local master = services.start([[pidfile = "run.pid", app = "app.lua", listen = "127.0.0.1:0", workers = 1,
    ]] .. text, { files = all, class = Both })
  master.masters = { master.program.pid }
  master:address()
  return master:started()
end

-- What the workers of that master see of a service, or get from a call.
local function seen_by(master, pid, path)
  local found
  s.wait(function()
    found = brood.json.decode(master:get("/" .. path .. (path:find "/" and "/" .. pid or "")).body)
    return found.master == pid
  end, 15, "an answer of a worker of " .. pid)
  return found
end

-- Wait until a service of the new master runs, and is not the one of that pid any more.
local function is_new(master, pid, name, old)
  local found
  s.wait(function()
    found = seen_by(master, pid, name)
    return found.state == "ready" and found.pid ~= old
  end, 20, function() return brood.json.encode(found) .. "\n" .. master:log() end)
  return found
end

local function goes_over(port)
  local master = start(([[services = { api = { command = server "api", port = %s }, db = { command = noting "db" } },]])
    :format(port))
  master:begun("api", "db")
  local old = master:pid()
  local api, db = seen_by(master, old, "api"), seen_by(master, old, "db")
  local new = master:upgrade()
  lu.assertEquals(seen_by(master, new, "api").pid, api.pid)
  lu.assertEquals(seen_by(master, new, "api").port, api.port)
  lu.assertEquals({ seen_by(master, new, "db").pid, seen_by(master, new, "db").state }, { db.pid, "ready" })
  lu.assertEquals(master:count "begin", 2)
  master:finish(old)
  local after = is_new(master, new, "api", api.pid)
  lu.assertTrue(s.alive(after.pid))
  is_new(master, new, "db", db.pid)
  master:begun("api", "db")
  lu.assertEquals(master:most_at_a_time "api", 1)
  lu.assertEquals(master:most_at_a_time "db", 1)
  lu.assertEquals(s.get("127.0.0.1:" .. after.port, "/").body, "api " .. after.pid)
  master:over()
  lu.assertEquals(master:count "begin", master:count "end")
end

T["a service with a port of its own is never there twice, and the new master starts it when the old one has ended"]
  = function() goes_over(tostring(services.free_port())) end

T["a service with a port that is found for it, too"] = function() goes_over "true" end

T["with tandem the new master starts its own at once, and the old one's ends with the old master"] = function()
  local master = start [[services = { api = { command = server "api", port = true, tandem = true } },]]
  master:begun "api"
  local old = master:pid()
  local first = seen_by(master, old, "api")
  local new = master:upgrade()
  local second = is_new(master, new, "api", first.pid)
  lu.assertTrue(s.alive(first.pid))
  lu.assertNotEquals(first.port, second.port)
  lu.assertEquals(s.get("127.0.0.1:" .. second.port, "/").body, "api " .. second.pid)
  master:finish(old)
  s.gone({ first.pid }, 10)
  lu.assertEquals(seen_by(master, new, "api").pid, second.pid)
  lu.assertEquals(master:count "api begin", 2)
  master:over()
end

T["where the new master ends, the old one's services have never noticed"] = function()
  local master = start [[services = { api = { command = server "api", port = true }, db = { command = noting "db" } },]]
  master:begun("api", "db")
  local old = master:pid()
  local api = seen_by(master, old, "api")
  local new = master:upgrade()
  seen_by(master, new, "api")
  master:finish(new)
  lu.assertEquals(seen_by(master, old, "api").pid, api.pid)
  lu.assertEquals(master:count "begin", 2)
  master:over()
end

T["the new master hears when one of the old one's is another, and has it started, stopped and restarted there"]
  = function()
    local master = start [[services = { api = { command = server "api", port = true } },]]
    master:begun "api"
    local old = master:pid()
    local api = seen_by(master, old, "api")
    local new = master:upgrade()
    uv.kill(api.pid, "sigkill")
    local second = is_new(master, new, "api", api.pid)
    lu.assertEquals(seen_by(master, old, "api").pid, second.pid)
    local third = seen_by(master, new, "api/restart")
    lu.assertNotEquals(third.pid, second.pid)
    lu.assertEquals({ third.value, third.state }, { third.port, "ready" })
    lu.assertEquals(seen_by(master, new, "api/stop").state, "stopped")
    lu.assertEquals(seen_by(master, old, "api").state, "stopped")
    local fourth = seen_by(master, new, "api/start")
    lu.assertEquals(seen_by(master, old, "api").pid, fourth.pid)
    lu.assertEquals(master:count "api begin", 4)
    master:finish(old)
    is_new(master, new, "api", fourth.pid)
    master:over()
  end

T["they go over in the reverse of their order, and come back in it"] = function()
  local master = start [[services = { db = { command = noting "db" }, api = { command = noting "api", after = "db" },
    top = { command = noting "top", after = "api" } },]]
  master:begun("db", "api", "top")
  local old = master:pid()
  local top = seen_by(master, old, "top")
  local new = master:upgrade()
  master:finish(old)
  is_new(master, new, "top", top.pid)
  master:begun("db", "api", "top")
  local story = master:story()
  lu.assertEquals({ unpack(story, 4, 6) }, { "top end", "api end", "db end" })
  lu.assertEquals(#story, 9)
  master:over()
end

T["an old master that is killed leaves nothing, and the new one waits for the end of what it had"] = function()
  local master = start [[services = { db = { command = noting "db" }, deaf = { command = deaf "deaf",
    stop_timeout = 1 } },]]
  master:begun("db", "deaf")
  local old = master:pid()
  local db, deaf = seen_by(master, old, "db"), seen_by(master, old, "deaf")
  local new = master:upgrade()
  seen_by(master, new, "db")
  uv.kill(old, "sigkill")
  is_new(master, new, "db", db.pid)
  is_new(master, new, "deaf", deaf.pid)
  lu.assertEquals(master:most_at_a_time "db", 1)
  lu.assertFalse(s.alive(deaf.pid))
  lu.assertStrContains(master:log(), "did not end: it was killed")
  s.gone({ old }, 10)
  master:over()
end

T["what only the new config names starts at once, and what it does not name ends with the old master"] = function()
  local app = [[pidfile = "run.pid", app = "app.lua", listen = "127.0.0.1:0", workers = 1,]]
  local master = start [[services = { a = { command = noting "a" }, b = { command = noting "b" } },]]
  master:begun("a", "b")
  local old = master:pid()
  master:write(app .. [[services = { b = { command = noting "b" }, c = { command = noting "c" } },]])
  local new = master:upgrade()
  master:begun "c"
  lu.assertStrContains(seen_by(master, new, "a").error, "no service 'a'; the services are: b, c")
  lu.assertEquals(master:count "begin", 3)
  master:finish(old)
  s.wait(function() return master:count "b begin" == 2 end, 20, function() return master:log() end)
  lu.assertEquals(master:count "a begin", 1)
  lu.assertEquals(master:most_at_a_time "b", 1)
  master:over()
  s.wait(function() return master:count "begin" == master:count "end" end, 5, function() return master:notes() end)
end

T["a service that has the port of another one of the old master's waits for it"] = function()
  local port = services.free_port()
  local app = [[pidfile = "run.pid", app = "app.lua", listen = "127.0.0.1:0", workers = 1,]]
  local master = start(([[services = { first = { command = server "first", port = %d } },]]):format(port))
  master:begun "first"
  local old = master:pid()
  master:write(app .. ([[services = { second = { command = server "second", port = %d } },]]):format(port))
  local new = master:upgrade()
  lu.assertEquals(seen_by(master, new, "second").state, "stopped")
  lu.assertStrContains(seen_by(master, new, "second/start").error, "belongs to the old master")
  master:finish(old)
  is_new(master, new, "second", nil)
  lu.assertStrContains(s.get("127.0.0.1:" .. port, "/").body, "second ")
  master:over()
end

T["one on demand goes on in the old master while the new one's proxy uses it, and not for longer"] = function()
  local port = services.free_port()
  local master = start(([[services = { api = { command = server "api", autostart = false, idle = "400ms" } },
    proxy = { listen = %d, routes = { ["/"] = "api" } },]]):format(port))
  local old = master:pid()
  local function ask()
    return s.get("127.0.0.1:" .. port, "/").body
  end
  lu.assertStrContains(ask(), "api ")
  local new = master:upgrade()
  master:signal(old, "WINCH")
  s.wait(function() return #s.child_pids(old) <= 2 end, 10, "no workers of the old master")
  local first = ask()
  local until_then = brood.now() + 1.5
  while brood.now() < until_then do
    brood.sleep(0.07)
    lu.assertEquals(ask(), first)
  end
  s.wait(function() return seen_by(master, new, "api").state == "stopped" end, 5, "its end")
  local second = ask()
  lu.assertStrContains(second, "api ")
  lu.assertNotEquals(second, first)
  master:over()
end

T["a chain of upgrades, and a reload in the midst of one, leave one of each"] = function()
  local master = start [[services = { db = { command = noting "db" },
    api = { command = noting "api", after = "db" } },]]
  for _ = 1, 3 do
    master:begun("db", "api")
    local old = master:pid()
    local api = seen_by(master, old, "api")
    local new = master:upgrade()
    master:signal(new, "HUP")
    master:logged("%[" .. new .. "%] reloaded in")
    lu.assertEquals(seen_by(master, new, "api").pid, api.pid)
    master:finish(old)
    is_new(master, new, "api", api.pid)
  end
  master:begun("db", "api")
  lu.assertEquals(master:most_at_a_time "db", 1)
  lu.assertEquals(master:most_at_a_time "api", 1)
  lu.assertEquals(master:count "db begin", 4)
  master:over()
end

return T
