--- Clusters whose workers are programs lose no request either where these say nothing of themselves, come and go, and
--- grow old: under a constant load.
-- time limit: 200 s
local command = require "spec.support.command"
local s = require "spec.support"
local uv = require "luv"

local reload, under_load = command.reload, command.under_load

return {
  ["where programs say nothing, reloads refuse nobody either"] = function()
    under_load('command = { "python3", "server.py" },', 5, reload):over()
  end,

  ["programs that come and go by TTIN and TTOU, and by their age, lose no request"] = function()
    under_load('command = { "python3", "server.py", "notify" }, ready = "notify", max_lifetime = 2,', 6,
      function(master, i)
        uv.kill(master:pid(), i % 2 == 1 and "sigttin" or "sigttou")
        s.wait(function()
          local _, status = master:ask "/status"
          return status.clusters.web.ready == (i % 2 == 1 and 3 or 2)
        end, 20 * s.slow)
      end):over()
  end,
}
