--- A reload of two workers under load: how long until each of the new ones has answered.
local brood = require "brood"
local c = require "spec.bench.lib.c"
local Process = require "brood.process"
local report = require "spec.bench.lib.report"
local server = require "spec.bench.lib.server"

local ROUNDS, RELOADS, WORKERS = 5, 8, 2
local SETTLE = 0.3 -- seconds between reloads, for the old workers to go

return function()
  if not server.find "wrk" then
    return report.note "reload: wrk is not installed"
  end
  local program = c.compile "first_answer"
  local found, all = {}, server.some({ "brood", "unicorn", "nginx" }, WORKERS)
  for round = 1, ROUNDS do
    server.in_turn(server.installed(all), round, function(target)
      target:start()
      local load = Process.new {
        command = { "wrk", "-t1", "-c8", "-d60", ("http://127.0.0.1:%d/"):format(target.port) },
        stdout = false, stop_signal = "INT",
      }
      assert(load:start())
      for _ = 1, RELOADS do
        brood.sleep(SETTLE)
        server.note(found, "reload", target.name, (c.figures { program, "reload", tostring(target.port),
          tostring(target.process.pid), tostring(WORKERS) }))
      end
      load:stop()
      target:stop()
    end)
  end
  report.lines("reload of two workers under load, ms", all, found.reload)
end
