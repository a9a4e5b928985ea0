--- However the process ends that has the spinner: nothing of its services is left.
local lu = require "luaunit"
local s = require "spec.support"
local sp = require "spec.support.spinner"

-- A script with services of all kinds, which says the pids of all that must not be left.
local function script(rest)
  local child = s.script(([[
    local brood, uv = require "brood", require "luv"
    local spinner = require("brood.spinner").new { ports = { %d, %d }, stop_timeout = 2 }
    local function pids(line) io.stdout:write("pid ", line, "\n") io.stdout:flush() end
    spinner:start { name = "sh", command = { "sh", "-c", "sleep 60 & echo $!; wait" }, port = false, stdout = pids }
    spinner:start { name = "api", command = { ... } }
    spinner:start { name = "unix", command = { ... }, port = "socket", idle = 60, health = {} }
    spinner:start({ name = "never", command = { "sleep", "60" }, timeout = 50 }, function() end)
    spinner:start({ name = "dies", command = { "false" }, attempts = 1000 }, function() end)
    brood.sleep(0.05)
    for _, entry in pairs(spinner:list()) do
      if entry.pid then pids(entry.pid) end
    end
    print("socket " .. spinner:get("unix").port)
    print "up"
    io.stdout:flush()
  ]]):format(unpack(sp.ports())) .. rest, sp.server())
  child:expect "up\n"
  local left = {}
  for pid in child:stdout():gmatch "pid (%d+)" do
    table.insert(left, tonumber(pid))
  end
  assert(#left >= 5, "some of them did not tell their pid")
  return child, left, child:stdout():match "socket (%S+)"
end

local function nothing_left(left, socket)
  s.gone(left, 5)
  lu.assertFalse(s.exists(socket))
  lu.assertFalse(s.exists(socket:match "^(.*)/"))
end

local T = {}

for _, signal in ipairs { "TERM", "INT", "HUP" } do
  T["told to end by " .. signal] = function()
    local child, left, socket = script "brood.sleep(60)"
    child:kill(signal)
    local _, by = child:wait()
    lu.assertEquals(by, require("luv").constants["SIG" .. signal])
    nothing_left(left, socket)
  end
end

T["by os.exit, an error of its main task, and two signals"] = function()
  for _, rest in ipairs { "os.exit(3)", "error 'boom'" } do
    local child, left, socket = script(rest)
    child:wait()
    nothing_left(left, socket)
  end
  local child, left, socket = script "brood.sleep(60)"
  child:kill "TERM"
  child:kill "INT"
  child:wait()
  nothing_left(left, socket)
end

T["killed: its programs get their stop_signal, and who makes such a folder next clears its away"] = function()
  local child, left, socket = script "brood.sleep(60)"
  child:kill "KILL"
  child:wait()
  local other, left_by_other, in_other = script "brood.sleep(60)"
  lu.assertFalse(s.exists(socket:match "^(.*)/"))
  lu.assertTrue(s.exists(in_other))
  other:kill "TERM"
  other:wait()
  nothing_left(left_by_other, in_other)
  local direct = {}
  for _, pid in ipairs(left) do
    local stat = s.stat(pid)
    if stat and stat.group == pid then
      table.insert(direct, pid)
    end
  end
  s.gone(direct, 5)
  for _, pid in ipairs(left) do
    if s.alive(pid) then
      require("luv").kill(pid, "sigkill") -- what a program has left behind itself
    end
  end
end

T["a script goes on while a service runs, or is faulted and a change would start it; and ends without"] = function()
  local ended = s.script([[
    local spinner = require("brood.spinner").new { port = false }
    spinner:start { name = "x", command = { "sleep", "0.2" }, restart = false }
    spinner:start { name = "bad", command = { "no-such-program" }, attempts = 1 }
  ]]):finish(5)
  lu.assertEquals({ ended.code, ended.stderr }, { 0, "" })
  local path = s.write_file("api.lua", "os.exit(1)")
  local waits = s.script([[
    local spinner = require("brood.spinner").new { port = false, ready = "channel", attempts = 1 }
    print(spinner:start { script = (...) })
    spinner:get((...)):on("restarted", function() print "again" end)
  ]], { path })
  waits:expect "ended with status 1"
  s.write_file(path, 'require("brood.worker") require("brood").worker:ready() require("brood").sleep(60)')
  waits:expect "again\n"
  waits:kill "TERM"
  waits:wait()
end

return T
