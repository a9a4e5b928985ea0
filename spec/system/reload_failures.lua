--- A reload that is broken, wherever it breaks: all goes on as before, the log says why, and the next one is as good as
--- ever (brood.master.reload_steps and what they undo; brood.no_exit).
local lu = require "luaunit"
local masters = require "spec.support.master"
local s = require "spec.support"
local uv = require "luv"

local GOOD = 'return function(req, res) res:finish("good") end'

local function pids_of(list)
  local pids = {}
  for i, each in ipairs(list) do
    pids[i] = each.pid
  end
  table.sort(pids)
  return pids
end

-- What is not to change, as seen from outside. The workers are asked for, the rest is looked at.
local function state(master, n)
  local pids = pids_of(master:ready(n))
  local _, status = master:ask "/status"
  return {
    pids = pids, listen = status.clusters.web.listen, state = status.state, health = master:ask "/health",
    workers = status.clusters.web.workers, last = status.clusters.web.processes[1].last_exit == nil,
    cwd = uv.fs_readlink(("/proc/%d/cwd"):format(master.program.pid)),
  }
end

local IN_FORCE = 'signals = { CONT = function(m) note("in force", m.config.env.WHICH) end }, env = { WHICH = "old" }'

-- One broken reload: what breaks it, as for master:write, and what the log says; the master is as it was, and reloads.
local function breaks(change, why, master)
  master = master or masters.start { app = GOOD, config = IN_FORCE }
  local before = state(master, 2)
  local fds = s.fd_count(master.program.pid)
  local ok, log = master:hup(change)
  lu.assertFalse(ok, log)
  lu.assertStrContains(log, "the reload failed, all goes on as before: ")
  lu.assertStrMatches(log, ".*" .. why .. ".*")
  master:settled(fds)
  lu.assertEquals(state(master, 2), before)
  master.program:kill "CONT"
  master:noted "in force old"
  lu.assertEquals(master:get().body, "good")
  ok, log = master:hup { app = GOOD, config = IN_FORCE }
  lu.assertTrue(ok, log)
  master:ready(2)
  lu.assertEquals(master:get().body, "good")
  lu.assertEquals(master:stop "QUIT", 0)
end

local function each(list)
  for _, row in ipairs(list) do
    breaks(unpack(row))
  end
end

local NEW = 'env = { WHICH = "new" },'

