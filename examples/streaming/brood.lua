return {
  app = "app.lua",
  listen = "127.0.0.1:8080",
  workers = 2,
  access_log = "-",
}
