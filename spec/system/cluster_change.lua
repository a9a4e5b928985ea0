--- A change of a running cluster, as a reload makes it: one worker of the new kind is tried, then all are replaced.
--- Asked of the cluster itself, inside its master: what it does with its workers does not depend on who changes it.
local lu = require "luaunit"
local changes = require "spec.support.changes"
local uv = require "luv"

local notes, run = changes.notes, changes.run

return {
  ["one worker is tried beside the old ones, which touches nothing; then all are replaced"] = function()
    local master = run [[
      local c = change(to "b")
      note(c:probe(), workers(), #web.workers, web:status(0).workers)
      note(c:commit())
      note(workers())
      alone(2)
      note(web:status(0).processes[1].restarts)]]
    lu.assertEquals(notes(master), "true a.1 a.2 3 2\n2\nb.1 b.2\n0\n")
    lu.assertEquals(master:get().body, "b")
    -- What comes from now on is of the new kind.
    for _, pid in ipairs(master:pids()) do
      uv.kill(pid, "sigkill")
    end
    master:ready(2)
    lu.assertEquals(master:get().body, "b")
    lu.assertEquals(master:stop "QUIT", 0)
  end,

  ["another number of workers comes with it"] = function()
    local master = run [[
      for i, n in ipairs { 4, 1, 3 } do
        local c = change { env = { GEN = "n" .. n }, workers = n }
        assert(c:probe())
        note(c:commit())
        note(workers())
        alone(n)
      end]]
    lu.assertEquals(notes(master), "4\nn4.1 n4.2 n4.3 n4.4\n1\nn1.1\n3\nn3.1 n3.2 n3.3\n")
  end,

  ["one that does not become ready leaves the old ones, and what respawns them"] = function()
    local master = run([[
      local before = web.options
      local c = change { app = here .. "/broken.lua" }
      local ok, err = c:probe()
      note(ok, err.code, text(err))
      note(pcall(c.commit, c))
      c:cancel()
      alone(2)
      note(workers(), web.options == before)
      holder(1).process:signal "KILL"
      eventually(function() return holder(1) and holder(1).id > 3 and holder(1).ready_at end, "a respawn")
      note(workers())
      c = change(to "b")
      note(c:probe(), c:commit())]], { files = { ["broken.lua"] = "error 'it is broken'" } })
    local lines = notes(master)
    lu.assertStrMatches(lines, "nil error [^\n]*broken.lua:1: it is broken\nfalse [^\n]*: it is failed\n"
      .. "a.1 a.2 true\na.1 a.2\ntrue 2\n")
    -- Who tries it tells of it.
    lu.assertNotStrContains(master:log(), "it is broken")
  end,

  ["it can be called off until it is made: the one on trial goes, whatever it has come to"] = function()
    local master = run([[
      for _, case in ipairs { "at once", "while it starts", "while it is forked", "when it serves" } do
        local c = change(case == "while it starts" and { app = here .. "/slow.lua" } or case == "while it is forked"
          and { hooks = { before_fork = function() brood.sleep(60) end } } or to "b")
        local answer = "none"
        if case == "when it serves" then
          answer = tostring(c:probe())
        else
          c:probe(function(err) answer = err and err.code or "ready" end)
        end
        if case == "while it starts" then
          eventually(function() return #web.workers == 3 end, "the one on trial")
        end
        c:cancel()
        eventually(function() return answer ~= "none" end, "an answer")
        alone(2)
        c:cancel()
        note(case, answer, workers(), next(web.changes))
      end
      note(select(2, pcall(c and c.commit or change({}).commit, c or change {})))]],
      { files = { ["slow.lua"] = "require('brood').sleep(60)" } })
    lu.assertStrContains(notes(master), "at once stopped a.1 a.2 nil\nwhile it starts stopped a.1 a.2 nil\n"
      .. "while it is forked stopped a.1 a.2 nil\nwhen it serves true a.1 a.2 nil\n")
    lu.assertNotStrContains(master:log(), "crash")
  end,

  ["a worker that dies at any moment of it costs nobody's place"] = function()
    local master = run([[
      local function kill(member) member.process:signal "KILL" end
      -- An old one, while the new one is tried: its successor is an old one as well.
      local c = change(to "b")
      local tried
      c:probe(function(err) tried = { err } end)
      kill(holder(1))
      eventually(function() return tried end, "the trial")
      serving "a.1 a.2"
      note(tried[1])
      -- The one on trial, and an old one, before it is made.
      kill(c.candidate) kill(holder(2))
      eventually(function() return not web.group.members[c.candidate.id] end, "its end")
      note(c:commit() ~= nil) -- one that has respawned meanwhile is new, and not replaced
      serving "b.1 b.2"
      -- Old ones while they are replaced.
      c = change { env = { GEN = "c" }, rollout = { surge = 1, pause = 0.05 } }
      assert(c:probe())
      local result
      c:commit(function(err, n) result = err and "failed" or n end)
      kill(holder(2))
      eventually(function() return result end, "the roll")
      serving "c.1 c.2"
      -- New ones, as soon as they serve.
      c = change { env = { GEN = "d" }, rollout = { surge = 1, pause = 0.1 } }
      assert(c:probe())
      result = nil
      c:commit(function(err, n) result = err and "failed" or n end)
      kill(holder(1))
      eventually(function() return result end, "the roll")
      serving "d.1 d.2"
      note(result)
      alone(2)]])
    lu.assertStrMatches(notes(master), "nil\ntrue\n[12]\n")
  end,

  ["a stop meets it at any moment, and leaves nobody"] = function()
    for moment, go in pairs {
      trial = 'c:probe(answer) eventually(function() return #web.workers == 3 end, "the one on trial")',
      tried = "assert(c:probe()) web:stop() c:commit(answer)",
      roll = "c.generation.options.rollout = { surge = 1, pause = 60 } assert(c:probe()) c:commit(answer)",
      preload = 'c.generation.options.preload = true c:probe(answer)',
    } do
      local master = run(([[
        local c = change { app = %s }
        local function answer(err) note("answer", err.code) end
        %s
        note(m:quit(function() note(#web.workers, next(web.changes)) end))]]):format(
        (moment == "trial" or moment == "preload") and 'here .. "/slow.lua"' or 'here .. "/app.lua"', go),
        { files = { ["slow.lua"] = "require('brood').sleep(60)" } })
      lu.assertEquals({ master.program:wait(10) }, { 0 }, moment .. master:log())
      lu.assertStrContains(master:notes(), "answer stopped\n", false, moment)
      lu.assertStrContains(master:notes(), "0 nil\n", false, moment)
    end
  end,

  ["a newer one takes the place of an older one's roll; an older one that comes late is not made"] = function()
    local master = run [[
      local older = change { env = { GEN = "b" }, rollout = { surge = 1, pause = 60 } }
      local late, newer = change(to "late"), change { env = { GEN = "c" }, rollout = { surge = 1, pause = 0 } }
      assert(older:probe())
      older:commit(function(err) note("older", err.code, err.replaced) end)
      note(workers())
      assert(late:probe())
      assert(newer:probe())
      note(newer:commit())
      local n, err = late:commit()
      note(n, err.code)
      note(workers())
      alone(2)]]
    lu.assertEquals(notes(master), "b.1 a.2\nolder superseded 1\n2\nnil superseded\nc.1 c.2\n")
  end,

  ["a scale during the roll is done by both, and after a drain all come back"] = function()
    local master = run [[
      local function rolled(name, fn)
        local c = change { env = { GEN = name }, rollout = { surge = 1, pause = 0.02 }, workers = 4 }
        assert(c:probe())
        local over
        c:commit(function(err) over = { err } end)
        fn()
        eventually(function() return over end, "the roll")
        alone(web.group.size)
        note(over[1], workers())
      end
      rolled("b", function() web:scale(2) end)
      rolled("c", function() web:scale(6) end)
      rolled("d", function() web:scale(0) end)
      rolled("e", function() end)
      web:scale(0)
      local c = change { env = { GEN = "f" }, rollout = { surge = 1, pause = 60 } }
      assert(c:probe())
      note(c:commit())
      note(workers())]]
    lu.assertEquals(notes(master), "nil b.1 b.2\nnil c.1 c.2 c.3 c.4 c.5 c.6\nnil \nnil e.1 e.2 e.3 e.4\n"
      .. "4\nf.1 f.2 f.3 f.4\n")
  end,

  ["slots that wait for another try, or start, are served by the new ones"] = function()
    local master = run([[
      web:scale(3, function() end)
      eventually(function() return web.group.retries[3] end, "the failure of slot 3")
      web:scale(4, function() end)
      eventually(function() return web.group.holders[4] end, "the start of slot 4")
      local c = change { app = here .. "/good.lua", env = { GEN = "b" }, workers = 4 }
      assert(c:probe())
      note(c:commit())
      note(workers())
      alone(4)]], { files = { ["good.lua"] = "return function(req, res) res:finish 'good' end" }, app = [[
        local brood = require "brood"
        if brood.worker.slot == 3 then error "not me" end
        if brood.worker.slot == 4 then brood.sleep(60) end
        return function() end]] })
    lu.assertEquals(notes(master), "4\nb.1 b.2 b.3 b.4\n")
  end,

  ["a replacement that fails twice later on halts it: old ones that are left go on"] = function()
    local master = run([[
      local c = change { app = here .. "/bad.lua", env = { GEN = "b" }, workers = 3 }
      web:scale(3)
      assert(c:probe())
      local n, err = c:commit()
      note(n, err.replaced, text(err))
      note(workers())
      alone(3)
      note(web:scale(3), web.group.rolling)]], { files = { ["bad.lua"] = [[
        if require("brood").worker.slot == 2 then error "slot 2" end
        return function() end]] } })
    lu.assertStrMatches(notes(master), "nil 1 [^\n]*bad.lua:1: slot 2\nb.1 a.2 a.3\ntrue nil\n")
  end,

  ["surge and pause are the rollout's, which a cluster may have of its own"] = function()
    local master = run([[
      local most, now = 0, 0
      for _, c in pairs(m.clusters) do
        note(c.name, c.group.surge, c.group.pause, c.options.max_requests, c.options.max_requests_jitter,
          c.options.max_memory, c.options.max_lifetime)
      end
      web:scale(5)
      local c = change { app = here .. "/app.lua", rollout = { surge = 2, pause = 0.05 } , workers = 5, hooks = {
        before_fork = function()
          now = now + 1
          most = math.max(most, now)
        end } }
      assert(c:probe())
      now = 0
      web:on("online", function() now = now - 1 end)
      local began = brood.now()
      note(c:commit())
      note(most, brood.now() - began >= 0.1)]], { config = [[
      rollout = { surge = 3, pause = "1s" }, max_requests = 100, max_requests_jitter = 7, max_memory = "1g",
      max_lifetime = "1h",
      clusters = { b = { app = "app.lua", listen = "127.0.0.1:0", rollout = { surge = 4 }, max_memory = false } },]] })
    lu.assertStrContains(notes(master), "web 3 1 100 7 1073741824 3600\n")
    lu.assertStrContains(notes(master), "b 4 0 100 7 false 3600\n")
    lu.assertStrContains(notes(master), "5\n2 true\n")
  end,

  ["with preload the app is loaded anew; one that fails keeps the old one"] = function()
    local master = run([[
      note(web.generation.app ~= nil)
      write "error 'no good'"
      local c = change(to "b")
      local ok, err = c:probe()
      note(ok, err.code, text(err))
      c:cancel()
      holder(1).process:signal "KILL"
      eventually(function() return holder(1) and holder(1).id > 2 and holder(1).ready_at end, "a respawn")
      note(workers())
      write "return function(req, res) res:finish 'second' end"
      c = change(to "c")
      note(c:probe(), c:commit())
      alone(2)]], { config = "preload = true,", before = [[
        local function write(text)
          local file = io.open("app.lua", "w") file:write(text) file:close()
        end]], app = "return function(req, res) res:finish 'first' end" })
    lu.assertStrMatches(notes(master), "true\nnil error [^\n]*app.lua:1: no good\na.1 a.2\ntrue 2\n")
    lu.assertEquals(master:get().body, "second")
  end,

  ["the hooks of the newest serve old workers too; those of one that is not made serve only its own"] = function()
    local master = run([[
      local function with(name)
        return change { env = { GEN = name }, hooks = {
          before_fork = function(_, w) note(name, "before_fork", w.id) end,
          after_fork = function(_, w) note(name, "after_fork", w.id) end,
        } }
      end
      local c = with "b"
      assert(c:probe())
      holder(2).process:signal "KILL"
      eventually(function() return holder(2) and holder(2).id == 4 and holder(2).ready_at end, "a respawn")
      c:cancel()
      alone(2)
      c = with "c"
      assert(c:probe())
      assert(c:commit())]])
    lu.assertEquals(notes(master), "b before_fork 3\nb after_fork 3\nc before_fork 5\nc after_fork 5\n"
      .. "c before_fork 6\nc after_fork 6\n")
  end,

  ["what its workers cannot be is found out before one is forked"] = function()
    local master = run [[
      local c = change { limits = { nofile = { soft = 1e12, hard = 1e12 } } }
      local ok, err = c:probe()
      note(ok, text(err):match "limits.nofile")
      note(workers(), web.group.last_id, #web.workers)]]
    lu.assertStrContains(notes(master), "nil limits.nofile\na.1 a.2")
  end,

  ["with sockets of their own no slot is left without a worker meanwhile"] = function()
    local master = run([[
      for i, n in ipairs { 4, 2, 3 } do
        local c = change { env = { GEN = "g" .. i }, workers = n }
        assert(c:probe())
        assert(c:commit())
        note(workers())
        alone(n)
      end]], { workers = 3, config = 'listen = { { address = "127.0.0.1:0", reuseport = true } },', goes_on = true })
    local answered = 0
    repeat
      answered = answered + (master:get().body:match "^[ag]%d?$" and 1 or 0)
    until master:notes():find "over"
    lu.assertTrue(answered > 0)
    for _ = 1, 40 do
      lu.assertEquals(master:get().body, "g3")
    end
    lu.assertEquals(notes(master), "g1.1 g1.2 g1.3 g1.4\ng2.1 g2.2\ng3.1 g3.2 g3.3\n")
    lu.assertEquals(master:stop "QUIT", 0)
  end,
}
