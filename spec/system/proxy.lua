--- A proxy in front of clusters, backends and other servers: who is asked, what is passed on, and what it answers
--- itself.
local http = require "spec.support.http"
local lu = require "luaunit"
local proxy = require "spec.support.proxy"
local s = require "spec.support"

local T = {}

local WHO = [[
return function(req, res)
  res:header("x-path", req.path .. "?" .. req.query):header("x-host", req.headers.host)
  res:finish(require("brood").worker.cluster)
end]]

T["hosts, suffixes and paths lead to clusters, and the path is kept"] = function()
  local master = proxy.start {
    app = WHO, files = { ["admin.lua"] = WHO },
    config = "clusters = { admin = { app = 'admin.lua', listen = 'unix:admin.sock', workers = 1 } },",
    routes = [=[ ["/"] = "web", ["/admin"] = "admin", ["api.localhost"] = "admin", ["*.example.com"] = "admin" ]=],
  }
  for _, case in ipairs {
    { "/x?y=1", "h", "web" }, { "/admin/a%20b?c", "h", "admin" }, { "/admins", "h", "web" },
    { "/", "API.localhost:8080", "admin" }, { "/", "a.b.example.com", "admin" }, { "/", "example.com", "web" },
    { "/x/..%2Fadmin", "h", "admin" }, { "/admin/../x", "h", "web" }, { "//admin", "h", "admin" },
  } do
    local path, host, cluster = unpack(case)
    local answer = master:ask(path, { host = host })
    lu.assertEquals({ answer.status, answer.body }, { 200, cluster }, path)
    lu.assertEquals(answer.headers["x-path"], path:find "?" and path or path .. "?")
    lu.assertEquals(answer.headers["x-host"], host)
  end
  master:finish()
end

