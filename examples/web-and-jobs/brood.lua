return {
  app = "app.lua",
  listen = "127.0.0.1:8080",
  workers = 2,
  pools = {
    primes = {
      worker = "worker.lua",
      max_processes = 2,
      max_backlog = 100, -- more that wait are refused, and their clients hear it at once
      timeout_working = "1m",
      retries = 1,
      result_ttl = "10m", -- how long a result can be asked for
    },
  },
}
