--- Upgrades through a proxy: bytes both ways, each way to its own end.
local lu = require "luaunit"
local s = require "spec.support"
local r = require "spec.support.relay"

local ASK = r.head("GET", "/ws", "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n")
local AGREED = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
  .. "Sec-WebSocket-Accept: a\r\nKeep-Alive: x\r\n\r\n"

local function tunnel(behind_the_head, options, behind_the_request, before)
  local address, behind, program = r.pair(options, nil, before)
  local client = s.connect(address)
  client:send(ASK .. (behind_the_request or ""))
  local up = behind:accept()
  lu.assertEquals(up:receive "\r\n\r\n", "GET /ws HTTP/1.1\r\nHost: front\r\nSec-WebSocket-Key: k\r\n"
    .. "X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: front\r\n"
    .. "Upgrade: websocket\r\nConnection: upgrade\r\n\r\n")
  up:send(AGREED .. (behind_the_head or ""))
  lu.assertEquals(client:receive "\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: a\r\n"
    .. "Connection: upgrade\r\nUpgrade: websocket\r\n\r\n")
  return client, up, program
end

return {
  ["bytes go both ways as they are, those right behind the heads too"] = function()
    local client, up, program = tunnel("\1\2first", nil, "\0early")
    client:receive "^\1\2first$"
    up:receive "^%zearly$"
    for i = 1, 20 do
      client:send("GET / HTTP/1.1\r\n\r\n" .. i)
      up:receive("^GET / HTTP/1.1\r\n\r\n" .. i .. "$")
      up:send("\r\n\r\n" .. i)
      client:receive("^\r\n\r\n" .. i .. "$")
    end
    client:close()
    up:receive_all()
    up:close()
    program:expect "done /ws"
  end,

  ["either side may end first, and is still answered"] = function()
    local client, up, program = tunnel()
    client:shutdown()
    up:receive_all()
    up:send "after your end"
    client:receive "after your end"
    up:close()
    client:receive_all()
    program:expect "done /ws"

    client, up, program = tunnel()
    up:shutdown()
    client:receive_all()
    client:send "after your end"
    up:receive "after your end"
    client:close()
    up:close()
    program:expect "done /ws"
  end,

  ["32 MB each way at once, at the pace of whoever takes them"] = function()
    local client, up, program = tunnel()
    local got = { 0, 0 }
    for i, socket in ipairs { client, up } do
      socket.handle:read_stop()
      socket.handle:read_start(function(_, data)
        got[i] = got[i] + #(data or "")
      end)
      for _ = 1, 32 do
        socket.handle:write(("x"):rep(1048576))
      end
    end
    s.wait(function() return got[1] == 33554432 and got[2] == 33554432 end, 30)
    local peak = tonumber(s.read_file("/proc/" .. program.pid .. "/status"):match "VmHWM:%s*(%d+)")
    lu.assertTrue(s.slow > 1 or peak < 20000, peak .. " kB")
    client:close()
    up:close()
    program:expect "/ws"
  end,

  ["one that rests is not timed out, one of whose ends has come is"] = function()
    local client, up, program = tunnel(nil, "timeout = 0.2")
    require("brood").sleep(0.5)
    client:send "still"
    up:receive "still"
    up:shutdown()
    client:receive_all()
    program:expect "failed /ws: timeout sent came began whole"
  end,

  ["a reset on one side is one on the other"] = function()
    local client, up, program = tunnel()
    client.handle:close_reset()
    up:receive_all()
    program:expect "/ws"
    client, up, program = tunnel()
    up:close()
    s.wait(function()
      client.handle:write "x"
      return client.eof
    end)
    program:expect "/ws"
  end,

  ["an upgrade that is not taken is answered as any request, and the connection goes on"] = function()
    local address, behind = r.pair()
    local client = s.connect(address)
    client:send(ASK)
    local up = behind:accept()
    up:receive "\r\n\r\n"
    up:send(r.answer "no", "Upgrade: h2c\r\nConnection: Upgrade\r\n")
    lu.assertEquals(client:response().body, "no")
    client:send(r.head("GET", "/2"))
    up:receive "\r\n\r\n"
    up:send(r.answer "yes")
    lu.assertEquals(client:response().body, "yes")
  end,

  ["HTTP/2 is not let through, nor an upgrade with a body or of an old client"] = function()
    for _, request in ipairs {
      r.head("GET", "/", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n"),
      r.head("GET", "/", "Connection: Upgrade\r\nUpgrade: HTTP/2.0\r\n"),
      r.head("GET", "/", "Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n"),
      r.head("GET", "/", "Upgrade: websocket\r\n"),
      r.head("POST", "/", "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n") .. "x",
      "GET / HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    } do
      local address, behind, program = r.pair()
      local client = s.connect(address)
      client:send(request)
      local up = behind:accept()
      local head = up:receive "\r\n\r\n"
      lu.assertNil(head:lower():match "\nupgrade:.*" or head:lower():match "\nconnection:.*"
        or head:lower():match "\nhttp2.*")
      up:send(AGREED)
      lu.assertEquals(client:response().status, 502)
      program:expect "bad_answer"
    end
  end,

  ["a client's end in a tunnel is told to the handler, and the log has one line for it"] = function()
    local behind = s.listen(s.temp_dir() .. "/up")
    local app = s.write_file("app.lua", ([[
      local forward = require "brood.proxy.forward"
      return function(req, res)
        req:on("close", function() io.stderr:write "told\n" end)
        io.stderr:write("over ", tostring(forward(req, res, { address = %q })), "\n")
      end
    ]]):format(behind.address))
    local config = s.write_file("brood.lua", ([[
      return { app = %q, listen = "127.0.0.1:0", workers = 1, control = false, access_log = "-" }
    ]]):format(app))
    local p = s.brood { config }
    local client = s.connect("127.0.0.1:" .. p:expect("serve 127%.0%.0%.1:(%d+)"))
    client:send(ASK)
    local up = behind:accept()
    up:receive "\r\n\r\n"
    up:send(AGREED .. "12345")
    client:receive "12345"
    client:close()
    up:receive_all()
    up:close()
    p:expect "told"
    p:expect "over true"
    p:expect '"GET /ws HTTP/1.1" 101 5 '
    lu.assertEquals(p:stop(), 0)
  end,
}
