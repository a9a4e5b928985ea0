--- A proxy and its backends through reload, upgrade and stop: what is as before goes on, what has changed is replaced
--- while nobody loses a request, and nothing is left at the end.
local lu = require "luaunit"
local proxy = require "spec.support.proxy"
local s = require "spec.support"
local upgrade = require "spec.support.upgrade"

local T = {}

local ONE = proxy.lua [[
serve(function(req, res)
  if req.path:find "/slow$" then
    note "slow"
    wait_for(here .. "/go")
  end
  res:finish(posix.getpid() .. " " .. (os.getenv "NAME" or ""))
end)]]

local function config(name, more)
  return ("backends = { one = { command = %s, env = { NAME = %q } }, same = { command = %s }, %s },"):format(
    proxy.exec "one.lua", name, proxy.exec "one.lua", more or "")
end

local function start(options)
  options.files = { ["one.lua"] = ONE }
  options.routes = options.routes or '["/"] = "one", ["/same"] = "same"'
  return proxy.start(options)
end

local function pid_of(answer)
  return tonumber(answer.body:match "^%d+") or error(("%s: %s"):format(tostring(answer.status), answer.body), 2)
end

T["a reload replaces the backend that has changed, and no other; who is using it is served"] = function()
  local master = start { config = config "a" }
  local old, same = pid_of(master:ask "/"), pid_of(master:ask "/same")
  local slow = master:send "/slow"
  master:noted "(slow)"
  lu.assertTrue(master:reload { config = config "b", routes = '["/"] = "one", ["/same"] = "same"' })
  local answer = master:ask "/x"
  lu.assertStrContains(answer.body, " b")
  lu.assertTrue(pid_of(answer) ~= old)
  lu.assertEquals(pid_of(master:ask "/same"), same)
  lu.assertTrue(s.alive(old))
  s.write_file(master.dir .. "/go", "")
  lu.assertEquals(slow:response().body, old .. " a")
  slow:close()
  s.gone({ old }, 5 * s.slow)
  master:programs("one", 1)
  master:finish()
end

T["a backend that a reload leaves out ends, and a new one and new routes are there"] = function()
  local master = start { config = config "a" }
  local same = pid_of(master:ask "/same")
  lu.assertTrue(master:reload {
    config = ("backends = { other = { command = %s } },"):format(proxy.exec "one.lua"),
    routes = '["/"] = "web", ["/other"] = "other"',
  })
  s.gone({ same }, 5 * s.slow)
  lu.assertEquals(master:ask("/").body, "hello\n")
  lu.assertEquals(master:ask("/other").status, 200)
  s.wait(function() return master:status().backends.same == nil end, 5 * s.slow, "the end of a backend")
  lu.assertTrue(master:reload { config = "", routes = '["/"] = "web"' })
  s.wait(function() return next(master:status().backends) == nil end, 5 * s.slow, "the end of all backends")
  lu.assertEquals(master:ask("/other").body, "hello\n")
  master:finish()
end

T["a reload that fails leaves routes and backends as they are"] = function()
  local master = start { config = config "a" }
  local pid = pid_of(master:ask "/")
  local ok, log = master:reload { config = config "b", routes = '["/"] = "nobody"' }
  lu.assertFalse(ok)
  lu.assertStrContains(log, "leads to 'nobody'")
  ok = master:reload {
    config = config("b", "new = { command = { 'sh' } }"), routes = '["/x"] = "new"', app = "error 'no'",
  }
  lu.assertFalse(ok)
  lu.assertEquals(pid_of(master:ask "/"), pid)
  lu.assertNil(master:status().backends.new)
  lu.assertTrue(master:reload { config = config "a", routes = '["/"] = "one"', app = "return function() end" })
  lu.assertEquals(pid_of(master:ask "/"), pid)
  master:finish()
end

T["while a reload is tried, no new worker of the proxy answers; when it is made, they do"] = function()
  local master = start { config = config "a" }
  local pid, before = pid_of(master:ask "/"), #master:log()
  local wait_for = "while not require('luv').fs_stat '%s/go' do require('brood').sleep(0.005) end\n%s"
  local function begin(app)
    app = wait_for:format(master.dir, app)
    master:write(proxy.complete { config = config "a", routes = '["/x"] = "one"', app = app })
    master.program:kill "HUP"
    s.wait(function() return master:log():find("proxy: worker %d+ %(pid %d+%) is ready", before) end, 5 * s.slow)
    for _ = 1, 30 do
      lu.assertEquals(pid_of(master:ask "/"), pid)
    end
    s.write_file(master.dir .. "/go", "")
  end
  begin "error 'no'"
  s.wait(function() return master:log():find("the reload failed", before, true) end, 5 * s.slow)
  lu.assertEquals(pid_of(master:ask "/"), pid)
  os.remove(master.dir .. "/go")
  before = #master:log()
  begin "return function() end"
  s.wait(function() return master:log():find("reloaded in ", before, true) end, 5 * s.slow)
  s.wait(function() return master:ask("/").status == 404 end, 5 * s.slow)
  lu.assertEquals(pid_of(master:ask "/x"), pid)
  master:finish()
end

