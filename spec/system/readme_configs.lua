--- Configs of the README that are said to run as they stand.
-- time limit: 60 s
local lu = require "luaunit"
local s = require "spec.support"

-- The first snippet below a heading.
local function snippet(heading)
  local text = s.read_file(s.root .. "/README.md")
  local _, at = assert(text:find("\n## " .. heading .. "\n", 1, true))
  return assert(text:match("```lua\n(.-)```", at))
end

return {
  ["services, with Python and node"] = function()
    local dir, port = s.temp_dir(), s.free_port()
    s.write_file(dir .. "/brood.lua", (snippet("Services in a config"):gsub("7700", port)))
    local p = s.brood({ "run", "--control", "false" }, { cwd = dir })
    p:expect "services: 2 of 2 run\n"
    lu.assertEquals(s.get("127.0.0.1:" .. port, "/").status, 200)
    lu.assertEquals(s.get(p:expect "hello: started %(pid %d+%) on (%S+)", "/").body, "hello")
    p:kill "QUIT"
    lu.assertEquals({ p:wait(20) }, { 0 })
  end,

  ["a server of node beside the example's server.js"] = function()
    local dir = s.temp_dir()
    s.run { "/bin/sh", "-c", ("cp %s/examples/any-language/server.js %s"):format(s.root, dir) }
    s.write_file(dir .. "/brood.lua", (snippet("Servers in other languages"):gsub("127.0.0.1:8080", "127.0.0.1:0")))
    local p = s.brood({ "run", "--control", "false" }, { cwd = dir })
    local address = p:expect("web: 4 of 4 workers serve ([^,]+), unix:", 30)
    lu.assertStrContains(s.get(address, "/").body, "Hello from node")
    p:kill "QUIT"
    lu.assertEquals({ p:wait(20) }, { 0 })
  end,
}
