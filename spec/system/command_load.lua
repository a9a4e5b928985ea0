--- Reloads of clusters whose workers are programs lose no request: a constant load, and twenty reloads of each server.
-- time limit: 400 s
local command = require "spec.support.command"

local reload, under_load = command.reload, command.under_load

return {
  ["a Python server that says READY=1 loses no request over 20 reloads"] = function()
    under_load('command = { "python3", "server.py", "notify" }, ready = "notify",', 20, reload):over()
  end,

  ["a node http server that says READY=1 loses no request over 20 reloads"] = function()
    under_load('command = { "node", "server.js", "notify" }, ready = "notify",', 20, reload):over()
  end,

  ["a server that a shell executes loses no request over 20 reloads"] = function()
    under_load([[command = { "sh", "-c", "exec python3 server.py notify" }, ready = "notify",]], 20, reload):over()
  end,
}
