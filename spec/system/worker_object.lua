--- What a worker knows of itself, and why it is said to have ended.
local lu = require "luaunit"
local masters = require "spec.support.master"
local s = require "spec.support"
local uv = require "luv"

local NOTES = [[
  worker_exit = function(m, w, code, signal) note("exit", w.id, tostring(code), tostring(signal), w.reason) end,
]]

return {
  ["brood.worker has the fields of a worker, at each moment of its life"] = function()
    local master = masters.start { workers = 1, config = [[
      after_fork = function(m, w)
        note("fork", brood.worker.state, brood.worker.requests, w.state, w.requests)
      end,]], app = [[
      local brood = require "brood"
      local w = brood.worker
      local function note(...)
        local file = io.open("notes", "a")
        file:write(table.concat({ ... }, " "), "\n")
        file:close()
      end
      return {
        start = function(given)
          note("start", tostring(given == w), w.state, w.requests, w.id, w.slot, w.cluster, type(w.pid),
            tostring(math.abs(w.started_at - os.time()) < 30), tostring(w.reason), tostring(w.no_such_field),
            type(w.send), type(w.kill), type(w.user), select(2, pcall(w.user, w, "nobody")))
        end,
        server = function(_, res) res:finish(w.state .. " " .. w.requests) end,
        stop = function() note("stop", w.state, w.requests) end,
      }]] }
    lu.assertEquals(master:get().body, "ready 1")
    lu.assertEquals(master:get().body, "ready 2")
    lu.assertEquals(master:stop "QUIT", 0)
    local notes = master:notes()
    lu.assertStrContains(notes, "fork starting 0 starting 0\n")
    lu.assertStrContains(notes, "start true starting 0 1 1 web number true nil nil function function function ")
    lu.assertStrContains(notes, "worker:user: only in after_fork, before the app is loaded\n")
    lu.assertStrContains(notes, "stop stopping 2\n")
  end,

  ["an end that nobody asked for is a crash, with status 0 and by a signal of its own as well"] = function()
    local master = masters.start { workers = 1, config = NOTES, app = [[
      return function(req, res) os.exit(tonumber(req.path:sub(2))) end]] }
    for id, path in ipairs { "/0", "/1" } do
      pcall(s.get, master:address(), path)
      master:noted(("exit %d %s nil crash"):format(id, path:sub(2)))
    end
    for i, name in ipairs { "SEGV", "ABRT" } do
      uv.kill(master:ready(1)[1].pid, "sig" .. name:lower())
      master:noted(("exit %d nil %s crash"):format(i + 2, name))
    end
    lu.assertStrContains(master:log(), "ended: status 0 (crash)\n")
    lu.assertStrContains(master:log(), "ended: killed by SEGV (crash)\n")
  end,

  ["one that somebody has sent a signal which it obeys ends by a signal"] = function()
    local master = masters.start { workers = 1, config = NOTES }
    for id, name in ipairs { "TERM", "INT", "QUIT", "KILL" } do
      uv.kill(master:ready(1)[1].pid, "sig" .. name:lower())
      master:noted(("exit %d %s signal"):format(id, name == "KILL" and "nil KILL" or "0 nil"))
    end
    for _, how in ipairs { "status 0 (signal TERM)", "status 0 (signal QUIT)", "killed by KILL" } do
      lu.assertStrContains(master:log(), ("ended: %s\n"):format(how))
    end
  end,

  ["where worker:user cannot give up privileges, that is the reason why the start fails"] = function()
    if require("brood.posix").getuid() ~= 0 then
      lu.skip "only root can give up root"
    end
    local master = masters.start { workers = 1, config = [[
      after_fork = function(m, w)
        w:user("nobody")
        pcall(w.user, w, "root")
        note "went on"
      end]] }
    lu.assertEquals(master.program:wait(20), 1)
    lu.assertEquals(master:notes(), "")
    lu.assertStrMatches(master:log(), ".*cannot start: web: [^\n]*worker:user: [^\n]+\n")
  end,

  ["worker:user for somebody who is not there says so, at the line of the call"] = function()
    local master = masters.start { workers = 1, config = [[
      after_fork = function(m, w)
        note(select(2, pcall(function() w:user("nosuchuser") end)))
        note(select(2, pcall(function() w:user("root", "nosuchgroup") end)))
      end]] }
    master:address()
    lu.assertStrMatches(master:notes(), ".-brood.lua:%d+: worker:user: there is no user 'nosuchuser'\n"
      .. ".-brood.lua:%d+: worker:user: there is no group 'nosuchgroup'\n")
  end,
}
