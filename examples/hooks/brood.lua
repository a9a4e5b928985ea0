-- A config with every hook that a connection, a user and a log of deployments need around forks.
local posix = require "brood.posix"
local uv = require "luv"
local Process = require "brood.process"
local db = require "db"

local database = Process.new {
  command = { uv.exepath(), "exec", "database.lua", db.PATH },
  ready = { socket = db.PATH },
}

local function note(...)
  local log = assert(io.open("deploy.log", "a"))
  log:write(os.date "!%Y-%m-%dT%H:%M:%SZ ", string.format(...), "\n")
  log:close()
end

return {
  app = "app.lua",
  listen = "127.0.0.1:8080",
  workers = 2,

  -- What it raises fails the start: better now than at the first request.
  on_start = function(_, why)
    assert(database:start())
    db.open()
    note("%s, the database has counted %s visits", why, assert(db.ask "GET visits"))
  end,

  before_fork = function()
    db.close()
  end,

  -- Still as the user who started the master: what needs that comes first.
  after_fork = function(_, worker)
    db.open()
    if posix.getuid() == 0 then
      worker:user "nobody"
    end
  end,

  worker_ready = function(_, worker)
    note("%s worker %d (pid %d) serves", worker.cluster or worker.pool, worker.id, worker.pid)
  end,

  worker_exit = function(_, worker, code, signal)
    note("%s worker %d (pid %d) is gone: %s, %s, after %d requests", worker.cluster or worker.pool, worker.id,
      worker.pid, signal and "signal " .. signal or "status " .. code, worker.reason, worker.requests)
  end,

  on_stop = function()
    database:stop()
    note "stop"
  end,
}
