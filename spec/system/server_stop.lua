--- How a server of a script stops: what a second close waits for, and that destroy cuts whatever the first waits for.
local lu = require "luaunit"
local s = require "spec.support"
local scripts = require "spec.support.scripts"

local HEAD = 'local brood = require "brood"\n' .. scripts.SERVERS

local prints = scripts.printer(HEAD)

return {
  ["a second close waits for what the first waits for"] = function()
    for _, kind in ipairs {
      'http.server(function(_, res) brood.sleep(0.05) over = true res:finish() end)',
      'net.server(function() brood.sleep(0.05) over = true end)',
    } do
      prints(([[
        local over, first = false, false
        local server = %s
        net.connect(listening(server)):write "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        brood.sleep(0.01)
        server:close(function() first = true end)
        print(over, server:close(), over, first)
        print(server:close())
        os.exit(0)
      ]]):format(kind), "false\ttrue\ttrue\ttrue\ntrue\n")
    end
  end,

  ["destroy cuts what a close waits for, and ends that"] = function()
    for _, kind in ipairs { "http", "net" } do
      prints(([[
        local server = %s.server(function() brood.sleep(60) end)
        local conn = net.connect(listening(server))
        conn:write "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        brood.sleep(0.02)
        server:close(function() print "closed" os.exit(0) end)
        server:destroy()
        print(select(2, conn:read()).code)
        brood.sleep(5)
      ]]):format(kind), "ECONNRESET\nclosed\n")
    end
  end,

  ["linger keeps idle connections until their next answer, and a close ends that"] = function()
    prints([[
      local server = http.server(function(_, res) res:finish "x" end)
      local address = listening(server)
      local function connected()
        local conn = net.connect(address)
        conn:write "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        conn:read()
        return conn
      end
      local asks, waits = connected(), connected()
      local lingered, closed
      server:linger(function() lingered = true end)
      asks:write "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
      print((asks:read():match "\r\nConnection: (%a+)"), (asks:read()))
      print(lingered, select(2, net.connect(address)).code)
      server:linger(function() end)
      server:close(function() closed = true end)
      print((waits:read()))
      print(server:close(), lingered, closed)
      os.exit(0)
    ]], "close\tnil\nnil\tECONNREFUSED\nnil\ntrue\ttrue\ttrue\n")
  end,

  ["destroy counts in a handler that close itself runs"] = function()
    prints([[
      local server
      server = http.server(function() server:destroy() end)
      local address = listening(server)
      local conn, idle = net.connect(address), net.connect(address)
      brood.sleep(0.02)
      conn:write "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
      local started, over = brood.now(), nil
      server:close(function() over = brood.now() - started end)
      idle:read()
      brood.sleep(0.02)
      print(over ~= nil and over < 0.4)
      os.exit(0)
    ]], "true\n")
  end,

  ["a handler's error that raises when it is looked at is answered with 500"] = function()
    local result = s.script(HEAD .. [[
      local meta = { __index = function(_, k) error("no field " .. k) end, __tostring = function() error "no text" end }
      local server = http.server(function(req)
        local deep = { message = setmetatable({}, meta) }
        error(req.path == "/deep" and deep or setmetatable({}, meta))
      end)
      local address = listening(server)
      print(http.get("http://" .. address .. "/").status, http.get("http://" .. address .. "/deep").status)
      os.exit(0)
    ]]):finish(10)
    lu.assertEquals(result.stdout, "500\t500\n", result.stderr)
    lu.assertStrContains(result.stderr, "handler of GET /deep: ")
  end,
}
