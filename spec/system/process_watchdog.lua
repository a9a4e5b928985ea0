--- The watchdog of a process that is ready = "notify"; and what its environment says of supervisors.
local lu = require "luaunit"
local s = require "spec.support"
local p = require "spec.support.process"

local NOTIFY = [[
  local send = require("brood.core").notify.send
  local function say(text) assert(send(os.getenv("NOTIFY_SOCKET"), text)) end
]]

local function notifying(text, options)
  options = options or {}
  options.ready = "notify"
  return p.script(NOTIFY .. text, options)
end

return {
  teardown = p.cleanup,

  ["one that falls silent gets ABRT"] = function()
    local process = notifying([[say "READY=1" brood.sleep(60)]], { watchdog = "150ms" })
    lu.assertTrue(process:start())
    lu.assertEquals({ process:wait() }, { nil, "ABRT" })
  end,

  ["one that goes on saying WATCHDOG=1 lives"] = function()
    local process = notifying([[
      say "READY=1"
      for _ = 1, 12 do brood.sleep(0.1) say "WATCHDOG=1" end
      os.exit(3)
    ]], { watchdog = 0.8 * s.slow })
    lu.assertTrue(process:start())
    lu.assertEquals({ process:wait() }, { 3 })
  end,

  ["it learns how often from WATCHDOG_USEC, and may ask for another time itself"] = function()
    local process = notifying([[
      assert(os.getenv("WATCHDOG_USEC") == "20000000", os.getenv("WATCHDOG_USEC"))
      say "READY=1\nWATCHDOG_USEC=150000"
      brood.sleep(60)
    ]], { watchdog = "20s" })
    lu.assertTrue(process:start())
    lu.assertEquals({ process:wait() }, { nil, "ABRT" })
  end,

  ["WATCHDOG=trigger is an ABRT at once"] = function()
    local process = notifying [[say "READY=1" say "WATCHDOG=trigger" brood.sleep(60)]]
    lu.assertTrue(process:start())
    lu.assertEquals({ process:wait() }, { nil, "ABRT" })
  end,

  ["while it starts and while it stops there is no watchdog"] = function()
    local process = notifying([[
      brood.sleep(0.4)
      local sig = uv.new_signal()
      sig:start("sigterm", function() brood.sleep(0.4, function() os.exit(6) end) end)
      say "READY=1"
    ]], { watchdog = 0.2 })
    lu.assertTrue(process:start())
    process:stop()
    lu.assertEquals({ process.exit_code, process.exit_signal }, { 6, nil })
  end,

  ["a foreign program speaks the protocol as well"] = function()
    if not s.exists("/usr/bin/python3") then
      return lu.skip "python3 is not installed"
    end
    local process = p.new {
      ready = "notify", watchdog = 30, command = { "/usr/bin/python3", "-c", [[
import os, socket, time
path = os.environ["NOTIFY_SOCKET"]
if path[0] == "@": path = "\0" + path[1:]
x = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
x.connect(path)
x.send(b"READY=1\nSTATUS=serving")
time.sleep(60)
]] } }
    lu.assertTrue(process:start())
    lu.assertEquals(process.status_text, "serving")
  end,

  ["what another supervisor says to us is not passed on"] = function()
    local result = s.script([[
      local Process = require "brood.process"
      local show = "echo ${NOTIFY_SOCKET-none} ${WATCHDOG_USEC-none} ${LISTEN_FDS-none} ${LISTEN_PID-none} ${BROOD_CHANNEL_FD-none}"
      print((Process.run({ "sh", "-c", show }).stdout:gsub("\n", "")))
      print((Process.run({ "sh", "-c", show }, { env = { LISTEN_FDS = "0" } }).stdout:gsub("\n", "")))
    ]], {}, { env = { NOTIFY_SOCKET = "/x", WATCHDOG_USEC = "1", LISTEN_FDS = "1", LISTEN_PID = "1" } }):finish()
    lu.assertEquals(result.stdout, "none none none none none\nnone none 0 none none\n")
  end,

  ["READY of a program that forks and exits is heard, and its end is an end before readiness without it"] = function()
    local process = p.sh("exit 0", { ready = "notify" })
    local ok, err = process:start()
    lu.assertEquals({ ok, err.code, err.exit_code }, { nil, "exit", 0 })
  end,
}
