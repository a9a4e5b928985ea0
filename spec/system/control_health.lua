--- Whether anybody serves, as the control server tells it: health, and what the status says of slots that are tried
--- again, of a drain and of the last reload.
local lu = require "luaunit"
local masters = require "spec.support.master"
local s = require "spec.support"
local uv = require "luv"

local function health(master)
  local status, body = master:ask "/health"
  return { status, body.status, body.reason }
end

local function web(master)
  local _, status = master:ask "/status"
  return status.clusters.web, status
end

local GOOD = "return function(req, res) res:finish 'x' end"

return {
  ["drained workers are no health; they are back, and so is it"] = function()
    local master = masters.start { workers = 1 }
    master:ready(1)
    lu.assertEquals({ health(master), web(master).drained }, { { 200, "ok" }, false })
    master.program:kill "WINCH"
    master:ready(0)
    lu.assertEquals(health(master), { 503, "drained", "web: drained" })
    lu.assertTrue(web(master).drained)
    master.program:kill "TTIN"
    master:ready(1)
    lu.assertEquals({ health(master), web(master).drained }, { { 200, "ok" }, false })
    lu.assertEquals((master:order("POST", "/scale", '{"workers":0}')), 200)
    lu.assertEquals(health(master), { 503, "unavailable", "no cluster is to have workers" })
  end,

  ["where no worker becomes ready again, health says so, and the status why and when it is tried again"] = function()
    local master = masters.start { workers = 1 }
    local pid = master:ready(1)[1].pid
    lu.assertNil(web(master).last_error)
    s.write_file(master.dir .. "/app.lua", "error 'on purpose'")
    uv.kill(pid, "sigkill")
    s.wait(function()
      local next_try = web(master).next_try
      return next_try and next_try > 0.2
    end, 10 * s.slow, "a slot that backs off")
    lu.assertEquals(health(master), { 503, "unavailable", "no worker of web is ready" })
    lu.assertStrMatches(web(master).last_error, ".*app.lua:1: on purpose")
    lu.assertTrue(web(master).next_try <= 30 * 1.2)
    s.write_file(master.dir .. "/app.lua", GOOD)
    master:ready(1)
    lu.assertEquals(health(master), { 200, "ok" })
    local now = web(master)
    lu.assertEquals({ now.last_error, now.next_try }, {})
  end,

  ["one that is ready and ends again and again has its reason there as well"] = function()
    local master = masters.start { workers = 1, app = [[
      local brood = require "brood"
      return { server = function() end, start = function()
        if io.open "./crash" then
          brood.async(function() brood.sleep(0.01) os.exit(7) end)
        end
      end }]] }
    master:ready(1)
    s.write_file(master.dir .. "/crash", "")
    uv.kill(master:pids()[1], "sigkill")
    local text
    s.wait(function()
      local now = web(master)
      text = now.next_try and now.last_error
      return text and text:find "status 7"
    end, 10 * s.slow, "its end")
    lu.assertStrMatches(text, "worker %d+ ended with status 7")
    os.remove(master.dir .. "/crash")
    master:ready(1)
    s.wait(function() return health(master)[1] == 200 end)
  end,

  ["each cluster counts, and the one without a worker is named"] = function()
    local master = masters.start { workers = 1, config = [[clusters = {
      api = { app = here .. "/api.lua", listen = "127.0.0.1:0", workers = 1 } },]], files = { ["api.lua"] = GOOD } }
    master:up()
    s.wait(function() return health(master)[1] == 200 end)
    s.write_file(master.dir .. "/api.lua", "error 'on purpose'")
    local _, status = master:ask "/status"
    uv.kill(status.clusters.api.processes[1].pid, "sigkill")
    s.wait(function() return health(master)[1] == 503 end)
    lu.assertEquals(health(master), { 503, "unavailable", "no worker of api is ready" })
    lu.assertNil(web(master).last_error)
  end,

  ["the status tells how the last reload went"] = function()
    local master = masters.start { workers = 2 }
    master:ready(2)
    local _, status = web(master)
    lu.assertNil(status.last_reload)
    lu.assertTrue(master:hup())
    _, status = web(master)
    lu.assertEquals({ status.last_reload.ok, status.last_reload.replaced, status.last_reload.error }, { true, 2 })
    lu.assertTrue(math.abs(status.last_reload.at - os.time()) < 60)
    lu.assertFalse((master:hup { app = "error 'on purpose'" }))
    _, status = web(master)
    lu.assertFalse(status.last_reload.ok)
    lu.assertStrContains(status.last_reload.error, "on purpose")
    lu.assertNil(status.last_reload.replaced)
    lu.assertEquals(health(master), { 200, "ok" }) -- the old ones serve, and nothing is wrong with them
    lu.assertNil(web(master).last_error)
  end,
}