T["a program in Python runs while it is asked, by a first request that waits for its start"] = function()
  local master = proxy.start {
    files = { ["app.py"] = proxy.PYTHON },
    config = "backends = { py = { command = { 'python3', 'app.py' }, idle = '400ms' } },",
    routes = [=[ ["/"] = "web", ["py.localhost"] = "py" ]=],
  }
  lu.assertEquals(master:ask("/").body, "hello\n")
  lu.assertEquals(master:backend("py").state, "stopped")
  local pids = {}
  for _ = 1, 2 do
    for i = 1, 3 do
      local answer = master:ask("/a/" .. i, { host = "py.localhost", body = ("x"):rep(100000) })
      lu.assertEquals(answer.status, 200)
      local pid = tonumber(answer.body:match("^python (%d+) /a/" .. i .. " 100000$"))
      lu.assertIsNumber(pid, answer.body)
      pids[#pids + 1] = pid
    end
    lu.assertEquals(master:programs("py", 1)[1].kind, "backend")
    master:programs("py", 0) -- it was idle
    lu.assertFalse(s.alive(pids[#pids]))
  end
  lu.assertEquals(pids[1], pids[3])
  lu.assertEquals(pids[4], pids[6])
  lu.assertTrue(pids[1] ~= pids[4])
  master:finish()
end

T["node is asked on a Unix socket and on a port"] = function()
  local master = proxy.start {
    files = { ["app.js"] = proxy.NODE },
    config = [[backends = {
      unix = { command = { "node", "app.js" } }, tcp = { command = { "node", "app.js" }, port = true },
    },]],
    routes = [=[ ["/unix"] = "unix", ["/tcp"] = "tcp" ]=],
  }
  for _, name in ipairs { "unix", "tcp" } do
    local answer = master:ask("/" .. name .. "/x?y", { host = "some.host", body = "12345" })
    lu.assertEquals(answer.status, 200)
    lu.assertStrMatches(answer.body, "node %d+ /" .. name .. "/x%?y 5 some%.host some%.host")
  end
  master:finish()
end

T["other servers are asked at their address"] = function()
  local tcp = http.serve 'res:finish("tcp " .. req.path .. " " .. req.headers["x-forwarded-for"])'
  local master = proxy.start { routes = ([=[ ["/"] = "web", ["/t"] = %q, ["/gone"] = "unix:gone.sock" ]=]):format(tcp) }
  lu.assertEquals(master:ask("/t/x").body, "tcp /t/x 127.0.0.1")
  local answer = master:ask("/gone")
  lu.assertEquals(answer.status, 502)
  lu.assertStrMatches(answer.body, "bad gateway: 'unix:/.*/gone%.sock' cannot be reached\n")
  lu.assertStrContains(master:log(), "gone.sock: GET /gone: ")
  master:finish()
end

T["a proxy needs neither an app nor a backend"] = function()
  local tcp = http.serve 'res:finish("there")'
  local master = s.start({ s.binary, "run", s.write_file(s.temp_dir() .. "/brood.lua",
    ("return { control = false, proxy = { listen = '127.0.0.1:0', workers = 1, routes = { ['/'] = %q } } }")
      :format(tcp)) })
  lu.assertEquals(s.get(master:expect "proxy: 1 of 1 workers serve (%S+)\n").body, "there")
  master:kill "TERM"
  lu.assertEquals(master:wait(10), 0)
end

T["where no route leads the answer is 404, and 400 where a path means nothing; never a body for HEAD"] = function()
  local master = proxy.start { routes = [=[ ["/a"] = "web", ["h"] = "web" ]=] }
  lu.assertEquals(master:ask("/a").status, 200)
  lu.assertEquals(master:ask("/", { host = "h" }).status, 200)
  local answer = master:ask("/b")
  lu.assertEquals({ answer.status, answer.body }, { 404, "not found: no route leads there\n" })
  lu.assertEquals(master:ask("/a/%zz").status, 400)
  lu.assertEquals(master:ask("/a/../..", { host = "h" }).status, 400)
  local head = master:send("/b", { method = "HEAD" })
  lu.assertStrMatches(head:receive_all(), "HTTP/1%.1 404 .*\r\n\r\n")
  head:close()
  local old = s.connect(master:front())
  old:send "GET /a HTTP/1.0\r\n\r\n" -- without a host
  lu.assertEquals(old:response().status, 200)
  old:close()
  master:finish()
end

T["a kept connection of a client is led by each request anew"] = function()
  local master = proxy.start {
    app = WHO, config = "clusters = { other = { app = 'app.lua', listen = '127.0.0.1:0', workers = 1 } },",
    routes = [=[ ["/"] = "web", ["/other"] = "other" ]=],
  }
  local socket = s.connect(master:front())
  for _ = 1, 3 do
    socket:send("GET /other HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\nGET /no HTTP/1.1\r\n"
      .. "Host: x\r\n\r\n")
    lu.assertEquals({ socket:response().body, socket:response().body, socket:response().body },
      { "other", "web", "web" })
  end
  socket:close()
  master:finish()
end

T["brood check shows the routes in the order in which they are tried, and finds targets that do not exist"] = function()
  local dir = s.temp_dir()
  s.write_file(dir .. "/app.lua", WHO)
  local function check(routes)
    return s.run { s.binary, "check", s.write_file(dir .. "/brood.lua",
      ("return { app = 'app.lua', backends = { files = { command = { 'sh' } } }, "
        .. "proxy = { listen = 8100, routes = %s } }"):format(routes)) }
  end
  local found = check '{ ["/a"] = "file", ["/b"] = "web" }'
  lu.assertEquals(found.code, 1)
  lu.assertStrContains(found.stderr, "leads to 'file', and there is no service, backend or cluster of that name "
    .. "(did you mean 'files'?)")
  found = check '{ ["/"] = "web", ["/a/b"] = "files", ["*.x.y"] = "127.0.0.1:80", ["h"] = "web", ["*.a.x.y"] = 3000 }'
  lu.assertEquals(found.code, 0, found.stderr)
  local order = {}
  for route in found.stdout:match("    routes = {\n(.-)    },\n"):gmatch "\n?      ([^\n]+)" do
    order[#order + 1] = route
  end
  lu.assertEquals(order, {
    'h = "web", -- the cluster web', '["*.a.x.y"] = "127.0.0.1:3000",', '["*.x.y"] = "127.0.0.1:80",',
    '["/a/b"] = "files", -- the backend files, which runs while it is used', '["/"] = "web", -- the cluster web',
  })
  lu.assertIsTable(loadstring(found.stdout)().proxy)
end

return T
