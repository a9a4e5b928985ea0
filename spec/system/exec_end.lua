--- However a script ends, nothing that it supervises is left.
local lu = require "luaunit"
local namespace = require "spec.support.namespace"
local s = require "spec.support"

-- A program, its stubborn grandchild, a Lua child and a worker: their pids go to stdout, and then "up".
local FAMILY = [[
  local brood, posix, uv = require "brood", require "brood.posix", require "luv"
  local Process, Worker = require "brood.process", require "brood.worker"
  io.stdout:setvbuf("line")
  local function family(options)
    options = options or {}
    local said = false
    local program = Process.new {
      command = { "sh", "-c", options.program or "sleep 60 & echo $!; wait" }, stop_timeout = options.stop_timeout,
      stdout = function(line) said = true print(line) end,
    }
    program:start()
    local child = Process.new { main = function() brood.sleep(60) end, stop_timeout = 1 }
    child:start()
    local w = Worker.fork()
    if w:is_child() then brood.sleep(60) os.exit(0) end
    print(program.pid)
    print(child.pid)
    print(w.pid)
    while not said do brood.sleep(0.005) end
    print "up"
    return program, child, w
  end
]]

local STUBBORN = [[
  trap '' TERM INT HUP
  sh -c 'trap "" TERM INT HUP; echo $$; while :; do sleep 0.02; done' &
  while :; do sleep 0.02; done
]]

