--- The example on-demand does what its README says, as a config and as a script.
-- time limit: 120 s
local lu = require "luaunit"
local s = require "spec.support"

local function copy()
  local dir = s.temp_dir()
  s.run { "/bin/sh", "-c", ("cp %s/examples/on-demand/* %s"):format(s.root, dir) }
  for _, name in ipairs { "brood.lua", "front.lua" } do
    local text = s.read_file(dir .. "/" .. name):gsub('"10s"', '"1s"'):gsub("127.0.0.1:8080", "127.0.0.1:0")
    s.write_file(dir .. "/" .. name, text)
  end
  return dir
end

local function get(address, path, host)
  local socket = s.connect(address)
  socket:send(("GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n"):format(path, host or "localhost"))
  local answer = socket:response()
  socket:close()
  return answer
end

-- Both of them: what answers, and that a second later none of the programs is there.
local function serves(address)
  lu.assertStrMatches(get(address, "/clock").body, "clock, in Python: process %d+ is up for %d+%.%d s\n")
  local pid = get(address, "/counter").body:match "^counter, in JavaScript: process (%d+) has counted 1\n$"
  lu.assertEquals(get(address, "/counter").body, ("counter, in JavaScript: process %s has counted 2\n"):format(pid))
  local socket = s.connect(address)
  socket:send "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
  lu.assertStrMatches(socket:response().body, "echo, in Ruby: process %d+ was sent 5 bytes\nhello")
  socket:close()
  lu.assertEquals(get(address, "/nowhere").status, 404)
  s.gone({ tonumber(pid) }, 10)
  lu.assertStrMatches(get(address, "/counter").body, "counter, in JavaScript: process %d+ has counted 1\n")
end

return {
  ["on-demand as a config: by path and by host, gone when nobody asks"] = function()
    local p = s.brood { "run", "-c", copy() .. "/brood.lua", "--control", "false" }
    local address = "127.0.0.1:" .. p:expect("serve 127%.0%.0%.1:(%d+)", 20)
    lu.assertStrContains(get(address, "/", "counter.localhost").body, " has counted 1\n")
    s.wait(function() return #s.child_pids(p.pid) == s.worker_count(p.pid) end)
    serves(address)
    p:kill "QUIT"
    lu.assertEquals({ p:wait() }, { 0 })
  end,

  ["on-demand: the server in Ruby ends on TERM without a word"] = function()
    local path = s.temp_dir() .. "/echo.sock"
    local p = s.start({ "ruby", copy() .. "/echo.rb" }, { env = { SOCKET = path } })
    s.wait(function() return pcall(s.connect, "unix:" .. path) end, 20)
    p:kill "TERM"
    lu.assertEquals({ p:wait(10) }, { 0 })
    os.remove(path)
    lu.assertEquals({ p:stdout(), p:stderr() }, { "", "" })
  end,

  ["on-demand as a script: it tells who comes and goes, and what a program has printed"] = function()
    local dir = copy()
    local p = s.brood { "exec", dir .. "/front.lua" }
    local address = p:expect("listening on (%S+)", 20)
    serves(address)
    p:expect "clock: started, process %d+"
    p:expect "clock: nobody needs it any more"
    s.write_file(dir .. "/clock.py", "this is no Python\n")
    s.wait(function() return get(address, "/clock").status == 502 end)
    lu.assertStrContains(get(address, "/clock").body, "SyntaxError: ")
    p:kill "TERM"
    p:wait()
  end,
}
