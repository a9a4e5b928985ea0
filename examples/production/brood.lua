-- A config for production: what a deployment ten times a day needs around forks, reloads and upgrades.
local posix = require "brood.posix"
local db = require "db"
local deploy = require "deploy"

-- Where what outlives a release is: app.service sets both (/run/app, /var/log/app). Without them, as in a container,
-- there is no pidfile and no Unix socket, and the logs go to stdout and stderr.
local run, logs = os.getenv "RUNTIME_DIRECTORY", os.getenv "LOGS_DIRECTORY"

return {
  app = "app.lua",
  listen = {
    os.getenv "PORT" or "127.0.0.1:8080",              -- a port alone: all interfaces, as a container needs it
    run and "unix:" .. run .. "/app.sock",
  },
  workers = 2,
  preload = true,                                      -- loaded once for all workers, and anew on each reload

  pidfile = run and run .. "/brood.pid",               -- the control socket is beside it: brood.sock
  stderr_path = logs and logs .. "/brood.log",         -- the log; opened anew on USR1, as access_log is
  access_log = logs and logs .. "/access.log" or "-",

  graceful_timeout = os.getenv "GRACEFUL_TIMEOUT" or "20s",   -- shorter than whoever stops brood waits
  timeout = "30s",                                     -- a worker whose loop hangs so long is replaced
  max_requests = 100000,                               -- leaks in libraries end with the worker
  max_requests_jitter = 20000,
  max_memory = "256m",
  limits = { nofile = 16384 },
  umask = "027",

  -- Whatever it raises fails the start, or this reload: the workers that serve go on.
  on_start = function(_, why)
    db.open()
    local n = assert(db.ask "INCR deployments")
    deploy.note("%s of release %s, deployment %s", why, deploy.release(), n)
  end,

  -- Two processes that talk on one connection get each other's answers: the master's is closed before each fork, ...
  before_fork = function()
    db.close()
  end,

  -- ... and each worker opens its own, while it may still do what only the master's user may.
  after_fork = function(_, worker)
    db.open()
    if posix.getuid() == 0 then
      worker:user "nobody"
    end
  end,

  -- The new binary starts as the old one did: it opens what it needs by itself.
  before_exec = function()
    db.close()
    deploy.note "upgrade to a new binary"
  end,

  worker_ready = function(_, worker)
    deploy.note("%s worker %d (pid %d) serves", worker.cluster or worker.pool, worker.id, worker.pid)
  end,

  worker_exit = function(_, worker, code, signal)
    deploy.note("%s worker %d (pid %d) is gone: %s, %s, after %d requests", worker.cluster or worker.pool, worker.id,
      worker.pid, worker.reason, signal and "signal " .. signal or "status " .. tostring(code), worker.requests)
  end,

  on_stop = function()
    deploy.note "stop"
  end,
}
