--- How a forwarded request ends when one of the two sides does not go on: never with half an answer that looks whole.
local lu = require "luaunit"
local s = require "spec.support"
local h = require "spec.support.http"
local r = require "spec.support.relay"

local GET = r.head("GET", "/")

-- A front whose server behind it has the request already.
local function asked(options, request, server)
  local address, behind, program = r.pair(options, server)
  local client = s.connect(address)
  client:send(request or GET)
  local up = behind:accept()
  up:receive "\r\n\r\n"
  return client, up, program, behind
end

-- The client's answer where nothing of the server's was fit to be passed on.
local function refused(bytes, expected, close)
  local client, up, program = asked()
  up:send(bytes)
  if close then
    up:close()
  end
  local response = client:response()
  lu.assertEquals(response.status, 502, bytes)
  program:expect("failed /: " .. expected)
  return response
end

-- A byte at a time, until there is an answer.
local function drips(client)
  local response
  require("brood").async(function()
    response = client:response()
  end)
  return s.wait(function()
    if not response then
      client:send "x"
    end
    return response
  end, 20 * s.slow)
end

return {
  ["nobody listens: 502, and that nothing was sent"] = function()
    local address, program = r.front("unix:" .. s.temp_dir() .. "/nobody")
    lu.assertEquals(s.get(address).body, "connect\n")
    program:expect "failed /: connect whole: unix:.*nobody: connect: no such file"
    address, program = r.front("127.0.0.1:" .. s.free_port())
    lu.assertEquals(s.get(address).body, "connect\n")
    program:expect "connect: connection refused"
  end,

  ["what is no sound HTTP is not passed on"] = function()
    local ok = "HTTP/1.1 200 OK\r\n"
    for expected, answers in pairs {
      ["bad_answer sent came whole: .*no status line"] = {
        "hello\r\n\r\n", "HTP/1.1 200 OK\r\n\r\n", "\r\n" .. ok .. "\r\n",
      },
      ["bad_answer sent came whole: .*a status line"] = { "HTTP/1.2 200 OK\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n" },
      ["bad_answer .*more than one Content%-Length"] = { ok .. "Content-Length: 1\r\nContent-Length: 1\r\n\r\nx" },
      ["bad_answer .*no length"] = { ok .. "Content-Length: 1, 1\r\n\r\nx", ok .. "Content-Length: -1\r\n\r\nx" },
      ["bad_answer .*both"] = { ok .. "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" },
      ["bad_answer .*other than 'chunked'"] = { ok .. "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" },
      ["bad_answer .*in HTTP/1.0"] = { "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" },
      ["bad_answer .*folded"] = { ok .. "X: a\r\n b\r\n\r\n" },
      ["bad_answer .*without a name"] = { ok .. "X : a\r\n\r\n", ok .. ": a\r\n\r\n", ok .. "X\r\n\r\n" },
      ["bad_answer .*control character in a header"] = {
        ok .. "X: a\1b\r\n\r\n", ok .. "Content-Length: 1\r\nX: \127\r\n\r\nx",
      },
      ["bad_answer .*control character in the reason"] = { "HTTP/1.1 200 O\8K\r\n\r\n" },
      ["bad_answer .*bare"] = { ok .. "X: a\nY: b\r\n\r\n", "HTTP/1.1 200 OK\n\n", ok .. "X: a\rb\r\n\r\n",
        ok .. "X: a\0b\r\n\r\n", ok .. "\n" },
      ["bad_answer .*101"] = { "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n" },
      ["bad_answer .*larger than 64k"] = { ok .. "X: " .. ("x"):rep(66000) .. "\r\n\r\n",
        ("HTTP/1.1 103 Early\r\nX: xxxxxxxxxxxxxxxxxxxxxxxxx\r\n\r\n"):rep(2000) },
      ["bad_answer .*chunks"] = { ok .. "Transfer-Encoding: chunked\r\n\r\n-1\r\n" },
    } do
      for _, bytes in ipairs(answers) do
        if expected:find "chunks" then
          local client, up, program = asked()
          up:send(bytes)
          lu.assertEquals(client:response().status, 502)
          program:expect "failed"
        else
          refused(bytes, expected)
        end
      end
    end
  end,

  ["an answer that never comes, or breaks off in its head: 502"] = function()
    refused("", "closed sent whole: .*no answer came", true)
    refused("HTTP/1.1 200 O", "closed sent came whole: .*breaks off in its head", true)
    refused("HTTP/1.1 200 OK\r\nX: y\r\n", "closed sent came whole: .*breaks off in its head", true)
    refused("HTTP/1.1 100 Continue\r\n\r\n", "closed sent came whole: .*breaks off in its head", true)
  end,

  ["an answer that breaks off in its body is cut for the client too"] = function()
    local client, up, program = asked()
    up:send "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"
    client:receive "half"
    up:close()
    lu.assertEquals(client:receive_all(), "")
    program:expect "failed /: closed sent came began whole: .*breaks off in its body"

    client, up, program = asked()
    up:send "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"
    client:receive "half\r\n"
    up:close()
    lu.assertEquals(client:receive_all(), "")
    program:expect "failed /: closed sent came began whole"

    client, up, program = asked(nil, "GET / HTTP/1.0\r\n\r\n")
    up:send "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"
    client:receive "half"
    up:close()
    lu.assertEquals(client:receive_all(), "")
    program:expect "failed /: closed sent came began whole"
  end,

  ["malformed chunks behind a begun answer cut the client's connection"] = function()
    local client, up, program = asked()
    up:send "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"
    client:receive "half\r\n"
    up:send "4\nmore\r\n0\r\n\r\n"
    lu.assertEquals(client:receive_all(), "")
    program:expect "failed /: bad_answer sent came began whole: .*chunks"
  end,

  ["a reset of a body up to the end is no end"] = function()
    local behind = s.listen "127.0.0.1:0"
    local address, program = r.front(behind.address)
    local client = s.connect(address)
    client:send "GET / HTTP/1.0\r\n\r\n"
    local up = behind:accept()
    up:receive "\r\n\r\n"
    up:send "HTTP/1.0 200 OK\r\n\r\nhalf"
    client:receive "half"
    up.handle:close_reset()
    s.wait(function() return client.eof end)
    lu.assertNotNil(client.err) -- a reset here too: there is no other sign
    program:expect "failed /: closed sent came began whole"
  end,

  ["timeouts: no answer, no more of one, a request that is not taken, no connection"] = function()
    local client, _, program = asked "timeout = 0.1"
    lu.assertEquals(client:response().status, 504)
    program:expect "failed /: timeout sent whole: .*no answer within 0.1 s"

    local up
    client, up, program = asked "timeout = 0.1"
    up:send "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"
    lu.assertStrContains(client:receive_all(), "half")
    program:expect "failed /: timeout sent came began whole: .*no more of the answer"

    local address, behind
    address, behind, program = r.pair("timeout = 0.2", "{ max_body = false }")
    client = s.connect(address)
    client.handle:write(r.head("POST", "/", "Content-Length: 9000000\r\n") .. ("x"):rep(9000000))
    behind:accept():pause()
    lu.assertEquals(client:response().status, 504)
    program:expect "failed /: timeout sent: .*took no more of the request"

    -- Its queue is full, and nobody takes from it.
    local path, uv = s.temp_dir() .. "/full", require "luv"
    local full = uv.new_pipe(false)
    assert(full:bind(path))
    full:listen(1, function() end)
    local waiting = {}
    local state
    repeat
      local pipe = uv.new_pipe(false)
      table.insert(waiting, pipe)
      state = nil
      pipe:connect(path, function(err) state = err or "in" end)
      s.wait(function() return state end)
    until state ~= "in"
    address, program = r.front("unix:" .. path, "connect_timeout = 0.1")
    lu.assertEquals(s.get(address).status, 504)
    program:expect "failed /: timeout whole: .*full: not connected within 0.1 s"
    for _, handle in ipairs { full, unpack(waiting) } do
      handle:close()
    end
  end,

  ["a timeout counts from the last piece that came"] = function()
    local client, up, program = asked "timeout = 0.4"
    up:send "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n"
    for i = 1, 8 do
      require("brood").sleep(0.1)
      up:send(tostring(i))
    end
    lu.assertEquals(client:response().body, "12345678")
    program:expect "done /"
  end,

  ["the time in which a client reads nothing or sends nothing is not the other server's"] = function()
    local client, up, program = asked("timeout = 0.2", r.head("POST", "/", "Content-Length: 2\r\n"))
    require("brood").sleep(0.5)
    client:send "ab"
    up:receive "ab"
    client:pause()
    up.handle:write("HTTP/1.1 200 OK\r\nContent-Length: 8000000\r\n\r\n" .. ("x"):rep(8000000))
    require("brood").sleep(0.5)
    local total = 0
    client.handle:read_start(function(_, data)
      total = total + #(data or "")
    end)
    s.wait(function() return total > 8000000 end)
    program:expect "done /"
  end,

  ["a client that goes away ends the request behind, whether it was answering or not"] = function()
    local client, up, program = asked()
    client:close()
    up:receive_all(5)
    program:expect "failed /: closed sent whole client"

    client, up, program = asked()
    up:send "HTTP/1.1 200 OK\r\n\r\nhalf"
    client:receive "half"
    client:close()
    s.wait(function()
      up.handle:write "more"
      return up.eof
    end)
    program:expect "failed /: closed sent came began whole client"

    client, up, program = asked(nil, r.head("POST", "/", "Content-Length: 9\r\n") .. "some")
    client:close()
    up:receive_all(5)
    program:expect "failed /: closed sent client"
  end,

  ["a client that goes in the midst of its body is let go of at once, and nothing is owed any more"] = function()
    for _, method in ipairs { "close_reset", "shutdown" } do
      local behind = s.listen(s.temp_dir() .. "/up")
      local address, program = h.serve(([[
        if req.path == "/look" then
          collectgarbage()
          return res:finish(tostring((server:counts())))
        end
        local ok, err = forward(req, res, { address = %q })
        print("failed", err.client, res:_open())
      ]]):format(behind.address), nil, 'local forward = require "brood.proxy.forward"')
      local client = s.connect(address)
      client:send(r.head("POST", "/", "Content-Length: 9\r\n") .. "x")
      local up = behind:accept()
      up:receive "\r\n\r\nx"
      client.handle[method](client.handle)
      program:expect "failed\ttrue\tfalse\n"
      lu.assertEquals(s.get(address, "/look").body, "1")
      lu.assertNotStrContains(program:stderr(), "unfinished")
    end
  end,

  ["a body that drips is not forwarded for ever: 408, and the server behind is let go of"] = function()
    local client, up = asked("timeout = false", r.head("POST", "/", "Content-Length: 100000\r\n"),
      "{ body_timeout = 0.1 }")
    lu.assertEquals(drips(client).status, 408)
    up:receive_all()
  end,

  ["where its server is the request's alone, a body has to come on after body_timeout already"] = function()
    local client, up = asked("timeout = false, keep = false", r.head("POST", "/", "Content-Length: 100000\r\n"),
      "{ body_timeout = 0.5 }")
    local seconds, response = s.timed(drips, client)
    lu.assertEquals(response.status, 408)
    lu.assertTrue(seconds >= 0.5 and seconds < 4 * s.slow, seconds)
    up:receive_all()
  end,

  ["a client that only ended its side gets an answer that comes soon"] = function()
    local client, up, program = asked()
    client:shutdown()
    require("brood").sleep(0.1)
    up:send(r.answer "late")
    lu.assertEquals(client:response().body, "late")
    program:expect "done /"
  end,

  ["an answer that comes before all of the request was read is passed on, and nothing of the rest is"] = function()
    local client, up, program = asked(nil, r.head("POST", "/", "Content-Length: 1000000\r\n") .. "some")
    up:receive "some"
    up:send "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno\n"
    up:close()
    local response = client:response()
    lu.assertEquals({ response.status, response.body, response.headers.connection }, { 413, "no\n", "close" })
    program:expect "done /"
  end,

  ["an answer is passed on though its server stopped reading long before"] = function()
    local address, behind, program = r.pair(nil, "{ max_body = false }")
    local client = s.connect(address)
    client.handle:write(r.head("POST", "/", "Content-Length: 30000000\r\n") .. ("x"):rep(30000000))
    local up = behind:accept()
    up:pause()
    up:send "HTTP/1.1 403 No\r\nContent-Length: 3\r\n\r\nno\n"
    up:close()
    local response = client:response()
    lu.assertEquals({ response.status, response.body }, { 403, "no\n" })
    program:expect "done /"
  end,

  ["a body beyond max_body: 413, and the other server sees that it is cut off"] = function()
    local address, behind, program = r.pair(nil, "{ max_body = 1000 }")
    local client = s.connect(address)
    client:send(r.head("POST", "/", "Content-Length: 1001\r\n") .. ("x"):rep(1001))
    lu.assertEquals(client:response().status, 413)
    program:expect "failed /: too_large whole"
    client = s.connect(address)
    client:send(r.head("POST", "/c", "Transfer-Encoding: chunked\r\n") .. "5\r\nhello\r\n")
    local up = behind:accept()
    up:receive "hello"
    client:send "400\r\nx"
    lu.assertEquals(client:response().status, 413)
    lu.assertNotStrContains(up:receive_all(), "0\r\n\r\n")
    program:expect "failed /c: too_large sent"
  end,

  ["malformed chunks of a request are never passed on"] = function()
    local address, behind, program = r.pair()
    local client = s.connect(address)
    client:send(r.head("POST", "/", "Transfer-Encoding: chunked\r\n") .. "5\r\nhello\r\n")
    local up = behind:accept()
    up:receive "hello\r\n"
    client:send "5 \nworld\r\n0\r\n\r\n"
    lu.assertEquals(client:response().status, 400)
    lu.assertEquals(up:receive_all(), "")
    program:expect "failed /: closed sent client"
  end,

  ["the server's own request_timeout ends it: 503, and the other server is let go of"] = function()
    local client, up, program = asked(nil, GET, "{ request_timeout = 1 }")
    lu.assertEquals(client:response().status, 503)
    up:receive_all()
    program:expect "failed /: closed sent whole client: .*answered by somebody else"
  end,
}