return {
  ["a config that is no Lua, that raises, that returns nothing, or that has an unknown key"] = function()
    each {
      { { before = "this is no Lua" }, "brood%.lua:1: " },
      { { before = 'error "on purpose"' }, "brood%.lua:1: on purpose" },
      { { before = "if true then return end" }, "must return a table" },
      { { config = NEW .. "worker = 3" }, "unknown key 'worker' %(did you mean 'workers'%?%)" },
      { { config = NEW .. "timeout = 'soon'" }, "timeout" },
      { { before = 'require "nothing_of_that_name"' }, "nothing_of_that_name" },
    }
  end,

  ["a config that is gone, and one that cannot be told from an app"] = function()
    local master = masters.start { app = GOOD, config = IN_FORCE }
    local text = s.read_file(master.dir .. "/brood.lua")
    local before = state(master, 2)
    os.remove(master.dir .. "/brood.lua")
    local ok, log = master:hup()
    lu.assertFalse(ok)
    lu.assertStrContains(log, "brood.lua: there is no such file")
    s.write_file(master.dir .. "/brood.lua", GOOD)
    ok, log = master:hup()
    lu.assertFalse(ok)
    lu.assertStrContains(log, "this looks like an app")
    lu.assertEquals(state(master, 2), before)
    s.write_file(master.dir .. "/brood.lua", text)
    lu.assertTrue((master:hup()))
  end,

  ["a config or a hook that calls os.exit fails the reload alone"] = function()
    each {
      { { before = "os.exit(3)" }, "brood%.lua:1: os%.exit: it would end a master that serves" },
      { { before = 'require("brood").sleep(0.05) os.exit(3)' }, "os%.exit: it would end a master that serves" },
      { { config = NEW .. "on_start = function() os.exit(3) end" }, "os%.exit: it would end a master that serves" },
      { { config = NEW .. "preload = true", app = "os.exit(3)" }, "app%.lua:1: os%.exit: it would end a master" },
    }
  end,

  ["an on_start that raises"] = function()
    each {
      { { config = NEW .. 'on_start = function(m, why) error("not " .. why) end' }, "on_start: [^\n]*not reload" },
      { { config = NEW .. 'on_start = function() brood.sleep(0.1) error "late" end' }, "on_start: [^\n]*late" },
    }
  end,

  ["an address that cannot be bound, of a cluster or of the control server"] = function()
    local taken = uv.new_tcp()
    taken:bind("127.0.0.1", 0)
    taken:listen(1, function() end)
    local port = taken:getsockname().port
    local file = s.write_file("socket", "no socket")
    each {
      { { config = NEW .. ('listen = { "127.0.0.1:0", "127.0.0.1:%d" }'):format(port) }, "Address already in use" },
      { { config = NEW .. ('listen = "unix:%s"'):format(file) }, "is no socket" },
      { { config = NEW .. ('control = "unix:%s"'):format(file) }, "control: [^\n]*is no socket" },
      { { config = NEW .. 'listen = "192.0.2.1:0"' }, "cannot listen on 192%.0%.2%.1:0" },
      { { config = NEW .. 'listen = { { address = "unix:x.sock", owner = "nobody-of-that-name" } }' },
        "nobody%-of%-that%-name" },
    }
    taken:close()
    lu.assertEquals(s.read_file(file), "no socket")
  end,

  ["a pidfile that is held, logs that cannot be written, a directory or a user that is not there"] = function()
    local other = masters.start { workers = 1, config = 'pidfile = "other.pid"' }
    other:ready(1)
    each {
      { { config = NEW .. ('pidfile = "%s/other.pid"'):format(other.dir) }, "is held by the running process" },
      { { config = NEW .. 'stderr_path = "no/where/log"' }, "stderr_path [^\n]*no such file" },
      { { config = NEW .. 'stderr_path = "fine.log", stdout_path = "no/where"' }, "stdout_path [^\n]*no such file" },
      { { config = NEW .. 'access_log = "no/where/log"' }, "access_log [^\n]*no such file" },
      { { config = NEW .. 'pidfile = "fine.pid", working_directory = "no/where"' }, "working_directory [^\n]*no/w" },
      { { config = NEW .. 'user = "nobody-of-that-name"' }, "nobody%-of%-that%-name" },
    }
    lu.assertNotNil(s.read_file(other.dir .. "/other.pid"))
  end,

  ["an app that is missing, no Lua, or that raises, with preload and without"] = function()
    local list = {}
    for _, preload in ipairs { "", "preload = true," } do
      local new = NEW .. preload
      for _, row in ipairs {
        { { config = new .. 'app = "missing.lua"' }, "missing%.lua" },
        { { config = new, app = "this is no Lua" }, "app%.lua:1: " },
        { { config = new, app = 'error "on purpose"' }, "app%.lua:1: on purpose" },
        { { config = new, app = "return 1" }, "app%.lua must return a handler" },
        { { config = new, app = 'return { server = function() end, start = function() error "no start" end }' },
          "no start" },
      } do
        list[#list + 1] = row
      end
    end
    each(list)
  end,

  ["a first new worker that dies on trial, or is not ready in time"] = function()
    each {
      { { config = NEW, app = "os.exit(7)" }, "status 7" },
      { { config = NEW, app = "require('luv').kill(require('luv').os_getpid(), 'sigkill')" }, "killed by KILL" },
      { { config = NEW .. "start_timeout = 0.3", app = "require('brood').sleep(60)" }, "0%.3 s" },
      { { config = NEW .. "start_timeout = 0.3, preload = true", app = "require('brood').sleep(60)" }, "0%.3 s" },
      { { config = NEW .. 'before_fork = function() error "no fork" end' }, "no fork" },
      { { config = NEW .. 'after_fork = function() error "no child" end' }, "no child" },
      { { config = NEW .. "start_timeout = 0.3, before_fork = function() brood.sleep(60) end" }, "before_fork" },
    }
  end,

  ["a new cluster that cannot start, beside one that can"] = function()
    local files = { ["admin.lua"] = 'error "no admin"', ["fine.lua"] = GOOD }
    each {
      { { files = files, config = NEW .. [[clusters = {
        fine = { app = "fine.lua", listen = "unix:fine.sock" },
        admin = { app = "admin.lua", listen = "unix:admin.sock" } }]] }, "no admin" },
    }
  end,

  ["modules, package.path and globals are put back, also those of a preloaded app"] = function()
    local config = [[preload = true, on_start = function(m)
      m:on("message", function() note("still", word, require("words"), #package.path) end) end,
      signals = { CONT = function() note("now", word, require("words"), #package.path) end }]]
    local master = masters.start { before = 'word = "old"', config = config, files = {
      ["words.lua"] = 'return "old words"' }, app = [[
      local words = require "words"
      return function(req, res) res:finish(words .. " " .. require("words")) end]] }
    lu.assertEquals(master:get().body, "old words old words")
    local ok = master:hup { before = 'word = "new"; fresh = true', config = config .. ", clusters = 1",
      files = { ["words.lua"] = 'return "new words"' } }
    lu.assertFalse(ok)
    ok = master:hup { before = 'word = "new"; require "words"', config = config, app = [[
      require "words"
      package.path = package.path .. ";more"
      error "no app"]] }
    lu.assertFalse(ok)
    master.program:kill "CONT"
    lu.assertStrMatches(master:noted "now ([^\n]+)", "old old words %d+")
    for _, worker in ipairs(master:ready(2)) do
      uv.kill(worker.pid, "sigkill")
    end
    s.wait(function()
      return pcall(function() lu.assertEquals(master:get().body, "old words old words") end)
    end, 10)
  end,

  ["the options of sockets that stay are put back"] = function()
    local listen = 'listen = { "127.0.0.1:0", { address = "unix:u.sock", mode = "%s", backlog = %d } }'
    local master = masters.start { app = GOOD, config = IN_FORCE .. "," .. listen:format("0600", 10) }
    master:ready(2)
    local path = master.dir .. "/u.sock"
    lu.assertEquals(bit.band(uv.fs_stat(path).mode, 511), 384)
    local ok = master:hup { app = 'error "x"', config = listen:format("0666", 20) }
    lu.assertFalse(ok)
    lu.assertEquals(bit.band(uv.fs_stat(path).mode, 511), 384)
    ok = master:hup { app = GOOD, config = listen:format("0666", 20) }
    lu.assertTrue(ok)
    lu.assertEquals(bit.band(uv.fs_stat(path).mode, 511), 438)
  end,

  ["a replacement that fails later, twice, halts the roll; the old workers that are left go on"] = function()
    local master = masters.start { app = GOOD, workers = 3, config = [[
      signals = { CONT = function(m)
        local ok, err = m:reload()
        note("halted", tostring(ok), err.replaced, err)
      end }]] }
    local old = pids_of(master:ready(3))
    master:write { workers = 3, config = "start_timeout = 5", app = [[
      if require("brood").worker.slot >= 2 then error "no more" end
      ]] .. GOOD }
    master.program:kill "CONT"
    lu.assertEquals(master:noted "halted nil (%d)", "1")
    master:noted "halted nil 1 [^\n]*no more"
    master.program:expect "(the reload was halted, 1 worker is new, the others go on)"
    local now, kept = pids_of(master:workers()), 0
    for _, pid in ipairs(now) do
      for _, other in ipairs(old) do
        kept = kept + (pid == other and 1 or 0)
      end
    end
    lu.assertEquals({ #now, kept }, { 3, 2 })
    lu.assertEquals(master:get().body, "good")
    local ok, log = master:hup { workers = 3, app = GOOD }
    lu.assertTrue(ok, log)
    master:ready(3)
  end,

  ["a reload that is asked for by its own on_start is refused, and goes on"] = function()
    local master = masters.start { workers = 1 }
    local ok, log = master:hup { workers = 1, config = [[on_start = function(m)
      local _, err = m:reload()
      note("refused", err.code)
    end]] }
    lu.assertTrue(ok, log)
    lu.assertStrContains(master:notes(), "refused busy")
  end,

  ["a worker of the old config that dies while the new one is tried is replaced by one of the old config"] = function()
    local master = masters.start { app = GOOD, workers = 1, config = "env = { WHICH = 'old' }" }
    local pid = master:ready(1)[1].pid
    master:write { workers = 1, config = [[env = { WHICH = "new" },
      on_start = function() note "tried" while not io.open(here .. "/go") do brood.sleep(0.02) end end]],
      app = 'return function(req, res) res:finish(os.getenv "WHICH") end' }
    master.program:kill "HUP"
    master:noted "tried"
    uv.kill(pid, "sigkill")
    s.wait(function()
      local list = master:workers()
      return list[1] and list[1].pid ~= pid and list[1].state == "ready"
    end, 10)
    lu.assertEquals(master:get().body, "old")
    s.write_file(master.dir .. "/go", "")
    master.program:expect "(reloaded in)"
    s.wait(function() return master:get().body == "new" end)
  end,
}
