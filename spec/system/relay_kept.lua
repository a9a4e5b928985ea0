--- Connections that a proxy keeps to the servers behind it: used again, given up, and what a request that met a closing
--- one becomes.
local lu = require "luaunit"
local s = require "spec.support"
local h = require "spec.support.http"
local r = require "spec.support.relay"

-- A front that also tells how many connections it keeps.
local function pair(options, before)
  local behind = s.listen(s.temp_dir() .. "/up")
  local address, program = h.serve(([[
    if req.path == "/kept" then
      return res:finish(core.kept())
    end
    local ok, err = forward(req, res, { address = %q, %s })
    if not ok then
      print("failed", err.code, err.kept, err.came, err)
      res:status(502):finish(err.code)
    end
  ]]):format(behind.address, options or ""), nil, [[
    local forward, core = require "brood.proxy.forward", require("brood.core").relay
  ]] .. (before or ""))
  return address, behind, program
end

local function kept(address)
  return tonumber(s.get(address, "/kept").body)
end

-- One request, answered: the connection behind is then at rest.
local function once(address, behind, answer, method)
  local client = s.connect(address)
  client:send(r.head(method or "GET", "/"))
  local up = behind.waiting[1] and table.remove(behind.waiting, 1) or behind:accept()
  up:receive "\r\n\r\n"
  up:send(answer or r.answer "one")
  client:response(method == "HEAD")
  return client, up
end

