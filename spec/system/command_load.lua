--- Reloads of clusters whose workers are programs lose no request: a constant load, and twenty reloads of one,
--- five of the others; or as many of each as BROOD_RELOADS says.
-- time limit: 400 s
local command = require "spec.support.command"

local reload, under_load = command.reload, command.under_load
local RELOADS = tonumber(os.getenv "BROOD_RELOADS")

return {
  ["a Python server that says READY=1 loses no request over 20 reloads"] = function()
    under_load('command = { "python3", "server.py", "notify" }, ready = "notify",', RELOADS or 20, reload):over()
  end,

  ["a node http server that says READY=1 loses no request over reloads"] = function()
    under_load('command = { "node", "server.js", "notify" }, ready = "notify",', RELOADS or 5, reload):over()
  end,

  ["a server that a shell executes loses no request over reloads"] = function()
    under_load([[command = { "sh", "-c", "exec python3 server.py notify" }, ready = "notify",]], RELOADS or 5, reload)
      :over()
  end,
}
