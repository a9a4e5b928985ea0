--- Forwarded requests are requests of the http server like any others: logged, counted, waited for, and told of.
local lu = require "luaunit"
local s = require "spec.support"
local r = require "spec.support.relay"

local APP = [[
  local forward = require "brood.proxy.forward"
  return function(req, res)
    req:on("close", function() io.stderr:write("closed ", req.path, " ", tostring(req.closed), "\n") end)
    local ok, err = forward(req, res, { address = %q })
    io.stderr:write("over ", req.path, " ", tostring(ok or err.code), "\n")
    if not ok and not err.began then
      res:status(502):finish "bad\n"
    end
  end
]]

local function serve(more)
  local behind = s.listen(s.temp_dir() .. "/up")
  local app = s.write_file("app.lua", APP:format(behind.address))
  local config = s.write_file("brood.lua", ([[
    return { app = %q, listen = "127.0.0.1:0", workers = 1, access_log = "-", control = "unix:%s/control", %s }
  ]]):format(app, s.temp_dir(), more or ""))
  local p = s.brood { config }
  return "127.0.0.1:" .. p:expect("serve 127%.0%.0%.1:(%d+)"), behind, p
end

local function ask(address, behind, request)
  local client = s.connect(address)
  client:send(request or r.head("GET", "/"))
  local up = behind.waiting[1] and table.remove(behind.waiting, 1) or behind:accept()
  up:receive "\r\n\r\n"
  return client, up
end

return {
  ["the access log has status and bytes of the answer, also of one that was cut, or never came"] = function()
    local address, behind, p = serve()
    local client, up = ask(address, behind, r.head("GET", "/a?b", "User-Agent: me\r\nReferer: there\r\n"))
    up:send "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone"
    client:response()
    p:expect '127%.0%.0%.1 %- %- %[[^%]]*%] "GET /a%?b HTTP/1%.1" 404 4 "there" "me"\n'
    client:send(r.head("GET", "/chunks"))
    up:receive "\r\n\r\n"
    up:send "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    client:receive "\r\n\r\n"
    up:send "3\r\nabc\r\n0\r\n\r\n"
    p:expect '"GET /chunks HTTP/1%.1" 200 3 '
    client:send(r.head("GET", "/cut"))
    up:receive "\r\n\r\n"
    up:send "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"
    up:close()
    p:expect '"GET /cut HTTP/1%.1" 200 3 '
    client, up = ask(address, behind, r.head("GET", "/never"))
    up:close()
    p:expect '"GET /never HTTP/1%.1" 502 4 '
    client:close()
    client, up = ask(address, behind, r.head("GET", "/left"))
    client:close()
    up:receive_all()
    p:expect '"GET /left HTTP/1%.1" 499 0 '
    lu.assertEquals(p:stop(), 0)
  end,

  ["a client that goes away is told to the handler, which then hears the end too"] = function()
    local address, behind, p = serve()
    local client, up = ask(address, behind)
    client:close()
    up:receive_all()
    p:expect "closed / true"
    p:expect "over / closed"
    lu.assertEquals(p:stop(), 0)
  end,

  ["requests on their way are waited for on QUIT, and new ones are not taken"] = function()
    local address, behind, p = serve()
    local client, up = ask(address, behind)
    p:kill "QUIT"
    s.wait(function() return not pcall(s.connect, address) end, 5, "a refusal")
    require("brood").sleep(0.2)
    up:send(r.answer "late")
    local response = client:response()
    lu.assertEquals({ response.body, response.headers.connection }, { "late", "close" })
    lu.assertEquals(p:wait(), 0)
    lu.assertStrContains(p:stderr(), "over / true")
  end,

  ["TERM cuts what is on its way, on both sides"] = function()
    local address, behind, p = serve()
    local client, up = ask(address, behind)
    p:kill "TERM"
    client:receive_all()
    up:receive_all()
    lu.assertEquals(p:wait(), 0)
  end,

  ["a connection kept behind does not hold a worker up that stops"] = function()
    local address, behind, p = serve()
    local client, up = ask(address, behind)
    up:send(r.answer "x")
    client:response()
    client:close()
    local took = s.timed(function()
      p:kill "QUIT"
      lu.assertEquals(p:wait(), 0)
    end)
    lu.assertTrue(took < 2 * s.slow, took)
  end,
}
