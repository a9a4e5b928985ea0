--- How a worker that is told to go lets go of its connections: none is closed in the face of a request. Where it is
--- being replaced it keeps idle ones for a while; where all is to end they are closed at once.
local lu = require "luaunit"
local masters = require "spec.support.master"
local s = require "spec.support"
local uv = require "luv"

local APP = masters.NOTE .. [[
local http = require "brood.http"
brood.worker:on("stopping", function()
  note("stopping", posix.getpid())
  if io.open(where .. ".enough") then
    brood.async(function()
      brood.sleep(0.02) -- by then it lingers: the master may be quicker to answer than it is to begin
      brood.worker:send "enough"
    end)
  end
end)
return http.server(function(req, res)
  note(req.path)
  if req.path == "/slow" then
    brood.sleep(0.3)
  elseif req.path == "/busy" then
    require("luv").sleep(400)
  elseif req.path == "/slot" then
    return res:finish(tostring(brood.worker.slot))
  elseif req.path == "/one" then
    brood.worker:send(1)
  elseif req.path == "/large" then
    return res:finish(("x"):rep(5 * 1024 * 1024))
  elseif req.path == "/body" then
    return res:finish(req:body())
  elseif req.path == "/stream" then
    res:write "begun,"
    brood.sleep(0.3)
  end
  res:finish(req.path)
end, { idle_timeout = %s })]]

-- The master has each worker linger, and no more once that says "enough".
local LINGER = [[
worker_ready = function(_, worker)
  worker.member.places.board:set(worker.member.place, "linger", 1)
  note("lingers", worker.id)
end,
on_start = function(master)
  master:on("message", function(worker)
    worker.member.places.board:set(worker.member.place, "linger", 0)
    note "enough"
  end)
end,]]

local GET = "GET %s HTTP/1.1\r\nHost: x\r\n\r\n"
local OLD = "GET %s HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"

---@class spec.Lingering: spec.Master
---@field pid integer of its worker

local function start(linger, options)
  options = options or {}
  local master = masters.start {
    workers = options.workers or 1, app = APP:format(options.idle_timeout or "60"),
    config = (linger and LINGER or "") .. (options.config or ""),
  }
  master.pid = master:pids()[1]
  if linger then
    master:noted "lingers (1)"
  end
  return master
end

local function lingering(options)
  return start(true, options)
end

local function leaving(options)
  return start(false, options)
end

-- QUIT its worker, and wait until that has taken it.
local function quit(master)
  uv.kill(master.pid, "sigquit")
  master:noted("(stopping " .. master.pid .. ")")
end

-- One that has had an answer, and goes on.
local function kept(master, request)
  local socket = s.connect(master:address())
  socket:send((request or GET):format "/first")
  local answer = socket:response()
  lu.assertEquals(answer.body, "/first")
  lu.assertNotEquals(answer.headers.connection, "close")
  return socket
end

local function ask(socket, path, request)
  socket:send((request or GET):format(path))
  local answer = socket:response()
  return answer.body, answer.headers.connection
end

local function answered_last(socket, path, request)
  local body, connection = ask(socket, path, request)
  lu.assertEquals({ body, connection }, { path, "close" })
  lu.assertEquals(socket:receive_all(), "")
end

local function gone(master)
  s.gone({ master.pid }, 5)
  master.program:expect "ended: status 0 %(signal QUIT%)"
  lu.assertNotStrContains(master:log(), "KILL")
end

local function gone_soon(master)
  local seconds = s.timed(gone, master)
  lu.assertTrue(seconds < 1 * s.slow, seconds)
end

-- What it will find in its sockets when it goes on, together with the signal.
local function while_it_stands_still(master, fn)
  uv.kill(master.pid, "sigstop")
  s.wait(function()
    return s.stat(master.pid).state == "T"
  end, 5, "the worker to stand still")
  fn()
  uv.kill(master.pid, "sigquit")
  uv.kill(master.pid, "sigcont")
end

-- The last one of the answers that come to n requests, and how many of them are the last.
local function answers(socket, n)
  local closing, last = 0, nil
  for i = 1, n do
    last = socket:response()
    lu.assertEquals(last.body, "/" .. i)
    closing = closing + (last.headers.connection == "close" and 1 or 0)
  end
  return last, closing
end

local function pipelined(n)
  local text = {}
  for i = 1, n do
    text[i] = GET:format("/" .. i)
  end
  return table.concat(text)
end

