-- A web server of several processes, run by a script: it tells what becomes of them, counts for them, and lets HUP
-- replace them while they serve.
local Cluster = require "brood.cluster"
local uv = require "luv"

local here = arg[0]:match "^(.*)/[^/]*$" or "."
local cluster = Cluster.new(here .. "/app.lua", {
  listen = arg[1] or "127.0.0.1:8080",
  count = 2,
  args = { "Hello" }, -- `arg` of the app
  max_requests = 10000, max_memory_gain = 4, -- then another one comes first
  stop_timeout = 10,
})

local function say(fmt, ...)
  print(fmt:format(...))
  io.stdout:flush()
end

-- Each worker tells of the visitors it had; all are told how many there were.
local visitors = 0
cluster:on("message", function(_, value)
  visitors = visitors + value.visitors
  cluster:send { visitors = visitors }
end)

cluster:on("online", function(worker)
  worker:send { visitors = visitors }
  say("worker %d is there, in place %d", worker.id, worker.slot)
end)
cluster:on("exit", function(worker, code, signal)
  say("worker %d has gone (%s): %s", worker.id, worker.reason, signal or "status " .. code)
end)
cluster:on("respawn", function(worker, _, signal)
  say("worker %d is in the place of one that has died (%s)", worker.id, signal or "by itself")
end)

-- A callback of luv is no task: what takes its time gets a callback there.
local hangup = uv.new_signal()
hangup:unref()
hangup:start("sighup", function()
  cluster:restart(function(err)
    say(err and "not restarted: %s" or "restarted", err)
  end)
end)

local ok, err = cluster:start()
if not ok then
  io.stderr:write(("cannot start: %s\n"):format(err))
  os.exit(1)
end
say("http://%s, TERM or Ctrl-C ends it", (cluster:address()))
