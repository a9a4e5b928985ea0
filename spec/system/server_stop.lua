--- How a server of a script stops: what a second close waits for, and that destroy cuts whatever the first waits for.
local lu = require "luaunit"
local s = require "spec.support"

local HEAD = [[
  local brood, http, net = require "brood", require "brood.http", require "brood.net"
  local function listening(server)
    assert(server:listen "127.0.0.1:0")
    return (server:address())
  end
]]

local function prints(text, expected)
  local result = s.script(HEAD .. text):finish(10)
  lu.assertEquals({ result.stdout, result.code }, { expected, 0 }, result.stderr)
end

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
      ]]):format(kind), kind == "http" and "ECONNRESET\nclosed\n" or "ECONNRESET\nclosed\n")
    end
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
