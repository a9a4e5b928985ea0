-- The app says that it is no HTTP; everything else is as for any cluster.
return {
  app = "app.lua",
  listen = "127.0.0.1:7007",
  workers = 2,
  graceful_timeout = 5,
}