local TCP = "127.0.0.1:0"
local PLACES = {
  tcp = ([[listen = { "%s" },]]):format(TCP),
  unix = [[listen = { "unix:web.sock" },]],
  reuseport = ([[listen = { { address = "%s", reuseport = true } },]]):format(TCP),
}

local tests = {
  ["an idle connection is kept; its next request is answered with Connection: close"] = function()
    local master = lingering()
    local first, second, old = kept(master), kept(master), kept(master, OLD)
    quit(master)
    s.remains(function()
      return not first.eof and not second.eof and s.alive(master.pid)
    end, 0.3, "the idle connection")
    answered_last(first, "/again")
    answered_last(old, "/again", OLD)
    lu.assertTrue(s.alive(master.pid))
    answered_last(second, "/again")
    gone_soon(master)
  end,

  ["a worker that lingers is gone when its last idle client has gone"] = function()
    local master = lingering()
    local socket = kept(master)
    quit(master)
    s.remains(function() return s.alive(master.pid) end, 0.1, "the worker")
    socket:close()
    gone_soon(master)
  end,

  ["a connection that has not asked yet is answered as well"] = function()
    for _, begin in ipairs { lingering, leaving } do
      local master = begin()
      local socket = kept(master)
      local new = s.connect(master:address())
      s.wait(function()
        return master:workers()[1].requests == 1
      end)
      quit(master)
      answered_last(new, "/new")
      socket:close()
      gone_soon(master)
    end
  end,

  ["before its patience is over idle connections are closed, and nothing is killed"] = function()
    local master = lingering { config = "graceful_timeout = 1.5," }
    local socket, new = kept(master), s.connect(master:address())
    local seconds = s.timed(function()
      quit(master)
      lu.assertEquals(socket:receive_all(), "")
      lu.assertEquals(new:receive_all(), "")
    end)
    lu.assertTrue(seconds > 0.6 and seconds < 1.5 * s.slow, seconds)
    gone_soon(master)
  end,

  ["a second QUIT closes them at once when the master wants no more lingering"] = function()
    local master = lingering()
    s.write_file(master.dir .. "/notes.enough", "")
    local idle, slow = kept(master), kept(master)
    slow:send(GET:format "/slow")
    master:noted "(/slow)"
    quit(master)
    master:noted "(enough)"
    lu.assertFalse(idle.eof)
    uv.kill(master.pid, "sigquit")
    lu.assertEquals(idle:receive_all(), "")
    lu.assertEquals(slow:response().body, "/slow")
    gone_soon(master)
  end,

  ["a second QUIT changes nothing while it may linger"] = function()
    local master = lingering()
    local socket = kept(master)
    quit(master)
    uv.kill(master.pid, "sigquit")
    s.remains(function() return not socket.eof end, 0.1, "the connection")
    answered_last(socket, "/again")
    gone_soon(master)
  end,

  ["when its master has died, idle connections are closed"] = function()
    local master = lingering()
    local socket = kept(master)
    quit(master)
    master.program:kill "KILL"
    lu.assertEquals(socket:receive_all(), "")
    s.gone({ master.pid }, 5)
    os.remove(master.control)
  end,

  ["without lingering idle connections are closed at once"] = function()
    local master = leaving()
    local socket = kept(master)
    quit(master)
    lu.assertEquals(socket:receive_all(), "")
    gone_soon(master)
  end,

  ["a request that has come by then is answered, on an idle connection and on a new one"] = function()
    for _, begin in ipairs { lingering, leaving } do
      local master = begin()
      local idle, new = kept(master), nil
      while_it_stands_still(master, function()
        idle:send(GET:format "/idle")
        new = s.connect(master:address())
        new:send(GET:format "/new")
      end)
      lu.assertEquals(idle:response().body, "/idle")
      lu.assertEquals(new:response().body, "/new")
      idle:close()
      new:close()
      gone_soon(master)
    end
  end,

  ["requests that were pipelined are all answered, and only the last says that it is"] = function()
    for _, begin in ipairs { lingering, leaving } do
      local master = begin()
      local socket = kept(master)
      socket:send(GET:format "/slow" .. pipelined(20))
      master:noted "(/slow)"
      quit(master)
      local slow = socket:response()
      lu.assertEquals({ slow.body, slow.headers.connection }, { "/slow" })
      local last, closing = answers(socket, 20)
      lu.assertEquals({ last.headers.connection, closing }, { "close", 1 })
      lu.assertEquals(socket:receive_all(), "")
      socket:close()
      gone_soon(master)
    end
  end,

  ["one who never stops asking hears the end of it"] = function()
    local master = leaving()
    local socket = kept(master)
    socket:send(GET:format "/slow" .. pipelined(400))
    master:noted "(/slow)"
    quit(master)
    socket:response()
    local n = 0
    repeat
      n = n + 1
      local answer = socket:response()
      lu.assertEquals(answer.body, "/" .. n)
    until answer.headers.connection == "close"
    lu.assertTrue(n >= 99 and n < 400, n)
    socket:close()
    gone_soon(master)
  end,

  ["a request of which only half has come is finished and answered"] = function()
    for _, begin in ipairs { lingering, leaving } do
      local master = begin()
      local head, body = kept(master), kept(master)
      local post = "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\nhalf"
      head:send(GET:format("/half"):sub(1, 12))
      body:send(post)
      master:noted "(/body)"
      quit(master)
      s.remains(function() return not head.eof and not body.eof end, 0.05, "a connection")
      body:send "full"
      lu.assertEquals(body:response().body, "halffull")
      head:send(GET:format("/half"):sub(13))
      local answer = head:response()
      lu.assertEquals({ answer.body, answer.headers.connection }, { "/half", "close" })
      head:close()
      body:close()
      gone_soon(master)
    end
  end,

  ["what is being answered is answered: a slow handler, a stream, and 5 MB for a slow reader"] = function()
    for _, begin in ipairs { lingering, leaving } do
      local master = begin()
      local slow, stream, large = kept(master), kept(master), kept(master)
      large:pause()
      slow:send(GET:format "/slow")
      large:send(GET:format "/large")
      stream:send(GET:format "/stream")
      stream:receive "begun,"
      master:noted "(/large)"
      quit(master)
      local answer = slow:response()
      lu.assertEquals({ answer.body, answer.headers.connection }, { "/slow", "close" })
      stream:receive "/stream\r\n0\r\n\r\n"
      if begin == lingering then
        answered_last(stream, "/next") -- it was promised one
      end
      large:resume()
      lu.assertEquals(#large:response().body, 5 * 1024 * 1024)
      large:close()
      gone_soon(master)
    end
  end,

  ["a request that comes when its connection has been idle for too long is answered"] = function()
    local master = leaving { idle_timeout = "0.2" }
    local socket, busy = kept(master), s.connect(master:address())
    busy:send(GET:format "/busy")
    master:noted "(/busy)"
    socket:send(GET:format "/late")
    lu.assertEquals(socket:response().body, "/late")
    lu.assertEquals(socket:receive_all(), "")
  end,

  ["a worker that is not needed any more lingers, until its master is told to end"] = function()
    local master = leaving { workers = 2, config = [[
      on_start = function(master)
        master:on("message", function(_, n) master:scale(n) end)
      end,]] }
    local sockets, slots = {}, {}
    repeat
      local socket = s.connect(master:address())
      local slot = ask(socket, "/slot")
      slots[slot] = slots[slot] or {}
      table.insert(slots[slot], socket)
      table.insert(sockets, socket)
    until slots["1"] and slots["2"] and #slots["2"] == 2
    master.pid = master:pids()[2]
    ask(slots["1"][1], "/one")
    master:noted("(stopping " .. master.pid .. ")")
    answered_last(slots["2"][1], "/again")
    s.remains(function() return not slots["2"][2].eof end, 0.1, "the idle connection")
    local seconds = s.timed(function()
      lu.assertEquals(master:stop "QUIT", 0)
    end)
    lu.assertTrue(seconds < 1.5 * s.slow, seconds)
    for _, socket in ipairs(sockets) do
      lu.assertEquals(socket:receive_all(), "")
    end
  end,

  ["USR1 in a worker asks the master to open the logs anew"] = function()
    local master = leaving { config = [[
      worker_ready = function(master)
        master.clusters.web:on("reopen_all", function(worker) note("reopen", worker.id) end)
        note "listens"
      end,]] }
    master:noted "(listens)"
    uv.kill(master.pid, "sigusr1")
    master:noted "reopen (1)"
  end,
}

for name, config in pairs(PLACES) do
  tests["whoever waits in the queue of a worker that goes is answered: " .. name] = function()
    for _, begin in ipairs { lingering, leaving } do
      local master = begin { config = config }
      local sockets = {}
      while_it_stands_still(master, function()
        for i = 1, 30 do
          sockets[i] = s.connect(master:address())
          sockets[i]:send(GET:format "/waiting")
        end
      end)
      for _, socket in ipairs(sockets) do
        lu.assertEquals(socket:response().body, "/waiting")
        socket:close()
      end
      gone_soon(master)
    end
  end
end

return tests
