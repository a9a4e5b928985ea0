--- What clients of a proxy may do to others and to its log: leave in the midst, send little by little, wait for long,
--- speak HTTP/1.0; and a proxy that is short of descriptors.
local lu = require "luaunit"
local proxy = require "spec.support.proxy"
local s = require "spec.support"

local T = {}

local POST = "POST /%s HTTP/1.1\r\nHost: x\r\n%s\r\n"

local function start(text, more)
  return proxy.start {
    workers = 1, proxy = more, files = { ["one.lua"] = proxy.lua(text) }, routes = '["/"] = "one"',
    config = ("backends = { one = { command = %s } },"):format(proxy.exec "one.lua"),
  }
end

T["a client that leaves in mid-upload is nothing to the log, and its connection is closed at once"] = function()
  local master = start [[serve(function(req, res) note(req.path) res:finish(tostring(#(req:body() or "")))  end)]]
  lu.assertEquals(master:ask("/", { method = "POST", body = "abc" }).body, "3")
  local pid = master:status().clusters.proxy.processes[1].pid
  local before = s.fd_count(pid)
  for i = 1, 5 do
    local socket = s.connect(master:front())
    socket:send(POST:format(i, "Content-Length: 90000\r\n") .. "abc")
    s.wait(function() return master:notes():find("/" .. i, 1, true) end, 5 * s.slow, "the request")
    socket:close()
  end
  s.wait(function() return s.fd_count(pid) <= before end, 0.15 * s.slow, "no more descriptors than before")
  lu.assertEquals(master:ask("/", { method = "POST", body = "abcd" }).body, "4")
  lu.assertNotStrContains(master:log(), "unfinished")
  lu.assertNotStrContains(master:log(), "error")
  master:finish()
end

T["a program is not kept for a client that has sent nothing of its body yet, or not all of a short one"] = function()
  local master = start [[serve(function(req, res) res:finish(tostring(#(req:body() or ""))) end)]]
  local slow = {}
  for i = 1, 5 do
    slow[i] = s.connect(master:front())
    slow[i]:send(POST:format(i, i > 3 and "Transfer-Encoding: chunked\r\n" or "Content-Length: 3\r\n"))
  end
  slow[1]:send "a"
  lu.assertEquals(master:ask("/").body, "0")
  lu.assertEquals(master:backend("one").served, 1)
  slow[5]:close()
  for i = 1, 4 do
    slow[i]:send(i > 3 and "3\r\nabc\r\n0\r\n\r\n" or i == 1 and "bc" or "abc")
    lu.assertEquals(slow[i]:response().body, "3")
  end
  local asking = s.connect(master:front())
  asking:send(POST:format("x", "Content-Length: 3\r\nExpect: 100-continue\r\n"))
  asking:receive "HTTP/1.1 100 Continue\r\n\r\n"
  asking:send "abc"
  lu.assertEquals(asking:response().body, "3")
  lu.assertNotStrContains(master:log(), "error")
  master:finish()
end

T["who gets no turn within `timeout` is told so, and waits no longer"] = function()
  local master = start([[serve(function(req, res)
    res:write "x"
    while not exists(here .. "/go") do res:write "x" brood.sleep(0.02) end
    res:finish()
  end)]], "timeout = '300ms'")
  local first = master:send "/"
  first:receive "x"
  local answer = master:ask "/"
  lu.assertEquals({ answer.status, answer.headers["retry-after"], answer.body },
    { 503, "1", "busy: 'one' has had no time for this request\n" })
  lu.assertEquals(master:backend("one").waiting, 0)
  lu.assertStrContains(master:log(), "one: GET /: no turn within 0.3 s")
  s.write_file(master.dir .. "/go", "")
  first:receive_all()
  lu.assertEquals(master:ask("/").status, 200)
  master:finish()
end

T["a start may take longer than `timeout`: who waits for it is answered"] = function()
  local master = start('brood.sleep(0.6) serve()', "timeout = '200ms'")
  lu.assertEquals(master:ask("/").status, 200)
  master:finish()
end

T["HTTP/1.0 that names its host in its target alone is routed by it, and it is the Host from there on"] = function()
  local behind = s.listen(s.temp_dir() .. "/up")
  local master = proxy.start { workers = 1, routes = ('["inner.local"] = %q'):format(behind.address) }
  local client = s.connect(master:front())
  client:send "GET http://inner.local/x?y HTTP/1.0\r\n\r\n"
  local up = behind:accept()
  local head = up:receive "\r\n\r\n"
  lu.assertStrContains(head, "GET /x?y HTTP/1.1\r\nHost: inner.local\r\n")
  lu.assertStrContains(head, "X-Forwarded-Host: inner.local\r\n")
  up:send "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
  lu.assertEquals(client:response().body, "ok")
  local other = s.connect(master:front())
  other:send "GET /x HTTP/1.0\r\n\r\n"
  lu.assertEquals(other:response().status, 404)
  master:finish()
end

T["many clients and few descriptors: each has its answer; who keeps a connection makes room"] = function()
  local master = proxy.start {
    workers = 1, routes = '["/"] = "behind"', config = [[limits = { nofile = 64 },
      clusters = { behind = { app = "slow.lua", listen = "unix:behind.sock", limits = { nofile = 1024 } } },]],
    files = { ["slow.lua"] = "return function(_, res) require('brood').sleep(0.05) res:finish 'yes' end" },
  }
  local idle = {}
  for i = 1, 30 do -- more than there may be at a time: those that rest are closed for those that ask
    idle[i] = s.connect(master:front())
    idle[i]:send "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    lu.assertEquals(idle[i]:response().status, 200)
  end
  local sockets = {}
  for i = 1, 200 do
    sockets[i] = s.connect(master:front())
    sockets[i]:send "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
  end
  for _, socket in ipairs(sockets) do
    local response = socket:response()
    lu.assertEquals({ response.status, response.body }, { 200, "yes" })
  end
  lu.assertNotStrContains(master:log(), "Too many open files")
  master:finish()
end

T["a proxy without a descriptor left says 503, not that its target cannot be reached"] = function()
  local path = s.temp_dir() .. "/front.lua"
  s.write_file(path, [[
    local http, uv, targets = require "brood.http", require "luv", require "brood.proxy.targets"
    local target = { address = "unix:" .. arg[1] }
    local goals = targets.new { routes = { { target = target } }, connect_timeout = 0.3, timeout = 0.3 }
    local server = http.server(function(req, res)
      local held, again = {}, uv.new_timer()
      local function hold()
        local fd = uv.fs_open("/dev/null", "r", 0)
        while fd do
          held[#held + 1] = fd
          fd = uv.fs_open("/dev/null", "r", 0)
        end
      end
      again:start(1, 1, hold) -- what is let go of for the sake of a request is gone, too
      hold()
      goals:serve(target, req, res)
      again:close()
      for _, one in ipairs(held) do
        uv.fs_close(one)
      end
    end)
    assert(server:listen "127.0.0.1:0")
    print("at " .. server:address())
    io.stdout:flush()]])
  local behind = s.listen(s.temp_dir() .. "/up")
  local program = s.start({ "sh", "-c", 'ulimit -n 40; exec "$0" exec "$1" "$2"', s.binary, path,
    behind.address:match "^unix:(.*)" or behind.address })
  local address, answer = program:expect "at (%S+)\n", nil
  -- One may be free for a moment: then it is connected to, and 504, as nobody answers there.
  s.wait(function()
    answer = s.get(address)
    return answer.status ~= 504
  end)
  lu.assertEquals({ answer.status, answer.headers["retry-after"] }, { 503, "1" })
  lu.assertStrContains(answer.body, "busy: no more connections can be opened to 'unix:")
end

return T