return {
  ["a connection is used again, by other clients too"] = function()
    local address, behind = pair()
    local client, up = once(address, behind)
    lu.assertEquals(kept(address), 1)
    for i = 1, 3 do
      local other = i == 1 and client or s.connect(address)
      other:send(r.head("GET", "/" .. i))
      lu.assertStrContains(up:receive "\r\n\r\n", "/" .. i)
      up:send(r.answer(tostring(i)))
      lu.assertEquals(other:response().body, tostring(i))
    end
    lu.assertEquals(#behind.waiting, 0)
  end,

  ["one is not kept whose answer says so, nor one that said more than was asked, nor one of HTTP/1.0"] = function()
    for _, answer in ipairs {
      "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx",
      "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: foo, Close\r\n\r\nx",
      "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxy",
      "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1",
      "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx",
    } do
      local address, behind = pair()
      local _, up = once(address, behind, answer)
      up:receive_all()
      lu.assertEquals(kept(address), 0)
    end
    local address, behind = pair()
    once(address, behind, "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx")
    lu.assertEquals(kept(address), 1)
    address, behind = pair()
    once(address, behind, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", "HEAD")
    lu.assertEquals(kept(address), 1)
  end,

  ["`keep = false` keeps none"] = function()
    local address, behind = pair "keep = false"
    local _, up = once(address, behind)
    up:receive_all()
    lu.assertEquals(kept(address), 0)
  end,

  ["one that its server closes, or on which it says something, is given up"] = function()
    local address, behind = pair()
    local _, up = once(address, behind)
    up:close()
    s.wait(function() return kept(address) == 0 end)
    _, up = once(address, behind)
    up:send "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"
    up:receive_all()
    s.wait(function() return kept(address) == 0 end)
  end,

  ["what its server says unasked is nobody's answer, though it comes when the next request does"] = function()
    local stray = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray"
    local gate = s.temp_dir() .. "/gate"
    local address, behind, program = pair("", ([[
      local uv = require "luv"
      local inner = forward
      forward = function(req, ...)
        if req.path == "/held" then
          print "held"
          while not uv.fs_stat(%q) do uv.sleep(1) end -- the loop stands still
        end
        return inner(req, ...)
      end
    ]]):format(gate))
    local client, up = once(address, behind)
    client:send(r.head("GET", "/held"))
    program:expect "held\n"
    up:send(stray)
    s.write_file(gate, "")
    local second = behind:accept()
    second:receive "\r\n\r\n"
    second:send(r.answer "own")
    lu.assertEquals(client:response().body, "own")
  end,

  ["one at rest is closed after a while, sooner where its server says so"] = function()
    local address, behind = pair()
    local _, up = once(address, behind, r.answer("x", "Keep-Alive: timeout=2, max=9\r\n"))
    local took = s.timed(up.receive_all, up, 10)
    lu.assertTrue(took > 0.5 and took < 3 * s.slow, took)
    _, up = once(address, behind)
    took = s.timed(up.receive_all, up, 20)
    lu.assertTrue(took > 3 and took < 7 * s.slow, took)
  end,

  ["a request that meets a closing one is asked once more on a new one, if it may be"] = function()
    for _, method in ipairs { "GET", "HEAD", "OPTIONS", "PUT", "DELETE" } do
      local address, behind = pair()
      local client, up = once(address, behind)
      client:send(r.head(method, "/again"))
      up:receive "\r\n\r\n"
      up:close() -- without a byte
      local second = behind:accept()
      lu.assertStrContains(second:receive "\r\n\r\n", method .. " /again ")
      second:send "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
      lu.assertEquals(client:response(true).status, 200)
    end
  end,

  ["what may have been heard is not repeated, nor on a new connection, nor once half answered"] = function()
    local address, behind, program = pair()
    local client, up = once(address, behind)
    client:send(r.head("POST", "/", "Content-Length: 1\r\n") .. "x")
    up:receive "\r\n\r\nx"
    up:close()
    lu.assertEquals(client:response().status, 502)
    program:expect "failed\tclosed\ttrue\tfalse"

    client, up = once(address, behind)
    client:send(r.head("GET", "/"))
    up:receive "\r\n\r\n"
    up:send "HTTP/1.1 2"
    up:close()
    lu.assertEquals(client:response().status, 502)
    program:expect "failed\tclosed\ttrue\ttrue"

    client:send(r.head("GET", "/"))
    up = behind:accept()
    up:receive "\r\n\r\n"
    up:close()
    lu.assertEquals(client:response().status, 502)
    program:expect "failed\tclosed\tfalse\tfalse"
    lu.assertEquals(#behind.waiting, 0)
  end,

  ["what cannot be asked twice goes on a connection that rested only shortly"] = function()
    local address, behind = pair()
    local client, up = once(address, behind)
    client:send(r.head("POST", "/", "Content-Length: 1\r\n") .. "x")
    up:receive "\r\n\r\nx"
    up:send(r.answer "young")
    lu.assertEquals(client:response().body, "young")
    require("brood").sleep(1.2)
    client:send(r.head("POST", "/", "Content-Length: 1\r\n") .. "x")
    local second = behind:accept()
    second:receive "\r\n\r\nx"
    second:send(r.answer "new")
    lu.assertEquals(client:response().body, "new")
  end,

  ["many to one address are kept, but not without end"] = function()
    local address, behind = pair()
    local clients, ups = {}, {}
    for i = 1, 140 do
      clients[i] = s.connect(address)
      clients[i]:send(r.head("GET", "/"))
      ups[i] = behind:accept()
    end
    for _, up in ipairs(ups) do
      up:receive "\r\n\r\n"
      up:send(r.answer "x")
    end
    for _, client in ipairs(clients) do
      client:response()
    end
    lu.assertEquals(kept(address), 128)
  end,

  ["a fork starts with none, and its parent keeps its own"] = function()
    local again = s.listen(s.temp_dir() .. "/up2")
    local script = s.script([[
      local http, forward = require "brood.http", require "brood.proxy.forward"
      local core, posix = require "brood.core", require "brood.posix"
      local server = http.server(function(req, res)
        assert(forward(req, res, { address = arg[1] }))
        if posix.fork() == 0 then
          print("child", core.relay.kept())
          os.exit(0)
        end
        print("parent", core.relay.kept())
      end)
      assert(server:listen "127.0.0.1:0")
      print("at " .. server:address())
    ]], { again.address })
    local at = script:expect "at (%S+)\n"
    once(at, again)
    script:expect "child\t0\n"
    script:expect "parent\t1\n"
  end,

  ["a script that has nothing else to do does not live on for them"] = function()
    local behind = s.listen(s.temp_dir() .. "/up")
    local script = s.script([[
      local http, forward = require "brood.http", require "brood.proxy.forward"
      local server
      server = http.server(function(req, res)
        print(forward(req, res, { address = arg[1] }))
        server:close()
      end)
      assert(server:listen "127.0.0.1:0")
      print("at " .. server:address())
    ]], { behind.address })
    local client = once(script:expect "at (%S+)\n", behind)
    client:close()
    lu.assertEquals(script:wait(3), 0)
  end,
}
