-- Two servers that are no Lua, each a few processes on one address: brood opens the sockets, keeps the processes at
-- their number and replaces them without a gap. `brood run` here, then HUP for a new version of either.
return {
  -- node: the cluster web, on port 8080 unless -l, -p or PORT say otherwise
  command = { "node", "server.js" },
  ready = "line", -- node cannot speak sd_notify by itself, but it can write a line to a descriptor
  listen = os.getenv "NODE_LISTEN" or "127.0.0.1:8080",
  workers = 2,
  pidfile = "brood.pid", -- for `kill -HUP $(cat brood.pid)`

  graceful_timeout = "10s", -- from TERM to KILL
  max_lifetime = "12h", -- each is replaced after so long, the new one first
  max_memory = "300m", -- or when it takes too much

  clusters = {
    python = {
      command = { "python3", "server.py" },
      ready = "notify", -- READY=1, as under systemd
      listen = os.getenv "PYTHON_LISTEN" or "127.0.0.1:8081",
    },
  },

  worker_ready = function(_, worker)
    print(("%s worker %d serves as process %d"):format(worker.cluster, worker.slot, worker.pid))
  end,
  worker_exit = function(_, worker, code, signal)
    print(("%s worker %d is gone: %s, %s"):format(worker.cluster, worker.slot, signal or code, worker.reason))
  end,
}
