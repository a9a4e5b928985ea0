--- The access log: a line for each request, whole, in order, and never at the cost of an answer.
local ffi = require "ffi"
local lu = require "luaunit"
local cjson = require "cjson"
local h = require "spec.support.http"
local s = require "spec.support"
local master = require "spec.support.master"

local APP = [[
  local brood = require "brood"
  return function(req, res)
    if req.path == "/begin" then res:write("begun") brood.sleep(0.3) end
    if req.path == "/slow" then brood.sleep(0.3) end
    if req.path == "/big" then return res:finish(("x"):rep(8 * 2 ^ 20)) end
    if req.path == "/empty" then return res:status(204):finish() end
    if req.path == "/stream" then res:write("12345") res:write("678") return res:finish("90") end
    if req.path == "/raise" then error("boom") end
    res:finish("Hello World\n")
  end
]]

local STAMP = "%[%d%d/%a%a%a/%d%d%d%d:%d%d:%d%d:%d%d [+-]%d%d%d%d%]"

local function serve(access_log, options)
  options = options or {}
  local m = master.start {
    app = APP, workers = options.workers or 1, args = options.args,
    config = ("access_log = %s,"):format(access_log),
  }
  return m, "127.0.0.1:" .. m.program:expect('workers serve 127%.0%.0%.1:(%d+)', 20)
end

local function get(path, more)
  return ("GET %s HTTP/1.1\r\nHost: a\r\n%s\r\n"):format(path, more or "")
end

