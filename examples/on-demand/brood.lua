-- Three programs in three languages behind one port: each is started by its first request and told to quit when nobody
-- has asked for it for ten seconds. http://localhost:8080/clock, or http://clock.localhost:8080/
return {
  backends = {
    clock = { command = { "python3", "clock.py" }, idle = "10s" },
    counter = { command = { "node", "counter.js" }, idle = "10s" },
    echo = { command = { "ruby", "echo.rb" }, idle = "10s" },
  },
  proxy = {
    listen = "127.0.0.1:8080",
    routes = {
      ["/clock"] = "clock", ["/counter"] = "counter", ["/echo"] = "echo",
      ["clock.localhost"] = "clock", ["counter.localhost"] = "counter", ["echo.localhost"] = "echo",
    },
  },
}
