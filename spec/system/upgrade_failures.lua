--- Upgrades that fail: whatever becomes of the new master, the old one goes on as before, with its pidfile in place,
--- and the next upgrade works.
local lu = require "luaunit"
local namespace = require "spec.support.namespace"
local s = require "spec.support"
local upgrade = require "spec.support.upgrade"
local uv = require "luv"

local function start(options)
  options = options or {}
  options.app = options.app or upgrade.APP
  return upgrade.start(options)
end

local function rewrite(m, from, to)
  local text = s.read_file(m.dir .. "/brood.lua")
  s.write_file(m.dir .. "/brood.lua", (text:gsub(from, (to:gsub("%%", "%%%%")))))
end

---USR2, and wait until the log says that the upgrade has failed; returns what it says.
local function fails(m)
  local before = m:count "the upgrade has failed"
  m:signal(m:pid(), "USR2")
  m:logged("the upgrade has failed", before)
  return m:log():match "the upgrade has failed: (.*); this master goes on\n[^\n]*$"
    or m:log():match "the upgrade has failed: (.*)$"
end

-- Nothing has changed but the log; and what was wrong, once it is mended, is in nobody's way.
local function all_as_before(m, mend)
  local old = m.masters[1]
  lu.assertEquals(m:file "run.pid", old .. "\n")
  lu.assertFalse(s.exists(m.dir .. "/run.pid.oldbin"))
  lu.assertEquals(m:who_answers(10), { [old] = true })
  local _, status = m:ask "/status"
  lu.assertEquals({ status.pid, status.state, status.new_pid }, { old, "ready" })
  lu.assertEquals(#m:ready(2), 2)
  if mend then
    mend()
  end
  local new = m:upgrade()
  m:finish(old)
  lu.assertEquals(m:who_answers(10), { [new] = true })
  m:over()
end

local function copy_of_brood(dir)
  s.write_file(dir .. "/bin/README", "")
  local path = dir .. "/bin/brood"
  assert(uv.fs_copyfile(s.binary, path .. ".new"))
  assert(uv.fs_rename(path .. ".new", path))
  return path
end

-- A master of a copy of brood, whose place something else takes.
local function replaced_by(text, mode)
  local dir = s.temp_dir()
  local binary = copy_of_brood(dir)
  local m = start { binary = binary }
  uv.fs_unlink(binary)
  s.write_file(binary, text, mode)
  return m, function()
    copy_of_brood(dir)
  end
end

-- An upgrade whose new master waits in its on_start until there is the file "go".
local function hold(m, old)
  rewrite(m, "pidfile =", [[on_start = function()
    note 'held'
    while not require("luv").fs_stat(here .. "/go") do brood.sleep(0.01) end
  end, pidfile =]])
  m:signal(old, "USR2")
  m:noted "(held)"
end

return {
  ["a new program that may not be executed"] = function()
    local m, mend = replaced_by("#!/bin/sh\n", 420)
    lu.assertStrContains(fails(m), "ermission denied")
    all_as_before(m, mend)
  end,

  ["a new program that ends at once"] = function()
    local m, mend = replaced_by("#!/bin/sh\nexit 3\n", 493)
    lu.assertStrContains(fails(m), "ended with status 3")
    all_as_before(m, mend)
  end,

  ["a new program that crashes"] = function()
    local m, mend = replaced_by("#!/bin/sh\nkill -SEGV $$\n", 493)
    lu.assertStrContains(fails(m), "killed by SEGV")
    all_as_before(m, mend)
  end,

  ["a new program that is no brood, and never says a word"] = function()
    local m, mend = replaced_by("#!/bin/sh\ntrap '' QUIT\nwhile :; do sleep 0.1; done\n", 493)
    rewrite(m, "pidfile =", "start_timeout = 2, pidfile =")
    m:signal(m:pid(), "HUP")
    m:logged "reloaded in"
    lu.assertStrContains(fails(m), "had no ready worker within 2 s")
    all_as_before(m, mend)
  end,

  ["a config that does not compile"] = function()
    local m = start()
    local good = s.read_file(m.dir .. "/brood.lua")
    s.write_file(m.dir .. "/brood.lua", "return {")
    lu.assertStrContains(fails(m), "brood.lua:1: unexpected symbol")
    all_as_before(m, function() s.write_file(m.dir .. "/brood.lua", good) end)
  end,

  ["a config that is wrong"] = function()
    local m = start()
    rewrite(m, "workers = 2", "worker = 2")
    lu.assertStrContains(fails(m), "did you mean 'workers'?")
    all_as_before(m, function() rewrite(m, "worker = 2", "workers = 2") end)
  end,

  ["an on_start that raises"] = function()
    local m = start()
    rewrite(m, "pidfile =", "on_start = function() error 'not today' end, pidfile =")
    lu.assertStrContains(fails(m), "not today")
    all_as_before(m, function() rewrite(m, "on_start = function%(%) error 'not today' end, ", "") end)
  end,

  ["an address that cannot be bound"] = function()
    local m = start()
    rewrite(m, 'listen = "127.0.0.1:0"', 'listen = { "127.0.0.1:0", "192.0.2.1:1" }')
    lu.assertStrContains(fails(m), "192.0.2.1:1")
    all_as_before(m, function() rewrite(m, ', "192.0.2.1:1"', "") end)
  end,

  ["an app that does not load"] = function()
    local m = start()
    s.write_file(m.dir .. "/app.lua", "error 'broken app'")
    lu.assertStrContains(fails(m), "broken app")
    all_as_before(m, function() s.write_file(m.dir .. "/app.lua", upgrade.APP) end)
  end,

  ["a config that never returns is killed after start_timeout"] = function()
    local m = start { config = "start_timeout = 2," }
    local good = s.read_file(m.dir .. "/brood.lua")
    s.write_file(m.dir .. "/brood.lua", "while true do end")
    lu.assertStrContains(fails(m), "had no ready worker within 2 s")
    all_as_before(m, function() s.write_file(m.dir .. "/brood.lua", good) end)
  end,

  ["workers that never get ready end after start_timeout"] = function()
    local m = start { config = "start_timeout = 2," }
    s.write_file(m.dir .. "/app.lua", "require('brood').sleep(60) " .. upgrade.APP)
    fails(m)
    all_as_before(m, function() s.write_file(m.dir .. "/app.lua", upgrade.APP) end)
  end,

  ["a before_exec that raises cancels it, before anything is touched"] = function()
    local m = start { config = "before_exec = function() note('asked') error 'not now' end," }
    local old = m:pid()
    m:signal(old, "USR2")
    m:logged "the upgrade is cancelled: .*not now"
    lu.assertEquals(m:file "run.pid", old .. "\n")
    lu.assertEquals(m:notes(), "asked\n")
    lu.assertEquals(m:count "the new master is", 0)
    lu.assertEquals(m:who_answers(10), { [old] = true })
    m:over()
  end,

  ["a new master that is killed later, and one that is killed while it starts"] = function()
    local m = start()
    m:finish(m:upgrade(), "KILL")
    m:logged "killed by KILL; this master goes on"
    local held = s.read_file(m.dir .. "/brood.lua")
    rewrite(m, "pidfile =", "on_start = function() note('held') brood.sleep(60) end, pidfile =")
    m:signal(m:pid(), "USR2")
    m:noted "(held)"
    local before = m:count "the upgrade has failed"
    m:signal(tonumber(m:log():match ".*the new master is [^\n]* %(pid (%d+)%)"), "KILL")
    m:logged("the upgrade has failed", before)
    all_as_before(m, function() s.write_file(m.dir .. "/brood.lua", held) end)
  end,

  ["QUIT to the new master while it starts"] = function()
    local m = start()
    local good = s.read_file(m.dir .. "/brood.lua")
    rewrite(m, "pidfile =", "on_start = function() note('held') brood.sleep(60) end, pidfile =")
    m:signal(m:pid(), "USR2")
    m:noted "(held)"
    m:signal(tonumber(m:log():match ".*the new master is [^\n]* %(pid (%d+)%)"), "QUIT")
    m:logged "the upgrade has failed"
    all_as_before(m, function() s.write_file(m.dir .. "/brood.lua", good) end)
  end,

  ["USR2 twice starts one, and while that lives another does nothing"] = function()
    local m = start()
    local old = m:pid()
    m:signal(old, "USR2")
    local new = m:upgrade(old)
    lu.assertEquals(m:count "upgrade: the new master is ", 1)
    m:signal(old, "USR2")
    m:logged(("no upgrade %%(USR2%%): the new master %%(pid %d%%) is there already"):format(new))
    m:signal(new, "USR2")
    m:logged(("no upgrade %%(USR2%%): the old master %%(pid %d%%) is still there"):format(old))
    lu.assertEquals(m:count "upgrade: the new master is ", 1)
    m:finish(old)
    m:over()
  end,

  ["the method tells how it went"] = function()
    local m = start { config = [[on_start = function(master, why)
      if why == "start" then
        brood.async(function()
          while not require("luv").fs_stat(here .. "/go") do brood.sleep(0.01) end
          note("first", master:upgrade())
          note("second", master:upgrade())
        end)
      elseif not require("luv").fs_stat(here .. "/good") then
        error "not good"
      end
    end,]] }
    s.write_file(m.dir .. "/go", "")
    lu.assertStrContains((m:noted "first (.-)\n"), "nil ")
    lu.assertStrContains(m:notes(), "not good")
    m:noted "second nil"
    all_as_before(m, function() s.write_file(m.dir .. "/good", "") end)
  end,

  ["QUIT to the old master while the new one starts is obeyed once that one serves"] = function()
    local m = start()
    local old = m:pid()
    hold(m, old)
    m:signal(old, "QUIT")
    m:logged "QUIT: obeyed once the new master serves"
    lu.assertEquals(m:who_answers(10), { [old] = true })
    s.write_file(m.dir .. "/go", "")
    s.gone({ old }, 10)
    local new = m:pid()
    table.insert(m.masters, new)
    lu.assertEquals(m:who_answers(10), { [new] = true })
    m:over()
  end,

  ["TERM to the old master while the new one starts ends both"] = function()
    local m = start()
    local old = m:pid()
    rewrite(m, "pidfile =", "on_start = function() note('held') brood.sleep(60) end, pidfile =")
    m:signal(old, "USR2")
    m:noted "(held)"
    local new = tonumber(m:log():match ".*the new master is [^\n]* %(pid (%d+)%)")
    m:signal(old, "TERM")
    s.gone({ old, new }, 10)
    for _, name in ipairs { "run.pid", "run.pid.oldbin", "control.sock" } do
      lu.assertFalse(s.exists(m.dir .. "/" .. name), name)
    end
  end,

  ["an old master that is killed while the new one starts leaves the service to that"] = function()
    local m = start()
    local old = m:pid()
    hold(m, old)
    local new = tonumber(m:log():match ".*the new master is [^\n]* %(pid (%d+)%)")
    table.insert(m.masters, new)
    m:signal(old, "KILL")
    m:logged "the old master %(pid %d+%) is gone"
    s.write_file(m.dir .. "/go", "")
    s.wait(function() return m:count "workers serve" == 2 end)
    s.wait(function()
      local ok, set = pcall(m.who_answers, m, 4)
      return ok and set[new] and not set[old]
    end)
    local _, status = m:ask "/status"
    lu.assertEquals({ status.pid, status.old_pid }, { new })
    lu.assertFalse(s.exists(m.dir .. "/run.pid.oldbin"))
    m:over()
  end,

  ["somebody else's pidfile.oldbin is not taken"] = function()
    local m = start()
    local other = upgrade.start {}
    local old = m:pid()
    assert(uv.fs_link(other.dir .. "/run.pid", m.dir .. "/run.pid.oldbin"))
    m:signal(old, "USR2")
    m:logged "run.pid.oldbin is held by the running process"
    lu.assertEquals(m:file "run.pid", old .. "\n")
    lu.assertEquals(m:count "the new master is", 0)
    uv.fs_unlink(m.dir .. "/run.pid.oldbin")
    other:over()
    all_as_before(m)
  end,

  ["a pidfile.oldbin that a killed master has left is taken over"] = function()
    local m = start()
    s.write_file(m.dir .. "/run.pid.oldbin", "999999\n")
    local old = m:pid()
    m:upgrade()
    lu.assertEquals(m:file "run.pid.oldbin", old .. "\n")
    m:finish(old)
    lu.assertFalse(s.exists(m.dir .. "/run.pid.oldbin"))
    m:over()
  end,

  ["PID 1 refuses, and says why"] = function()
    namespace.need()
    local dir = s.temp_dir()
    s.write_file(dir .. "/app.lua", upgrade.APP)
    s.write_file(dir .. "/brood.lua", [[return {
      app = "app.lua", listen = "127.0.0.1:0", workers = 1, control = false,
      worker_ready = function(master) master:upgrade(function(err) print("refused: " .. tostring(err)) end) end,
    }]])
    local p = namespace.start(s.binary, "run", dir .. "/brood.lua")
    p:expect "refused: as PID 1 "
    uv.kill(s.child_pids(p.pid)[1], "sigquit")
    p:wait()
  end,
}
