--- Signals of the master: in which order those are acted on that arrive together, what a config makes of them, and each
--- of them while each other one is under way (brood.master.signals, brood.rules.schema_signals).
local lu = require "luaunit"
local masters = require "spec.support.master"
local s = require "spec.support"
local uv = require "luv"

local ALL = { "TERM", "INT", "QUIT", "USR2", "HUP", "WINCH", "TTOU", "TTIN", "USR1" }

-- A master that stands still until it is let go: what comes meanwhile has come together.
local STANDS = [[PWR = function()
    note "stands"
    while not io.open(here .. "/go") do require("luv").sleep(1) end
  end,]]

local function together(master, list)
  os.remove(master.dir .. "/go")
  os.remove(master.dir .. "/notes")
  master.program:kill "PWR"
  master:noted "stands"
  for _, signal in ipairs(list) do
    master.program:kill(signal)
  end
  s.write_file(master.dir .. "/go", "")
end

local function noting(names)
  local lines = {}
  for _, name in ipairs(names) do
    lines[#lines + 1] = ("%s = function() note %q end,"):format(name, name)
  end
  return "signals = { " .. STANDS .. table.concat(lines, " ") .. " },"
end

local function serves(master, n)
  master:ready(n)
  lu.assertEquals(master:get().status, 200)
end

return {
  ["signals that arrive together are all acted on, by weight"] = function()
    local master
    for _, order in ipairs { ALL, { "USR1", "TTIN", "TTOU", "WINCH", "HUP", "USR2", "QUIT", "INT", "TERM" } } do
      master = masters.start { workers = 1, config = noting(ALL) .. "control = false" }
      master:address()
      together(master, order)
      master:noted "USR1"
      lu.assertEquals(master:notes(), "stands\n" .. table.concat(ALL, "\n") .. "\n")
      if order == ALL then
        master.program:kill "KILL" -- it obeys nothing else
        master.program:wait()
      end
    end
    together(master, { "TTIN", "HUP", "TTIN", "HUP" })
    master:noted "TTIN"
    lu.assertEquals(master:notes(), "stands\nHUP\nTTIN\n") -- two of one kind are one, as the kernel has it
    master.program:kill "KILL"
    master.program:wait()
  end,

  ["a config maps signals to other actions, to functions that may wait, and to nothing"] = function()
    local master = masters.start { workers = 1, config = [[signals = {
      SIGHUP = "scale_up", TTIN = "reload", USR1 = false, PWR = "scale_up", CONT = function(m)
        brood.sleep(0.05)
        note("cont", m.pid == posix.getpid(), #m.workers)
      end, URG = function() error "on purpose" end, TERM = "quit" }, on_start = function(m, why) note(why) end,
      worker_exit = function(m, w) note("exit", w.reason) end]] }
    master:ready(1)
    master.program:kill "HUP"
    master:ready(2)
    master.program:kill "PWR"
    master:ready(3)
    master.program:kill "CONT"
    master:noted "cont true 3"
    master.program:kill "URG"
    master.program:expect "(signals.URG: [^\n]*brood.lua:%d+: on purpose)"
    master.program:kill "USR1"
    master.program:kill "TTIN"
    master:noted "reload"
    master:ready(1)
    lu.assertEquals(master:stop "TERM", 0)
    lu.assertStrContains(master:log(), "stopping gracefully")
  end,

  ["a signal may be named by its number too, but a list names none"] = function()
    local master = masters.start { workers = 1, config = 'signals = { [15] = "quit" }' }
    master:address()
    master:stop "TERM"
    lu.assertStrContains(master:log(), "stopping gracefully")
    for text, problem in pairs {
      ['{ "quit" }'] = "1 is no signal's name", ['{ [99] = "quit" }'] = "99 is no signal's name",
      ['{ [9] = "quit" }'] = "'signals[9]' cannot be caught",
      ['{ [15] = "quit", TERM = "quit" }'] = "'signals.TERM' is the same signal as 'signals[15]'",
    } do
      local program = masters.start({ workers = 1, config = "signals = " .. text }).program
      lu.assertEquals({ program:wait() }, { 1 })
      lu.assertStrContains(program:stderr(), problem)
    end
  end,

  ["a reload changes what signals do; one that is named no more has no meaning again"] = function()
    local master = masters.start { workers = 1, config = "signals = { PWR = function() note 'old' end }" }
    master:ready(1)
    lu.assertTrue(master:hup { workers = 1, config = "signals = { PWR = function() note 'new' end }" })
    master.program:kill "PWR"
    master:noted "new"
    lu.assertEquals(master:notes(), "new\n")
    lu.assertTrue(master:hup { workers = 1, config = "signals = { IO = 'reload', WINCH = false }" })
    master.program:kill "WINCH"
    local n = #master:log()
    master.program:kill "IO"
    s.wait(function() return master:log():sub(n):find "reloaded in" end)
    serves(master, 1)
    lu.assertTrue(master:hup { workers = 1 })
    master.program:kill "IO" -- whose default action ends a process
    lu.assertEquals({ master.program:wait() }, { nil, require("brood.signals").number "IO" })
    os.remove(master.control)
  end,

  ["what is meant for the master does nothing to a worker; a program that it starts has the usual actions"] = function()
    local master = masters.start { workers = 1, config = "signals = { IO = 'reload', VTALRM = false }", app = [[
      return function(req, res)
        if req.path == "/own" then return res:finish(io.open("/proc/self/status"):read "*a") end
        local pipe = io.popen "grep Sig /proc/self/status"
        local popen = pipe:read "*a"
        pipe:close()
        local run = require("brood.process").run { "grep", "Sig", "/proc/self/status" }
        res:finish(popen .. run.stdout)
      end]] }
    local worker = master:ready(1)[1]
    for _ = 1, 3 do
      for _, name in ipairs { "TTIN", "TTOU", "IO", "VTALRM", "HUP", "USR2", "WINCH", "USR1" } do
        uv.kill(worker.pid, "sig" .. name:lower())
        lu.assertStrContains(master:get("/own").body, "State:\tR")
      end
    end
    -- Neither blocked nor ignored, whichever way it is started: the sixth digit is that of TTIN and TTOU.
    local body = master:get("/").body
    for _, mask in ipairs { "Blk", "Ign" } do
      lu.assertEquals(select(2, body:gsub(("Sig%s:\t%%x+0%%x%%x%%x%%x%%x\n"):format(mask), "")), 2, body)
    end
    lu.assertEquals({ master:ready(1)[1].pid, master:workers()[1].restarts }, { worker.pid, 0 })
    lu.assertNotStrContains(master:log(), "scaling")
  end,

  ["one worker more and one fewer at once change nothing; one after the other both are done"] = function()
    local master = masters.start { workers = 2, config = "signals = { " .. STANDS .. " }" }
    local pids = master:pids()
    together(master, { "TTIN", "TTOU" })
    master.program:expect "TTIN and TTOU have come together: the number of workers stays"
    lu.assertEquals(master:pids(), pids)
    together(master, { "USR1", "TTOU", "HUP", "TTIN" })
    master.program:expect "reloaded in"
    serves(master, 2)
    lu.assertNotStrContains(master:log(), "scaling")
    together(master, { "WINCH", "TTOU", "TTIN" }) -- which brings back what was drained
    s.wait(function() return master:log():find("scaling from 0 to 2 workers (TTIN)", 1, true) end)
    serves(master, 2)
  end,

  ["what is no signal, cannot be caught, or is no action, is a mistake"] = function()
    local dir = s.temp_dir()
    local function complaint(text)
      s.write_file(dir .. "/app.lua", "return function() end")
      s.write_file(dir .. "/brood.lua", ('return { app = "app.lua", signals = %s }'):format(text))
      return s.run({ s.binary, "check", dir .. "/brood.lua" }).stderr
    end
    lu.assertStrContains(complaint '{ TREM = "quit" }', "unknown key 'signals.TREM' (did you mean 'TERM'?)")
    lu.assertStrContains(complaint '{ KILL = "quit" }', "'signals.KILL' cannot be caught by anybody")
    lu.assertStrContains(complaint '{ CHLD = "quit" }', "'signals.CHLD' is the runtime's own")
    lu.assertStrContains(complaint '{ TERM = "quti" }', "signals.TERM: expected one of \"reload\", \"quit\",")
    lu.assertStrContains(complaint '{ TERM = "quit", SIGTERM = "quit" }', "is the same signal as")
    lu.assertStrContains(complaint '{ "quit" }', "1 is no signal's name")
    lu.assertStrContains(complaint '"quit"', "signals: expected a table from names of signals to actions")
    lu.assertEquals(complaint '{ TERM = "quit", SIGUSR1 = function() end, TTIN = false }', "")
  end,

  ["each signal while each other one is under way: the last wish wins"] = function()
    -- What is under way takes its time: a worker that starts slowly, and one that finishes slowly.
    local app = [[
      local brood = require "brood"
      brood.sleep(0.1)
      return { server = function(req, res) res:finish("x") end, stop = function() brood.sleep(0.1) end }]]
    -- The number of workers in the end; 0: none are left, nil: the master has ended.
    local size = { HUP = 2, WINCH = 0, TTIN = 3, TTOU = 1, USR1 = 2 }
    local two = {
      ["WINCH TTIN"] = 2, ["WINCH TTOU"] = 0, ["WINCH USR1"] = 0, ["TTIN TTOU"] = 2, ["TTOU TTIN"] = 2,
      ["TTIN TTIN"] = 4, ["TTOU TTOU"] = 1, ["TTIN USR1"] = 3, ["TTOU USR1"] = 1,
    }
    local stops = { QUIT = true, TERM = true, INT = true }
    for _, first in ipairs { "HUP", "WINCH", "TTIN", "TTOU", "USR1", "QUIT" } do
      for _, second in ipairs { "HUP", "WINCH", "TTIN", "TTOU", "USR1", "QUIT", "TERM" } do
        local what = first .. " " .. second
        local master = masters.start { app = app }
        master:ready(2)
        master.program:kill(first)
        master.program:expect(({ HUP = "(reloading)", WINCH = "(draining)", TTIN = "(scaling)", TTOU = "(scaling)",
          USR1 = "()", QUIT = "(stopping gracefully)" })[first])
        master.program:kill(second)
        if stops[first] or stops[second] then
          lu.assertEquals(master.program:wait(10 * s.slow), 0, what)
        else
          local n = two[what] or size[second]
          if second == "USR1" and not two[what] then
            n = size[first]
          end
          local ok, err = pcall(master.ready, master, n)
          lu.assertTrue(ok, what .. "\n" .. tostring(err))
          s.wait(function() -- and it stays so
            return #s.child_pids(master.program.pid) == n
          end, 10 * s.slow, what)
          if n > 0 then
            lu.assertEquals(master:get().status, 200)
          end
          lu.assertEquals(master:stop "TERM", 0)
        end
        lu.assertNotStrContains(master:log(), "stack traceback")
      end
    end
  end,

  ["a number that is wished for while a reload is tried holds after it as well"] = function()
    local app = [[
      require("brood").sleep(0.3)
      return function(req, res) res:finish("x") end]]
    local master = masters.start { app = app, config = "signals = { " .. STANDS .. " }" }
    master:ready(2)
    master.program:kill "HUP"
    master.program:expect "(reloading)"
    master.program:kill "TTIN"
    master.program:expect "(reloaded in)"
    serves(master, 3)
    together(master, { "WINCH", "HUP" }) -- in the order of their weight: HUP first
    master:ready(0)
    master.program:kill "HUP"
    serves(master, 2)
  end,

  ["HUP while it starts reads the config again once it serves"] = function()
    local master = masters.start { workers = 1, config = [[on_start = function(m, why)
      note(why)
      while why == "start" and not io.open(here .. "/go") do brood.sleep(0.02) end
    end]] }
    master:noted "start"
    master.program:kill "HUP"
    master.program:expect "(the reload waits for the start)"
    s.write_file(master.dir .. "/go", "")
    master.program:expect "(reloaded in)"
    lu.assertEquals(master:notes(), "start\nreload\n")
  end,

  ["fifty HUPs within a moment end in one reload of the newest config"] = function()
    local master = masters.start { workers = 2 }
    master:ready(2)
    for i = 1, 50 do
      if i == 50 then
        master:write { workers = 3, config = "on_start = function(m, why) note 'newest' end" }
      end
      master.program:kill "HUP"
    end
    master:noted "newest"
    serves(master, 3)
    s.wait(function() return #s.child_pids(master.program.pid) == 3 end, 10)
    lu.assertNotStrContains(master:log(), "stack traceback")
  end,
}
