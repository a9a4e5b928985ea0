-- The same as a script, without a config: `brood exec front.lua [ADDRESS]`. One port, three programs behind it; each is
-- started by its first request, and told to quit when nobody has asked for it for ten seconds.
local Backend = require "brood.backend"
local http = require "brood.http"
local log = require("brood").log

local here = arg[0]:match "^(.*)/[^/]*$" or "."

local apps = {
  clock = Backend.new { command = { "python3", "clock.py" }, cwd = here, idle = "10s", name = "clock" },
  counter = Backend.new { command = { "node", "counter.js" }, cwd = here, idle = "10s", name = "counter" },
  echo = Backend.new { command = { "ruby", "echo.rb" }, cwd = here, idle = "10s", name = "echo" },
}

for name, backend in pairs(apps) do
  backend:on("spawn", function(pid) log.info(("%s: started, process %d"):format(name, pid)) end)
  backend:on("idle", function() log.info(name .. ": nobody needs it any more") end)
end

local server = http.server(function(req, res)
  local backend = apps[req.path:match "^/([^/]*)"]
  if not backend then
    return res:status(404):finish "try /clock, /counter or /echo\n"
  end
  local ok, err = backend:proxy(req, res)
  if not ok and not err.began then
    res:status(502):finish(err.message .. "\n") -- where it did not start: what it printed
  end
end)

assert(server:listen(arg[1] or "127.0.0.1:8080"))
log.info("listening on " .. server:address())
