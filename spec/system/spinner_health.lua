--- Health checks: what counts as a failure, and when a service is said to be unhealthy.
local brood = require "brood"
local health = require "brood.spinner.health"
local lu = require "luaunit"
local s = require "spec.support"
local uv = require "luv"

local open = {}

local function later(object)
  table.insert(open, object)
  return object
end

-- A server whose answers are `answers.text`, nil: none; it counts requests and connections.
local function serve(path)
  local answers = { connections = 0, requests = {}, text = "HTTP/1.1 200 OK\r\n\r\n" }
  local server = later(path and uv.new_pipe(false) or uv.new_tcp())
  if path then
    assert(server:bind(path))
  else
    assert(server:bind("127.0.0.1", 0))
    answers.port = server:getsockname().port
  end
  answers.server = server
  server:listen(16, function()
    local conn = path and uv.new_pipe(false) or uv.new_tcp()
    server:accept(conn)
    answers.connections = answers.connections + 1
    answers.open = (answers.open or 0) + 1
    answers.most = math.max(answers.most or 0, answers.open)
    conn:read_start(function(_, data)
      if not data then
        answers.open = answers.open - 1
        return conn:close()
      end
      table.insert(answers.requests, data)
      if answers.text then
        conn:write(answers.text)
      end
    end)
  end)
  return answers
end

local function watch(target, options)
  local told = {}
  local service = { target = function() return target[1] end }
  local handle = later(health.watch(service, options, function(err)
    table.insert(told, err)
  end))
  return told, handle
end

local function refused()
  return { { port = s.free_port() } }
end

return {
  teardown = function()
    for i = #open, 1, -1 do
      open[i]:close()
      open[i] = nil
    end
  end,

  ["a service that answers well is healthy, and redirects are good answers"] = function()
    local server = serve()
    local told, handle = watch({ { port = server.port } }, { path = "/healthz", interval = 0.02, failures = 1 })
    s.wait(function() return #server.requests >= 3 end)
    server.text = "HTTP/1.1 302 Found\r\n\r\n"
    local n = #server.requests
    s.wait(function() return #server.requests >= n + 3 end)
    lu.assertEquals(told, {})
    lu.assertNil(handle.last_error)
    lu.assertStrMatches(server.requests[1], "GET /healthz HTTP/1%.0\r\nHost: localhost\r\n\r\n")
  end,

  ["so many failures in a row make it unhealthy: a bad status, no HTTP, a closed connection, none at all"] = function()
    local server = serve()
    for _, case in ipairs {
      { text = "HTTP/1.1 503 No\r\n\r\n", why = "it answered 503" },
      { text = "hello\n" .. ("x"):rep(64), why = "not HTTP" },
    } do
      server.text = case.text
      local told, handle = watch({ { port = server.port } }, { path = "/", interval = 0.01, failures = 3 })
      s.wait(function() return #told == 1 end)
      handle:close()
      lu.assertEquals(told[1].code, "unhealthy")
      lu.assertStrContains(tostring(told[1]), case.why)
      lu.assertStrContains(tostring(told[1]), "127.0.0.1:" .. server.port .. "/")
      lu.assertStrContains(tostring(told[1]), "3 times in a row")
    end
    local told = watch(refused(), { interval = 0.01, failures = 2 })
    s.wait(function() return #told >= 1 end)
    lu.assertStrContains(tostring(told[1]), "ECONNREFUSED")
  end,

  ["a good answer in between begins the count again"] = function()
    local server = serve()
    local bad, good = "HTTP/1.1 500 No\r\n\r\n", "HTTP/1.1 204 Yes\r\n\r\n"
    local told, handle = watch({ { port = server.port } }, { path = "/", interval = 0.02, failures = 3 })
    for _ = 1, 4 do
      server.text = bad
      s.wait(function() return handle.failures == 2 end)
      server.text = good
      s.wait(function() return handle.failures == 0 end)
    end
    lu.assertEquals(told, {})
  end,

  ["an answer that does not come in time is a failure, and no second look begins meanwhile"] = function()
    local server = serve()
    server.text = nil
    local told = watch({ { port = server.port } }, { path = "/", interval = 0.01, failures = 2, timeout = 0.1 })
    local took = s.timed(s.wait, function() return #told == 1 end)
    lu.assertTrue(took >= 0.19, ("unhealthy after %.3f s"):format(took))
    lu.assertEquals(server.most, 1)
    lu.assertStrContains(tostring(told[1]), "no answer within 0.1 s")
  end,

  ["a Unix socket, and a connection alone where no path is named"] = function()
    local path = s.temp_dir() .. "/s"
    local server = serve(path)
    local told = watch({ { socket = path } }, { interval = 0.01, failures = 1 })
    s.wait(function() return server.connections >= 3 end)
    lu.assertEquals(told, {})
    lu.assertEquals(server.requests, {})
    server.server:close()
    open[1] = { close = function() end }
    s.wait(function() return #told >= 1 end)
    lu.assertStrContains(tostring(told[1]), path)
  end,

  ["what does not run is not looked at, and its failures are forgotten"] = function()
    local target = refused()
    local there = target[1]
    local told, handle = watch(target, { interval = 0.02, failures = 3 })
    s.wait(function() return handle.failures == 2 end)
    target[1] = nil
    s.wait(function() return handle.failures == 0 end)
    target[1] = there
    s.wait(function() return #told == 1 end)
  end,

  ["it says so again after as many failures more, and nothing once closed, a look under way included"] = function()
    local told, handle = watch(refused(), { interval = 0.01, failures = 2 })
    s.wait(function() return #told >= 2 end)
    handle:close()
    handle:close()
    local n = #told
    local server = serve()
    server.text = nil
    local target = { { port = server.port } }
    local late, other = watch(target, { path = "/", interval = 0.01, failures = 1, timeout = 0.1 })
    s.wait(function() return server.connections == 1 end)
    other:close()
    s.remains(function() return #told == n and #late == 0 end, 0.2, "silence")
  end,

  ["the function may wait, and what is held up itself blames nobody"] = function()
    local server = serve()
    server.text = nil
    local target = { { port = server.port } }
    local told, handle = watch(target, { path = "/", interval = 0.01, failures = 1, timeout = 0.3 })
    s.wait(function() return server.connections >= 1 end)
    uv.sleep(950) -- this process stands still, and the service may have as well
    s.wait(function() return server.connections >= 2 end)
    lu.assertEquals(told, {})
    s.wait(function() return #told >= 1 end)
    handle:close()
    local woke = false
    later(health.watch({ target = function() return refused()[1] end }, { interval = 0.01, failures = 1 }, function()
      brood.sleep(0.01)
      woke = true
    end))
    s.wait(function() return woke end)
  end,

  ["it does not keep a script alive, not even with a look under way"] = function()
    local server = serve()
    server.text = nil
    local result = s.run { s.binary, "exec", s.write_file("script.lua", ([[
      local health = require "brood.spinner.health"
      health.watch({ target = function() return { port = %d } end }, { path = "/", interval = 0.01, timeout = 60 }, print)
      require("brood").sleep(0.1)
    ]]):format(server.port)) }
    lu.assertEquals(result.code, 0, result.stderr)
    lu.assertEquals(server.connections, 1)
  end,
}
