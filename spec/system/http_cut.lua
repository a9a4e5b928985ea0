--- An answer that breaks off: whole answers before it still arrive, and half of one never passes for whole.
local lu = require "luaunit"
local s = require "spec.support"

local APP = [[
  return function(req, res)
    if req.path == "/late" then
      res:write("half of it")
      error("breaks off")
    elseif req.path == "/short" then
      res:header("content-length", 100):write("half of it")
      error("breaks off")
    end
    res:finish("whole")
  end
]]

local function serve()
  local app = s.write_file("app.lua", APP)
  local p = s.brood { "-s", app, "-l", "127.0.0.1:0", "-w", "1", "--control", "false" }
  return "127.0.0.1:" .. p:expect("serve 127%.0%.0%.1:(%d+)"), p
end

local function get(path)
  return ("GET %s HTTP/1.1\r\nHost: x\r\n\r\n"):format(path)
end

return {
  ["pipelined answers before the broken one arrive whole, and it is cut"] = function()
    local address, p = serve()
    for _, path in ipairs { "/late", "/short" } do
      local socket = s.connect(address)
      socket:send(get "/1" .. get "/2" .. get(path))
      lu.assertEquals(socket:response().body, "whole")
      lu.assertEquals(socket:response().body, "whole")
      local rest = socket:receive_all()
      lu.assertStrContains(rest, "half of it")
      lu.assertNotStrContains(rest, "\r\n0\r\n\r\n") -- what would end it as whole
    end
    lu.assertStrContains(p:stderr(), "breaks off")
    lu.assertEquals(p:stop(), 0)
  end,

  ["while requests finish after QUIT, a new connection is refused at once"] = function()
    local app = s.write_file("app.lua", [[
      local brood = require "brood"
      return function(_, res) res:write("begun\n") brood.sleep(0.5) res:finish("done\n") end
    ]])
    local p = s.brood { "-s", app, "-l", "127.0.0.1:0", "-w", "1", "--control", "false" }
    local address = "127.0.0.1:" .. p:expect("serve 127%.0%.0%.1:(%d+)")
    local socket = s.connect(address)
    socket:send(get "/")
    socket:receive "begun\n"
    p:kill "QUIT"
    s.wait(function() return not pcall(s.connect, address) end, 0.4 * s.slow, "a refusal")
    lu.assertStrContains(socket:receive_all(), "done\n")
    lu.assertEquals(p:wait(), 0)
  end,
}