local function pids_of(script)
  script:expect "up\n"
  local list = {}
  for pid in script:stdout():gmatch("(%d+)\n") do
    table.insert(list, tonumber(pid))
  end
  assert(#list == 4, "four pids: " .. script:stdout())
  return list
end

local function none_left(list, seconds)
  if seconds then
    pcall(s.wait, function()
      for _, pid in ipairs(list) do
        if s.alive(pid) then return false end
      end
      return true
    end, seconds)
  end
  for _, pid in ipairs(list) do
    lu.assertFalse(s.alive(pid), ("still alive: %d %s"):format(pid, table.concat(s.cmdline(pid) or {}, " ")))
  end
end

local function family(text, options)
  return s.script(FAMILY .. text, {}, options)
end

local function check_end(text, code, stderr)
  local script = family(text)
  local list = pids_of(script)
  local result = script:finish()
  none_left(list)
  lu.assertEquals({ result.code, result.signal }, { code })
  if stderr then
    lu.assertStrContains(result.stderr, stderr)
  end
end

return {
  ["it runs on while something it has started has not ended"] = function()
    local script = s.script(FAMILY .. [[
      local p = Process.new { command = { "sleep", "0.2" } }
      p:start()
      p:on("exit", function() print "sleep has ended" end)
    ]])
    lu.assertEquals(script:finish().stdout, "sleep has ended\n")
  end,

  ["os.exit leaves nothing, not even what ignores every signal"] = function()
    check_end("family() os.exit(5)", 5)
    check_end(("family{ program = %q } os.exit(6)"):format(STUBBORN), 6)
  end,

  ["an error of the main task leaves nothing"] = function()
    check_end(("family{ program = %q } error('no more')"):format(STUBBORN), 1, "no more")
  end,

  ["a normal end after a stop leaves nothing"] = function()
    check_end("local a, b, c = family() a:stop() b:stop() c:stop()", 0)
  end,

  ["TERM, INT and HUP stop what it supervises, and then end it by that signal"] = function()
    for name, number in pairs { TERM = 15, INT = 2, HUP = 1 } do
      local script = family "family() brood.sleep(60)"
      local list = pids_of(script)
      script:kill(name)
      local code, signal = script:wait()
      none_left(list)
      lu.assertEquals({ code, signal }, { nil, number })
      lu.assertEquals(script:stderr(), "")
    end
  end,

  ["the first is graceful"] = function()
    local script = family [[
      family { program = "trap 'sleep 0.2; echo finished; exit 0' TERM; echo $$; while :; do sleep 0.02; done" }
      brood.sleep(60)
    ]]
    local list = pids_of(script)
    script:kill("TERM")
    script:wait()
    lu.assertStrContains(script:stdout(), "finished")
    none_left(list)
  end,

  ["a second one kills"] = function()
    local script = family(("family { program = %q, stop_timeout = 60 } brood.sleep(60)"):format(STUBBORN))
    local list = pids_of(script)
    script:kill("INT")
    s.wait(function() return not s.alive(list[3]) end)
    script:kill("INT")
    local code, signal = script:wait(5)
    none_left(list)
    lu.assertEquals({ code, signal }, { nil, 2 })
  end,

  -- Whether its handler is called before brood's own is up to the addresses of the two.
  ["one who handles the signal decides himself, also where he hears it only once"] = function()
    for order, place in pairs { ["listen() start()"] = "1", ["start() listen()"] = "#list" } do
      local script = family([[
        local program
        local function start() program = family() end
        local list = {}
        local function listen()
          for i = 1, 300 do list[i] = uv.new_signal() end
          table.sort(list, function(a, b) return tostring(a) < tostring(b) end)
          local sig = list[]] .. place .. [[]
          sig:start("sigterm", function()
            print "mine"
            sig:close()
            brood.async(function() brood.sleep(0.3) program:stop() print "stopped" os.exit(9) end)
          end)
        end
        ]] .. order .. [[

        print "armed"
        brood.sleep(60)
      ]])
      local list = pids_of(script)
      script:expect "armed"
      script:kill("TERM")
      local code = script:wait()
      none_left(list)
      lu.assertEquals(code, 9, order)
      lu.assertStrContains(script:stdout(), "mine\nstopped\n")
    end
  end,

  ["as PID 1 it ends by signals, with 128 and their number, and reaps orphans"] = function()
    namespace.need()
    local path = s.write_file("init.lua", [[
      local brood, uv = require "brood", require "luv"
      require("brood.process").run { "sh", "-c", "setsid sleep 0.05 & setsid sleep 0.05 & exit 0" }
      local function zombies()
        local file = io.popen "cat /proc/[0-9]*/stat 2>/dev/null"
        local text = file:read "*a"
        file:close()
        return select(2, text:gsub("%) Z ", ""))
      end
      brood.sleep(0.2)
      while zombies() > 0 do brood.sleep(0.01) end
      print(uv.os_getpid(), "up")
      io.stdout:flush()
      brood.sleep(60)
    ]])
    local script = namespace.start(s.binary, "exec", path)
    script:expect "^1\tup"
    local init
    for pid in pairs(s.children(script.pid)) do init = pid end
    require("luv").kill(init, "sigterm")
    lu.assertEquals({ script:wait() }, { 128 + 15 })
  end,

  ["without anything to supervise a signal ends it as ever"] = function()
    local script = s.script [[print "up" io.stdout:flush() require("brood").sleep(60)]]
    script:expect "up"
    script:kill("TERM")
    lu.assertEquals({ script:wait() }, { nil, 15 })
  end,

  ["a group stops as a group: nobody is started again"] = function()
    local script = s.script(FAMILY .. [[
      local starts = 0
      local g = require("brood.group").new { size = 3, make = function()
        starts = starts + 1
        io.stderr:write("start ", starts, "\n")
        return Process.new { command = { "sleep", "60" } }
      end }
      g:start()
      print "up"
    ]])
    script:expect "up"
    script:kill("TERM")
    lu.assertEquals({ script:wait() }, { nil, 15 })
    lu.assertEquals(script:stderr(), "start 1\nstart 2\nstart 3\n")
  end,

  ["KILL of brood ends its programs by their stop_signal, and its Lua children"] = function()
    local script = family [[
      local q = Process.new { command = { "sh", "-c", "trap 'echo interrupted >&2; exit' INT; echo ready >&2; while :; do sleep 0.02; done" }, stop_signal = "INT" }
      q:start()
      family { program = "exec 3>&1; echo $$; exec sleep 60" }
      brood.sleep(60)
    ]]
    local list = pids_of(script)
    script:expect "ready"
    script:kill("KILL")
    script:wait()
    none_left(list, 8)
    s.wait(function() return script:stderr():find("interrupted") end)
  end,

  ["what it prints is there at once, also where nobody would see it in a terminal"] = function()
    local script = s.script "print 'up' io.write 'half a line' require('brood').sleep(60)"
    script:expect "up\n"
    script:kill "KILL"
    lu.assertEquals(script:finish().stdout, "up\n")
  end,

  ["however it ends, the file of a Unix socket that it listens on goes with it"] = function()
    local path = s.temp_dir() .. "/x.sock"
    local listen = ([[
      local brood = require "brood"
      local server = assert(require("brood.http").server(function() end):listen "unix:%s")
      print "up"
    ]]):format(path)
    for _, signal in ipairs { "TERM", "INT", "HUP" } do
      local script = s.script(listen)
      script:expect "up\n"
      lu.assertTrue(s.exists(path))
      script:kill(signal)
      lu.assertEquals(select(2, script:wait()), require("brood.signals").number(signal))
      lu.assertFalse(s.exists(path), signal)
    end
    for ending, status in pairs { ["os.exit(3)"] = 3, ["error 'over'"] = 1, ["server:close()"] = 0 } do
      local script = s.script(listen .. ending)
      lu.assertEquals(script:wait(), status)
      lu.assertFalse(s.exists(path), ending)
    end
    local forked = s.script(listen .. [[
      local w = require("brood.worker").fork()
      if w:is_child() then os.exit(0) end
      w:on("exit", function() print(require("luv").fs_stat("]] .. path .. [[") and "still there" or "gone") end)
    ]])
    forked:expect "still there\n"
    forked:kill "TERM"
    forked:wait()
    lu.assertFalse(s.exists(path))
  end,

  ["survive = true outlives it"] = function()
    local script = s.script(FAMILY .. [[
      local q = Process.new { command = { "sleep", "60" }, survive = true }
      q:start()
      print(q.pid)
      brood.sleep(60)
    ]])
    local pid = tonumber(script:expect "(%d+)\n")
    script:kill("KILL")
    script:wait()
    s.remains(function() return s.alive(pid) end, 0.3)
    require("luv").kill(pid, "sigkill")
    s.wait(function() return not s.alive(pid) end)
  end,

  ["a script with a channel ends when its parent is gone, and leaves nothing"] = function()
    local inner = s.write_file("inner.lua", FAMILY .. [[
      brood.worker:on("disconnect", function() io.stderr:write("alone\n") end)
      family { program = "trap '' TERM; echo $$; while :; do sleep 0.02; done" }
      brood.worker:ready()
      brood.sleep(60)
    ]])
    local outer = s.script(FAMILY .. ([[
      local p = Process.new { command = { %q, "exec", %q }, ready = "channel", stop_signal = "CHLD" }
      assert(p:start())
      brood.sleep(60)
    ]]):format(s.binary, inner))
    local list = pids_of(outer)
    outer:kill("KILL")
    outer:wait()
    none_left(list, 8)
    lu.assertStrContains(outer:stderr(), "alone")
  end,
}
