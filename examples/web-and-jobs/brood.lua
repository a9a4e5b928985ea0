return {
  app = "app.lua",
  listen = "127.0.0.1:8080",
  workers = 2,
  pools = {
    primes = {
      worker = "worker.lua",
      max_processes = 2,
      max_backlog = 100, -- more that would wait fail at once; the app refuses them before, with 503
      timeout_working = "1m",
      retries = 1,
      result_ttl = "10m", -- how long a result can be asked for
    },
  },
}
