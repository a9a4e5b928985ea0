--- The example cluster does what its README says.
-- time limit: 60 s
local lu = require "luaunit"
local s = require "spec.support"

return {
  ["cluster: counts for its workers, HUP replaces them, one that is killed is replaced, TERM ends all"] = function()
    local dir = s.temp_dir()
    s.run { "/bin/sh", "-c", ("cp %s/* %s"):format(s.root .. "/examples/cluster", dir) }
    local p = s.brood { "exec", dir .. "/cluster.lua", "127.0.0.1:0" }
    local address = p:expect "http://(%S+), TERM"
    lu.assertStrMatches(s.get(address, "/").body, "Hello from worker [12], visitor 1\n")
    s.get(address, "/")
    s.get(address, "/")
    s.wait(function() return s.get(address, "/count").body:match "visitor (%d+)" == "3" end, 5, "the count of all")
    p:kill "HUP"
    p:expect "restarted\n"
    s.wait(function() return #s.child_pids(p.pid) == 2 end, 5, "the end of the former workers")
    require("luv").kill(s.child_pids(p.pid)[1], "sigkill")
    p:expect "in the place of one that has died %(KILL%)\n"
    lu.assertStrMatches(s.get(address, "/").body, "Hello from worker [345], visitor %d+\n")
    local second = s.brood({ "exec", dir .. "/cluster.lua", address }):finish()
    lu.assertEquals({ second.code, second.stderr:find "traceback" }, { 1 })
    lu.assertStrContains(second.stderr, "cannot start: cannot listen on " .. address)
    s.write_file(dir .. "/app.lua", "this is no Lua")
    p:kill "HUP"
    p:expect "not restarted: [^\n]*app%.lua:1: "
    p:kill "TERM"
    lu.assertEquals({ p:wait() }, { nil, 15 })
  end,
}