local function lines_of(text)
  local lines = {}
  for line in text:gmatch("([^\n]*)\n") do
    lines[#lines + 1] = line
  end
  return lines
end

-- The lines, once there are so many.
local function expect_lines(read, n)
  s.wait(function() return #lines_of(read() or "") >= n end, 5, function()
    return ("%d lines in: %s"):format(n, read() or "nothing")
  end)
  return lines_of(read())
end

local function file_of(m, name)
  return function() return s.read_file(m.dir .. "/" .. name) end
end

local function stop(m, signal)
  lu.assertEquals(m.program:stop(signal), 0)
end

return {
  ["each request is a line in the combined format, at once and in a file made for it"] = function()
    local m, address = serve '"access.log"'
    local read = file_of(m, "access.log")
    h.exchange(address, get("/a?b=1", "Referer: http://x/y\r\nUser-Agent: spec/1\r\n"))
    lu.assertStrMatches(expect_lines(read, 1)[1],
      "127%.0%.0%.1 %- %- " .. STAMP .. ' "GET /a%?b=1 HTTP/1%.1" 200 12 "http://x/y" "spec/1"')
    h.exchange(address, "HEAD / HTTP/1.0\r\n\r\n")
    h.exchange(address, get "/empty" .. get "/stream" .. get "/raise")
    h.exchange(address, get "/slow")
    h.exchange(address, get "/big")
    local lines = expect_lines(read, 7)
    for i, want in ipairs { '"HEAD / HTTP/1.0" 200 0 "-" "-"', '"GET /empty HTTP/1.1" 204 0 "-" "-"',
      '"GET /stream HTTP/1.1" 200 10 "-" "-"', '"GET /raise HTTP/1.1" 500 26 "-" "-"',
      '"GET /slow HTTP/1.1" 200 12 "-" "-"', ('"GET /big HTTP/1.1" 200 %d "-" "-"'):format(8 * 2 ^ 20) } do
      lu.assertStrContains(lines[i + 1], want)
    end
    stop(m)
  end,

  ["a client forges no line: quotes, controls and what is not ASCII are escaped; refusals are logged"] = function()
    local m, address = serve '"access.log"'
    h.exchange(address, get("/", 'Referer: a" 200 1 "\\\r\nUser-Agent: \195\164\255\r\n'))
    h.exchange(address, "GET /\27[31m\" HTTP/1.1\r\nHost: a\r\n\r\n")
    h.exchange(address, "\22\3\1")
    h.exchange(address, "GET / HTTP/1.1\r\n\r\n")
    local lines = expect_lines(file_of(m, "access.log"), 4)
    lu.assertStrContains(lines[1], '200 12 "a\\x22 200 1 \\x22\\x5C" "\\xC3\\xA4\\xFF"')
    lu.assertStrContains(lines[2], '"GET /\\x1B[31m\\x22 HTTP/1.1" 400 ')
    lu.assertStrContains(lines[3], '"\\x16\\x03\\x01" 400 ')
    lu.assertStrContains(lines[4], '"GET / HTTP/1.1" 400 ')
    lu.assertEquals(#lines, 4)
    stop(m)
  end,

  ["with --log-format json each line is an object, and valid UTF-8 whatever came"] = function()
    local m, address = serve('"-"', { args = { "--log-format", "json" } })
    h.exchange(address, get("/a%20b?x=1&y", 'Referer: "\\\r\nUser-Agent: \195\164\255\237\160\128\r\n'))
    h.exchange(address, get "/slow")
    h.exchange(address, "\22\255\r\n\r\n")
    local lines = expect_lines(function() return m.program:stdout() end, 3)
    local first, slow, refused = cjson.decode(lines[1]), cjson.decode(lines[2]), cjson.decode(lines[3])
    lu.assertStrMatches(first.time, "%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ")
    lu.assertEquals({ first.remote_address, first.method, first.path, first.query, first.version, first.status },
      { "127.0.0.1", "GET", "/a%20b", "x=1&y", "1.1", 200 })
    lu.assertEquals({ first.bytes, first.referer }, { 12, '"\\' })
    lu.assertStrMatches(first.user_agent, "\195\164[\239\191\189]+") -- U+FFFD for each byte that is none
    lu.assertTrue(first.seconds >= 0 and first.seconds < 0.25)
    lu.assertTrue(slow.seconds >= 0.29 and slow.seconds < 5)
    lu.assertEquals({ slow.query, slow.referer, slow.user_agent }, { nil, cjson.null, cjson.null })
    lu.assertEquals({ refused.status, refused.method, refused.request }, { 400, cjson.null, "\22\239\191\189" })
    stop(m)
  end,

  ["a function makes the lines, or none; what it raises is told once, and no answer suffers"] = function()
    local m, address = serve [[function(req, status, bytes, seconds)
      if req.path == "/raise" then error("not this one") elseif req.path == "/empty" then return nil
      elseif req.path == "/stream" then return {} end
      return ("%s|%d|%d|%s|%s\nforged\27"):format(req.path, status, bytes, seconds >= 0, req.headers.host)
    end]]
    for _, path in ipairs { "/1", "/raise", "/raise", "/empty", "/slow", "/stream" } do
      lu.assertStrMatches(h.exchange(address, get(path)), "HTTP/1.1 %d%d%d .*")
    end
    h.exchange(address, "nonsense\r\n\r\n")
    local lines = expect_lines(function() return m.program:stdout() end, 3)
    lu.assertEquals(lines, { "/1|200|12|true|a\\nforged\\x1B", "/slow|200|12|true|a\\nforged\\x1B",
      "nonsense|400|16|true|nil\\nforged\\x1B" })
    m.program:expect "access_log: .*not this one.*stack traceback"
    lu.assertEquals(select(2, m.program:stderr():gsub("access_log:", "")), 1)
    stop(m)
  end,

  ["a client that goes before its answer is 499, one that only ends its side has got it"] = function()
    local m, address = serve '"access.log"'
    local gone, reset = s.connect(address), s.connect(address)
    gone:send(get "/slow?gone")
    gone:close()
    reset:send(get "/begin")
    reset:receive "begun" -- what comes before a reset may be lost with it
    reset.handle:close_reset()
    h.exchange(address, get "/slow?half")
    local cut = s.connect(address)
    cut:send(get "/big?cut")
    cut:receive "xxxx"
    cut.handle:close_reset()
    local text = table.concat(expect_lines(file_of(m, "access.log"), 4), "\n")
    lu.assertStrContains(text, '/slow?gone HTTP/1.1" 499 0 ')
    lu.assertStrContains(text, '/begin HTTP/1.1" 200 5 ')
    lu.assertStrContains(text, '/slow?half HTTP/1.1" 200 12 ')
    local sent = tonumber(text:match('/big%?cut HTTP/1.1" 200 (%d+) '))
    lu.assertTrue(sent and sent < 8 * 2 ^ 20, "bytes of a cut answer: " .. tostring(sent))
    stop(m)
  end,

  ["no line is lost or torn where several workers write, and none when they are told to stop"] = function()
    for _, signal in ipairs { "TERM", "QUIT" } do
      local m, address = serve('"access.log"', { workers = 2 })
      local sockets = {}
      for i = 1, 8 do
        sockets[i] = s.connect(address)
        sockets[i]:send(get("/" .. i, "User-Agent: " .. ("a"):rep(3000) .. "\r\n"):rep(50))
      end
      for i = 1, 8 do
        for _ = 1, 50 do
          lu.assertEquals(sockets[i]:response().status, 200)
        end
      end
      stop(m, signal)
      local lines = lines_of(s.read_file(m.dir .. "/access.log"))
      lu.assertEquals(#lines, 400)
      for _, line in ipairs(lines) do
        lu.assertStrMatches(line, '127.* 200 12 "%-" "' .. ("a"):rep(3000) .. '"')
      end
      for i = 1, 8 do
        sockets[i]:close()
      end
    end
  end,

  ["a function that waits is told that it must not"] = function()
    local m, address = serve [[function(req) require("brood").sleep(0.01) return "late" end]]
    lu.assertStrContains(h.exchange(address, get "/1"), "Hello World")
    lu.assertStrContains(h.exchange(address, get "/slow"), "Hello World")
    m.program:expect "access_log: a function for access_log must not wait, and brood.sleep does\n"
    stop(m)
  end,

  ["a full disk costs lines, and is told; answers go on"] = function()
    local m, address = serve '"/dev/full"'
    for _ = 1, 3 do
      for i = 1, 20 do
        lu.assertStrContains(h.exchange(address, get("/" .. i)), "Hello World")
      end
    end
    m.program:expect "access log: %d+ lines? lost: No space left on device"
    lu.assertEquals(select(2, m.program:stderr():gsub("lines? lost", "")), 1)
    stop(m)
  end,

  ["a pipe that nobody reads holds up no worker, and whole lines come once it is read"] = function()
    ffi.cdef [[int mkfifo(const char *, unsigned); int open(const char *, int, ...); int close(int);
      long read(int, void *, size_t);]]
    local path = s.temp_dir() .. "/fifo"
    lu.assertEquals(ffi.C.mkfifo(path, 384), 0)
    local fd = ffi.C.open(path, 2050) -- O_RDWR | O_NONBLOCK: it is there, and does not read
    local m, address = serve(('%q'):format(path), { workers = 2 })
    local sockets = {}
    for i = 1, 4 do
      sockets[i] = s.connect(address)
      sockets[i]:send(get("/", "User-Agent: " .. ("a"):rep(900) .. "\r\n"):rep(150))
    end
    for i = 1, 4 do
      for _ = 1, 150 do
        lu.assertEquals(sockets[i]:response().status, 200)
      end
      sockets[i]:close()
    end
    m.program:expect "access log: %d+ lines? lost: its reader is too slow"
    local buffer, all = ffi.new "char[65536]", ""
    local function drain()
      local n = ffi.C.read(fd, buffer, 65536)
      while n > 0 do
        all = all .. ffi.string(buffer, n)
        n = ffi.C.read(fd, buffer, 65536)
      end
      return all
    end
    drain()
    s.wait(function()
      h.exchange(address, get "/again")
      return drain():find "/again"
    end, 5, "a line after the pipe was emptied")
    stop(m)
    drain()
    for _, line in ipairs(lines_of(all)) do
      lu.assertStrMatches(line, '127%.0%.0%.1 [^\n]* HTTP/1%.1" 200 12 "%-" "[-a]+"')
    end
    lu.assertEquals(all:sub(-1), "\n")
    ffi.C.close(fd)
  end,

  ["stdout that was closed costs lines, and no worker"] = function()
    local dir = s.temp_dir()
    s.write_file(dir .. "/app.lua", APP)
    s.write_file(dir .. "/brood.lua",
      'return { app = "app.lua", listen = "127.0.0.1:0", workers = 1, control = false, access_log = "-" }')
    local p = s.start({ "/bin/sh", "-c", '"$0" run brood.lua | true', s.binary }, { cwd = dir })
    local address = "127.0.0.1:" .. p:expect("workers serve 127%.0%.0%.1:(%d+)", 20)
    for _ = 1, 3 do
      lu.assertStrContains(h.exchange(address, get "/"), "Hello World")
    end
    p:expect "access log: %d+ lines? lost: Broken pipe"
    local pid = p:stderr():match "worker 1 %(pid (%d+)%) is ready"
    local parent = tonumber(s.read_file("/proc/" .. pid .. "/stat"):match "^%d+ %(.*%) %a (%d+)")
    require("luv").kill(parent, "sigterm")
    p:wait()
  end,
}
