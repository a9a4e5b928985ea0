--- http.request and http.get, against our own server and against bytes.
local scripts = require "spec.support.scripts"

local HEAD = 'local brood, http, net = require "brood", require "brood.http", require "brood.net"\n'

local prints = scripts.printer(HEAD, 20)

return {
  ["get and request return status, headers and body, waiting or by callback"] = function()
    prints([[
      local server = assert(http.server(function(req, res)
        res:header("X-Seen", req.method .. " " .. req.path .. " " .. req.query .. " " .. (req.headers["x-a"] or "-"))
        if req.path == "/stream" then res:write("a") res:write("b") return res:finish("c") end
        if req.path == "/missing" then res:status(404) end
        res:finish(req:body())
      end):listen("127.0.0.1:0"))
      local base = "http://" .. server:address()
      local got = assert(http.get(base .. "/x?y"))
      print(got.status, got.headers["x-seen"], #got.body)
      got = assert(http.request { url = base .. "/echo", body = "hello", headers = { ["X-A"] = 1 } })
      print(got.status, got.headers["x-seen"], got.body)
      print(http.get(base .. "/stream").body, http.get(base .. "/missing").status, http.get(base).status)
      print(http.request({ url = base, method = "HEAD" }).body == "")
      http.get(base, function(err, got) print(err, got.status) server:close() end)
    ]], "200\tGET /x y -\t0\n200\tPOST /echo  1\thello\nabc\t404\t200\ntrue\nnil\t200\n")
  end,

  ["a Unix socket, and answers that end with the connection"] = function()
    prints([[
      local path = (os.getenv("PWD") or ".") .. "/s.sock"
      local server = assert(http.server(function(req, res) res:finish(req.path .. req.headers.host) end):listen("unix:" .. path))
      print(http.request({ socket = path, path = "/p" }).body)
      server:close()
      local raw = assert(net.server(function(conn)
        conn:read()
        conn:write("HTTP/1.0 200 OK\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\nuntil the end")
      end):listen("127.0.0.1:0"))
      local got = http.get("http://" .. raw:address())
      print(got.body, got.headers["set-cookie"][2])
      raw:close()
    ]], "/plocalhost\nuntil the end\tb\n")
  end,

  ["failures say what failed: https, refused, not HTTP, cut off, too slow"] = function()
    prints([[
      print(select(2, http.get("https://a/")).code)
      print(select(2, http.get("http://127.0.0.1:1/")).code)
      print(select(2, http.get("nonsense")).code)
      local answers = { "hello\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", "" }
      local i = 0
      local raw = assert(net.server(function(conn)
        i = i + 1
        conn:read()
        if not answers[i] then return brood.sleep(0.3) end
        conn:write(answers[i])
      end):listen("127.0.0.1:0"))
      for _ = 1, 3 do print(select(2, http.get("http://" .. raw:address())).code) end
      print(select(2, http.request { url = "http://" .. raw:address(), timeout = "50ms" }).code)
      raw:close()
    ]], "EPROTONOSUPPORT\nECONNREFUSED\nEINVAL\nEPROTO\nclosed\nclosed\ntimeout\n")
  end,
}