T["a proxy comes with a reload, and goes with one"] = function()
  local master = require("spec.support.master").start { files = { ["one.lua"] = ONE } }
  master:address()
  local options = proxy.complete { config = config "a", routes = '["/"] = "one"' }
  lu.assertTrue(master:hup(options))
  local at
  s.wait(function()
    local _, status = master:ask "/status"
    at = status.clusters.proxy and status.clusters.proxy.listen[1]
    return at
  end)
  local pid = pid_of(s.get(at))
  lu.assertTrue(master:hup { config = "" })
  s.gone({ pid }, 5 * s.slow)
  lu.assertFalse((pcall(s.get, at)))
  lu.assertEquals(master:stop "TERM", 0)
end

T["twenty reloads under load lose no request"] = function()
  local master = start { config = config "a", workers = 2 }
  master:front()
  local answers, running, wrong = 0, true, {}
  local brood = require "brood"
  local clients = {}
  for i = 1, 4 do
    clients[i] = brood.async(function()
      while running do
        local ok, answer = pcall(master.ask, master, i % 2 == 0 and "/" or "/same")
        if ok and answer.status == 200 then
          answers = answers + 1
        else
          wrong[#wrong + 1] = ok and answer.status or tostring(answer)
        end
      end
    end)
  end
  for i = 1, 20 do
    lu.assertTrue(master:reload { config = config("v" .. i), routes = '["/"] = "one", ["/same"] = "same"' })
  end
  running = false
  for _, client in ipairs(clients) do
    client:wait(10 * s.slow)
  end
  lu.assertEquals(wrong, {})
  lu.assertTrue(answers > 20, answers)
  lu.assertStrContains(master:ask("/").body, "v20")
  master:programs("one", 1)
  master:finish()
end

T["a graceful stop serves who is there and who waits, then ends the programs; the clusters behind serve until then"] =
function()
  local master = start {
    config = config "a" .. "clusters = { back = { app = 'back.lua', listen = 'unix:back.sock', workers = 1 } },",
    routes = '["/"] = "one", ["/back"] = "back"',
  }
  s.write_file(master.dir .. "/back.lua", "return function(req, res) res:finish 'back' end")
  local pid = pid_of(master:ask "/")
  local slow = master:send "/slow"
  master:noted "(slow)"
  local waits = master:send "/then"
  s.wait(function() return master:backend("one").waiting == 1 end, 5 * s.slow, "one that waits")
  local begun = s.connect(master:front())
  begun:send "GET /back HTTP/1.1\r\nHost: x\r\n\r\nGET /back HTTP/1.1\r\n" -- the second one has begun
  lu.assertEquals(begun:response().body, "back")
  master.program:kill "QUIT"
  master.program:expect "stopping gracefully"
  lu.assertEquals(master:backend("one").state, "busy")
  begun:send "Host: x\r\n\r\n"
  lu.assertEquals(begun:response().body, "back")
  begun:close()
  s.write_file(master.dir .. "/go", "")
  lu.assertStrContains(slow:response().body, " a")
  lu.assertStrContains(waits:response().body, " a")
  slow:close()
  waits:close()
  lu.assertEquals(master.program:wait(10 * s.slow), 0)
  s.gone({ pid }, 1)
  lu.assertFalse(s.exists(master.dir .. "/back.sock"))
end

T["a quick stop waits for nobody, and leaves nothing"] = function()
  local master = start { config = config "a" }
  local pid = pid_of(master:ask "/same")
  local slow = master:send "/slow"
  master:noted "(slow)"
  lu.assertTrue(master:finish "TERM" < 5 * s.slow)
  lu.assertEquals(slow:receive_all(), "")
  slow:close()
  s.gone({ pid }, 1)
end

T["in an upgrade each master has programs of its own, and the old one's end with it"] = function()
  local options = proxy.complete { config = config "a", routes = '["/"] = "one", ["/web"] = "web"' }
  options.files = { ["one.lua"] = ONE }
  local master = upgrade.start(options)
  local at = master.program:expect "proxy: %d+ of %d+ workers serve ([^\n ]+)\n"
  local old, program = master:pid(), pid_of(s.get(at))
  local new = master:upgrade()
  s.wait(function() return pid_of(s.get(at)) ~= program end, 10 * s.slow, "an answer of the new master's program")
  local second
  master:finish(old)
  for _ = 1, 20 do
    second = second or pid_of(s.get(at))
    lu.assertEquals(pid_of(s.get(at)), second)
  end
  lu.assertTrue(second ~= program)
  lu.assertFalse(s.alive(program))
  lu.assertEquals(s.get(at, "/web").status, 200)
  lu.assertEquals(master:pid(), new)
  master:over()
  s.gone({ second }, 2)
end

T["nothing of a proxy is loaded where a config has none"] = function()
  local master = require("spec.support.master").start {
    app = [[return function(req, res)
      local list = {}
      for name in pairs(package.loaded) do
        list[#list + 1] = (name:find "proxy" or name:find "backend" or name:find "routes") and name or nil
      end
      table.sort(list)
      res:finish(table.concat(list, " "))
    end]],
  }
  lu.assertEquals(master:get("/").body, "")
  lu.assertEquals(master:stop "TERM", 0)
end

return T
