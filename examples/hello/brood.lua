-- The smallest config: what to serve, and where. One worker per cpu is the default.
return {
  app = "app.lua",
  listen = "127.0.0.1:8080",
}
